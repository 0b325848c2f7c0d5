"""What a rewrite leaves out, puts in or moves, as a list over the old file. Pure, and few bytes per edit."""

from __future__ import annotations

from array import array
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RETENTION = ""
"""The reason for bytes that were told to go and need no quarantine."""


class Span(NamedTuple):
    """Bytes of the old file."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length


class Removal(NamedTuple):
    """Bytes that go, and the wire word of why."""

    span: Span
    reason: str


class Edits:
    """Each edit replaces a span (empty: inserts before it) with nothing, with bytes, or with another span."""

    def __init__(self) -> None:
        self._offsets = array("Q")
        self._lengths = array("Q")
        self._reasons = array("B")
        self._words: list[str] = [RETENTION]
        self._fillings: dict[int, bytes | Span] = {}

    def __len__(self) -> int:
        return len(self._offsets)

    def remove(self, offset: int, length: int, reason: str) -> None:
        """Leave bytes out; neighbours with the same reason become one."""
        if reason not in self._words:
            self._words.append(reason)
        code = self._words.index(reason)
        last = len(self._offsets) - 1
        if (
            last >= 0
            and last not in self._fillings
            and self._reasons[last] == code
            and self._offsets[last] + self._lengths[last] == offset
        ):
            self._lengths[last] += length
            return
        self._add(offset, length, code)

    def remove_line(self, offset: int, length: int, ending: int, reason: str) -> None:
        """Leave out a line that was accepted: the carriage return in its ending has an edit of its own."""
        if ending == len(b"\r\n"):
            self.remove(offset, length, reason)
            self.remove(offset + length + 1, 1, reason)
        else:
            self.remove(offset, length + ending, reason)

    def insert(self, offset: int, filling: bytes) -> None:
        """Put ``filling`` before the byte at ``offset``."""
        self._fillings[len(self._offsets)] = filling
        self._add(offset, 0, 0)

    def put(self, at: Span, source: Span) -> None:
        """Write ``source`` where ``at`` was; what was there is written elsewhere."""
        self._fillings[len(self._offsets)] = source
        self._add(at.offset, at.length, 0)

    def withdraw_inserts(self, offsets: set[int]) -> None:
        """Forget what `insert` was to put at ``offsets``."""
        for index, filling in list(self._fillings.items()):
            if isinstance(filling, bytes) and self._offsets[index] in offsets:
                self._fillings[index] = b""

    def _add(self, offset: int, length: int, code: int) -> None:
        self._offsets.append(offset)
        self._lengths.append(length)
        self._reasons.append(code)

    def _sorted(self) -> Sequence[int]:
        if all(before < after for before, after in pairwise(self._offsets)):
            return range(len(self))
        # an insert goes before the removal that begins at the same byte
        return sorted(range(len(self)), key=lambda index: (self._offsets[index], self._lengths[index] > 0))

    def removals(self) -> Iterator[Removal]:
        """Yield what has to lie in quarantine, in file order."""
        for index in self._sorted():
            if self._reasons[index]:
                span = Span(self._offsets[index], self._lengths[index])
                yield Removal(span, self._words[self._reasons[index]])

    def output(self, size: int) -> Iterator[Span | bytes]:
        """Yield the new content, out of an old one of ``size`` bytes."""
        done = 0
        for index in self._sorted():
            offset = self._offsets[index]
            if offset > done:
                yield Span(done, offset - done)
            filling = self._fillings.get(index)
            if filling:
                yield filling
            done = offset + self._lengths[index]
        if size > done:
            yield Span(done, size - done)

    def as_tail_change(self, size: int) -> tuple[int, bytes] | None:
        """Return where to cut the old file and what to add there, ``None`` where that is not enough."""
        kept, added = 0, b""
        for index, part in enumerate(self.output(size)):
            if isinstance(part, bytes):
                added += part
            elif index == 0 and part.offset == 0:
                kept = part.length
            else:
                return None
        return kept, added
