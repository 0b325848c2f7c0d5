"""Where the work is done: in two threads with connections of their own, or in the caller's thread."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, TypeVar

from asgiref.sync import sync_to_async

from django_papyra._sql.connection import Session
from papyra.exceptions import BackendClosedError
from papyra.persistence.threads import WriterThread

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from django_papyra._sql.writing import Writing
    from papyra.persistence.base import Refused
    from papyra.persistence.entries import Entry

Value = TypeVar("Value")


class Place(Protocol):
    """One ordered place to write, and one to read; both take work that is safe to repeat."""

    async def append(self, entries: list[Entry]) -> Refused:
        """Write ``entries``; returns when they are committed."""
        ...

    async def write(self, work: Callable[[], Value]) -> Value:
        """Run ``work`` between appends."""
        ...

    async def read(self, work: Callable[[], Value]) -> Value:
        """Run ``work`` beside appends."""
        ...

    def unacknowledged(self) -> int:
        """Return how many entries were accepted and are neither stored nor refused."""
        ...

    async def aclose(self) -> None:
        """End what was begun."""
        ...


class ThreadPlace:
    """A writer thread with group commit and a reader thread; usable from any loop, and dead after a fork."""

    def __init__(self, alias: str, writing: Writing) -> None:
        self._alias = alias
        self._writing = writing
        self._write_session = Session(alias)
        self._read_session = Session(alias)
        self._writer: WriterThread[list[Entry], Refused] = WriterThread(
            f"papyra-writer-{alias}", self._write_batches, on_failure=writing.fail
        )
        self._reader: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._is_closed = False
        self._pid = os.getpid()

    async def append(self, entries: list[Entry]) -> Refused:
        return await self._writer.put(entries, sum(entry.size for entry in entries))

    async def write(self, work: Callable[[], Value]) -> Value:
        return await self._writer.run(lambda: self._writing.run(self._write_session, work))

    async def read(self, work: Callable[[], Value]) -> Value:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._open_reader(), self._read_session.run, work)

    def unacknowledged(self) -> int:
        return sum(len(entries) for entries in self._writer.unacknowledged())

    async def aclose(self) -> None:
        try:
            await self._writer.aclose(self._write_session.close)
        finally:
            closing = self._close_reader()
        if closing is not None:
            await asyncio.shield(asyncio.wrap_future(closing))

    def _close_reader(self) -> Future[None] | None:
        with self._lock:
            self._is_closed = True
            reader, self._reader = self._reader, None
        if reader is None or self._pid != os.getpid():
            return None
        closing = reader.submit(self._read_session.close)
        reader.shutdown(wait=False)
        return closing

    def _write_batches(self, batches: list[list[Entry]]) -> list[Refused]:
        return self._writing.write(self._write_session, batches)

    def _open_reader(self) -> ThreadPoolExecutor:
        if self._pid != os.getpid():
            raise BackendClosedError(
                "the django backend was opened before a fork; open it anew in this process"
            )
        with self._lock:
            if self._is_closed:
                raise BackendClosedError("the django backend was closed")
            if self._reader is None:
                self._reader = ThreadPoolExecutor(1, thread_name_prefix=f"papyra-reader-{self._alias}")
            return self._reader


class InlinePlace:
    """The caller's thread and connection, and so the caller's transaction.

    From async code it is the thread in which Django runs everything that is bound to one.
    """

    def __init__(self, alias: str, writing: Writing) -> None:
        self._writing = writing
        self._session = Session(alias, is_borrowed=True)
        self._lock = threading.RLock()

    async def append(self, entries: list[Entry]) -> Refused:
        return await sync_to_async(self._append, thread_sensitive=True)(entries)

    async def write(self, work: Callable[[], Value]) -> Value:
        return await sync_to_async(self._write, thread_sensitive=True)(work)

    async def read(self, work: Callable[[], Value]) -> Value:
        return await sync_to_async(self._session.run, thread_sensitive=True)(work)

    def unacknowledged(self) -> int:
        return 0

    async def aclose(self) -> None:
        """Do nothing: the connection is the caller's."""

    def _append(self, entries: list[Entry]) -> Refused:
        with self._lock:
            self._writing.forget_undone(self._session)
            return self._writing.write(self._session, [entries])[0]

    def _write(self, work: Callable[[], Value]) -> Value:
        with self._lock:
            self._writing.forget_undone(self._session)
            return self._writing.run(self._session, work)
