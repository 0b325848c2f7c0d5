"""What the stores of files share: a thread that writes, a thread that reads, errors in our words."""

from __future__ import annotations

import asyncio
import logging
import os
from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from papyra.exceptions import BackendClosedError, ConfigurationError, PersistenceError
from papyra.persistence._files.fs import GivenUp, opened, translated
from papyra.persistence._files.mounts import doubt_about
from papyra.persistence._files.pages import read_page
from papyra.persistence._files.quarantine import Quarantine
from papyra.persistence._files.quarantine_reading import QuarantineReader
from papyra.persistence._files.reading import StoreIndex
from papyra.persistence._files.writer import FsyncPolicy
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
from papyra.persistence.threads import WriterThread
from papyra.persistence.upkeep import TrustedClock, Upkeep, check_interval
from papyra.persistence.waiting import Failure, Overflow, check_queue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
    from concurrent.futures import Future

    from papyra.clock import Clock
    from papyra.persistence._files.fs import FileSystem
    from papyra.persistence._files.lock import StoreLock
    from papyra.persistence._files.reading import Members
    from papyra.persistence._files.scan import Place
    from papyra.persistence._files.writer import Outcome
    from papyra.persistence.quarantined import QuarantineEntry, QuarantinePage
    from papyra.persistence.query import Page, Progress, ProgressCallback, RecordQuery
    from papyra.persistence.retention import Removable, RetentionPolicy

Value = TypeVar("Value")

_log = logging.getLogger(__name__)

_QUARANTINED_AT_ONCE = 50


class Options(NamedTuple):
    """How a store of files writes."""

    fsync: FsyncPolicy
    fsync_interval_seconds: float
    overflow: Overflow | str
    max_queue_bytes: int
    compact_interval_seconds: float | None
    quarantine_max_bytes: int | None


