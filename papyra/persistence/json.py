"""History in one plain file: a JSON line for each record, durable when `append` returns, checked at reads."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from papyra.clock import SYSTEM_CLOCK, Clock
from papyra.persistence._files.backend import FileBackend, Options
from papyra.persistence._files.compaction import CompactionPlan, compact
from papyra.persistence._files.fs import LOCAL_FS, FileSystem, stat_or_none
from papyra.persistence._files.lock import StoreLock
from papyra.persistence._files.quarantine import MAX_QUARANTINE_BYTES
from papyra.persistence._files.reading import Member, Members
from papyra.persistence._files.recovery import Recovery
from papyra.persistence._files.scan import Place, scan_file
from papyra.persistence._files.sidecar import sidecar_of
from papyra.persistence._files.writer import FileWriter, FsyncPolicy, Outcome
from papyra.persistence.backend import Capabilities
from papyra.persistence.models import ScanDepth, StoreStats, as_word
from papyra.persistence.threads import MAX_QUEUE_BYTES
from papyra.persistence.waiting import Overflow

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

    from papyra.persistence._files.quarantine import Quarantine
    from papyra.persistence._files.scan import IsLive, OnRecord, StoreScan
    from papyra.persistence.entries import Entry
    from papyra.persistence.models import (
        CompactionReport,
        PersistenceRecoveryConfig,
        PersistenceRecoveryReport,
        PersistenceScanReport,
    )
    from papyra.persistence.query import ProgressCallback
    from papyra.persistence.retention import Removal, RetentionPolicy

__all__ = ["FsyncPolicy", "JsonFilePersistence", "Overflow"]


class JsonFilePersistence(FileBackend):
    """Opening it touches nothing: a missing file is an empty store until the first append creates it.

    Beside the file stand ``<file>.lock``, an index that may be deleted (``<file>.idx``), and
    ``<file>.quarantine/`` once a recovery took something out. One process writes at a time; any number may
    read and scan meanwhile.

    ``overflow`` says what an append does that finds ``max_queue_bytes`` waiting; see `Overflow`. With
    ``compact_interval_seconds`` retention is made physical by itself, from the first append on, looked at so
    often and done when half of the file could go. Quarantine takes ``quarantine_max_bytes``; what does not
    fit there is not taken out of the file either, and the recovery raises `StoreFullError`.
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
        quarantine_max_bytes: int | None = MAX_QUARANTINE_BYTES,
        clock: Clock = SYSTEM_CLOCK,
        fs: FileSystem = LOCAL_FS,
    ) -> None:
        options = Options(
            as_word(FsyncPolicy, "fsync policy", fsync),
            fsync_interval_seconds,
            overflow,
            max_queue_bytes,
            compact_interval_seconds,
            quarantine_max_bytes,
        )
        super().__init__(
            path, retention_policy, options=options, quarantine_dir=quarantine_dir, clock=clock, fs=fs
        )
        self._file = FileWriter(
            self._find,
            self._quarantine,
            policy=options.fsync,
            interval_seconds=options.fsync_interval_seconds,
            state=self._tracker,
        )

    def _find(self) -> Place:
        return Place(self.name, self._fs, self._fs.resolve(self._absolute), self._clock)

    def _members(self) -> Members:
        place = self._find()
        return Members((Member("", "", place, place.info()),))

    def _quarantine(self, place: Place, folder: str | None = None) -> Quarantine:
        return self._quarantine_in(folder, place, place.path.with_name(f"{place.path.name}.quarantine"))

    def _own_quarantine(self, folder: str | None) -> Quarantine:
        return self._quarantine(self._find(), folder)

    def _witness(self) -> Path | None:
        place = self._find()
        return None if place.info() is None else place.path

    def _own_locks(self) -> Sequence[StoreLock]:
        place = self._find()
        return [StoreLock(place.fs, place.path)]

    def _store(self, entries: list[Entry]) -> Outcome:
        return Outcome(self._file.append(entries))

    def _fail(self, error: BaseException) -> None:
        self._file.fail(error)

    def _look(self, depth: ScanDepth, progress: ProgressCallback | None) -> PersistenceScanReport:
        place = self._find()
        is_live = StoreLock(place.fs, place.path).is_held_by_anybody
        report = scan_file(place, depth, progress, is_live=is_live).report()
        if report.has_anomalies and is_live():  # a repair may have been at work under our eyes
            report = scan_file(place, depth, progress, is_live=is_live).report()
        return report

    def _repair(
        self, config: PersistenceRecoveryConfig, depth: ScanDepth, progress: ProgressCallback | None
    ) -> PersistenceRecoveryReport:
        quarantine = partial(self._quarantine, folder=config.quarantine_dir)
        return Recovery(self._file, quarantine, self._encode_events, mode=config.mode).run(depth, progress)

    def _plan(
        self, policy: RetentionPolicy, removal: Removal, progress: ProgressCallback | None
    ) -> CompactionReport:
        place = self._find()
        scan = partial(_full_scan, place, progress, StoreLock(place.fs, place.path).is_held_by_anybody)
        return CompactionPlan(scan, policy, removal, self._file.header_of).report(dry_run=True)

    def _make_room(
        self, policy: RetentionPolicy, removal: Removal, progress: ProgressCallback | None
    ) -> CompactionReport:
        return compact(self._file, self._quarantine, self._encode_events, policy, removal, progress)

    def _measure(self) -> StoreStats:
        place = self._find()
        paths = place.path, place.unfinished, sidecar_of(place.path)
        found = (stat_or_none(place.fs, path) for path in paths)
        quarantined = self._quarantine(place).size()
        return StoreStats(
            backend=self.name,
            kinds=self._index.stats(),
            total_bytes=sum(info.size for info in found if info) + quarantined,
            quarantine_bytes=quarantined,
        )

    def _close_files(self) -> None:
        self._file.close()


def _full_scan(
    place: Place, progress: ProgressCallback | None, is_live: IsLive, on_record: OnRecord
) -> StoreScan:
    return scan_file(place, ScanDepth.FULL, progress, is_live=is_live, on_record=on_record)
