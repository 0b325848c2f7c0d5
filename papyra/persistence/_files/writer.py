"""The one writer of a store file: its lock, when a record counts as stored, what a fault leaves behind."""

from __future__ import annotations

import logging
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from papyra.exceptions import PersistenceError, StoreFailedError, StoreFullError
from papyra.persistence._files.appending import AppendFile, new_header, read_history, refuse_newer
from papyra.persistence._files.edits import Span
from papyra.persistence._files.fs import opened, read_all, stat_or_none, store_error
from papyra.persistence._files.keeper import IndexKeeper, rebuild
from papyra.persistence._files.known import KnownIdentities, sift
from papyra.persistence._files.lock import StoreLock
from papyra.persistence._files.locked import LockedWriter
from papyra.persistence._files.quarantine import set_leftover_aside
from papyra.persistence._files.rewrite import make_name_durable, renew, rewrite
from papyra.persistence._files.scan import scan_file
from papyra.persistence._files.sidecar import discard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from papyra.persistence._files.quarantine import Quarantine
    from papyra.persistence._files.scan import FileScan, OnRecord, Place, StoreScan
    from papyra.persistence._files.tally import Seal
    from papyra.persistence.entries import Entry
    from papyra.persistence.models import ScanDepth
    from papyra.persistence.query import ProgressCallback
    from papyra.persistence.state import StateTracker

_log = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """What is refused of a batch for good, by position; what was not stored, and why."""

    refused: dict[int, PersistenceError]
    unstored: Sequence[Entry] = ()
    error: PersistenceError | None = None


class FsyncPolicy(StrEnum):
    """When an append returns.

    ``always``: once it is on the medium; power loss takes nothing that was acknowledged. ``interval``: once
    written, and synced within the interval; power loss may take as much, a killed process nothing. ``os``:
    once written; power loss may take whatever the system had not written out.
    """

    ALWAYS = "always"
    INTERVAL = "interval"
    OS = "os"


class _Doubt(NamedTuple):
    """A file of which nobody knows what the medium holds, to be written anew before anything else.

    ``end``: up to where it holds what was stored; ``size``: how long it was left.
    """

    key: tuple[int, int] | None
    end: int
    size: int
    error: OSError


