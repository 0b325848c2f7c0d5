"""A small store for records whose own store is away: bounded, durable, replayed in order once it is back."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from papyra.clock import SYSTEM_CLOCK, Clock, mint_incarnation
from papyra.exceptions import (
    BackendClosedError,
    RecordDecodeError,
    StoreFailedError,
    StoreFullError,
)
from papyra.persistence import codec
from papyra.persistence._files.appending import refuse_newer
from papyra.persistence._files.fs import (
    LOCAL_FS,
    Access,
    GivenUp,
    opened,
    read_all,
    store_error,
    translated,
    write_all,
)
from papyra.persistence._files.spilled import (
    Dropped,
    SegmentCheck,
    SpillLimits,
    SpillStats,
    WhenFull,
    note_type,
)
from papyra.persistence._files.spillfolder import Segment, SpillFolder
from papyra.persistence._files.writer import FsyncPolicy
from papyra.persistence.entries import Entry
from papyra.persistence.models import PersistedEvent, RecordId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from papyra.persistence._files.fs import FileSystem
    from papyra.persistence._files.lines import Piece
    from papyra.persistence.models import LossNote

    Encode = Callable[[Sequence[PersistedEvent]], Sequence[Entry]]
    """Gives events identities of the writer."""
    Send = Callable[[Sequence[Entry]], None]
    """Returns once all of these are durable where they belong; knows those it has already."""

_log = logging.getLogger(__name__)

_BATCH_RECORDS = 500
_BATCH_BYTES = 1024 * 1024
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
        """Send the oldest segment, batch by batch, then remove it; whether there is more.

        What ``send`` raises comes out, and the next call goes on from there. Damaged lines go to quarantine,
        and notes of what they took with them are sent too.
        """
        with translated(self._folder.path):
            if not self._folder.is_held and self._folder.is_empty():
                return False
            self._open()
            send = _guarded(send)
            if self._folder.dropped.records:
                send(self._notes((system, note) for system, note in self._folder.dropped.notes()))
                self._folder.forget_dropped()
            if not self._folder.segments:
                return False
            self._replay(self._folder.segments[0], send)
            return bool(self._folder.segments)

    def _replay(self, segment: Segment, send: Send) -> None:
        if self._fd is not None and segment is self._folder.segments[-1]:
            self._seal()
        check = SegmentCheck()
        with opened(self._fs, segment.path) as fd:
            refuse_newer(self._folder.place(segment), fd)
            system_id = ""
            for number, batch in self._batches(fd, check):
                system_id = system_id or batch[0].record.system_id
                if number + len(batch) > segment.sent:
                    send(batch[max(segment.sent - number, 0) :])
                    segment.sent = number + len(batch)
            if check.removals:
                run = mint_incarnation(self._clock.now())
                like = self._fs.fstat(fd)
                self._folder.quarantine(segment).keep(fd, check.removals, like=like, run=run)
        losses = check.losses()
        if losses:
            send(self._notes((system_id, note) for note in losses))
        self._folder.remove(segment)

    def _batches(self, fd: int, check: SegmentCheck) -> Iterator[tuple[int, list[Entry]]]:
        """Yield the records from the first on, each batch with the number of its first."""
        batch: list[Entry] = []
        size = number = 0
        for piece in self._folder.pieces(fd):
            entry = _entry(piece) if check.is_record(piece) else None
            if entry is None:
                continue
            batch.append(entry)
            size += entry.size
            if len(batch) >= _BATCH_RECORDS or size >= _BATCH_BYTES:
                yield number, batch
                number += len(batch)
                batch, size = [], 0
        if batch:
            yield number, batch

    def _notes(self, notes: Iterable[tuple[str, LossNote]]) -> Sequence[Entry]:
        now = self._clock.now()
        return self._encode(
            [PersistedEvent(system, "", note_type(note), note.to_payload(), now) for system, note in notes]
        )

    def _drop(self, segment: Segment) -> None:
        """Let a segment go: first the ledger says so, durably, then the file is removed."""
        if self._fd is not None and segment is self._folder.segments[-1]:
            self._seal()
        check = SegmentCheck()
        with opened(self._fs, segment.path) as fd:
            number = 0
            for piece in self._folder.pieces(fd):
                entry = _entry(piece) if check.is_record(piece) else None
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
            self._folder.release()


def _guarded(send: Send) -> Send:
    """Keep what ``send`` raises, such as a ``ConnectionError``, from being taken for the disk's."""

    def call(batch: Sequence[Entry]) -> None:
        try:
            send(batch)
        except BaseException as error:
            raise GivenUp(error) from error

    return call


def _entry(piece: Piece) -> Entry | None:
    try:
        record = codec.decode_record(piece.text)
    except RecordDecodeError:
        return None
    head = piece.head
    if record is None or head is None:
        return None
    line = piece.text + b"\n"
    checksum = int(codec.checksum_of(piece.text), 16)
    return Entry(record, head.kind, b"", len(line), head.incarnation, head.seq, line, checksum)