class FileBackend(BasePersistence):
    """A subclass brings a file writer, says which files there are, and what is done with them in threads."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        retention_policy: RetentionPolicy | None,
        *,
        options: Options,
        quarantine_dir: str | os.PathLike[str] | None,
        clock: Clock,
        fs: FileSystem,
    ) -> None:
        super().__init__(retention_policy, clock=clock)
        self._path = Path(path)
        self._absolute = self._path.absolute()
        self._fs = fs
        self._quarantine_dir = None if quarantine_dir is None else Path(quarantine_dir).absolute()
        self._quarantine_max_bytes = _checked(options.quarantine_max_bytes)
        self._policy = options.fsync
        check_interval("fsync_interval_seconds", options.fsync_interval_seconds)
        self._drops = Drops()
        name, may_drop = f"papyra {self._path.name}", self._policy is FsyncPolicy.OS
        self._writer: WriterThread[list[Entry], Refused] = WriterThread(
            name,
            self._write,
            on_failure=self._fail,
            max_queue_bytes=options.max_queue_bytes,
            overflow=check_queue(options.overflow, options.max_queue_bytes, may_drop=may_drop),
            let_go=self._let_go,
            clock=clock,
        )
        self._index = StoreIndex(self._members)
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"{name} reader")
        self._trusted = TrustedClock(str(self._path), clock)
        self._keep_up(options.compact_interval_seconds)
        self._pid = os.getpid()

    def _keep_up(self, interval_seconds: float | None) -> None:
        if interval_seconds is None:
            return
        check_interval("compact_interval_seconds", interval_seconds)
        if self._retention.is_unlimited:
            return
        upkeep = Upkeep(
            self._writer,
            self._trusted,
            measure=self._submit_measuring,
            compact=self._compact_by_itself,
            state=self._tracker,
            metrics=self._metrics,
        )
        self._writer.every(interval_seconds, upkeep.run)

    @property
    def path(self) -> Path:
        """Where the store is, as it was given."""
        return self._path

    @abstractmethod
    def _store(self, entries: list[Entry]) -> Outcome:
        """Write what is not stored yet."""

    @abstractmethod
    def _fail(self, error: BaseException) -> None: ...

    @abstractmethod
    def _close_files(self) -> None:
        """Let go of what is written to."""

    @abstractmethod
    def _members(self) -> Members:
        """Return the files there are now."""

    @abstractmethod
    def _own_quarantine(self, folder: str | None) -> Quarantine:
        """Return the quarantine of the whole store, or the one in ``folder``."""

    def _quarantine_in(self, folder: str | None, place: Place, default: Path) -> Quarantine:
        """Return the store's own quarantine, which has a bound, or ``folder``, which has none."""
        own = self._quarantine_dir or default
        chosen = own if folder is None else Path(folder).absolute()
        return Quarantine(place, chosen, max_bytes=self._quarantine_max_bytes if chosen == own else None)

    @abstractmethod
    def _witness(self) -> Path | None:
        """Return what stays as long as there is a store, by which to tell what it lies on."""

    @abstractmethod
    def _own_locks(self) -> Sequence[StoreLock]:
        """Return the locks that say whether a writer left the store in doubt."""

    def _append(self, entries: list[Entry]) -> Awaitable[Refused]:
        size = entries[0].size if len(entries) == 1 else sum(entry.size for entry in entries)
        return self._writer.put(entries, size)

    def _let_go(self, entries: list[Entry]) -> Refused | None:
        refused = self._drops.let_go(entries)
        if refused is not None:
            self._metrics.add("records_dropped", len(refused))
        return refused

    def _write(self, batch: list[list[Entry]]) -> list[Refused | Failure]:
        notes = [] if self._drops.is_empty else self._drops.take(self._clock.now())
        noting = [Entry.of(note) for note in notes]
        entries = [entry for part in batch for entry in part] + noting
        mark = self._writer_identity.mark()
        try:
            self._writer_identity.encode(entries)
            with translated(self._path):
                outcome = self._store(entries)
        except BaseException:
            self._writer_identity.rewind(mark)
            self._drops.put_back(notes)
            raise
        parts: list[Refused | Failure] = [*_by_part(batch, outcome.refused)]
        if outcome.error is not None:
            self._writer_identity.give_back(outcome.unstored)
            unstored = {id(entry) for entry in outcome.unstored}
            self._drops.put_back(
                [note for note, entry in zip(notes, noting, strict=True) if id(entry) in unstored]
            )
            for at, part in enumerate(batch):
                if any(id(entry) in unstored for entry in part):
                    parts[at] = Failure(outcome.error)
        return parts

    def _finish(self) -> None:
        """Note what was dropped and not noted, then let go of the files."""
        try:
            if not self._drops.is_empty:
                self._write([])
        except PersistenceError as error:
            _log.error("%s: which records were dropped could not be noted: %s", self._path, error)
        finally:
            with translated(self._path):
                self._close_files()

    def _encode_events(self, events: Sequence[PersistedEvent]) -> list[Entry]:
        entries = [Entry.of(event) for event in events]
        self._writer_identity.encode(entries)
        return entries

    async def _read(self, query: RecordQuery) -> Page[Record]:
        def job() -> Page[Record]:
            now = self._clock.now()
            return self._index.answer(
                lambda sequence: read_page(sequence(query.kind), query, self._retention, now)
            )

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
        return QuarantineReader(self._fs, self._own_quarantine(folder).folder)

    async def _scan(self, depth: ScanDepth, progress: ProgressCallback | None) -> PersistenceScanReport:
        def job() -> PersistenceScanReport:
            report = self._look(depth, _guarded(progress))
            return replace(report, warnings=tuple(self._warnings()))

        return await self._run_reading(job)

    @abstractmethod
    def _look(self, depth: ScanDepth, progress: ProgressCallback | None) -> PersistenceScanReport: ...

    def _warnings(self) -> Iterator[str]:
        witness = self._witness()
        if witness is None:
            return
        with opened(self._fs, witness) as fd:
            must_be_durable = self._policy is FsyncPolicy.ALWAYS
            if doubt := doubt_about(self._fs.kind(fd), must_be_durable=must_be_durable):
                yield f"{self._path}: {doubt}"
        for lock in self._own_locks():
            doubtful_from = lock.doubtful_from()
            if doubtful_from is not None:
                yield (
                    f"{witness}: a sync failed, so what stands from byte {doubtful_from} on may not last; "
                    "check the disk: the next process that writes copies what is in doubt before it adds"
                )

    async def _recover(
        self, config: PersistenceRecoveryConfig, depth: ScanDepth, progress: ProgressCallback | None
    ) -> PersistenceRecoveryReport:
        if config.mode is PersistenceRecoveryMode.IGNORE:
            scan = await self._scan(depth, progress)
            return PersistenceRecoveryReport(self.name, scan, left=scan.anomalies)
        return await self._run_writing(lambda: self._repair(config, depth, _guarded(progress)))

    @abstractmethod
    def _repair(
        self, config: PersistenceRecoveryConfig, depth: ScanDepth, progress: ProgressCallback | None
    ) -> PersistenceRecoveryReport: ...

    async def _compact(
        self, policy: RetentionPolicy, *, dry_run: bool, progress: ProgressCallback | None
    ) -> CompactionReport:
        guarded = _guarded(progress)
        if dry_run:
            return await self._run_reading(lambda: self._plan(policy, Removal(self._trusted.now()), guarded))
        return await self._run_writing(lambda: self._make_room(policy, Removal(self._trusted.now()), guarded))

    @abstractmethod
    def _plan(
        self, policy: RetentionPolicy, removal: Removal, progress: ProgressCallback | None
    ) -> CompactionReport: ...

    @abstractmethod
    def _make_room(
        self, policy: RetentionPolicy, removal: Removal, progress: ProgressCallback | None
    ) -> CompactionReport: ...

    def _submit_measuring(self, removal: Removal) -> Future[Sequence[Removable]]:
        def job() -> Sequence[Removable]:
            with translated(self._path):
                return self._index.removable(self._retention, removal)

        return self._reader.submit(job)

    def _compact_by_itself(self, removal: Removal, progress: ProgressCallback) -> CompactionReport:
        return self._numbering(lambda: self._make_room(self._retention, removal, _guarded(progress)))

    async def _stats(self) -> StoreStats:
        return replace(await self._run_reading(self._measure), dropped_records=self._drops.count)

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
        return await self._writer.run(lambda: self._numbering(job))

    def _numbering(self, job: Callable[[], Value]) -> Value:
        mark = self._writer_identity.mark()
        try:
            with translated(self._path):
                return job()
        except BaseException:
            if self._writer_identity.mark() != mark:  # what was numbered may stand in a file, or may not
                self._writer_identity = WriterIdentity(self._clock)
            raise

    async def _close(self) -> None:
        if self._pid != os.getpid():
            return
        try:
            await self._writer.aclose(self._finish)
        finally:  # behind what is being read, for which a caller with a deadline need not wait
            closing = self._reader.submit(self._index.close)
            self._reader.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(closing))

    def _unacknowledged(self) -> int:
        return sum(entry.count for entries in self._writer.unacknowledged() for entry in entries)


def _checked(quarantine_max_bytes: int | None) -> int | None:
    if quarantine_max_bytes is not None and (
        type(quarantine_max_bytes) is not int or quarantine_max_bytes < 0
    ):
        raise ConfigurationError(
            f"quarantine_max_bytes must be 0 or more (None: no limit), not {quarantine_max_bytes!r:.50}"
        )
    return quarantine_max_bytes


def _by_part(batch: list[list[Entry]], refused: dict[int, PersistenceError]) -> list[Refused]:
    """Return what is refused of each part of a batch, by its position there."""
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
