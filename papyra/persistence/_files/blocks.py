"""What an index knows of a file: a row for each block of whole lines, and which identities it has seen."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING
from zlib import crc32

from papyra.exceptions import RecordDecodeError
from papyra.persistence import codec
from papyra.persistence._files.known import runs_of
from papyra.persistence._files.lines import MAX_LINE_BYTES, LineReader, Piece, Sort
from papyra.persistence._files.numbers import Numbers
from papyra.persistence.integrity import loss_note_of
from papyra.persistence.models import KindStats, LossNote, RecordKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from papyra.persistence._files.lines import Source
    from papyra.persistence.entries import Entry
    from papyra.persistence.integrity import Stream

BLOCK_BYTES = 64 * 1024
GROUP = 64
"""So many rows are passed over at once where none of their records can match."""

FRAMED, MIDLINE, MIXED = 1, 2, 4
"""What a row says of its block: a frame stood before it, it begins inside a line, it holds more than records
of known kinds, each a line of its own and none excluded."""

_KINDS = {kind.value: kind for kind in RecordKind}
_INFINITY = float("inf")
_NOTE = b'"event_type":"Records'


class KindRows:
    """Of each block: how many records of one kind it holds, their bytes and their times.

    Counts and bytes are summed up, from the beginning of the file to the end of the block.
    """

    def __init__(self) -> None:
        self.counts = array("Q")
        self.bytes = array("Q")
        self.oldest = array("d")
        self.newest = array("d")
        self._group_oldest: list[float] = []
        self._group_newest: list[float] = []

    def begin(self) -> None:
        """Begin the row of the next block."""
        self.counts.append(self.total)
        self.bytes.append(self.total_bytes)
        self.oldest.append(_INFINITY)
        self.newest.append(-_INFINITY)

    def add(self, count: int, size: int, oldest: float, newest: float) -> None:
        """Count records into the last row."""
        self.counts[-1] += count
        self.bytes[-1] += size
        self.oldest[-1] = min(self.oldest[-1], oldest)
        self.newest[-1] = max(self.newest[-1], newest)

    @property
    def total(self) -> int:
        return self.counts[-1] if self.counts else 0

    @property
    def total_bytes(self) -> int:
        return self.bytes[-1] if self.bytes else 0

    def before(self, block: int) -> int:
        """Return how many records stand before this block."""
        return self.counts[block - 1] if block else 0

    def count(self, block: int) -> int:
        return self.counts[block] - self.before(block)

    def block_of(self, ordinal: int) -> int:
        """Return the block that holds the record with this number of those of its kind, from 0 on."""
        return bisect_right(self.counts, ordinal)

    def blocks(self, first: int, stop: int, since: float, until: float, step: int) -> Iterator[int]:
        """Yield the blocks from ``first`` to before ``stop`` that may hold times in this range."""
        self._group()
        block = first if step > 0 else stop - 1
        while first <= block < stop:
            group, at = divmod(block, GROUP)
            if group < len(self._group_oldest) and (
                self._group_newest[group] < since or self._group_oldest[group] >= until
            ):
                block += GROUP - at if step > 0 else -at - 1
                continue
            if self.newest[block] >= since and self.oldest[block] < until and self.count(block):
                yield block
            block += step

    def _group(self) -> None:
        while (len(self._group_oldest) + 1) * GROUP < len(self.counts):  # the last row may still grow
            rows = slice(len(self._group_oldest) * GROUP, (len(self._group_oldest) + 1) * GROUP)
            self._group_oldest.append(min(self.oldest[rows]))
            self._group_newest.append(max(self.newest[rows]))

    def stats(self) -> KindStats:
        if not self.total:
            return KindStats()
        return KindStats(
            records=self.total, bytes=self.total_bytes, oldest=min(self.oldest), newest=max(self.newest)
        )


class Blocks:
    """Rows over the bytes up to `position`. The last block grows, up to its size, as the file does.

    A record whose number its stream has had already is excluded, whatever its bytes: the first one counts.
    """

    def __init__(self) -> None:
        self.offsets = array("Q")
        self.checksums = array("I")
        self.states = array("B")
        self.kinds = {kind: KindRows() for kind in RecordKind}
        self.excluded = array("Q")
        self.numbers: dict[Stream, Numbers] = {}
        self.notes: list[LossNote] = []
        self.position = 0
        self.is_framed = False
        self.is_midline = False
        self.newer = 0
        """The format of a header of a newer version, after which nothing is shown."""

    def __len__(self) -> int:
        return len(self.offsets)

    def end(self, block: int) -> int:
        """Return where this block ends."""
        return self.offsets[block + 1] if block + 1 < len(self.offsets) else self.position

    def feed(self, source: Source, end: int) -> None:
        """Take in the bytes up to ``end``; an unfinished last line only as far as it is sound."""
        while self.position < end and not self.newer:
            if not self._take(_whole_lines(source, self.position, end)):
                return

    def _take(self, data: bytes) -> bool:
        if self.is_framed and not self.is_midline and self._take_plain(data):
            return True
        start = self.position
        state = (FRAMED if self.is_framed else 0) | (MIDLINE if self.is_midline else 0)
        reader = reader_at(start, state)
        pieces = list(reader.pieces(part_of(data, start), start + len(data), is_growing=True))
        length = reader.position - start
        if not length:
            return False
        self._begin_row(length, state)
        if not self._has_plain_lines(pieces):
            self.states[-1] |= MIXED
        for piece in pieces:
            self._judge(piece)
        self._end_row(data[:length])
        self.is_framed, self.is_midline = reader.is_framed, reader.is_midline
        return True

    def _take_plain(self, data: bytes) -> bool:
        """Take in ``data`` if it is nothing but sound lines of known kinds: the same result, sooner."""
        texts = data.split(b"\n")
        if texts.pop():
            return False
        heads = [head for text in texts if (head := _head_or_none(text)) is not None]
        if len(heads) < len(texts):
            return False
        self._begin_row(len(data), FRAMED)
        at = self.position
        for text, head in zip(texts, heads, strict=True):
            self._place(head, at, len(text) + 1)
            at += len(text) + 1
        self._end_row(data)
        return True

    def _begin_row(self, length: int, state: int) -> None:
        if not self.offsets or self.position + length - self.offsets[-1] > BLOCK_BYTES:
            self.offsets.append(self.position)
            self.checksums.append(0)
            self.states.append(state)
            for rows in self.kinds.values():
                rows.begin()

    def _end_row(self, data: bytes) -> None:
        self.checksums[-1] = crc32(data, self.checksums[-1])
        self.position += len(data)

    def _has_plain_lines(self, pieces: Sequence[Piece]) -> bool:
        return (
            bool(self.states[-1] & FRAMED)
            and not self.is_midline
            and all(
                piece.sort is Sort.RECORD
                and piece.is_line
                and piece.ending == 1
                and piece.head is not None
                and piece.head.kind in _KINDS
                for piece in pieces
            )
        )

    def _judge(self, piece: Piece) -> None:
        head = piece.head
        if piece.sort is Sort.HEADER:
            self.newer = self.newer or newer_format_of(piece)
        elif head is not None and head.kind in _KINDS:
            self._place(head, piece.offset, len(piece.text) + 1)

    def _place(self, head: codec.Head, offset: int, size: int) -> None:
        if head.seq and not self.of(head.incarnation, head.kind).add(head.seq):
            self.excluded.append(offset)
            self.states[-1] |= MIXED
            return
        self.kinds[_KINDS[head.kind]].add(1, size, head.timestamp, head.timestamp)
        if head.event_type:
            note = loss_note_of(head)
            if note is not None:
                self.notes.append(note)

    def of(self, incarnation: str, kind: str) -> Numbers:
        """Return the numbers of this stream, to read or to add to."""
        found = self.numbers.get((incarnation, kind))
        if found is None:
            found = self.numbers[incarnation, kind] = Numbers()
        return found

    def add_written(self, entries: Sequence[Entry], data: bytes) -> None:
        """Take in ``data``, whole lines just written at `position`: those of ``entries``, in order."""
        done = 0
        for part in _parts(entries, -(-len(data) // BLOCK_BYTES)):
            size = len(data) if len(part) == len(entries) else _size_of(part)
            self._begin_row(size, FRAMED)
            if not self.states[-1] & FRAMED:
                self.states[-1] |= MIXED
            at = self.position
            for run in runs_of(part):
                self._add_run(run, at)
                at += size if len(run) == len(part) else _size_of(run)
            self._end_row(data if size == len(data) else data[done : done + size])
            done += size
        if _NOTE in data:
            self._learn_notes(entries)
        self.is_framed = True

    def _add_run(self, run: Sequence[Entry], at: int) -> None:
        first = run[0]
        numbers, rows = self.of(first.incarnation, first.kind), self.kinds[_KINDS[first.kind]]
        if numbers.extend(first.seq, len(run)):
            times = [entry.origin.timestamp for entry in run]
            rows.add(len(run), _size_of(run), min(times), max(times))
            return
        for entry in run:
            if numbers.add(entry.seq):
                rows.add(1, len(entry.line), entry.origin.timestamp, entry.origin.timestamp)
            else:
                self.excluded.append(at)
                self.states[-1] |= MIXED
            at += len(entry.line)

    def _learn_notes(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            note = loss_note_of(codec.decode_head(entry.line[:-1])) if _NOTE in entry.line else None
            if note is not None:
                self.notes.append(note)

    def is_noted(self, incarnation: str, kind: str, seq: int) -> bool:
        """Whether a loss note covers this identity."""
        return any(
            (note.incarnation, note.kind) == (incarnation, kind) and note.first <= seq <= note.last
            for note in self.notes
        )


def reader_at(position: int, state: int) -> LineReader:
    """Return a reader that goes on at ``position`` as the one did that came there."""
    reader = LineReader(is_framed=bool(state & FRAMED))
    reader.position, reader.is_midline = position, bool(state & MIDLINE)
    return reader


def part_of(data: bytes, start: int) -> Source:
    """Return a source of the bytes from ``start`` on, as they are in the file."""
    return lambda length, offset: data[offset - start : offset - start + length]


def _head_or_none(text: bytes) -> codec.Head | None:
    """Return the head of a sound line of a known kind, ``None`` for any other text."""
    if not codec.is_framed(text) or not codec.has_sound_checksum(text):
        return None
    try:
        head = codec.decode_head(text)
    except RecordDecodeError:
        return None
    return head if head.kind in _KINDS else None


def newer_format_of(piece: Piece) -> int:
    """Return the format of a header of a newer version, 0 for any other."""
    try:
        found = codec.decode_header(piece.text).format
    except RecordDecodeError:
        return 0
    return found if found > codec.FORMAT else 0


def _whole_lines(source: Source, start: int, end: int) -> bytes:
    """Return a block of lines from ``start`` on; of a line without end, as much as there is."""
    length = BLOCK_BYTES
    while True:
        data = source(min(length, end - start), start)
        cut = data.rfind(b"\n") + 1
        if cut or len(data) < length or len(data) > MAX_LINE_BYTES:
            return data[:cut] or data
        length *= 2


def _parts(entries: Sequence[Entry], count: int) -> Iterator[Sequence[Entry]]:
    if count == 1:
        yield entries
        return
    length = -(-len(entries) // count)
    for start in range(0, len(entries), length):
        yield entries[start : start + length]


def _size_of(entries: Sequence[Entry]) -> int:
    return sum([len(entry.line) for entry in entries])
