"""Cut a file into pieces: records, blank lines, junk. Memory is bounded by the longest line there can be."""

from __future__ import annotations

from enum import Enum
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from papyra.exceptions import RecordDecodeError
from papyra.persistence import codec
from papyra.persistence._files import many
from papyra.persistence._files.damage import find_frames, has_frame_end

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    Source = Callable[[int, int], bytes]
    """Returns up to that many bytes from that offset; fewer only where the file ends."""

READ_BYTES = 128 * 1024
MAX_LINE_BYTES = 4 * codec.MAX_RECORD_BYTES
"""A longer line without newline is cut in parts: any frame in it is still found."""

ENDS_BYTES = 4096
"""A header and a footer fit in this many bytes each."""

FEW_LINES = 64
"""So many lines are judged one by one where a line among them needs a look of its own."""

Part = TypeVar("Part")

_BOM = b"\xef\xbb\xbf"


class Sort(Enum):
    """What a piece is: the first four are sound."""

    RECORD = "record"
    LEGACY = "legacy"
    HEADER = "header"
    FOOTER = "footer"
    BLANK = "blank"
    BOM = "bom"
    JUNK = "junk"


_SORTS = {codec.HEADER_KIND: Sort.HEADER, codec.FOOTER_KIND: Sort.FOOTER}


class Piece(NamedTuple):
    """One run of bytes. ``ending`` is the length of the line end right after it: none, LF, or CR LF."""

    sort: Sort
    offset: int
    text: bytes
    ending: int
    head: codec.Head | None = None
    is_line: bool = True
    """Whether it fills its physical line."""
    is_last: bool = False
    """Whether the file ends in it, with no newline."""

    @property
    def end(self) -> int:
        return self.offset + len(self.text)

    @property
    def is_sound(self) -> bool:
        return self.head is not None

    def pieces(self) -> Iterator[Piece]:
        """Yield it, as `Block.pieces` does with many."""
        yield self


class Block(NamedTuple):
    """Neighbouring lines that end in LF, each a framed, sound record of a known kind and nothing else."""

    offset: int
    lines: Sequence[bytes]
    heads: Sequence[codec.Head]
    checksums: Sequence[int]

    @classmethod
    def of(cls, offset: int, whole: bytes) -> Block | None:
        """Judge whole lines, the last one's end included; ``None`` where one needs a look of its own."""
        lines = BytesIO(whole).readlines()  # split() goes byte by byte
        checksums = many.sound_checksums(lines)
        heads = None if checksums is None else many.decode_heads(whole)
        if checksums is None or heads is None or len(heads) != len(lines):
            return None
        return cls(offset, lines, heads, checksums)

    def pieces(self) -> Iterator[Piece]:
        """Yield each line as the piece it is."""
        offset = self.offset
        for line, head in zip(self.lines, self.heads, strict=True):
            yield Piece(Sort.RECORD, offset, line[:-1], 1, head)
            offset += len(line)

    def parts(self) -> Iterator[Block]:
        """Yield the same as smaller blocks."""
        offset = self.offset
        for at in range(0, len(self.lines), FEW_LINES):
            few = slice(at, at + FEW_LINES)
            lines = self.lines[few]
            yield Block(offset, lines, self.heads[few], self.checksums[few])
            offset += sum(map(len, lines))


