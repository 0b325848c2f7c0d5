"""Which sequence numbers of one stream are there, as runs: a million in a row take no more room than one."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Numbers:
    """Runs of neighbours, in order, with a gap between any two."""

    __slots__ = ("_ends", "_firsts")

    def __init__(self, runs: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._ends: list[int] = []
        for first, end in runs:
            self._firsts.append(first)
            self._ends.append(end)

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._firsts, self._ends, strict=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Numbers) and [*self] == [*other]

    __hash__ = None  # type: ignore[assignment]  # it grows

    def __contains__(self, number: int) -> bool:
        after = bisect_right(self._firsts, number)
        return after > 0 and number < self._ends[after - 1]

    @property
    def first(self) -> int:
        """The lowest number, 0 for none."""
        return self._firsts[0] if self._firsts else 0

    def common(self, other: Numbers) -> Numbers:
        """Return what both hold."""
        found: list[tuple[int, int]] = []
        for first, end in other:
            at = max(bisect_right(self._firsts, first) - 1, 0)
            while at < len(self._firsts) and self._firsts[at] < end:
                start, stop = max(first, self._firsts[at]), min(end, self._ends[at])
                if start < stop:
                    found.append((start, stop))
                at += 1
        return Numbers(found)

    def joined(self, other: Numbers) -> Numbers:
        """Return what either holds."""
        found: list[tuple[int, int]] = []
        for first, end in sorted([*self, *other]):
            if found and first <= found[-1][1]:
                found[-1] = found[-1][0], max(found[-1][1], end)
            else:
                found.append((first, end))
        return Numbers(found)

    def extend(self, first: int, count: int) -> bool:
        """Add ``count`` neighbours that lie beyond all others; whether they do, else nothing is added."""
        ends = self._ends
        if ends and first <= ends[-1]:
            if first < ends[-1]:
                return False
            ends[-1] += count
        else:
            self._firsts.append(first)
            ends.append(first + count)
        return True

    def add(self, number: int) -> bool:
        """Add ``number``; whether it was not there yet."""
        if self.extend(number, 1):
            return True
        firsts, ends = self._firsts, self._ends
        after = bisect_right(firsts, number)
        if after and number < ends[after - 1]:
            return False
        joins_left = after > 0 and ends[after - 1] == number
        if firsts[after] == number + 1 and joins_left:
            ends[after - 1] = ends[after]
            del firsts[after], ends[after]
        elif firsts[after] == number + 1:
            firsts[after] = number
        elif joins_left:
            ends[after - 1] = number + 1
        else:
            firsts.insert(after, number)
            ends.insert(after, number + 1)
        return True
