"""What an index knows of a file: a row for each block of whole lines, and which identities it has seen."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING
from zlib import crc32

from papyra.exceptions import RecordDecodeError
from papyra.persistence import codec
from papyra.persistence._files.known import runs_of
from papyra.persistence._files.lines import MAX_LINE_BYTES, READ_BYTES, Block, LineReader, Piece, Sort
from papyra.persistence._files.numbers import Numbers
from papyra.persistence.integrity import LOSS_NOTES, loss_note_of, runs_of_heads
from papyra.persistence.models import KindStats, LossNote, RecordKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from papyra.persistence._files.lines import Source
    from papyra.persistence.entries import Entry
    from papyra.persistence.integrity import Stream

BLOCK_BYTES = 64 * 1024
GROUP = 64
"""So many rows are passed over at once where none of their records can match."""

FRAMED, MIDLINE, MIXED = 1, 2, 4
"""What a row says of its block: a frame stood before it, it begins inside a line, it may hold more than
records of known kinds, each a line of its own and none excluded."""

KINDS = {kind.value: kind for kind in RecordKind}
_INFINITY = float("inf")
_NOTES = [b'"%b"' % word.encode() for word in LOSS_NOTES]
_NO_STREAMS: Mapping[Stream, Numbers] = {}


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
        self._highest = array("d")

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

    def bytes_before(self, block: int) -> int:
        """Return how many bytes the records before this block have."""
        return self.bytes[block - 1] if block else 0

    @property
    def highest(self) -> float:
        """The newest time of all."""
        return max(self.highest_before(len(self.newest) - 1), self.newest[-1])

    def highest_before(self, block: int) -> float:
        """Return the newest time before this block."""
        self._sum_up()
        return self._highest[block - 1] if block else -_INFINITY

    def block_reaching(self, time: float, *, beyond: bool) -> int:
        """Return the first block with a time that is at least ``time``, or more; the last one if none is."""
        self._sum_up()
        return (bisect_right if beyond else bisect_left)(self._highest, time)

    def _sum_up(self) -> None:
        for block in range(len(self._highest), len(self.newest) - 1):  # the last row may still grow
            newest = self.newest[block]
            self._highest.append(max(self._highest[-1], newest) if block else newest)

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
    So is one whose number is ``taken`` by a file before this one.
    """

    def __init__(self, taken: Mapping[Stream, Numbers] = _NO_STREAMS) -> None:
        self.taken = taken
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
        plain = None if self.is_midline else Block.of(self.position, data)
        if plain is not None:
            self._add_plain(plain, data)
            self.is_framed = True
            return True
        start, state = self.position, self._state
        reader = reader_at(start, state)
        pieces: list[Piece] = []
        for part in [*reader.blocks(part_of(data, start), start + len(data), is_growing=True)]:
            if isinstance(part, Block):
                self._add_mixed(pieces, state, data[self.position - start : part.offset - start])
                pieces, state = [], FRAMED
                at = part.offset - start
                self._add_plain(part, data[at : at + sum(map(len, part.lines))])
            else:
                pieces.append(part)
        self._add_mixed(pieces, state, data[self.position - start : reader.position - start])
        self.is_framed, self.is_midline = reader.is_framed, reader.is_midline
        return reader.position > start

    @property
    def _state(self) -> int:
        return (FRAMED if self.is_framed else 0) | (MIDLINE if self.is_midline else 0)

    def _begin_row(self, length: int, state: int) -> None:
        if (
            not self.offsets
            or self.position + length - self.offsets[-1] > BLOCK_BYTES
            or (self.states[-1] ^ state) & MIXED
        ):
            self.offsets.append(self.position)
            self.checksums.append(0)
            self.states.append(state)
            for rows in self.kinds.values():
                rows.begin()

    def _end_row(self, data: bytes) -> None:
        self.checksums[-1] = crc32(data, self.checksums[-1])
        self.position += len(data)

    def _add_plain(self, block: Block, data: bytes) -> None:
        heads, lines = block.heads, block.lines
        if any(head.event_type in LOSS_NOTES for head in heads):
            self._add_mixed([*block.pieces()], FRAMED, data)
            return
        self._begin_row(len(data), FRAMED)
        runs = runs_of_heads(heads)
        for stream, part in runs:
            seqs = [head.seq for head in heads[part]]
            times = [head.timestamp for head in heads[part]]
            size = len(data) if len(runs) == 1 else sum(map(len, lines[part]))
            is_run = seqs == [*range(seqs[0], seqs[0] + len(seqs))]
            if not (is_run and self._extend(stream, seqs[0], times, size)):
                at = block.offset + sum(map(len, lines[: part.start]))
                self._add_each(stream, zip(seqs, times, map(len, lines[part]), strict=True), at)
        self._end_row(data)

    def _extend(self, stream: Stream, first: int, times: Sequence[float], size: int) -> bool:
        """Add neighbours if they lie beyond all others of their stream; whether they do."""
        if stream in self.taken or not self.of(stream).extend(first, len(times)):
            return False
        self.kinds[KINDS[stream[1]]].add(len(times), size, min(times), max(times))
        return True

    def _add_each(self, stream: Stream, records: Iterable[tuple[int, float, int]], at: int) -> None:
        """Add records of one stream that stand from ``at`` on: number, time and size of each."""
        rows = self.kinds[KINDS[stream[1]]]
        for seq, time, size in records:
            if self._is_new(stream, seq):
                rows.add(1, size, time, time)
            else:
                self._exclude(at)
            at += size

    def _is_new(self, stream: Stream, seq: int) -> bool:
        return self.of(stream).add(seq) and seq not in self.taken.get(stream, ())

    def _exclude(self, offset: int) -> None:
        self.excluded.append(offset)
        self.states[-1] |= MIXED

    def _add_mixed(self, pieces: Sequence[Piece], state: int, data: bytes) -> None:
        if not data:
            return
        self._begin_row(len(data), state | MIXED)
        for piece in pieces:
            self._judge(piece)
        self._end_row(data)

    def _judge(self, piece: Piece) -> None:
        head = piece.head
        if piece.sort is Sort.HEADER:
            self.newer = self.newer or newer_format_of(piece)
        elif head is not None and head.kind in KINDS:
            if head.seq and not self._is_new((head.incarnation, head.kind), head.seq):
                self._exclude(piece.offset)
                return
            size = len(piece.text) + 1
            self.kinds[KINDS[head.kind]].add(1, size, head.timestamp, head.timestamp)
            note = loss_note_of(head)
            if note is not None:
                self.notes.append(note)

    def of(self, stream: Stream) -> Numbers:
        """Return the numbers of this stream, to read or to add to."""
        found = self.numbers.get(stream)
        if found is None:
            found = self.numbers[stream] = Numbers()
        return found

    def add_written(self, entries: Sequence[Entry], data: bytes) -> None:
        """Take in ``data``, whole lines just written at `position`: those of ``entries``, in order."""
        if any(word in data for word in _NOTES):
            self._take(data)
            return
        at = 0
        for run in runs_of(entries):
            stop = at + sum([len(entry.line) for entry in run])
            first, seq = run[0], run[0].seq
            times = [time for entry in run for time in entry.timestamps]
            stream = (first.incarnation, first.kind)
            while at < stop:
                end = stop if stop - at <= BLOCK_BYTES else _line_end(data, at, stop)
                lines = data if end - at == len(data) else data[at:end]
                count = len(times) if end == stop else lines.count(b"\n")
                self._add_run(stream, seq, times[:count], lines)
                at, seq, times = end, seq + count, times[count:]
        self.is_framed = True

    def _add_run(self, stream: Stream, first: int, times: Sequence[float], lines: bytes) -> None:
        self._begin_row(len(lines), FRAMED)
        if not self._extend(stream, first, times, len(lines)):
            sizes = map(len, lines.splitlines(keepends=True))
            numbered = zip(range(first, first + len(times)), times, sizes, strict=True)
            self._add_each(stream, numbered, self.position)
        self._end_row(lines)

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


