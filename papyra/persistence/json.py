"""History in one plain file: a JSON line for each record, durable when `append` returns, checked at reads."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from papyra.clock import SYSTEM_CLOCK, Clock
from papyra.exceptions import BackendClosedError, PersistenceError
from papyra.persistence._files.compaction import CompactionPlan, compact_file
from papyra.persistence._files.fs import LOCAL_FS, FileSystem, GivenUp, stat_or_none, translated
from papyra.persistence._files.index import FileIndex, refreshed
from papyra.persistence._files.kept import KindSequence
from papyra.persistence._files.lock import StoreLock
from papyra.persistence._files.pages import read_page
from papyra.persistence._files.quarantine import Quarantine
from papyra.persistence._files.recovery import Recovery
from papyra.persistence._files.scan import Place, scan_file
from papyra.persistence._files.sidecar import sidecar_of
from papyra.persistence._files.writer import FileWriter, FsyncPolicy
from papyra.persistence.backend import Capabilities
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
    RecordKind,
    ScanDepth,
    StoreStats,
)
from papyra.persistence.threads import WriterThread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from papyra.persistence.query import Page, Progress, ProgressCallback, RecordQuery
    from papyra.persistence.retention import RetentionPolicy

Value = TypeVar("Value")

__all__ = ["FsyncPolicy", "JsonFilePersistence"]


class JsonFilePersistence(BasePersistence):
    """Opening it touches nothing: a missing file is an empty store until the first append creates it.

    Beside the file stand ``<file>.lock``, and ``<file>.quarantine/`` once a recovery took something out. One
    process writes at a time; any number may read and scan meanwhile.
    """

    name: ClassVar[str] = "json"
    capabilities: ClassVar[Capabilities] = Capabilities(
        is_durable=True, is_shared=False, can_tear=True, can_be_damaged=True, takes_ready_events=True
    )

    def __init__(  # noqa: PLR0913  # each has a default that does
        self,
        path: str | os.PathLike[str],
        retention_policy: RetentionPolicy | None = None,
        *,
        fsync: FsyncPolicy | str = FsyncPolicy.ALWAYS,
        fsync_interval_seconds: float = 1.0,
        quarantine_dir: str | os.PathLike[str] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        fs: FileSystem = LOCAL_FS,
    ) -> None:
        super().__init__(retention_policy, clock=clock)
        self._path = Path(path)
        self._absolute = self._path.absolute()
        self._fs = fs
        self._quarantine_dir = None if quarantine_dir is None else Path(quarantine_dir).absolute()
        self._file = FileWriter(
            self._find,
            self._quarantine,
            policy=FsyncPolicy(fsync),
            interval_seconds=fsync_interval_seconds,
        )
        name = f"papyra {self._path.name}"
        self._writer: WriterThread[list[Entry], Refused] = WriterThread(
            name, self._write, on_failure=self._fail
        )
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"{name} reader")
        self._index = FileIndex(self._find)
        self._pid = os.getpid()

    @property
    def path(self) -> Path:
        """The file, as it was given."""
        return self._path

    def _find(self) -> Place:
        return Place(self.name, self._fs, self._fs.resolve(self._absolute), self._clock)

    def _quarantine(self, place: Place, folder: str | None = None) -> Quarantine:
        if folder is not None:
            return Quarantine(place, Path(folder).absolute())
        default = place.path.with_name(f"{place.path.name}.quarantine")
        return Quarantine(place, self._quarantine_dir or default)

    def _append(self, entries: list[Entry]) -> Awaitable[Refused]:
        size = entries[0].size if len(entries) == 1 else sum(entry.size for entry in entries)
        return self._writer.put(entries, size)

    def _write(self, batch: list[list[Entry]]) -> list[Refused]:
        entries = [entry for part in batch for entry in part]
        mark = self._writer_identity.mark()
        try:
            self._writer_identity.encode(entries)
            with translated(self._path):
                refused = self._file.append(entries)
        except BaseException:
            self._writer_identity.rewind(mark)
            raise
        return _by_part(batch, refused)

    def _fail(self, error: BaseException) -> None:
        self._file.fail(error)

    def _encode_events(self, events: Sequence[PersistedEvent]) -> list[Entry]:
        entries = [Entry.of(event) for event in events]
        self._writer_identity.encode(entries)
        return entries

    async def _read(self, query: RecordQuery) -> Page[Record]:
        def job() -> Page[Record]:
            return read_page((self._index,), query, self._retention, self._clock.now())

        return await self._run_reading(lambda: refreshed((self._index,), job))

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

    async def _scan(self, depth: ScanDepth, progress: ProgressCallback | None) -> PersistenceScanReport:
        def job() -> PersistenceScanReport:
            place = self._find()
            is_live = StoreLock(place.fs, place.path).is_held_by_anybody
            report = scan_file(place, depth, _guarded(progress), is_live=is_live).report()
            if report.has_anomalies and is_live():  # a repair may have been at work under our eyes
                report = scan_file(place, depth, _guarded(progress), is_live=is_live).report()
            return report

        return await self._run_reading(job)

    async def _recover(
        self, config: PersistenceRecoveryConfig, depth: ScanDepth, progress: ProgressCallback | None
    ) -> PersistenceRecoveryReport:
        if config.mode is PersistenceRecoveryMode.IGNORE:
            scan = await self._scan(depth, progress)
            return PersistenceRecoveryReport(self.name, scan, left=scan.anomalies)

        def job() -> PersistenceRecoveryReport:
            quarantine = self._quarantine(self._file.hold(), config.quarantine_dir)
            recovery = Recovery(self._file, quarantine, self._encode_events, mode=config.mode)
            return recovery.run(depth, _guarded(progress))

        return await self._run_writing(job)

    async def _compact(
        self, policy: RetentionPolicy, *, dry_run: bool, progress: ProgressCallback | None
    ) -> CompactionReport:
        def plan() -> CompactionReport:
            place = self._find()
            is_live = StoreLock(place.fs, place.path).is_held_by_anybody
            return CompactionPlan(place, policy, _guarded(progress), is_live=is_live).report(dry_run=True)

        def job() -> CompactionReport:
            quarantine = self._quarantine(self._file.hold())
            return compact_file(self._file, quarantine, self._encode_events, policy, _guarded(progress))

        return await (self._run_reading(plan) if dry_run else self._run_writing(job))

    async def _stats(self) -> StoreStats:
        def job() -> StoreStats:
            self._index.refresh()
            place = self._find()
            beside = [stat_or_none(place.fs, path) for path in (place.unfinished, sidecar_of(place.path))]
            quarantined = self._quarantine(place).size()
            return StoreStats(
                backend=self.name,
                kinds={kind: KindSequence((self._index,), kind).stats() for kind in RecordKind},
                total_bytes=self._index.size + quarantined + sum(found.size for found in beside if found),
                quarantine_bytes=quarantined,
            )

        return await self._run_reading(job)

    async def _close(self) -> None:
        if self._pid != os.getpid():
            return
        try:
            read = await self._run_reading(lambda: self._index.blocks)  # once no read is under way any more
            await self._writer.aclose(lambda: self._file.close(read))
        finally:
            await self._run_reading(self._index.close)
            self._reader.shutdown(wait=False)


def _by_part(batch: list[list[Entry]], refused: dict[int, PersistenceError]) -> list[Refused]:
    if not refused:
        return [[] for _ in batch]
    parts: list[Refused] = []
    first = 0
    for part in batch:
        parts.append([(at, refused[first + at]) for at in range(len(part)) if first + at in refused])
        first += len(part)
    return parts


def _guarded(progress: ProgressCallback | None) -> ProgressCallback | None:
    """Keep what ``progress`` raises, such as a ``TimeoutError``, from being taken for the disk's."""
    if progress is None:
        return None

    def call(done: Progress) -> None:
        try:
            progress(done)
        except BaseException as error:
            raise GivenUp(error) from error

    return call
