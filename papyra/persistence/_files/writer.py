"""The one writer of a store file: its lock, when a record counts as stored, what a fault leaves behind."""

from __future__ import annotations

import logging
import os
import threading
from enum import StrEnum
from typing import TYPE_CHECKING

from papyra.exceptions import PersistenceError, RecordConflictError, StoreFailedError
from papyra.persistence._files.appending import AppendFile, read_history, refuse_newer
from papyra.persistence._files.fs import opened, store_error
from papyra.persistence._files.keeper import IndexKeeper
from papyra.persistence._files.known import KnownIdentities, Standing
from papyra.persistence._files.lock import StoreLock
from papyra.persistence._files.quarantine import set_leftover_aside
from papyra.persistence._files.rewrite import renew, rewrite
from papyra.persistence.models import RecordId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from papyra.persistence._files.blocks import Blocks
    from papyra.persistence._files.edits import Span
    from papyra.persistence._files.quarantine import Quarantine
    from papyra.persistence._files.scan import Place
    from papyra.persistence.entries import Entry
    from papyra.persistence.query import ProgressCallback

_log = logging.getLogger(__name__)


class FsyncPolicy(StrEnum):
    """When an append returns.

    ``always``: once it is on the medium; power loss takes nothing that was acknowledged. ``interval``: once
    written, and synced within the interval; power loss may take as much, a killed process nothing. ``os``:
    once written; power loss may take whatever the system had not written out.
    """

    ALWAYS = "always"
    INTERVAL = "interval"
    OS = "os"