def newer_format_of(piece: Piece) -> int:
    """Return the format of a header of a newer version, 0 for any other."""
    try:
        found = codec.decode_header(piece.text).format
    except RecordDecodeError:
        return 0
    return found if found > codec.FORMAT else 0


def bytes_of(source: Source, start: int, end: int) -> bytes:
    """Read a block, a long one in parts: each is a chance for others."""
    if end - start <= READ_BYTES:
        return source(end - start, start)
    return b"".join(source(min(READ_BYTES, end - at), at) for at in range(start, end, READ_BYTES))


def _whole_lines(source: Source, start: int, end: int) -> bytes:
    """Return a block of lines from ``start`` on; of a line without end, as much as there is."""
    parts: list[bytes] = []
    length, at = BLOCK_BYTES, start
    while at < end and at - start <= MAX_LINE_BYTES:
        data = source(min(length, end - at), at)
        cut = data.rfind(b"\n") + 1
        parts.append(data[:cut] or data)
        at += len(data)
        if cut or not data:
            break
        length = READ_BYTES
    return b"".join(parts)


def _line_end(data: bytes, start: int, stop: int) -> int:
    """Return where the lines from ``start`` on end that make a block, at least one."""
    end = data.rfind(b"\n", start, start + BLOCK_BYTES) + 1
    return end or data.index(b"\n", start, stop) + 1
