"""History in one plain file: a JSON line for each record, durable when `append` returns, checked at reads."""

from __future__ import annotations

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from papyra.clock import SYSTEM_CLOCK, Clock
from papyra.exceptions import BackendClosedError, PersistenceError
from papyra.persistence._files.compaction import CompactionPlan, compact_file
from papyra.persistence._files.fs import LOCAL_FS, FileSystem, GivenUp, opened, stat_or_none, translated
from papyra.persistence._files.index import FileIndex
from papyra.persistence._files.lock import StoreLock
from papyra.persistence._files.mounts import doubt_about
from papyra.persistence._files.pages import read_page
from papyra.persistence._files.quarantine import Quarantine
from papyra.persistence._files.quarantine_reading import QuarantineReader
from papyra.persistence._files.recovery import Recovery
from papyra.persistence._files.scan import Place, scan_file
from papyra.persistence._files.writer import FileWriter, FsyncPolicy
from papyra.persistence.backend import Capabilities
from papyra.persistence.base import BasePersistence, Refused
from papyra.persistence.drops import Drops
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
from papyra.persistence.retention import Removal
from papyra.persistence.threads import MAX_QUEUE_BYTES, WriterThread
from papyra.persistence.upkeep import TrustedClock, Upkeep, check_interval
from papyra.persistence.waiting import Overflow, check_queue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
    from concurrent.futures import Future

    from papyra.persistence.quarantined import QuarantineEntry, QuarantinePage
    from papyra.persistence.query import Page, Progress, ProgressCallback, RecordQuery
    from papyra.persistence.retention import Removable, RetentionPolicy

Value = TypeVar("Value")

_log = logging.getLogger(__name__)

__all__ = ["FsyncPolicy", "JsonFilePersistence", "Overflow"]

_QUARANTINED_AT_ONCE = 50


