"""The segment at the end of one family: filled, sealed, followed, left behind when a sync fails."""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from papyra.exceptions import StoreFailedError
from papyra.persistence import codec
from papyra.persistence._files.appending import AppendFile
from papyra.persistence._files.folder import read_footer
from papyra.persistence._files.fs import opened, read_all, stat_or_none, store_error
from papyra.persistence._files.keeper import IndexKeeper
from papyra.persistence._files.lines import LineReader, Sort, find_header
from papyra.persistence._files.segments import SegmentName
from papyra.persistence._files.sidecar import discard
from papyra.persistence._files.tally import FOOTER_ROOM, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from papyra.persistence._files.folder import Folder
    from papyra.persistence._files.lines import Piece, Source
    from papyra.persistence._files.scan import Place
    from papyra.persistence.entries import Entry

_log = logging.getLogger(__name__)


class InDoubtError(Exception):
    """A sync failed, and so did starting anew: nothing tells what the medium holds."""


class FamilyWriter:
    """Its methods belong to the writer thread, under the lock. ``OSError``: taken back, as if never tried.

    A segment whose sync fails is left as it was last known to be durable; what was written since goes into
    a new one, which says so in its header. When that fails too, `InDoubtError` is raised.
    """

    def __init__(self, folder: Folder, kind: str, writer: str, *, max_bytes: int, store: str) -> None:
        self._folder = folder
        self._fill_to = max_bytes - FOOTER_ROOM
        self._store = store
        self._file: AppendFile | None = None
        self._name = SegmentName(kind, writer, 0, 1)
        self._start = 0
        self._tally: Tally | None = None
        self._digest: hashlib._Hash | None = None
        self._keeper = IndexKeeper()
        self._is_shaken = False
        self.has_rotated = False
        """Whether a segment was begun since this was last set to false."""

    def append(self, entries: Sequence[Entry], stored: list[Entry], *, is_synced: bool) -> None:
        """Store ``entries`` in order and tell ``stored`` of each part that is."""
        rest = entries
        while rest:
            file = self._ready()
            data = b"".join([entry.line for entry in rest])
            count = len(rest) if len(data) <= self._fill_to - file.end else self._fitting(file, rest)
            if not count:
                self._rotate(file)
                continue
            if count < len(rest):
                data = b"".join([entry.line for entry in rest[:count]])
            self._write(file, rest[:count], data, is_synced=is_synced)
            stored += rest[:count]
            rest = rest[count:]

    def begin(self) -> None:
        """Make sure that there is a segment."""
        self._ready()

    def note(self, entries: Sequence[Entry]) -> None:
        """Store ``entries`` together in the segment that is there."""
        self._write(self._ready(), entries, b"".join([entry.line for entry in entries]), is_synced=True)

    def _ready(self) -> AppendFile:
        if self._file is not None and not self._file.is_current():
            place = self._folder.place_of(self._name)
            _log.warning(
                "%s was replaced or changed by another program; going on with what is there", place.path
            )
            self.drop()
        return self._file or self._open()

    def _open(self) -> AppendFile:
        listing = self._folder.listing()
        mine = [segment.name for segment in listing.segments if segment.name[:2] == self._name[:2]]
        taken = max((name for name in listing.strange if name[:2] == self._name[:2]), default=None)
        last = max(mine, default=None)
        if taken is not None and (last is None or taken > last):
            return self._begin_next(taken.following(0))
        if last is None:
            return self._begin_next(self._name._replace(number=1, base=1))
        place = self._folder.place_of(last)
        with opened(place.fs, place.path) as fd:
            source = partial(read_all, place.fs, fd)
            size = place.fs.fstat(fd).size
            footer = read_footer(source, size)
            header = find_header(source, size)
        if footer is not None:
            return self._begin_next(last.following(footer.records + footer.removed))
        if not size:
            return self._begin_next(last)
        self._file = self._opened(place, None)
        self._start = 0 if header is None else header.end + header.ending
        self._name, self._tally, self._digest = last, None, None
        self._keeper.begin(place, self._file.end)
        return self._file

    def _opened(self, place: Place, header: Callable[[], bytes] | None) -> AppendFile:
        try:
            return AppendFile(place, header)
        except OSError as error:
            if _is_broken(error, place):
                raise InDoubtError(str(error)) from error
            raise

    def _begin_next(self, name: SegmentName) -> AppendFile:
        """Begin the segment of this name or, if a sync fails, the one after it."""
        try:
            return self._begin(name)
        except InDoubtError as doubt:
            if self._is_shaken:
                raise
            self._is_shaken = True
            path = self._folder.place_of(name).path
            _log.critical("%s: %s: trying once more", path, doubt)
            if stat_or_none(self._folder.fs, path) is None:
                return self._begin(name)
            return self._begin(name.following(0), doubtful_from=0)

    def _begin(self, name: SegmentName, *, doubtful_from: int | None = None) -> AppendFile:
        """Begin a segment: durable with its name before anything is acknowledged out of it."""
        header = codec.encode_header(
            store=self._store,
            family=name.family,
            segment=name.number,
            base=name.base,
            doubtful_from=doubtful_from,
        )
        place = self._folder.place_of(name)
        self._file = self._opened(place, lambda: header)
        self._keeper.forget()
        self._keeper.begin(place, self._file.end)
        self._name, self._start = name, len(header)
        self._tally, self._digest = Tally(), hashlib.sha256(header)
        self.has_rotated = self.has_rotated or name.number > 1
        return self._file

    def _fitting(self, file: AppendFile, entries: Sequence[Entry]) -> int:
        room = self._fill_to - file.end
        count = 0
        for entry in entries:
            room -= len(entry.line)
            if room < 0:
                break
            count += 1
        return count or (1 if file.end <= self._start else 0)

    def _write(self, file: AppendFile, entries: Sequence[Entry], data: bytes, *, is_synced: bool) -> None:
        try:
            file.write_synced(data) if is_synced else file.write(data)
        except OSError as error:
            is_broken = _is_broken(error, self._folder.place)
            if not (file.is_doubtful or not file.take_back() or is_broken):
                raise
            self._start_anew(file, entries, error)
            return
        self._is_shaken = False
        self._count((), entries, data)
        self._keeper.add(self._folder.place_of(self._name), entries, data, file.end)

    def _rotate(self, file: AppendFile) -> None:
        """Seal the segment, and begin the next."""
        records = self._seal(file)
        if records is not None:
            self._begin_next(self._name.following(records))

    def _seal(self, file: AppendFile) -> int | None:
        """Return how many records were sealed; ``None`` where a new segment had to be begun instead."""
        if self._tally is None or self._digest is None:
            self._tally, self._digest = tally_of(file.read, file.end)
        tally, end = self._tally, file.end
        sealed_at = float(int(self._folder.clock.now()))
        try:
            file.write(tally.footer(end, self._digest.hexdigest(), removed=0, sealed_at=sealed_at))
        except OSError as error:
            if file.take_back() and not _is_broken(error, self._folder.place):
                raise
            self._start_anew(file, (), error)
            return None
        try:
            file.sync()
        except OSError as error:
            self._start_anew(file, (), error, end=end)
            return None
        self._keeper.save(self._folder.place_of(self._name), file.end)
        self._file = None
        file.close()
        return tally.records

    def _start_anew(
        self, file: AppendFile, entries: Sequence[Entry], error: OSError, *, end: int | None = None
    ) -> None:
        """Leave ``file`` as it was synced last, and write again in a new segment what came after.

        Where that fails, ``file`` keeps all that was acknowledged, and there is no new one.
        """
        old, kept = self._name, 0
        place = self._folder.place_of(old)
        if self._is_shaken:
            raise InDoubtError(str(error)) from error
        self._is_shaken = True
        _log.critical("%s: %s: what was not synced is written again, in a new segment", place.path, error)
        end = file.end if end is None else end
        synced = min(file.synced, end)
        try:
            unsynced = _records_in(file.read(end - synced, synced))
            if self._tally is None:
                kept = tally_of(file.read, synced)[0].records
            else:
                kept = self._tally.records - len(unsynced)
            fresh = self._begin(old.following(kept), doubtful_from=synced)
            data = b"".join([*(piece.text + b"\n" for piece in unsynced), *(entry.line for entry in entries)])
            if data:
                fresh.write_synced(data)
        except (OSError, InDoubtError) as failure:
            file.close(keeping=end)
            self.abandon()
            with suppress(OSError):
                self._folder.fs.remove(self._folder.place_of(old.following(kept)).path)
            raise InDoubtError(str(failure)) from failure
        file.close(keeping=synced)
        with suppress(OSError):
            discard(place.fs, place.path)
        self._count(unsynced, entries, data)

    def _count(self, pieces: Sequence[Piece], entries: Sequence[Entry], data: bytes) -> None:
        """Take in what was written; where it was not counted from the start, it is when it is sealed."""
        if self._tally is None or self._digest is None:
            return
        for piece in pieces:
            if piece.head is not None:
                self._tally.add(piece.head.incarnation, piece.head.seq, piece.head.timestamp)
        self._tally.add_entries(entries)
        self._digest.update(data)

    def sync(self) -> None:
        """Make durable what was written."""
        file = self._file
        if file is not None and file.synced != file.end:
            try:
                file.sync()
            except OSError as error:
                self._start_anew(file, (), error)

    def drop(self) -> None:
        """Make durable what was written, and let go of the file."""
        self.sync()
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def keep_index(self) -> None:
        """Put the index of the family's last segment beside it."""
        place = self._folder.place_of(self._name)
        with suppress(OSError):
            self._keeper.save(place, place.fs.stat(place.path).size)

    def abandon(self) -> None:
        """Let go of the file as it is."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def seal(self) -> None:
        """End the family's last segment, where there is one open that holds anything."""
        file = self._file
        if file is not None and file.end > self._start:
            self._seal(file)


def _is_broken(error: OSError, place: Place) -> bool:
    return isinstance(store_error(error, place.path), StoreFailedError)


def _records_in(data: bytes) -> list[Piece]:
    pieces = LineReader(is_framed=True).pieces(
        lambda length, offset: data[offset : offset + length], len(data)
    )
    return [piece for piece in pieces if piece.sort is Sort.RECORD]


def tally_of(source: Source, end: int) -> tuple[Tally, hashlib._Hash]:
    """Count what the first ``end`` bytes of a segment hold, and return their digest too."""
    tally, digest = Tally(), hashlib.sha256()

    def read(length: int, offset: int) -> bytes:
        chunk = source(length, offset)
        digest.update(chunk)
        return chunk

    for piece in LineReader().pieces(read, end):
        if piece.sort in {Sort.RECORD, Sort.LEGACY} and piece.head is not None:
            tally.add(piece.head.incarnation, piece.head.seq, piece.head.timestamp)
    return tally, digest
