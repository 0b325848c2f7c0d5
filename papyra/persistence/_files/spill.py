"""A small store for records whose own store is away: bounded, durable, replayed in order once it is back."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from papyra.clock import SYSTEM_CLOCK, Clock, mint_incarnation
from papyra.exceptions import (
    BackendClosedError,
    RecordConflictError,
    StoreFailedError,
    StoreFullError,
)
from papyra.persistence._files.appending import refuse_newer
from papyra.persistence._files.edits import Removal
from papyra.persistence._files.fs import (
    LOCAL_FS,
    Access,
    opened,
    read_all,
    store_error,
    translated,
    write_all,
)
from papyra.persistence._files.spilled import (
    CAUSE_REFUSED,
    Dropped,
    SegmentCheck,
    SpillLimits,
    SpillStats,
    WhenFull,
    note_type,
)
from papyra.persistence._files.spillfolder import Segment, SpillFolder
from papyra.persistence._files.spillreading import SegmentReading, entry_of, guarded
from papyra.persistence._files.writer import FsyncPolicy
from papyra.persistence.models import LossNote, PersistedEvent, RecordId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from papyra.exceptions import PersistenceError
    from papyra.persistence._files.fs import FileSystem
    from papyra.persistence._files.spillreading import Line, Send
    from papyra.persistence.entries import Entry

    Encode = Callable[[Sequence[PersistedEvent]], Sequence[Entry]]
    """Gives events identities of the writer."""

_log = logging.getLogger(__name__)

_MAX_CAUSE = 200
_DEFAULT_LIMITS = SpillLimits()


class Spill:
    """A folder of segments; its methods belong to one thread, and block.

    Opening touches nothing: the first append, or a replay of what is there, takes the lock. A record leaves
    only after ``send`` returned. Killed at any time, it keeps what was acknowledged: all of a segment of
    which something was not taken is sent again, so ``send`` has to know records by their identity.
    """

    def __init__(  # noqa: PLR0913  # each has a default that does
        self,
        folder: Path,
        encode: Encode,
        *,
        limits: SpillLimits = _DEFAULT_LIMITS,
        when_full: WhenFull = WhenFull.REFUSE,
        fsync: FsyncPolicy = FsyncPolicy.ALWAYS,
        fsync_interval_seconds: float = 1.0,
        clock: Clock = SYSTEM_CLOCK,
        fs: FileSystem = LOCAL_FS,
    ) -> None:
        self._folder = SpillFolder(fs, folder, clock)
        self._encode = encode
        self._limits = limits
        self._when_full = when_full
        self._fsync = fsync
        self._interval_seconds = fsync_interval_seconds
        self._clock = clock
        self._fs = fs
        self._fd: int | None = None
        self._reading: SegmentReading | None = None
        self._unsynced_since: float | None = None
        self._failure = ""
        self._pid = os.getpid()

    def append(self, entries: Sequence[Entry]) -> None:
        """Keep ``entries``, whose lines are complete, as durably as the policy says.

        Raises `StoreFullError` where the limits or the disk have no room, and nothing of them is kept;
        `StoreFailedError` once the medium refuses to sync.
        """
        data, count = b"".join(entry.line for entry in entries), sum(entry.count for entry in entries)
        with translated(self._folder.path):
            if self._failure:
                raise StoreFailedError(self._failure)
            self._open()
            self._make_room(len(data), count)
            self._begin_segment(len(data), count)
            self._write(data, count)

    def has_room(self, entries: Sequence[Entry]) -> bool:
        """Whether `append` would keep ``entries`` and let nothing go for them."""
        size = sum(entry.size for entry in entries) + len(self._folder.header())
        return self._has_room(size, sum(entry.count for entry in entries))

    def _make_room(self, size: int, count: int) -> None:
        limits = self._limits
        size += len(self._folder.header())
        can_fit = size <= limits.max_bytes and count <= limits.max_records
        if can_fit and self._when_full is WhenFull.DROP_OLDEST:
            while self._folder.segments and not self._has_room(size, count):
                self._drop(self._folder.segments[0])
        if not self._has_room(size, count):
            raise StoreFullError(
                f"{self._folder.path} is full: at most {limits.max_bytes:,} bytes and {limits.max_records:,} "
                "records wait here until their store is back; nothing was kept"
            )

    def _has_room(self, size: int, count: int) -> bool:
        segments = self._folder.segments
        held = sum(segment.bytes for segment in segments)
        waiting = sum(segment.records - segment.sent for segment in segments)
        return held + size <= self._limits.max_bytes and waiting + count <= self._limits.max_records

    def _held(self, segments: Sequence[Segment], dropped: Dropped) -> SpillStats:
        return SpillStats(
            records=sum(segment.records - segment.sent for segment in segments),
            bytes=sum(segment.bytes for segment in segments),
            segments=len(segments),
            dropped=dropped.records,
            quarantine_bytes=self._folder.quarantine_size(),
        )

    def _begin_segment(self, size: int, count: int) -> None:
        if self._fd is not None:
            active = self._folder.segments[-1]
            if active.records and (
                active.bytes + size > self._limits.segment_bytes
                or active.records + count > self._limits.segment_records
            ):
                self._seal()
        if self._fd is None:
            self._fd = self._folder.create()

    def _write(self, data: bytes, count: int) -> None:
        assert self._fd is not None  # noqa: S101  # _begin_segment() opened it
        active = self._folder.segments[-1]
        try:
            write_all(self._fs, self._fd, data)
        except OSError:
            self._take_back(active)
            raise
        active.bytes += len(data)
        active.records += count
        if self._is_due():
            self._sync(active)

    def _take_back(self, active: Segment) -> None:
        assert self._fd is not None  # noqa: S101  # the caller wrote to it
        try:
            self._fs.truncate(self._fd, active.bytes)
        except OSError:  # what is half written ends the segment; a replay keeps it apart
            self._close_file()

    def _is_due(self) -> bool:
        if self._fsync is FsyncPolicy.ALWAYS:
            return True
        now = self._clock.monotonic()
        if self._unsynced_since is None:
            self._unsynced_since = now
        return self._fsync is FsyncPolicy.INTERVAL and now - self._unsynced_since >= self._interval_seconds

    def _sync(self, active: Segment) -> None:
        assert self._fd is not None  # noqa: S101  # the caller wrote to it
        try:
            self._fs.sync(self._fd)
        except OSError as error:
            active = self._write_again(self._fd, active, error)
        active.synced_bytes, active.synced_records = active.bytes, active.records
        self._unsynced_since = None

    def _write_again(self, fd: int, doubtful: Segment, error: OSError) -> Segment:
        """Put what may not be on the medium into a new file: syncing the same one again proves nothing."""
        _log.warning("%s could not be synced: %s; going on in a new file", doubtful.path, error)
        start, count = doubtful.synced_bytes, doubtful.records - doubtful.synced_records
        try:
            data = read_all(self._fs, fd, doubtful.bytes - start, start)
            self._close_file()
            self._fd = self._folder.create()
            assert self._fd is not None  # noqa: S101  # just opened
            write_all(self._fs, self._fd, data)
            self._fs.sync(self._fd)
        except OSError as again:
            raise self._fail(again) from again
        active = self._folder.segments[-1]
        active.bytes += len(data)
        active.records += count
        return active

    def sync(self) -> None:
        """Make durable what an ``interval`` or ``os`` policy left for later."""
        if self._fd is not None and self._unsynced_since is not None:
            self._sync(self._folder.segments[-1])

    def _fail(self, error: OSError) -> StoreFailedError:
        self._close_file()
        self._folder.doubt()
        reason = store_error(error, self._folder.path)
        self._failure = f"{reason}; nothing more is kept here, what is here can be replayed"
        return StoreFailedError(self._failure)

    def replay(self, send: Send) -> bool:
        """Send the next batch, and remove a segment of which that was the last; whether there is more.

        What ``send`` raises comes out, and the next call sends the same batch again. Damaged lines, and those
        that ``send`` refuses for good, go to quarantine, and notes of what that took are sent too.
        """
        with translated(self._folder.path):
            if not self._folder.is_held and self._folder.is_empty():
                return False
            self._open()
            send = guarded(send)
            if self._folder.dropped.records:
                self._send_notes(((system, note) for system, note in self._folder.dropped.notes()), send)
                self._folder.forget_dropped()
            if not self._folder.segments:
                return False
            try:
                self._replay(send)
            except OSError:  # whatever was read ahead is read again
                self._stop_reading()
                raise
            return bool(self._folder.segments)

    def _replay(self, send: Send) -> None:
        reading = self._reading or self._begin_reading(self._folder.segments[0])
        if lines := reading.lines():
            refused = send([line.entry for line in lines])
            if refused:
                self._set_aside(reading, [(lines[at], error) for at, error in sorted(refused.items())], send)
            reading.took()
        if not reading.lines():
            self._finish(reading, send)

    def _begin_reading(self, segment: Segment) -> SegmentReading:
        if self._fd is not None and segment is self._folder.segments[-1]:
            self._seal()
        with opened(self._fs, segment.path) as fd:
            refuse_newer(self._folder.place(segment), fd)
        fd = self._fs.open(segment.path, Access.READ)
        self._reading = SegmentReading(self._folder, segment, fd)
        return self._reading

    def _stop_reading(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            self._fs.close(reading.fd)

    def _set_aside(
        self, reading: SegmentReading, refused: Sequence[tuple[Line, PersistenceError]], send: Send
    ) -> None:
        """Keep what the receiver refused for good, and send why its number is missing there."""
        removals, notes = [], []
        for (entry, span), error in refused:
            _log.error("%s: %s was refused for good: %s", self._folder.path, entry.id, error)
            removals.append(Removal(span, CAUSE_REFUSED))
            if not isinstance(error, RecordConflictError):  # which is there, with other bytes
                cause = f"{CAUSE_REFUSED}: {error}"[:_MAX_CAUSE]
                note = LossNote(entry.incarnation, entry.kind, entry.seq, entry.seq, cause)
                notes.append((entry.record.system_id, note))
        self._quarantine(reading, removals)
        self._send_notes(notes, send)

    def _quarantine(self, reading: SegmentReading, removals: Sequence[Removal]) -> None:
        run = mint_incarnation(self._clock.now())
        like = self._fs.fstat(reading.fd)
        self._folder.quarantine(reading.segment).keep(reading.fd, removals, like=like, run=run)

    def _finish(self, reading: SegmentReading, send: Send) -> None:
        if reading.check.removals:
            self._quarantine(reading, reading.check.removals)
        self._send_notes(((reading.system_id, note) for note in reading.check.losses()), send)
        self._stop_reading()
        self._folder.remove(reading.segment)

    def _send_notes(self, notes: Iterable[tuple[str, LossNote]], send: Send) -> None:
        now = self._clock.now()
        events = [
            PersistedEvent(system, "", note_type(note), note.to_payload(), now) for system, note in notes
        ]
        if events:
            for at, error in send(self._encode(events)).items():
                _log.error("%s: %s was refused for good: %s", self._folder.path, events[at].payload, error)

    def _drop(self, segment: Segment) -> None:
        """Let a segment go: first the ledger says so, durably, then the file is removed."""
        if self._fd is not None and segment is self._folder.segments[-1]:
            self._seal()
        if self._reading is not None and self._reading.segment is segment:
            self._stop_reading()
        check = SegmentCheck()
        with opened(self._fs, segment.path) as fd:
            number = 0
            for piece in self._folder.pieces(fd):
                entry = entry_of(piece) if check.is_record(piece) else None
                if entry is not None:
                    number += 1
                    if number > segment.sent:
                        identity = RecordId(entry.incarnation, entry.kind, entry.seq)
                        self._folder.dropped.add(identity, entry.record.system_id)
        for note in check.losses():
            for seq in range(note.first, note.last + 1):
                self._folder.dropped.add(RecordId(note.incarnation, note.kind, seq), "")
        self._folder.dropped.through = segment.number
        self._folder.write_ledger()
        self._folder.remove(segment)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits here, as far as names tell."""
        with translated(self._folder.path):
            return self._folder.is_empty()

    def open(self) -> None:
        """Take the folder; raises `StoreLockedError` where another process has it."""
        with translated(self._folder.path):
            self._open()

    def _open(self) -> None:
        if self._pid != os.getpid():
            raise BackendClosedError(
                f"{self._folder.path} was opened before a fork; open it anew in this process"
            )
        if not self._folder.is_held and self._folder.acquire():
            self._reopen_last()

    def _reopen_last(self) -> None:
        """Go on in the newest segment, if it ends in a whole line."""
        if not self._folder.segments:
            return
        last = self._folder.segments[-1]
        if not last.records or last.bytes >= self._limits.segment_bytes:
            return
        fd = self._fs.open(last.path, Access.APPEND)
        if read_all(self._fs, fd, 1, last.bytes - 1) == b"\n":
            self._fd = fd
        else:
            self._fs.close(fd)

    def stats(self) -> SpillStats:
        """Count what waits; before the first append and replay, by reading it."""
        with translated(self._folder.path):
            if not self._folder.is_held:
                return self._held(self._folder.counted(), self._folder.read_ledger())
            return self._held(self._folder.segments, self._folder.dropped)

    def _seal(self) -> None:
        if self._unsynced_since is not None:
            self.sync()
        self._close_file()

    def _close_file(self) -> None:
        fd, self._fd = self._fd, None
        self._unsynced_since = None
        if fd is not None:
            self._fs.close(fd)

    def close(self) -> None:
        """Sync, and let another process have the folder; nothing is removed. In a fork nothing is touched."""
        if self._pid != os.getpid():
            return
        try:
            with translated(self._folder.path):
                self._seal()
        finally:
            self._close_file()
            self._stop_reading()
            self._folder.release()