class FileWriter(LockedWriter["Place"]):
    """Its methods belong to the writer thread, and block.

    After a failed sync nothing tells which bytes the medium holds, and syncing the same file again would say
    yes without having written them. So the file is never written to again: what it holds, as it reads now,
    and the batch go into a new file, and only once that is synced the batch is stored. Where that fails too,
    or the sync of the batch that follows, the writer ends, and the lock file tells the next one, which writes
    the file anew before it adds to it. Where there is no room for a new file, the next batch tries again.
    """

    _copied = "the file"

    def __init__(
        self,
        find: Callable[[], Place],
        quarantine: Callable[[Place], Quarantine],
        *,
        policy: FsyncPolicy,
        interval_seconds: float,
        state: StateTracker,
    ) -> None:
        super().__init__(
            find,
            quarantine,
            must_be_durable=policy is FsyncPolicy.ALWAYS,
            interval_seconds=interval_seconds,
            state=state,
        )
        self._policy = policy
        self._file: AppendFile | None = None
        self._keeper = IndexKeeper()
        self._doubt: _Doubt | None = None
        self._is_renewed = False
        self._has_looked_at_mount = False

    def hold(self) -> Place:
        """Take the store's lock, until `close`; nothing else is touched, and nothing beside a newer store."""
        return self._hold()

    def _take(self) -> Place:
        place = self._find()
        found = place.info()
        if found is not None:
            with opened(place.fs, place.path) as fd:
                refuse_newer(place, fd)
        lock = StoreLock(place.fs, place.path)
        doubtful_from = lock.acquire()
        try:
            if doubtful_from is not None and found is not None:
                _log.warning("%s: a sync failed in an earlier process; the file is written anew", place.path)
                set_leftover_aside(place, self._quarantine(place))
                renew(place)
        except BaseException:
            lock.release()
            raise
        lock.sign(place.clock.now())
        self._lock = lock
        self._remember(place, found.modified if found is not None and found.size else 0.0)
        return place

    def append(self, entries: Sequence[Entry]) -> dict[int, PersistenceError]:
        """Store what is not stored yet, in one write; returns what is refused, by position."""
        with self._guard:
            fresh, refused = sift(entries, self._ready())
            if fresh:
                data = b"".join([entry.line for entry in fresh])
                self._write(data)
                self.adopt(fresh)
                if self._file is not None:
                    self._keeper.add(self.hold(), fresh, data, self._file.end)
            elif self._doubt is not None:
                self._write_anew(b"")
            return refused

    def _ready(self) -> KnownIdentities:
        """Open the file, unless it is in doubt; returns what is known of what it holds."""
        place = self._keep_lock()
        if self._file is not None and not self._file.is_current():
            self._go_on_in_what_is_there(place)
            self.drop()
        if self._file is None and self._doubt is None:
            self._open(place)
        assert self._known is not None  # noqa: S101  # hold() made it
        return self._known

    def _refuse_others(self, where: Place) -> None:
        """Whoever writes holds this lock."""

    def _remember(self, where: Place, changed_at: float = float("inf")) -> None:
        self._known = KnownIdentities(lambda: read_history(where), changed_at=changed_at)

    def _go_on_in_what_is_there(self, place: Place) -> None:
        _log.warning("%s was replaced or changed by another program; going on in what is there", place.path)
        self._remember(place)
        self._keeper.forget()

    def _open(self, place: Place) -> None:
        try:
            self._file = AppendFile(place)
        except OSError as error:
            if not _is_broken(error, place):
                raise
            self._suspect(error, end=None, synced=0)
        else:
            self._keeper.begin(place, self._file.end)
            if not self._has_looked_at_mount:
                self._has_looked_at_mount = True
                self._look_at_mount(place, self._file.kind)

    def _write(self, data: bytes) -> None:
        file = self._file
        if file is None:
            self._write_anew(data)
            return
        try:
            if self._policy is FsyncPolicy.ALWAYS:
                file.write_synced(data)
            else:
                file.write(data)
        except OSError as error:
            is_whole = not file.is_doubtful and file.take_back()
            if is_whole and not _is_broken(error, self._find()):
                raise
            self._suspect(error, end=file.end, synced=file.synced)
            self._write_anew(data)
            return
        if self._policy is FsyncPolicy.INTERVAL:
            self._sync_soon()
        else:
            self._is_renewed = False

    def _sync(self, file: AppendFile) -> None:
        """Make what was written durable, in a new file where this one's sync fails."""
        try:
            file.sync()
        except OSError as error:
            self._suspect(error, end=None, synced=file.synced)
            self._write_anew(b"")
        else:
            self._is_renewed = False

    def _suspect(self, error: OSError, *, end: int | None, synced: int) -> None:
        """Leave the file, which is not to be written to any more.

        What stands beyond ``end`` is of a batch that is not stored, and cut off; ``None``: all of it stays.
        """
        place, file = self.hold(), self._file
        _log.error(
            "%s: %s: what it holds from byte %d on may not last; it is written anew",
            place.path,
            error,
            synced,
        )
        if file is not None:
            if end is not None:
                file.take_back()
            self._file = None
            file.close()
        self._doubt = _Doubt(None, 0, 0, error)
        if self._lock is not None:
            self._lock.doubt(synced, place.clock.now())
        with suppress(OSError):
            found = place.fs.stat(place.path)
            self._doubt = _Doubt(found.key, found.size if end is None else end, found.size, error)

    def _write_anew(self, data: bytes) -> None:
        """Put a new file in the doubtful one's place, with ``data`` at its end, and go on in that."""
        doubt, place = self._doubt, self.hold()
        assert doubt is not None  # noqa: S101  # the caller asked
        if self._is_renewed:  # for the batch before this one: the disk has failed twice in a row
            raise self._fail(doubt.error) from doubt.error
        try:
            if stat_or_none(place.fs, place.path) is None:
                self._is_renewed, self._doubt = True, None
                self._open(place)
                if data:
                    self._write(data)
                return
            self._put_new_file(place, doubt, data)
        except OSError as error:
            if isinstance(store_error(error, place.path), StoreFullError):
                raise  # the doubt stays, and the next batch tries again
            raise self._fail(error) from error

    def _put_new_file(self, place: Place, doubt: _Doubt, data: bytes) -> None:
        found, end = place.fs.stat(place.path), doubt.end
        if (found.key, found.size) != (doubt.key, doubt.size):
            self._go_on_in_what_is_there(place)
            end = found.size
        set_leftover_aside(place, self._quarantine(place))
        with opened(place.fs, place.path) as fd:
            if data and end and read_all(place.fs, fd, 1, end - 1) != b"\n":
                data = b"\n" + data
        rewrite(place, (b"" if end else new_header(place), Span(0, end), data))
        try:
            self._file = AppendFile(place)  # which makes the name durable
        except OSError as error:
            raise self._fail(error) from error
        self._doubt, self._is_renewed = None, True
        if self._lock is not None:
            self._lock.sign(place.clock.now())

    def _sync_all(self) -> None:
        if self._file is not None:
            self._sync(self._file)
        elif self._doubt is not None:
            self._write_anew(b"")

    def drop(self) -> None:
        with self._guard:
            if self._doubt is not None:
                self._write_anew(b"")
            if self._file is not None and self._file.synced != self._file.end:
                self._sync(self._file)
            file, self._file = self._file, None
            if file is not None:
                file.close()

    def scan(
        self, depth: ScanDepth, progress: ProgressCallback | None, on_record: OnRecord | None = None
    ) -> StoreScan:
        """Scan what this writer holds."""
        place = self._keep_lock()
        return scan_file(place, depth, progress, is_live=lambda: False, on_record=on_record)

    def home(self, scan: StoreScan) -> FileScan | None:
        """Return the one file, where there is anything in it."""
        return scan.files[0] if scan.files[0].end else None

    def note(self, entries: Sequence[Entry]) -> None:
        """Store events of the store's own."""
        self.append(entries)

    def header_of(self, file: FileScan) -> bytes:
        """Return the first line of a store that begins anew."""
        return new_header(file.place)

    def replace(
        self,
        place: Place,
        parts: Iterable[Span | bytes],
        progress: ProgressCallback | None,
        seal: Seal | None = None,
    ) -> None:
        """Put ``parts`` in the file's place; a name that twice may not last ends the writer."""
        with self._guard:
            self.drop()
            self.forget_index(place)
            rewrite(place, parts, progress, seal)
            try:
                make_name_durable(place)
            except OSError as error:
                raise self._fail(error) from error

    def forget_index(self, place: Place) -> None:
        self._keeper.forget()
        discard(place.fs, place.path)

    def rebuild_index(self, place: Place) -> None:
        rebuild(place)

    def _finish(self) -> None:
        super()._finish()
        if self._held is not None and (found := self._held.info()) is not None:
            self._keeper.save(self._held, found.size)

    def fail(self, error: BaseException) -> StoreFailedError:
        """End the writer, for an error after which the file is in doubt; returns what to raise."""
        with self._guard:
            return self._fail(error, doubtful_from=self._file.synced if self._file else 0)

    def _abandon(self) -> None:
        file, self._file, self._doubt = self._file, None, None
        if file is not None:
            file.close()


def _is_broken(error: OSError, place: Place) -> bool:
    return isinstance(store_error(error, place.path), StoreFailedError)
