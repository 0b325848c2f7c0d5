"""The two stores a project may have, and what can happen to them behind papyra's back."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, cast

import pytest

from django_papyra.conf import get_settings
from django_papyra.runtime import make_backend
from papyra.node import this_node
from papyra.persistence.models import EventType, PersistedEvent
from papyra.persistence.threads import run_sync
from papyra.testing.records import INCARNATION, event

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_django import Settings

    from papyra.persistence.base import BasePersistence

Value = TypeVar("Value")

POPULATE = "tests.django.hosted.populate"
STRICT = {"mode": "fail_on_anomaly"}
INTERNAL = ("papyra", "django", "sqlite", "ndjson", "orders", "scratch", "/", "event", "traceback")
"""What no answer to a stranger may name."""
MAX_PID = 2**22


class Store(ABC):
    """A store with five events of an earlier process in it, and ``PAPYRA`` set to use it."""

    def __init__(self, settings: Settings, file: Path) -> None:
        self._settings = settings
        self.file = file
        self.configure()
        _outside(self._write([event(number, incarnation=INCARNATION, seq=number) for number in range(1, 6)]))

    def configure(self, **changes: object) -> None:
        """Set ``PAPYRA``: this store, a system to host, and ``changes``."""
        self._settings.PAPYRA = {"SYSTEM": POPULATE, "SYSTEM_ID": "orders", **self.where(), **changes}

    def events(self) -> Sequence[PersistedEvent]:
        return _outside(self._read())

    def leave_crash_trace(self) -> None:
        """Add the beginning of a run whose process is gone."""
        node = replace(this_node(), pid=MAX_PID - 1, started=1).to_dict()
        begun = event(6, event_type=EventType.SYSTEM_STARTED, payload={"node": node}, actor_address="")
        _outside(self._write([replace(begun, incarnation="01JDGH5Q7W0000000000000009", seq=1)]))

    @abstractmethod
    def where(self) -> Mapping[str, object]: ...
    @abstractmethod
    def damage(self) -> None: ...
    @abstractmethod
    def contents(self) -> Mapping[str, bytes]:
        """Return every byte that a write could change."""

    async def _write(self, records: Sequence[PersistedEvent]) -> None:
        async with _opened() as backend:
            await backend.append(records)

    async def _read(self) -> Sequence[PersistedEvent]:
        async with _opened() as backend:
            return await backend.list_events()


def _opened() -> BasePersistence:
    return cast("BasePersistence", make_backend(get_settings()))


def _outside(coroutine: Coroutine[object, object, Value]) -> Value:
    """Run it in a thread, because the test may run a loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run_sync, coroutine).result()


class FileStore(Store):
    def where(self) -> Mapping[str, object]:
        return {"BACKEND": f"ndjson:{self.file}"}

    def damage(self) -> None:
        self.file.write_bytes(self.file.read_bytes().replace(b"orders:3", b"orders:4"))

    def contents(self) -> Mapping[str, bytes]:
        return {path.name: path.read_bytes() for path in self.file.parent.iterdir()}


class SqlStore(Store):
    def where(self) -> Mapping[str, object]:
        return {"OPTIONS": {"using": "scratch"}}

    def damage(self) -> None:
        self._execute(
            "UPDATE django_papyra_event SET body = replace(body, 'orders:3', 'orders:4') WHERE seq = 3"
        )

    def hide(self) -> None:
        """Let it be as before `manage.py migrate`."""
        self._execute("ALTER TABLE django_papyra_event RENAME TO gone")

    def show(self) -> None:
        self._execute("ALTER TABLE gone RENAME TO django_papyra_event")

    def contents(self) -> Mapping[str, bytes]:
        return {end: self.file.with_name(self.file.name + end).read_bytes() for end in ("", "-wal")}

    def _execute(self, statement: str) -> None:
        connection = sqlite3.connect(self.file, isolation_level=None)
        connection.execute(statement)
        connection.close()


@pytest.fixture
def sql_store(settings: Settings, scratch: Path) -> Iterator[SqlStore]:
    """Return a store in a database of its own, which nobody checkpoints meanwhile."""
    keeps_the_log = sqlite3.connect(scratch)
    keeps_the_log.execute("SELECT count(*) FROM sqlite_master").fetchone()
    yield SqlStore(settings, scratch)
    keeps_the_log.close()


@pytest.fixture
def file_store(settings: Settings, tmp_path: Path) -> FileStore:
    folder = tmp_path / "history"
    folder.mkdir()
    return FileStore(settings, folder / "papyra.ndjson")


@pytest.fixture(params=["sql", "file"])
def store(request: pytest.FixtureRequest) -> Store:
    found: Store = request.getfixturevalue(f"{request.param}_store")
    return found
