"""This thread's connection: opened, tuned and closed in the thread that uses it."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from django.db import OperationalError, connections

from django_papyra._sql.errors import DRIVER_ERRORS, Fault, fault_of, translate
from papyra.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

Value = TypeVar("Value")

BUSY_TIMEOUT_MS = 5_000
_ATTEMPTS = 3
_FIRST_PAUSE = 0.05
_PATIENCE_SECONDS = 5.0
_RETRIED = frozenset({Fault.BUSY, Fault.CONNECTION})


class Session:
    """Runs work on one alias in one thread, on a connection that outlives requests and is renewed.

    With ``is_borrowed`` the connection is the caller's (a test's transaction), and stays as it is.
    """

    def __init__(self, alias: str, *, is_borrowed: bool = False) -> None:
        self.alias = alias
        self._is_borrowed = is_borrowed
        self._thread = 0
        self._file: tuple[int, int] | None = None

    def run(self, work: Callable[[], Value]) -> Value:
        """Return what ``work`` returns; raises our errors.

        ``work`` is repeated on a new connection when the old one broke, so it has to be idempotent.
        """
        attempts = 1 if self._is_borrowed else _ATTEMPTS
        deadline = SYSTEM_CLOCK.monotonic() + _PATIENCE_SECONDS
        for attempt in range(1, attempts + 1):
            try:
                self._prepare()
                return work()
            except DRIVER_ERRORS as error:
                is_last = attempt == attempts or SYSTEM_CLOCK.monotonic() > deadline
                if is_last or fault_of(error) not in _RETRIED:
                    raise translate(error, self.alias) from error
                self.close()
                time.sleep(_FIRST_PAUSE * 4 ** (attempt - 1))  # a thread of the store's own: no loop waits
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """Close the connection, in the thread that used it; the next `run` opens another."""
        if self._thread == threading.get_ident():
            connections[self.alias].close()

    def _prepare(self) -> None:
        if self._is_borrowed:
            return
        self._thread = threading.get_ident()
        connection = connections[self.alias]
        connection.close_if_unusable_or_obsolete()
        if connection.connection is not None and self._file != _file_of(connection):
            connection.close()
        if connection.connection is None:
            _refuse_missing_file(connection)
            connection.ensure_connection()
            self._file = _file_of(connection)
            if connection.vendor == "sqlite":
                _tune_sqlite(connection)
        connection.close_at = None  # its age is no reason: CONN_MAX_AGE is about requests
        connection.queries_log.clear()  # with DEBUG it would hold the last 9,000 statements


def _refuse_missing_file(connection: BaseDatabaseWrapper) -> None:
    """Raise where SQLite would make an empty database in place of one that was moved or never made."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite" and not name.startswith((":", "file:")) and _file_of(connection) is None:
        raise OperationalError(f"there is no file {name}; run `manage.py migrate`")


def _file_of(connection: BaseDatabaseWrapper) -> tuple[int, int] | None:
    """Return which file SQLite has open: one that was moved or deleted takes writes that nobody will read."""
    if connection.vendor != "sqlite":
        return None
    try:
        status = os.stat(connection.settings_dict["NAME"])  # noqa: PTH116  # a test database's NAME may be a URI
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _tune_sqlite(connection: BaseDatabaseWrapper) -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        is_wal = cursor.fetchone()[0] == "wal"
        # Without WAL, EXTRA syncs the folder too, once the journal is gone: else power loss undoes a commit.
        cursor.execute(f"PRAGMA synchronous = {'FULL' if is_wal else 'EXTRA'}")
        cursor.execute("PRAGMA fullfsync = ON")  # macOS does not reach the medium without it
        cursor.execute("PRAGMA busy_timeout")
        if cursor.fetchone()[0] < BUSY_TIMEOUT_MS:
            cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    # A transaction that reads first and writes later fails where another wrote between, timeout or not.
    connection.transaction_mode = "IMMEDIATE"  # type: ignore[attr-defined]  # SQLite's wrapper has it
    connection.connection.text_factory = _decode_leniently


def _decode_leniently(raw: bytes) -> str:
    """Keep damaged text readable and its bytes recoverable, where the driver would refuse the whole page."""
    return raw.decode("utf-8", "surrogateescape")


@contextmanager
def lenient(alias: str) -> Iterator[None]:
    """Read damaged text on the caller's connection with its bad bytes replaced, in place of an error."""
    connection = connections[alias]
    if connection.vendor != "sqlite":  # the others check their text when it comes in
        yield
        return
    connection.ensure_connection()
    driver = connection.connection
    strict, driver.text_factory = driver.text_factory, partial(str, encoding="utf-8", errors="replace")
    try:
        yield
    finally:
        driver.text_factory = strict


def bytes_of(value: object) -> bytes:
    """Return the exact bytes behind a text column, whatever damage has made of it."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else repr(value).encode()