class JsonFilePersistence(BasePersistence):
    """Opening it touches nothing: a missing file is an empty store until the first append creates it.

    Beside the file stand ``<file>.lock``, and ``<file>.quarantine/`` once a recovery took something out. One
    process writes at a time; any number may read and scan meanwhile.

    ``overflow`` says what an append does that finds ``max_queue_bytes`` waiting; see `Overflow`. With
    ``compact_interval_seconds`` retention is made physical by itself, from the first append on, looked at so
    often and done when half of the file could go.
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
        overflow: Overflow | str = Overflow.WAIT,
        max_queue_bytes: int = MAX_QUEUE_BYTES,
        compact_interval_seconds: float | None = None,
        quarantine_dir: str | os.PathLike[str] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        fs: FileSystem = LOCAL_FS,
    ) -> None:
        super().__init__(retention_policy, clock=clock)
        self._path = Path(path)
        self._absolute = self._path.absolute()
        self._fs = fs
        self._quarantine_dir = None if quarantine_dir is None else Path(quarantine_dir).absolute()
        self._policy = FsyncPolicy(fsync)
        self._file = FileWriter(
            self._find,
            self._quarantine,
            policy=self._policy,
            interval_seconds=fsync_interval_seconds,
            on_failure=self._tracker.failed,
        )
        self._drops = Drops()
        name = f"papyra {self._path.name}"
        self._writer: WriterThread[list[Entry], Refused] = WriterThread(
            name,
            self._write,
            on_failure=self._fail,
            max_queue_bytes=max_queue_bytes,
            overflow=check_queue(overflow, max_queue_bytes, may_drop=self._policy is FsyncPolicy.OS),
            let_go=self._let_go,
            clock=clock,
        )
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"{name} reader")
        self._index = FileIndex(self._find)
        self._trusted = TrustedClock(str(self._path), clock)
        if compact_interval_seconds is not None:
            check_interval(compact_interval_seconds)
            if not self._retention.is_unlimited:
                upkeep = Upkeep(
                    self._writer,
                    self._trusted,
                    measure=self._measure,
                    compact=self._compact_by_itself,
                    state=self._tracker,
                    metrics=self._metrics,
                )
                self._writer.every(compact_interval_seconds, upkeep.run)
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

    def _let_go(self, entries: list[Entry]) -> Refused | None:
        refused = self._drops.let_go(entries)
        if refused is not None:
            self._metrics.add("records_dropped", len(refused))
        return refused

    def _write(self, batch: list[list[Entry]]) -> list[Refused]:
        notes = [] if self._drops.is_empty else self._drops.take(self._clock.now())
        entries = [entry for part in batch for entry in part] + [Entry.of(note) for note in notes]
        mark = self._writer_identity.mark()
        try:
            self._writer_identity.encode(entries)
            with translated(self._path):
                refused = self._file.append(entries)
        except BaseException:
            self._writer_identity.rewind(mark)
            self._drops.put_back(notes)
            raise
        return _by_part(batch, refused)

    def _finish(self) -> None:
        """Note what was dropped and not noted, then let go of the file."""
        try:
            if not self._drops.is_empty:
                self._write([])
        except PersistenceError as error:
            _log.error("%s: which records were dropped could not be noted: %s", self._path, error)
        finally:
            with translated(self._path):
                self._file.close()

    def _fail(self, error: BaseException) -> None:
        self._file.fail(error)

    def _encode_events(self, events: Sequence[PersistedEvent]) -> list[Entry]:
        entries = [Entry.of(event) for event in events]
        self._writer_identity.encode(entries)
        return entries

    async def _read(self, query: RecordQuery) -> Page[Record]:
        def job() -> Page[Record]:
            self._index.refresh()
            page = read_page(self._index, query, self._retention, self._clock.now())
            if self._index.is_doubtful:
                self._index.refresh()
                page = read_page(self._index, query, self._retention, self._clock.now())
            return page

        return await self._run_reading(job)

    async def quarantined(self, folder: str | None = None) -> AsyncIterator[QuarantineEntry]:
        """Yield what lies in quarantine, or in ``folder``, the oldest first."""
        self._check_open()
        found = self._quarantine_reader(folder).entries()
        while batch := await self._run_reading(lambda: tuple(islice(found, _QUARANTINED_AT_ONCE))):
            for entry in batch:
                yield entry

    async def read_quarantined(
        self, entry: QuarantineEntry, folder: str | None = None
    ) -> AsyncIterator[QuarantinePage]:
        """Yield what can be read in ``entry``, a megabyte at a time."""
        self._check_open()
        found = self._quarantine_reader(folder).pages(entry)
        while (page := await self._run_reading(lambda: next(found, None))) is not None:
            yield page

    def _quarantine_reader(self, folder: str | None) -> QuarantineReader:
        return QuarantineReader(self._fs, self._quarantine(self._find(), folder).folder)

    async def _run_reading(self, job: Callable[[], Value]) -> Value:
        if self._pid != os.getpid():
            raise BackendClosedError(f"{self._path} was opened before a fork; open it anew in this process")

        def run() -> Value:
            with translated(self._path):
                return job()

        return await asyncio.get_running_loop().run_in_executor(self._reader, run)

    async def _run_writing(self, job: Callable[[], Value]) -> Value:
        return await self._writer.run(lambda: self._numbering(job))

    def _numbering(self, job: Callable[[], Value]) -> Value:
        mark = self._writer_identity.mark()
        try:
            with translated(self._path):
                return job()
        except BaseException:
            if self._writer_identity.mark() != mark:  # what was numbered may stand in the file, or may not
                self._writer_identity = WriterIdentity(self._clock)
            raise

    def _measure(self, removal: Removal) -> Future[Sequence[Removable]]:
        def job() -> Sequence[Removable]:
            with translated(self._path):
                self._index.refresh()
            kinds = self._index.kinds.items()
            return [columns.removable(self._retention.for_kind(kind), removal) for kind, columns in kinds]

        return self._reader.submit(job)

    def _compact_by_itself(self, removal: Removal, progress: ProgressCallback) -> CompactionReport:
        return self._numbering(lambda: self._rewrite(self._retention, removal, progress))

    def _rewrite(
        self, policy: RetentionPolicy, removal: Removal, progress: ProgressCallback | None
    ) -> CompactionReport:
        quarantine = self._quarantine(self._file.hold())
        return compact_file(self._file, quarantine, self._encode_events, policy, removal, _guarded(progress))

    async def _scan(self, depth: ScanDepth, progress: ProgressCallback | None) -> PersistenceScanReport:
        def job() -> PersistenceScanReport:
            place = self._find()
            is_live = StoreLock(place.fs, place.path).is_held_by_anybody
            report = scan_file(place, depth, _guarded(progress), is_live=is_live).report()
            if report.has_anomalies and is_live():  # a repair may have been at work under our eyes
                report = scan_file(place, depth, _guarded(progress), is_live=is_live).report()
            return replace(report, warnings=tuple(self._warnings(place)))

        return await self._run_reading(job)

    def _warnings(self, place: Place) -> Iterator[str]:
        if place.info() is None:
            return
        with opened(place.fs, place.path) as fd:
            must_be_durable = self._policy is FsyncPolicy.ALWAYS
            if doubt := doubt_about(place.fs.kind(fd), must_be_durable=must_be_durable):
                yield f"{place.path}: {doubt}"
        doubtful_from = StoreLock(place.fs, place.path).doubtful_from()
        if doubtful_from is not None:
            yield (
                f"{place.path}: a sync failed, so what stands from byte {doubtful_from} on may not last; "
                "check the disk: the next process that writes copies the file before it adds to it"
            )

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
            removal = Removal(self._trusted.now())
            return CompactionPlan(place, policy, removal, _guarded(progress), is_live=is_live).report(
                dry_run=True
            )

        def job() -> CompactionReport:
            return self._rewrite(policy, Removal(self._trusted.now()), progress)

        return await (self._run_reading(plan) if dry_run else self._run_writing(job))

    async def _stats(self) -> StoreStats:
        def job() -> StoreStats:
            self._index.refresh()
            place = self._find()
            leftover = stat_or_none(place.fs, place.unfinished)
            quarantined = self._quarantine(place).size()
            return StoreStats(
                backend=self.name,
                kinds={kind: columns.stats() for kind, columns in self._index.kinds.items()},
                total_bytes=self._index.size + quarantined + (leftover.size if leftover else 0),
                quarantine_bytes=quarantined,
                dropped_records=self._drops.count,
            )

        return await self._run_reading(job)

    async def _close(self) -> None:
        if self._pid != os.getpid():
            return
        try:
            await self._writer.aclose(self._finish)
        finally:
            await self._run_reading(self._index.close)
            self._reader.shutdown(wait=False)

    def _unacknowledged(self) -> int:
        return sum(entry.count for entries in self._writer.unacknowledged() for entry in entries)


def _by_part(batch: list[list[Entry]], refused: dict[int, PersistenceError]) -> list[Refused]:
    if not refused:
        return [[] for _ in batch]
    parts: list[Refused] = []
    first = 0
    for part in batch:
        count = sum(entry.count for entry in part)
        parts.append([(at, refused[first + at]) for at in range(count) if first + at in refused])
        first += count
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
