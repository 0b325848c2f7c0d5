"""The one writer of a folder of segments: its lock, its families, and how many segments stay."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from papyra.clock import mint_incarnation
from papyra.persistence._files.appending import newer_format, read_history
from papyra.persistence._files.carrying import notes_to_carry
from papyra.persistence._files.family import FamilyWriter, InDoubtError
from papyra.persistence._files.folder import ends_of, most_told, refuse_shared, store_lock, writer_lock
from papyra.persistence._files.fs import opened, store_error
from papyra.persistence._files.keeper import rebuild
from papyra.persistence._files.known import KnownIdentities, by_kind, sift
from papyra.persistence._files.locked import LockedWriter
from papyra.persistence._files.quarantine import set_leftover_aside
from papyra.persistence._files.rewrite import make_name_durable, renew, rewrite
from papyra.persistence._files.sealed import SegmentScan
from papyra.persistence._files.segments import LOCK_NAME, SegmentName
from papyra.persistence._files.setscan import scan_set
from papyra.persistence._files.sidecar import discard, remove
from papyra.persistence._files.tally import FOOTER_ROOM
from papyra.persistence._files.writer import FsyncPolicy, Outcome
from papyra.persistence.codec import FORMAT, encode_header
from papyra.persistence.models import RecordKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from papyra.exceptions import StoreFailedError
    from papyra.persistence._files.edits import Span
    from papyra.persistence._files.folder import Folder, Segment
    from papyra.persistence._files.lock import StoreLock
    from papyra.persistence._files.quarantine import Quarantine
    from papyra.persistence._files.recovery import Encode
    from papyra.persistence._files.scan import FileScan, OnRecord, Place, StoreScan
    from papyra.persistence._files.tally import Seal
    from papyra.persistence.entries import Entry
    from papyra.persistence.models import ScanDepth
    from papyra.persistence.query import ProgressCallback
    from papyra.persistence.retention import RetentionPolicy
    from papyra.persistence.state import StateTracker

_log = logging.getLogger(__name__)
_ANY_STORE = "0" * 26  # of the length of a minted one


class FamiliesWriter(LockedWriter["Folder"]):
    """Its methods belong to the writer thread, and block.

    The families of a batch are written one after the other; where one refuses, those before it are stored.
    """

    _copied = "the last segments"

    def __init__(  # noqa: PLR0913  # what it works with, and how
        self,
        find: Callable[[], Folder],
        quarantine: Callable[[Place], Quarantine],
        encode: Encode,
        give_back: Callable[[Sequence[Entry]], None],
        *,
        policy: FsyncPolicy,
        interval_seconds: float,
        max_bytes: int,
        max_files: int | None,
        retention: RetentionPolicy,
        state: StateTracker,
    ) -> None:
        super().__init__(
            find,
            quarantine,
            must_be_durable=policy is FsyncPolicy.ALWAYS,
            interval_seconds=interval_seconds,
            state=state,
        )
        self._encode = encode
        self._give_back = give_back
        self._policy = policy
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._retention = retention
        self._families: dict[str, FamilyWriter] = {}
        self._store = ""
        self._writer = ""
        """The incarnation in the names of this writer's families, where there may be several writers."""

    def hold(self) -> Place:
        """Take the store's lock, until `close`; nothing else is touched, and nothing beside a newer store."""
        return self._hold().place

    def _take(self) -> Folder:
        folder = self._find()
        if not self._store_id(folder):
            folder.fs.stat(folder.path.parent)  # a folder that is not there is a path misspelt
            folder.fs.make_folder(folder.path, 0o777)
            folder.fs.sync_folder(folder.path.parent)
        self._lock = self._locked(folder)
        with opened(folder.fs, self._lock_path(folder)) as fd:
            self._look_at_mount(folder, folder.fs.kind(fd))
        self._remember(folder)
        return folder

    def _lock_path(self, folder: Folder) -> Path:
        return folder.path / LOCK_NAME

    def _locked(self, folder: Folder) -> StoreLock:
        """Take the lock, and find or mint the store's id under it."""
        refuse_shared(folder)
        lock = store_lock(folder)
        doubtful_from = lock.acquire()
        try:
            self._refuse_others(folder)
            refuse_shared(folder)
            if doubtful_from is not None:
                self._renew(folder)
            self._store = self._store_id(folder) or mint_incarnation(folder.clock.now())
        except BaseException:
            lock.release()
            raise
        lock.sign(folder.clock.now())
        return lock

    def _refuse_others(self, folder: Folder) -> None:
        for writer in folder.listing().writers:
            writer_lock(folder, writer).refuse_exclusive()

    def _store_id(self, folder: Folder) -> str:
        """Return the id that the headers tell, if any tells one; raises for a store of a newer version."""
        return most_told(_told_store(folder.place_of(segment.name)) for segment in folder.listing().segments)

    def _renew(self, folder: Folder, writer: str = "") -> None:
        """Write anew what a sync failed for in an earlier process: segments that are not sealed."""
        _log.warning(
            "%s: a sync failed in an earlier process; its last segments are written anew", folder.path
        )
        listing = folder.listing()
        for name in listing.leftovers:
            set_leftover_aside(folder.place, self._quarantine(folder.place), folder.path / name)
        for family in listing.families().values():
            for segment in family[-2:]:
                place = folder.place_of(segment.name)
                if segment.name.writer == writer and segment.size and ends_of(place)[1] is None:
                    renew(place)

    def _remember(self, folder: Folder) -> None:
        listing = folder.listing()
        changed_at = max((segment.modified for segment in listing.segments if segment.size), default=0.0)
        if listing.legacy:
            changed_at = max([changed_at, *(folder.fs.stat(path).modified for path in listing.legacy)])
        self._known = KnownIdentities(lambda: read_history(*self._places()), changed_at=changed_at)

    def _places(self) -> list[Place]:
        assert self._held is not None  # noqa: S101  # asked under the lock
        listing = self._held.listing()
        names = [*map(str, listing.legacy), *(str(segment.name) for segment in listing.segments)]
        return [self._held.place_of(name) for name in names]

    def append(self, entries: Sequence[Entry]) -> Outcome:
        """Store what is not stored yet; a write that fails is told in the outcome, with what it left out."""
        with self._guard:
            folder = self._keep_lock()
            assert self._known is not None  # noqa: S101  # _take() made it
            fresh, refused = sift(entries, self._known)
            stored: list[Entry] = []
            error = None
            try:
                for kind, part in by_kind(fresh):
                    self._family(folder, kind).append(
                        part, stored, is_synced=self._policy is FsyncPolicy.ALWAYS
                    )
            except OSError as failure:
                error = store_error(failure, folder.path)
                error.__cause__ = failure
            except InDoubtError as doubt:
                error = self._fail(doubt)
            self._known.add(stored)
            if error is None:
                self._bound(folder)
                if self._policy is FsyncPolicy.INTERVAL:
                    self._sync_soon()
                return Outcome(refused)
            done = set(map(id, stored))
            return Outcome(refused, [entry for entry in fresh if id(entry) not in done], error)

    def _family(self, folder: Folder, kind: str) -> FamilyWriter:
        if kind not in self._families:
            self._families[kind] = FamilyWriter(
                folder, kind, self._writer, max_bytes=self._max_bytes, store=self._store
            )
        return self._families[kind]

    def _bound(self, folder: Folder) -> None:
        """Take away the oldest segments of the kinds in which one was begun, beyond those that may stay."""
        for kind, family in list(self._families.items()):
            if not family.has_rotated:
                continue
            family.has_rotated = False
            try:
                self._drop_oldest(folder, kind)
            except OSError as error:  # what was appended is stored, and the next rotation tries again
                _log.warning("%s: old segments stay for now: %s", folder.path, error)

    def _drop_oldest(self, folder: Folder, kind: str) -> None:
        listing = folder.listing()
        going = self._oldest(folder, [segment for segment in listing.segments if segment.name.kind == kind])
        if not going:
            return
        if kind == RecordKind.EVENT:
            staying: dict[str, list[Place]] = {}
            for segment in listing.segments:
                staying.setdefault(segment.name.kind, []).append(folder.place_of(segment.name))
            places = [folder.place_of(segment.name) for segment in going]
            entries = self._encode(notes_to_carry(places, staying))
            try:
                self.note(entries)
            except BaseException:
                self._give_back(entries)
                raise
        for segment in going:
            remove(folder.fs, folder.path / str(segment.name))
            folder.fs.remove(folder.path / str(segment.name))
        folder.fs.sync_folder(folder.path)

    def _oldest(self, folder: Folder, segments: list[Segment]) -> list[Segment]:
        """Return those of one kind that are too many."""
        return segments[: max(self._excess(segments), self._outdated(folder, segments))]

    def _excess(self, segments: list[Segment]) -> int:
        return 0 if self._max_files is None else max(len(segments) - self._max_files, 0)

    def _outdated(self, folder: Folder, segments: list[Segment]) -> int:
        """Return how many of the oldest hold nothing that a count or a size keeps, as far as footers tell.

        Age is left to compaction: a clock that jumps must not empty a store that nobody asked to shrink.
        """
        policy = self._retention.for_kind(RecordKind(segments[0].name.kind))
        if policy.max_records is None and policy.max_total_bytes is None:
            return 0
        records = size = 0
        for at in range(len(segments) - 2, -1, -1):
            if _is_reached(records, policy.max_records) or _is_reached(size, policy.max_total_bytes):
                return at + 1
            _, footer = ends_of(folder.place_of(segments[at].name))
            records += 0 if footer is None else footer.records
            size += 0 if footer is None else max(footer.bytes - FOOTER_ROOM, 0)
        return 0

    def note(self, entries: Sequence[Entry]) -> None:
        """Store events of the store's own, together, in the segment of events that is there."""
        if not entries:
            return
        with self._guard:
            folder = self._hold()
            try:
                self._family(folder, RecordKind.EVENT).note(entries)
            except InDoubtError as doubt:
                raise self._fail(doubt) from doubt
            self.adopt(entries)

    def scan(
        self, depth: ScanDepth, progress: ProgressCallback | None, on_record: OnRecord | None = None
    ) -> StoreScan:
        """Scan what this writer holds, and count what footers tell."""
        folder = self._keep_synced()
        return scan_set(folder, depth, progress, is_live=lambda _: False, on_record=on_record, counts=True)

    def _keep_synced(self) -> Folder:
        """Hold the lock, and sync: a sync that fails only after a scan would change what was seen."""
        folder = self._keep_lock()
        with self._guard:
            self._sync_all()
        return folder

    def home(self, scan: StoreScan) -> FileScan | None:
        """Return the segment of events that is not sealed, if there is anything in it."""
        family = SegmentName(RecordKind.EVENT, self._writer, 1, 1).family
        events = [file for file in scan.files if file.family == family]
        return events[-1] if events and events[-1].end and not events[-1].wants_footer else None

    def header_of(self, file: FileScan) -> bytes:
        """Return the header that belongs to the name of ``file``."""
        assert isinstance(file, SegmentScan)  # noqa: S101  # others are not changed
        return self.header(file.name)

    def header(self, name: SegmentName) -> bytes:
        """Return the header of a segment of this store; before it is held, one that is as long."""
        return encode_header(
            store=self._store or _ANY_STORE, family=name.family, segment=name.number, base=name.base
        )

    def replace(
        self,
        place: Place,
        parts: Iterable[Span | bytes],
        progress: ProgressCallback | None,
        seal: Seal | None = None,
    ) -> None:
        """Put ``parts`` in a file's place; a name that twice may not last ends the writer."""
        with self._guard:
            self.drop()
            self.forget_index(place)
            rewrite(place, parts, progress, seal)
            try:
                make_name_durable(place)
            except OSError as error:
                raise self._fail(error) from error

    def forget_index(self, place: Place) -> None:
        discard(place.fs, place.path)

    def rebuild_index(self, place: Place) -> None:
        rebuild(place)

    def _finish(self) -> None:
        families = list(self._families.values())
        super()._finish()
        for family in families:
            family.keep_index()

    def drop(self) -> None:
        with self._guard:
            try:
                for family in self._families.values():
                    family.drop()
            except InDoubtError as doubt:
                raise self._fail(doubt) from doubt
            self._families.clear()

    def _sync_all(self) -> None:
        try:
            for family in self._families.values():
                family.sync()
        except InDoubtError as doubt:
            raise self._fail(doubt) from doubt

    def fail(self, error: BaseException) -> StoreFailedError:
        """End the writer, for an error after which its files are in doubt; returns what to raise."""
        with self._guard:
            return self._fail(error)

    def _abandon(self) -> None:
        for family in self._families.values():
            family.abandon()
        self._families.clear()


def _told_store(place: Place) -> str:
    try:
        header, _ = ends_of(place)
    except FileNotFoundError:  # another writer of the store took it just now
        return ""
    if header is not None and header.format > FORMAT:
        raise newer_format(place, header.format)
    return "" if header is None else header.store


def _is_reached(found: int, limit: int | None) -> bool:
    return limit is not None and found >= limit