class LineReader:
    """Reads pieces in file order; knows whether a frame was seen, after which no line is legacy any more."""

    def __init__(self, *, is_framed: bool = False) -> None:
        self.is_framed = is_framed
        self.position = 0
        """How far the pieces given so far reach: where to go on once the file has grown."""
        self.is_midline = False
        """Whether that is inside a line, whose rest is then judged by itself."""

    def pieces(self, source: Source, end: int, *, is_growing: bool = False) -> Iterator[Piece]:
        """Yield the pieces from `position` up to ``end``.

        In a growing file an unfinished last line is given only as far as it is sound: more may come.
        """
        return self._read(source, end, self._lines, is_growing=is_growing)

    def blocks(self, source: Source, end: int, *, is_growing: bool = False) -> Iterator[Piece | Block]:
        """Yield the same, with neighbouring sound records as blocks where they are, which is faster."""
        return self._read(source, end, self._blocks, is_growing=is_growing)

    def _read(
        self,
        source: Source,
        end: int,
        judge: Callable[[bytes], Iterator[Part]],
        *,
        is_growing: bool,
    ) -> Iterator[Piece | Part]:
        held: list[bytes] = []
        held_bytes = 0
        at = self.position
        while at < end and (chunk := source(min(READ_BYTES, end - at), at)):
            at += len(chunk)
            start, stop = chunk.find(b"\n"), chunk.rfind(b"\n")
            held.append(chunk if start < 0 else chunk[:start])
            held_bytes += len(held[-1])
            if start >= 0:
                yield from self._line(b"".join(held), 1)
                if start < stop:
                    yield from judge(chunk[start + 1 : stop + 1])
                held = [chunk[stop + 1 :]]
                held_bytes = len(held[0])
            elif held_bytes > MAX_LINE_BYTES:
                text = b"".join(held)
                held.clear()
                text = yield from self._part(text)
                held, held_bytes = [text], len(text)
        text = b"".join(held)
        if text:  # short of the end: the file was cut meanwhile, and what is held may be gone
            yield from self._growing(text) if is_growing or at < end else self._last_line(text)

    def _lines(self, whole: bytes) -> Iterator[Piece]:
        for line in BytesIO(whole):
            yield from self._line(line[:-1], 1)

    def _blocks(self, whole: bytes) -> Iterator[Piece | Block]:
        """Yield blocks out of whole lines, where need be smaller ones and pieces."""
        block = self._block(whole)
        if block is not None:
            yield block
            return
        lines = BytesIO(whole).readlines()
        for at in range(0, len(lines), FEW_LINES):
            few = b"".join(lines[at : at + FEW_LINES])
            block = self._block(few)
            if block is not None:
                yield block
            else:
                yield from self._lines(few)

    def _block(self, whole: bytes) -> Block | None:
        block = Block.of(self.position, whole)
        if block is not None:
            self.position += len(whole)
            self.is_framed = True
        return block

    def _line(self, text: bytes, newline: int) -> Iterable[Piece]:
        offset = self.position
        self.position += len(text) + newline
        if self.is_midline:
            self.is_midline = False
            if newline and text in {b"", b"\r"}:
                return ()  # only the end of the line whose record was given before
            return (piece._replace(is_line=False) for piece in self._judge(text, offset, newline))
        if text.startswith(codec.FRAME_HEAD) and codec.is_framed(text) and codec.has_sound_checksum(text):
            return (self._frame(text, offset, newline, is_line=True),)
        return self._judge(text, offset, newline)

    def _last_line(self, text: bytes) -> list[Piece]:
        *others, last = self._line(text, 0)
        return [*others, last._replace(is_last=True)]

    def _frame(self, text: bytes, offset: int, ending: int, *, is_line: bool) -> Piece:
        self.is_framed = True
        try:
            head = codec.decode_head(text)
        except RecordDecodeError:
            return Piece(Sort.JUNK, offset, text, ending, None, is_line)
        sort = _SORTS.get(head.kind, Sort.RECORD)
        return Piece(sort, offset, text, ending, head, is_line)

    def _judge(self, text: bytes, offset: int, newline: int) -> Iterator[Piece]:
        if offset == 0 and text.startswith(_BOM):
            yield Piece(Sort.BOM, 0, _BOM, 0, is_line=False)
            text, offset = text[len(_BOM) :], len(_BOM)
        ending = newline
        if newline and text.endswith(b"\r"):
            text, ending = text[:-1], 2
        if not text.strip(b" \t\r"):
            if text or newline:
                yield Piece(Sort.BLANK, offset, text, ending)
        elif (head := self._legacy_head(text)) is not None:
            yield Piece(Sort.LEGACY, offset, text, ending, head)
        else:
            yield from self._salvage(text, offset, ending)

    def _legacy_head(self, text: bytes) -> codec.Head | None:
        if self.is_framed:
            return None
        if has_frame_end(text):  # a damaged frame, however readable, is never taken for a legacy line
            self.is_framed = True
            return None
        try:
            return codec.decode_legacy_head(text)
        except RecordDecodeError:
            return None

    def _salvage(self, text: bytes, offset: int, ending: int) -> Iterator[Piece]:
        done = 0
        for start, stop in find_frames(text):
            if start > done:
                yield _unsound(text[done:start], offset + done, 0)
            line_end = ending if stop == len(text) else 0
            is_line = start == 0 and stop == len(text)
            yield self._frame(text[start:stop], offset + start, line_end, is_line=is_line)
            done = stop
        if done == 0:
            yield Piece(Sort.JUNK, offset, text, ending)
        elif done < len(text):
            yield _unsound(text[done:], offset + done, ending)

    def _part(self, text: bytes) -> Generator[Piece, None, bytes]:
        """Give what is certain of an endless line; returns the rest, in which a frame may begin."""
        offset = self.position
        cut = text.find(codec.FRAME_HEAD, len(text) - codec.MAX_RECORD_BYTES)
        if cut < 0:
            cut = len(text) - len(codec.FRAME_HEAD)
        for start, stop in find_frames(text):
            cut = max(cut, stop) if stop < len(text) else start
        self.position += cut
        self.is_midline = True
        rest, text = text[cut:], text[:cut]
        for piece in self._salvage(text, offset, 0):
            yield piece._replace(is_line=False)
        return rest

    def _growing(self, text: bytes) -> Iterator[Piece]:
        start = self.position
        pieces = self._last_line(text)
        while pieces and not pieces[-1].is_sound:
            pieces.pop()
        self.position = pieces[-1].end if pieces else start
        self.is_midline = bool(pieces)
        yield from pieces


def _unsound(text: bytes, offset: int, ending: int) -> Piece:
    sort = Sort.JUNK if text.strip(b" \t\r") else Sort.BLANK
    return Piece(sort, offset, text, ending, is_line=False)


def find_header(source: Source, size: int) -> Piece | None:
    """Return the header that stands before every record, whatever damage it stands in."""
    for end in (min(ENDS_BYTES, size), size):
        for piece in LineReader().pieces(source, end):
            if piece.is_sound:
                return piece if piece.sort is Sort.HEADER else None
    return None


def read_header(source: Source, size: int) -> codec.Header | None:
    """Return what that header says, ``None`` where there is none."""
    piece = find_header(source, size)
    try:
        return None if piece is None else codec.decode_header(piece.text)
    except RecordDecodeError:
        return None
