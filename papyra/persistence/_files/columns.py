"""The records of one kind as columns of numbers, and which of them are to go. Pure."""

from __future__ import annotations

from array import array
from heapq import merge
from itertools import accumulate, groupby
from math import inf
from operator import add
from typing import TYPE_CHECKING

from papyra.persistence._files.scan import LEGACY
from papyra.persistence.retention import first_staying

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from papyra.persistence._files.lines import Block
    from papyra.persistence.models import LossNote
    from papyra.persistence.retention import Removal, RetentionPolicy


class Columns:
    """In the order of the scan."""

    def __init__(self) -> None:
        self.offsets = array("Q")
        self.lengths = array("I")
        self.timestamps = array("d")
        self.endings = array("B")
        self.seqs = array("Q")
        self.streams = array("I")
        self.files = array("I")
        self.notes: dict[int, LossNote] = {}
        self.is_going = bytearray()
        self._staying: dict[int, tuple[int, int]] | None = None

    def __len__(self) -> int:
        return len(self.offsets)

    def let_go(self, families: Sequence[str], policy: RetentionPolicy, removal: Removal) -> int:
        """Decide that the oldest go, in store order: ``families``, one for each file, by time.

        Returns how many were held back.
        """
        order: Sequence[int] = range(len(self))
        timestamps = self.timestamps
        if len(set(families)) > 1:
            order = array("I", self._merged(families))
            timestamps = array("d", (timestamps[at] for at in order))
        fitting = self._first_fitting(order, policy)
        first, held_back = first_staying(timestamps, fitting, policy.max_age_seconds, removal)
        self.is_going = bytearray(len(self))
        for at in order[:first]:
            self.is_going[at] = 1
        return held_back

    def _merged(self, families: Sequence[str]) -> Iterator[int]:
        """Yield the places of the records of several writers in the order in which they are read."""
        return (
            at for _, _, at in merge(*(self._keyed(families, family) for family in sorted(set(families))))
        )

    def _keyed(self, families: Sequence[str], family: str) -> Iterator[tuple[float, str, int]]:
        highest = -inf
        for at, file in enumerate(self.files):
            if families[file] == family:
                highest = highest if family == LEGACY else max(highest, self.timestamps[at])
                yield highest, family, at

    def _first_fitting(self, order: Sequence[int], policy: RetentionPolicy) -> int:
        first = 0 if policy.max_records is None else max(len(self) - policy.max_records, 0)
        if policy.max_total_bytes is None:
            return first
        budget, fitting = policy.max_total_bytes, len(self)
        while fitting > first and self.lengths[order[fitting - 1]] < budget:
            fitting -= 1
            budget -= self.lengths[order[fitting]] + 1
        return fitting

    def add(self, block: Block, run: slice, file: int, stream: int) -> None:
        """Take in neighbours of one stream, none of them a loss note."""
        lines, heads = block.lines[run], block.heads[run]
        sizes = [*map(len, lines)]
        first = block.offset + sum(map(len, block.lines[: run.start]))
        self.offsets.extend([*accumulate(sizes, initial=first)][:-1])
        self.lengths.extend([size - 1 for size in sizes])
        self.timestamps.extend([head.timestamp for head in heads])
        self.endings.frombytes(b"\1" * len(sizes))
        self.seqs.extend([head.seq for head in heads])
        self.streams.extend([stream] * len(sizes))
        self.files.extend([file] * len(sizes))

    def going(self) -> Iterator[tuple[int, slice]]:
        """Yield which go, neighbours of one file together, with the number of it."""
        at = self.is_going.find(1)
        while at >= 0:
            stop = self.is_going.find(0, at)
            stop = len(self) if stop < 0 else stop
            for file, run in groupby(self.files[at:stop]):
                count = len([*run])
                yield file, slice(at, at + count)
                at += count
            at = self.is_going.find(1, stop)

    def spans_going(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield file, offset, length and ending of each that goes, in the order of the scan.

        Lines that end in LF alone and touch are given as one.
        """
        for file, run in self.going():
            offsets, lengths, endings = self.offsets[run], self.lengths[run], self.endings[run]
            ends = map(add, offsets, lengths)
            first = 0
            for at, (end, ending, following) in enumerate(zip(ends, endings, [*offsets[1:], 0], strict=True)):
                if end + 1 != following or ending != 1 or endings[at + 1] != 1:
                    yield file, offsets[first], end - offsets[first], ending
                    first = at + 1

    def staying(self, stream: int | None) -> tuple[float, float]:
        """Return the lowest and the highest number of ``stream`` among the records that stay."""
        if self._staying is None:
            found: dict[int, tuple[int, int]] = {}
            for at, is_going in enumerate(self.is_going):
                if not is_going:
                    seq = self.seqs[at]
                    lowest, highest = found.get(self.streams[at], (seq, seq))
                    found[self.streams[at]] = min(lowest, seq), max(highest, seq)
            self._staying = found
        return (inf, -inf) if stream is None else self._staying.get(stream, (inf, -inf))
