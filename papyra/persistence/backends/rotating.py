"""History in a folder of segments: bounded disk for each kind, whole files dropped when they are old."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Self, cast

from papyra.clock import SYSTEM_CLOCK, Clock
from papyra.exceptions import ConfigurationError
from papyra.persistence._files.backend import FileBackend, Options
from papyra.persistence._files.compaction import CompactionPlan, compact
from papyra.persistence._files.families import FamiliesWriter
from papyra.persistence._files.folder import find_folder, store_lock, writer_lock
from papyra.persistence._files.fs import LOCAL_FS, FileSystem
from papyra.persistence._files.quarantine import MAX_QUARANTINE_BYTES
from papyra.persistence._files.reading import members_of
from papyra.persistence._files.setrecovery import SetRecovery
from papyra.persistence._files.setscan import SetScan, scan_set
from papyra.persistence._files.sharing import SharedWriter
from papyra.persistence._files.writer import FsyncPolicy, Outcome
from papyra.persistence.backend import Capabilities
from papyra.persistence.models import ScanDepth, StoreStats, as_word
from papyra.persistence.threads import MAX_QUEUE_BYTES
from papyra.persistence.waiting import Overflow

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

    from papyra.persistence._files.folder import Folder
    from papyra.persistence._files.lock import StoreLock
    from papyra.persistence._files.quarantine import Quarantine
    from papyra.persistence._files.reading import Members
    from papyra.persistence._files.scan import OnRecord, Place
    from papyra.persistence.entries import Entry
    from papyra.persistence.models import (
        CompactionReport,
        PersistenceRecoveryConfig,
        PersistenceRecoveryReport,
        PersistenceScanReport,
    )
    from papyra.persistence.query import ProgressCallback
    from papyra.persistence.retention import Removal, RetentionPolicy

__all__ = ["FsyncPolicy", "Overflow", "RotatingFilePersistence"]

DEFAULT_MAX_BYTES = 50_000_000
DEFAULT_MAX_FILES = 5


class RotatingFilePersistence(FileBackend):
    """Opening it touches nothing: a missing folder is an empty store until the first append creates it.

    Each kind has files of its own, of at most ``max_bytes`` (a larger record has one to itself), and at most
    ``max_files`` of them (``None``: any number): when one more begins, the oldest goes. Beside the folder
    stands ``<folder>.quarantine/`` once a recovery took something out. One process writes at a time; any
    number may read and scan meanwhile.

    Where ``path`` is a file, as the published package made with ``path.1`` and so on, those are read as the
    oldest part and never changed; the folder is ``<path>.segments``.

    With ``shared`` any number of processes write, each to files of its own; reads merge them by time. A
    folder written so is to be opened so.
    """

    name: ClassVar[str] = "rotating"
    capabilities: ClassVar[Capabilities] = Capabilities(
        is_durable=True, is_shared=False, can_tear=True, can_be_damaged=True, takes_ready_events=True
    )

    _writer_class: ClassVar[type[FamiliesWriter]] = FamiliesWriter

    def __new__(cls, *_: object, shared: bool = False, **__: object) -> Self:
        """Make one that declares what it is."""
        if not shared or cls.capabilities.is_shared:
            return object.__new__(cls)
        if cls is not RotatingFilePersistence:
            raise ConfigurationError(f"{cls.__name__} cannot be shared; its class does not declare it")
        return cast("Self", object.__new__(_SharedRotatingFilePersistence))

    def __init__(  # noqa: PLR0913  # each has a default that does
        self,
        path: str | os.PathLike[str],
        retention_policy: RetentionPolicy | None = None,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        max_files: int | None = DEFAULT_MAX_FILES,
        fsync: FsyncPolicy | str | bool = FsyncPolicy.ALWAYS,
        fsync_interval_seconds: float = 1.0,
        overflow: Overflow | str = Overflow.WAIT,
        max_queue_bytes: int = MAX_QUEUE_BYTES,
        compact_interval_seconds: float | None = None,
        shared: bool = False,
        quarantine_dir: str | os.PathLike[str] | None = None,
        quarantine_max_bytes: int | None = MAX_QUARANTINE_BYTES,
        clock: Clock = SYSTEM_CLOCK,
        fs: FileSystem = LOCAL_FS,
    ) -> None:
        del shared  # __new__() has seen to it
        _check_bound("max_bytes", max_bytes)
        if max_files is not None:
            _check_bound("max_files", max_files)
        options = Options(
            _policy(fsync),
            fsync_interval_seconds,
            overflow,
            max_queue_bytes,
            compact_interval_seconds,
            quarantine_max_bytes,
        )
        super().__init__(
            path, retention_policy, options=options, quarantine_dir=quarantine_dir, clock=clock, fs=fs
        )
        self._files = self._writer_class(
            self._find,
            self._quarantine,
            self._encode_events,
            self._give_back,
            policy=options.fsync,
            interval_seconds=options.fsync_interval_seconds,
            max_bytes=max_bytes,
            max_files=max_files,
            retention=self._retention,
            state=self._tracker,
        )

    def _find(self) -> Folder:
        return find_folder(self.name, self._fs, self._absolute, self._clock)

    def _members(self) -> Members:
        return members_of(self._find())

    def _quarantine(self, place: Place, folder: str | None = None) -> Quarantine:
        whole = self._find().path
        return self._quarantine_in(folder, place, whole.with_name(f"{whole.name}.quarantine"))

    def _own_quarantine(self, folder: str | None) -> Quarantine:
        return self._quarantine(self._find().place, folder)

    def _witness(self) -> Path | None:
        folder = self._find()
        return folder.path if folder.listing().segments else None

    def _own_locks(self) -> Sequence[StoreLock]:
        return [store_lock(self._find())]

    def _give_back(self, entries: Sequence[Entry]) -> None:
        self._writer_identity.give_back(entries)

    def _store(self, entries: list[Entry]) -> Outcome:
        return self._files.append(entries)

    def _fail(self, error: BaseException) -> None:
        self._files.fail(error)

    def _scan_set(
        self, depth: ScanDepth, progress: ProgressCallback | None, on_record: OnRecord | None = None
    ) -> SetScan:
        return scan_set(
            self._find(),
            depth,
            progress,
            is_live=self._is_live,
            is_held=self._is_held,
            on_record=on_record,
            counts=on_record is not None,
        )

    def _is_live(self, family: str) -> bool:
        """Whether somebody writes to this family now, with none to any."""
        del family
        return store_lock(self._find()).is_held_by_anybody()

    def _is_held(self, family: str) -> bool:
        """Whether this family is not to be changed by this process."""
        del family
        return False

    def _look(self, depth: ScanDepth, progress: ProgressCallback | None) -> PersistenceScanReport:
        report = self._scan_set(depth, progress).report()
        if report.has_anomalies and self._is_live(""):
            report = self._scan_set(depth, progress).report()  # a repair may have been at work under our eyes
        return report

    def _repair(
        self, config: PersistenceRecoveryConfig, depth: ScanDepth, progress: ProgressCallback | None
    ) -> PersistenceRecoveryReport:
        quarantine = partial(self._quarantine, folder=config.quarantine_dir)
        recovery = SetRecovery(self._files, quarantine, self._encode_events, mode=config.mode)
        return recovery.run(depth, progress)

    def _plan(
        self, policy: RetentionPolicy, removal: Removal, progress: ProgressCallback | None
    ) -> CompactionReport:
        scan = partial(self._scan_set, ScanDepth.FULL, progress)
        return CompactionPlan(scan, policy, removal, self._files.header_of).report(dry_run=True)

    def _make_room(
        self, policy: RetentionPolicy, removal: Removal, progress: ProgressCallback | None
    ) -> CompactionReport:
        return compact(self._files, self._quarantine, self._encode_events, policy, removal, progress)

    def _measure(self) -> StoreStats:
        folder = self._find()
        quarantined = self._quarantine(folder.place).size()
        return StoreStats(
            backend=self.name,
            kinds=self._index.stats(),
            total_bytes=folder.size() + quarantined,
            quarantine_bytes=quarantined,
        )

    def _close_files(self) -> None:
        self._files.close()


class _SharedRotatingFilePersistence(RotatingFilePersistence):
    """What ``shared=True`` makes."""

    capabilities: ClassVar[Capabilities] = replace(RotatingFilePersistence.capabilities, is_shared=True)
    _writer_class: ClassVar[type[FamiliesWriter]] = SharedWriter

    def _is_live(self, family: str) -> bool:
        if family:
            return writer_lock(self._find(), family.partition(".")[2]).is_held_by_anybody()
        return any(lock.is_held_by_anybody() for lock in self._own_locks())

    def _own_locks(self) -> Sequence[StoreLock]:
        folder = self._find()
        return [store_lock(folder), *(writer_lock(folder, writer) for writer in folder.listing().writers)]

    def _is_held(self, family: str) -> bool:
        return self._shared_writer.is_other(self._find(), family)

    @property
    def _shared_writer(self) -> SharedWriter:
        return cast("SharedWriter", self._files)

    def _repair(
        self, config: PersistenceRecoveryConfig, depth: ScanDepth, progress: ProgressCallback | None
    ) -> PersistenceRecoveryReport:
        with self._shared_writer.maintaining():
            return super()._repair(config, depth, progress)

    def _make_room(
        self, policy: RetentionPolicy, removal: Removal, progress: ProgressCallback | None
    ) -> CompactionReport:
        with self._shared_writer.maintaining():
            return super()._make_room(policy, removal, progress)


def _check_bound(name: str, value: object) -> None:
    if type(value) is not int or value <= 0:
        raise ConfigurationError(f"{name} must be a whole number above 0, not {value!r:.50}")


def _policy(fsync: FsyncPolicy | str | bool) -> FsyncPolicy:  # noqa: FBT001  # as published
    if isinstance(fsync, bool):
        return FsyncPolicy.ALWAYS if fsync else FsyncPolicy.OS
    return as_word(FsyncPolicy, "fsync policy", fsync)
