"""SQLite whose connections fail in papyra's writer threads where a test says so."""

from __future__ import annotations

import threading
from collections import defaultdict, deque

from django.db.backends.sqlite3 import base

FAULTS: defaultdict[str, deque[Exception | None]] = defaultdict(deque)
"""What to raise next at ``connect``, ``before_commit`` and ``after_commit``; ``None``: nothing this time."""


def fail_at(point: str) -> None:
    if FAULTS[point] and threading.current_thread().name.startswith("papyra-writer"):
        fault = FAULTS[point].popleft()
        if fault is not None:
            raise fault


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, object]) -> object:
        fail_at("connect")
        return super().get_new_connection(conn_params)

    def _commit(self) -> None:
        fail_at("before_commit")
        super()._commit()  # type: ignore[misc]  # the stubs leave out what a backend overrides
        fail_at("after_commit")
