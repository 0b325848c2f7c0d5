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
from papyra.persistence.outage import Outage
from papyra.persistence.threads import WriterThread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from django_papyra._sql.insert import Refusals
    from django_papyra._sql.writing import Writing
    from papyra.clock import Clock
    from papyra.persistence.base import Refused
    from papyra.persistence.entries import Entry, WriterIdentity
    from papyra.persistence.metrics import PersistenceMetrics
    from papyra.persistence.models import StoreStats
    from papyra.persistence.outage import OutageOptions
    from papyra.persistence.state import StateTracker

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

    async def catch_up(self) -> None:
        """Send what was kept beside the database, if it takes it."""
        ...

    @property
    def is_away(self) -> bool:
        """Whether the database is known not to answer, while records are kept beside it."""
        ...

    def add_to(self, stats: StoreStats) -> StoreStats:
        """Return ``stats`` with what is kept beside the database."""
        ...

    def unacknowledged(self) -> int:
        """Return how many entries were accepted and are neither stored nor refused."""
        ...

    async def aclose(self) -> None:
        """End what was begun."""
        ...


class ThreadPlace:
    """A writer thread with group commit and a reader thread; usable from any loop, and dead after a fork."""

    def __init__(  # noqa: PLR0913  # what it brings together
        self,
        alias: str,
        writing: Writing,
        identity: WriterIdentity,
        *,
        options: OutageOptions,
        tracker: StateTracker,
        metrics: PersistenceMetrics,
        clock: Clock,
    ) -> None:
        self._alias = alias
        self._writing = writing
        self._write_session = Session(alias)
        self._read_session = Session(alias)
        self._writer: WriterThread[list[Entry], Refused] = WriterThread(
            f"papyra-writer-{alias}", self._write_batches, on_failure=writing.fail, clock=clock
        )
        self._outage = Outage(
            f"database {alias}",
            self._insert,
            identity,
            options=options,
            tracker=tracker,
            metrics=metrics,
            pause=self._writer.pause,
            clock=clock,
        )
        self._writer.tend(self._outage)
        self._reader: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._is_closed = False
        self._pid = os.getpid()

    async def append(self, entries: list[Entry]) -> Refused:
        return await self._writer.submit(entries, sum(entry.size for entry in entries))

    async def write(self, work: Callable[[], Value]) -> Value:
        return await self._writer.run(lambda: self._writing.run(self._write_session, work))

    async def read(self, work: Callable[[], Value]) -> Value:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._open_reader(), self._read_session.run, work)

    async def catch_up(self) -> None:
        while await self._writer.run(self._outage.replay):
            pass

    @property
    def is_away(self) -> bool:
        return self._outage.is_away

    def add_to(self, stats: StoreStats) -> StoreStats:
        return self._outage.add_to(stats)

    def unacknowledged(self) -> int:
        return sum(len(entries) for entries in self._writer.unacknowledged())

    async def aclose(self) -> None:
        try:
            await self._writer.aclose(self._close_writing)
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

    def _close_writing(self) -> None:
        try:
            self._outage.close()
        finally:
            self._write_session.close()

    def _write_batches(self, batches: list[list[Entry]]) -> list[Refused]:
        return self._writing.write(self._outage.store, batches)

    def _insert(self, entries: Sequence[Entry]) -> Refusals:
        return self._writing.insert(self._write_session, entries)

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

    async def catch_up(self) -> None:
        """Do nothing: a caller's transaction fails with its caller."""

    @property
    def is_away(self) -> bool:
        return False

    def add_to(self, stats: StoreStats) -> StoreStats:
        return stats

    def unacknowledged(self) -> int:
        return 0

    async def aclose(self) -> None:
        """Do nothing: the connection is the caller's."""

    def _append(self, entries: list[Entry]) -> Refused:
        with self._lock:
            self._writing.forget_undone(self._session)
            return self._writing.write_now(self._session, entries)

    def _write(self, work: Callable[[], Value]) -> Value:
        with self._lock:
            self._writing.forget_undone(self._session)
            return self._writing.run(self._session, work)
