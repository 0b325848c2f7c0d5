"""The records of one kind in files that follow each other, as one sequence."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate
from math import inf
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from papyra.persistence._files.index import Chunk, FileIndex, Spot
    from papyra.persistence.models import RecordKind


class Span(NamedTuple):
    """How much something is, in records and in bytes."""

    records: int
    size: int


class Chain:
    """A record's place is how many of its kind stand before it.

    Its key is the newest time up to it, by which records of several chains are put in one order: each chain
    stays in its own. ``is_oldest``: it comes before all others, whatever its times.
    """

    def __init__(self, files: Sequence[FileIndex], kind: RecordKind, *, is_oldest: bool = False) -> None:
        self.files = [file for file in files if file.count(kind)]
        self.kind = kind
        self.is_oldest = is_oldest
        self.rows = [file.blocks.kinds[kind] for file in self.files]
        self._starts = [0, *accumulate(rows.total for rows in self.rows)]
        self._sizes = [0, *accumulate(rows.total_bytes for rows in self.rows)]
        self._newest: list[float] | None = None

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def size(self) -> int:
        return self._sizes[-1]

    def place_of(self, spot: Spot) -> int:
        """Return the place of a record that was found in one of the files."""
        return self._starts[self.files.index(spot.file)] + spot.ordinal

    def spot(self, place: int) -> Spot:
        """Return the record at ``place``."""
        at = bisect_right(self._starts, place) - 1
        return self.files[at].spot(self.kind, place - self._starts[at])

    def chunks(
        self, first: int, stop: int, since: float, until: float, *, is_backward: bool
    ) -> Iterator[Chunk]:
        """Yield the records from ``first`` to before ``stop``, without blocks where no time is in range."""
        count = len(self.files)
        for at in range(count - 1, -1, -1) if is_backward else range(count):
            base = self._starts[at]
            low, high = max(first, base), min(stop, self._starts[at + 1])
            if low < high:
                yield from self.files[at].chunks(
                    self.kind, low - base, high - base, since, until, is_backward=is_backward
                )

    def bytes_before(self, place: int) -> int:
        """Return how many bytes the records before ``place`` have."""
        if place == len(self):
            return self.size
        at = bisect_right(self._starts, place) - 1
        rows, ordinal = self.rows[at], place - self._starts[at]
        block = rows.block_of(ordinal)
        lines = self.files[at].lines(self.kind, block).texts[: ordinal - rows.before(block)]
        return self._sizes[at] + rows.bytes_before(block) + sum(map(len, lines)) + len(lines)

    def first_fitting(self, budget: int) -> int:
        """Return the place from which on all have no more bytes than ``budget``."""
        for at in range(len(self.files) - 1, -1, -1):
            rows = self.rows[at]
            if rows.total_bytes <= budget:
                budget -= rows.total_bytes
                continue
            block = bisect_right(rows.bytes, rows.total_bytes - budget - 1)
            fitting = rows.counts[block]
            budget -= rows.total_bytes - rows.bytes[block]
            for text in reversed(self.files[at].lines(self.kind, block).texts):
                budget -= len(text) + 1
                if budget < 0:
                    break
                fitting -= 1
            return self._starts[at] + fitting
        return 0

    def _newest_to(self) -> list[float]:
        """Return the newest time before each file, and before the end."""
        if self._newest is None:
            self._newest = [-inf, *accumulate((rows.highest for rows in self.rows), max)]
        return self._newest

    def keys(self, chunk: Chunk) -> list[float]:
        """Return the key of each record of the block of ``chunk``."""
        return self._keys(self.files.index(chunk.file), chunk.block)

    def _keys(self, at: int, block: int) -> list[float]:
        if self.is_oldest:
            return [-inf] * self.rows[at].count(block)
        highest = max(self._newest_to()[at], self.rows[at].highest_before(block))
        keys = accumulate(self.files[at].times(self.kind, block), max, initial=highest)
        next(keys)
        return [*keys]

    def key(self, place: int) -> float:
        """Return the key of the record at ``place``."""
        chunk = next(self.chunks(place, place + 1, -inf, inf, is_backward=False))
        return self.keys(chunk)[chunk.low]

    def place_at(self, key: float, *, beyond: bool) -> int:
        """Return how many records have a lower key than this or, ``beyond``, one no higher."""
        if self.is_oldest:
            return 0 if key == -inf and not beyond else len(self)
        found = self._block_at(key, beyond=beyond)
        if found is None:
            return len(self)
        at, block = found
        bisect = bisect_right if beyond else bisect_left
        return self._starts[at] + self.rows[at].before(block) + bisect(self._keys(at, block), key)

    def before(self, key: float) -> Span:
        """Return what lies in the blocks before the first with this key, a finite one; nothing is read."""
        found = None if self.is_oldest else self._block_at(key, beyond=False)
        if found is None:
            return Span(len(self), self.size)
        at, block = found
        rows = self.rows[at]
        return Span(self._starts[at] + rows.before(block), self._sizes[at] + rows.bytes_before(block))

    def _block_at(self, key: float, *, beyond: bool) -> tuple[int, int] | None:
        """Return file and block of the first record with a key that is at least this or, ``beyond``, more."""
        at = max((bisect_right if beyond else bisect_left)(self._newest_to(), key) - 1, 0)
        return None if at == len(self.files) else (at, self.rows[at].block_reaching(key, beyond=beyond))
