"""What the stores of files share: a thread that writes, a thread that reads, errors in our words."""

from __future__ import annotations

import asyncio
import os
from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from papyra.exceptions import BackendClosedError
from papyra.persistence._files.fs import GivenUp, translated
from papyra.persistence.base import BasePersistence, Refused
from papyra.persistence.entries import Entry, WriterIdentity
from papyra.persistence.models import (
    CompactionReport,
    PersistedEvent,
    PersistenceRecoveryConfig,
    PersistenceRecoveryMode,
    PersistenceRecoveryReport,
    PersistenceScanReport,
    Record,
    ScanDepth,
    StoreStats,
)
from papyra.persistence.threads import WriterThread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from papyra.clock import Clock
    from papyra.exceptions import PersistenceError
    from papyra.persistence._files.fs import FileSystem
    from papyra.persistence.query import Page, Progress, ProgressCallback, RecordQuery
    from papyra.persistence.retention import RetentionPolicy

Value = TypeVar("Value")


class FileBackend(BasePersistence):
    """A subclass brings a file writer and an index, and what is done with them in their threads."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        retention_policy: RetentionPolicy | None,
        *,
        quarantine_dir: str | os.PathLike[str] | None,
        clock: Clock,
        fs: FileSystem,
    ) -> None:
        super().__init__(retention_policy, clock=clock)
        self._path = Path(path)
        self._absolute = self._path.absolute()
        self._fs = fs
        self._quarantine_dir = None if quarantine_dir is None else Path(quarantine_dir).absolute()
        name = f"papyra {self._path.name}"
        self._writer: WriterThread[list[Entry], Any] = WriterThread(name, self._write, on_failure=self._fail)
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"{name} reader")
        self._pid = os.getpid()

    @property
    def path(self) -> Path:
        """Where the store is, as it was given."""
        return self._path

    @abstractmethod
    def _write(self, batch: list[list[Entry]]) -> Sequence[object]:
        """Store a batch; returns what `_append` is to make of each part."""

    @abstractmethod
    def _fail(self, error: BaseException) -> None: ...

    @abstractmethod
    def _close_files(self) -> None:
        """Let go of what is written to."""

    @abstractmethod
    def _close_index(self) -> None:
        """Let go of what is read from."""

    def _encode_events(self, events: Sequence[PersistedEvent]) -> list[Entry]:
        entries = [Entry.of(event) for event in events]
        self._writer_identity.encode(entries)
        return entries

    async def _read(self, query: RecordQuery) -> Page[Record]:
        return await self._run_reading(lambda: self._page(query))

    @abstractmethod
    def _page(self, query: RecordQuery) -> Page[Record]: ...

    async def _scan(self, depth: ScanDepth, progress: ProgressCallback | None) -> PersistenceScanReport:
        return await self._run_reading(lambda: self._look(depth, guarded(progress)))

    @abstractmethod
    def _look(self, depth: ScanDepth, progress: ProgressCallback | None) -> PersistenceScanReport: ...

    async def _recover(
        self, config: PersistenceRecoveryConfig, depth: ScanDepth, progress: ProgressCallback | None
    ) -> PersistenceRecoveryReport:
        if config.mode is PersistenceRecoveryMode.IGNORE:
            scan = await self._scan(depth, progress)
            return PersistenceRecoveryReport(self.name, scan, left=scan.anomalies)
        return await self._run_writing(lambda: self._repair(config, depth, guarded(progress)))

    @abstractmethod
    def _repair(
        self, config: PersistenceRecoveryConfig, depth: ScanDepth, progress: ProgressCallback | None
    ) -> PersistenceRecoveryReport: ...

    async def _compact(
        self, policy: RetentionPolicy, *, dry_run: bool, progress: ProgressCallback | None
    ) -> CompactionReport:
        if dry_run:
            return await self._run_reading(lambda: self._plan(policy, guarded(progress)))
        return await self._run_writing(lambda: self._make_room(policy, guarded(progress)))

    @abstractmethod
    def _plan(self, policy: RetentionPolicy, progress: ProgressCallback | None) -> CompactionReport: ...

    @abstractmethod
    def _make_room(self, policy: RetentionPolicy, progress: ProgressCallback | None) -> CompactionReport: ...

    async def _stats(self) -> StoreStats:
        return await self._run_reading(self._measure)

    @abstractmethod
    def _measure(self) -> StoreStats: ...

    async def _run_reading(self, job: Callable[[], Value]) -> Value:
        if self._pid != os.getpid():
            raise BackendClosedError(f"{self._path} was opened before a fork; open it anew in this process")

        def run() -> Value:
            with translated(self._path):
                return job()

        return await asyncio.get_running_loop().run_in_executor(self._reader, run)

    async def _run_writing(self, job: Callable[[], Value]) -> Value:
        def run() -> Value:
            mark = self._writer_identity.mark()
            try:
                with translated(self._path):
                    return job()
            except BaseException:
                if (
                    self._writer_identity.mark() != mark
                ):  # what was numbered may stand in the file, or may not
                    self._writer_identity = WriterIdentity(self._clock)
                raise

        return await self._writer.run(run)

    async def _close(self) -> None:
        if self._pid != os.getpid():
            return
        try:
            await self._writer.aclose(self._close_files)
        finally:
            await self._run_reading(self._close_index)
            self._reader.shutdown(wait=False)


def by_part(batch: list[list[Entry]], refused: dict[int, PersistenceError]) -> list[Refused]:
    """Return what is refused of each part of a batch, by its position there."""
    if not refused:
        return [[] for _ in batch]
    parts: list[Refused] = []
    first = 0
    for part in batch:
        parts.append([(at, refused[first + at]) for at in range(len(part)) if first + at in refused])
        first += len(part)
    return parts


def guarded(progress: ProgressCallback | None) -> ProgressCallback | None:
    """Keep what ``progress`` raises, such as a ``TimeoutError``, from being taken for the disk's."""
    if progress is None:
        return None

    def call(done: Progress) -> None:
        try:
            progress(done)
        except BaseException as error:
            raise GivenUp(error) from error

    return call
