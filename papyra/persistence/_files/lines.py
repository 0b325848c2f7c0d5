"""Cut a file into pieces: records, blank lines, junk. Memory is bounded by the longest line there can be."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from papyra.exceptions import RecordDecodeError
from papyra.persistence import codec
from papyra.persistence._files.damage import find_frames, has_frame_end

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    Source = Callable[[int, int], bytes]
    """Returns up to that many bytes from that offset; fewer only where the file ends."""

READ_BYTES = 256 * 1024
MAX_LINE_BYTES = 4 * codec.MAX_RECORD_BYTES
"""A longer line without newline is cut in parts: any frame in it is still found."""

_BOM = b"\xef\xbb\xbf"


class Sort(Enum):
    """What a piece is: the first three are sound."""

    RECORD = "record"
    LEGACY = "legacy"
    HEADER = "header"
    BLANK = "blank"
    BOM = "bom"
    JUNK = "junk"


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
        held: list[bytes] = []
        held_bytes = 0
        at = self.position
        while at < end and (chunk := source(min(READ_BYTES, end - at), at)):
            at += len(chunk)
            first, *others = chunk.split(b"\n")
            held.append(first)
            held_bytes += len(first)
            if others:
                *whole, last = others
                yield from self._line(b"".join(held), 1)
                for text in whole:
                    yield from self._line(text, 1)
                held, held_bytes = [last], len(last)
            elif held_bytes > MAX_LINE_BYTES:
                text = b"".join(held)
                held.clear()
                text = yield from self._part(text)
                held, held_bytes = [text], len(text)
        text = b"".join(held)
        if text:  # short of the end: the file was cut meanwhile, and what is held may be gone
            yield from self._growing(text) if is_growing or at < end else self._last_line(text)

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
        sort = Sort.HEADER if head.kind == codec.HEADER_KIND else Sort.RECORD
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