class FileWriter:
    """Its methods belong to the writer thread, and block.

    A failed sync ends it: nothing tells which bytes the medium holds, and syncing the same file again would
    say yes without having written them. The lock file tells the next writer, which writes the whole file anew
    before it adds to it: what can be read by then is what the page cache holds, and only a new file proves
    that.
    """

    def __init__(
        self,
        find: Callable[[], Place],
        quarantine: Callable[[Place], Quarantine],
        *,
        policy: FsyncPolicy,
        interval_seconds: float,
    ) -> None:
        self._find = find
        self._quarantine = quarantine
        self._policy = policy
        self._interval_seconds = interval_seconds
        self._place: Place | None = None
        self._lock: StoreLock | None = None
        self._file: AppendFile | None = None
        self._known: KnownIdentities | None = None
        self._keeper = IndexKeeper()
        self._failure = ""
        self._timer: threading.Timer | None = None
        self._guard = threading.RLock()  # against the timer's thread
        self._pid = os.getpid()

    def hold(self) -> Place:
        """Take the store's lock, until `close`; nothing else is touched, and nothing beside a newer store."""
        if self._failure:
            raise StoreFailedError(self._failure)
        if self._place is not None:
            return self._place
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
        self._lock, self._place = lock, place
        changed_at = found.modified if found is not None and found.size else 0.0
        self._known = KnownIdentities(lambda: read_history(place), changed_at=changed_at)
        return place

    def append(self, entries: Sequence[Entry]) -> dict[int, PersistenceError]:
        """Store what is not stored yet, in one write; returns what is refused, by position."""
        with self._guard:
            file, known = self._ready()
            fresh, refused = _sift(entries, known)
            if fresh:
                data = b"".join([entry.line for entry in fresh])
                self._write(file, data)
                known.add(fresh)
                self._keeper.add(self.hold(), fresh, data, file.end)
            return refused

    def _ready(self) -> tuple[AppendFile, KnownIdentities]:
        place = self.hold()
        if self._file is not None and not self._file.is_current():
            _log.warning(
                "%s was replaced or changed by another program; going on in what is there", place.path
            )
            self.drop()
            self._known = KnownIdentities(lambda: read_history(place), changed_at=float("inf"))
        if self._file is None:
            try:
                self._file = AppendFile(place)
            except OSError as error:
                failure = store_error(error, place.path)
                if isinstance(failure, StoreFailedError):
                    self._fail(error, doubtful_from=0)
                raise
            self._keeper.begin(place, self._file.end)
        assert self._known is not None  # noqa: S101  # hold() made it
        return self._file, self._known

    def _write(self, file: AppendFile, data: bytes) -> None:
        try:
            if self._policy is FsyncPolicy.ALWAYS:
                file.write_synced(data)
            else:
                file.write(data)
        except OSError as error:
            is_broken = isinstance(store_error(error, self._find().path), StoreFailedError)
            if file.is_doubtful or not file.take_back() or is_broken:
                raise self._fail(error, doubtful_from=file.synced) from error
            raise
        if self._policy is FsyncPolicy.INTERVAL:
            self._sync_soon()

    def _sync(self, file: AppendFile) -> None:
        try:
            file.sync()
        except OSError as error:
            raise self._fail(error, doubtful_from=file.synced) from error

    def _sync_soon(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(self._interval_seconds, self._sync_now)
            self._timer.daemon = True
            self._timer.start()

    def _sync_now(self) -> None:
        with self._guard:
            self._timer = None
            if self._file is not None:
                try:
                    self._sync(self._file)
                except StoreFailedError:
                    _log.exception("what was acknowledged since the last sync may be lost")

    def adopt(self, entries: Sequence[Entry]) -> None:
        """Remember lines that stand in the file now."""
        assert self._known is not None  # noqa: S101  # hold() made it
        self._known.add(entries)

    def drop(self) -> None:
        """Close the file, so that another part of the store may rewrite it under the same lock."""
        with self._guard:
            file = self._file
            if file is not None:
                if file.synced != file.end:
                    self._sync(file)
                self._file = None
                file.close()

    def replace(self, parts: Iterable[Span | bytes], progress: ProgressCallback | None) -> None:
        """Put ``parts`` in the file's place; a name that may not last ends the writer, as a failed sync."""
        with self._guard:
            self.drop()
            place = self.hold()
            self._keeper.discard(place)
            rewrite(place, parts, progress)
            try:
                place.fs.sync_folder(place.path.parent)
            except OSError as error:
                raise self._fail(error, doubtful_from=0) from error

    def forget_index(self) -> None:
        """Take away the index beside the file, which is about to be changed in place."""
        self._keeper.discard(self.hold())

    def rebuild_index(self) -> None:
        """Put an index beside the file as it is now, after a repair or a rewrite."""
        self._keeper.rebuild(self.hold())

    def fail(self, error: BaseException) -> StoreFailedError:
        """End the writer, for an error after which the file is in doubt; returns what to raise."""
        with self._guard:
            return self._fail(error, doubtful_from=self._file.synced if self._file else 0)

    def _fail(self, error: BaseException, *, doubtful_from: int | None) -> StoreFailedError:
        self._failure = (
            f"{self._find().path}: {error}: nothing more is written; check the disk, then open the store "
            "anew (the next writer copies the file before it adds to it)"
        )
        _log.critical("%s", self._failure)
        file, self._file = self._file, None
        if file is not None:
            file.close()
        if self._lock is not None and self._place is not None:
            self._lock.sign(self._place.clock.now(), doubtful_from=doubtful_from)
        self._release()
        return StoreFailedError(self._failure)

    def _release(self) -> None:
        lock, self._lock, self._place = self._lock, None, None
        if lock is not None:
            lock.release()

    def close(self, read: Blocks | None = None) -> None:
        """Make everything durable and let the next writer in. In a forked child nothing is touched.

        ``read`` is what this process's reader knows of the file, for an index where the writer has none.
        """
        if self._pid != os.getpid():
            return
        with self._guard:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            try:
                self.drop()
                if self._place is not None and (found := self._place.info()) is not None:
                    self._keeper.save(self._place, found.size, read)
            finally:
                self._release()


def _sift(
    entries: Sequence[Entry], known: KnownIdentities
) -> tuple[Sequence[Entry], dict[int, PersistenceError]]:
    refused: dict[int, PersistenceError] = {}
    if all(entry.is_ours for entry in entries):  # their numbers were never given before
        return entries, refused
    if known.are_beyond(entries):  # a recorder's batch, as a rule
        return entries, refused
    fresh: dict[RecordId, Entry] = {}
    for position, entry in enumerate(entries):
        identity = RecordId(entry.incarnation, entry.kind, entry.seq)
        twin = fresh.get(identity)
        if entry.is_ours:
            standing = Standing.NEW
        else:
            standing = _compare(entry, twin) if twin else known.standing(identity, entry.checksum)
        if standing is Standing.NEW:
            fresh[identity] = entry
        elif standing is Standing.CONFLICTING:
            refused[position] = RecordConflictError(
                f"{entry.kind} {entry.seq} of {entry.incarnation} is stored already, with other bytes"
            )
    return tuple(fresh.values()), refused


def _compare(entry: Entry, twin: Entry) -> Standing:
    return Standing.STORED if entry.line == twin.line else Standing.CONFLICTING
