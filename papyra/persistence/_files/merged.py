"""The records of one kind in all files of a store as one sequence: several writers' put in order by time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from math import inf, nextafter
from typing import TYPE_CHECKING

from papyra.persistence.models import KindStats

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from papyra.persistence._files.chain import Chain
    from papyra.persistence._files.index import Chunk, FileIndex, Spot
    from papyra.persistence.models import RecordKind

    Cut = Sequence[int]
    """A place in the sequence: how many records of each chain stand before it."""

_HALVINGS = 64


class _Run:
    """One chain on its way through the sequence: what of its present block is still to come."""

    def __init__(self, number: int, chain: Chain, chunks: Iterator[Chunk], *, is_backward: bool) -> None:
        self.number = number
        self._chain = chain
        self._chunks = chunks
        self._is_backward = is_backward
        self.is_over = False
        self._go_on()

    def _go_on(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            self.is_over = True
        else:
            self._chunk, self._keys = chunk, self._chain.keys(chunk)
            self._low, self._high = chunk.low, chunk.high

    @property
    def next_key(self) -> tuple[float, int]:
        return self._keys[self._high - 1 if self._is_backward else self._low], self.number

    def take_to(self, limit: tuple[float, int]) -> Chunk:
        """Return what comes before the record with the key ``limit`` of another chain."""
        key, number = limit
        bisect = bisect_right if self.number < number else bisect_left
        at = bisect(self._keys, key, self._low, self._high)
        if self._is_backward:
            taken, self._high = self._chunk._replace(low=at, high=self._high), at
        else:
            taken, self._low = self._chunk._replace(low=self._low, high=at), at
        if self._low == self._high:
            self._go_on()
        return taken


class KindSequence:
    """``chains``: the oldest part first, then each writer's files; their records are merged by their keys.

    ``files`` are all of the store, in whatever kind.
    """

    def __init__(self, files: Sequence[FileIndex], kind: RecordKind, chains: Sequence[Chain]) -> None:
        self.files = files
        self.kind = kind
        self.chains = chains
        self.start: Cut = [0] * len(chains)
        self.end: Cut = [len(chain) for chain in chains]

    def __len__(self) -> int:
        return sum(self.end)

    @property
    def size(self) -> int:
        return sum(chain.size for chain in self.chains)

    def chunks(
        self, first: Cut, stop: Cut, *, since: float = -inf, until: float = inf, is_backward: bool = False
    ) -> Iterator[tuple[int, Chunk]]:
        """Yield the number of a chain and what of it comes next, from ``first`` to before ``stop``.

        Blocks in which no time is in the range are left out.
        """
        parts = [
            chain.chunks(low, high, since, until, is_backward=is_backward)
            for chain, low, high in zip(self.chains, first, stop, strict=True)
        ]
        if len(parts) == 1:
            for chunk in parts[0]:
                yield 0, chunk
            return
        runs = [
            _Run(number, self.chains[number], part, is_backward=is_backward)
            for number, part in enumerate(parts)
        ]
        choose, end = (max, (-inf, -1)) if is_backward else (min, (inf, len(runs)))
        while runs := [run for run in runs if not run.is_over]:
            run = choose(runs, key=_next_key)
            limit = choose((other.next_key for other in runs if other is not run), default=end)
            yield run.number, run.take_to(limit)

    def cut_before(self, number: int, place: int) -> Cut:
        """Return the cut before the record at ``place`` of a chain."""
        if len(self.chains) == 1:
            return [place]
        key = self.chains[number].key(place)
        cut = [chain.place_at(key, beyond=at < number) for at, chain in enumerate(self.chains)]
        cut[number] = place
        return cut

    def cut_after(self, number: int, place: int) -> Cut:
        """Return the cut after the record at ``place`` of a chain."""
        cut = [*self.cut_before(number, place)]
        cut[number] += 1
        return cut

    def place_of(self, number: int, spot: Spot) -> int:
        return self.chains[number].place_of(spot)

    def first_after(self, cut: Cut) -> tuple[int, Spot] | None:
        """Return the first record from ``cut`` on, with the number of its chain."""
        for number, chunk in self.chunks(cut, self.end):
            return number, chunk.spot(chunk.low)
        return None

    def last(self) -> tuple[int, Spot] | None:
        """Return the last record of all."""
        for number, chunk in self.chunks(self.start, self.end, is_backward=True):
            return number, chunk.spot(chunk.high - 1)
        return None

    def bytes_before(self, cut: Cut) -> int:
        return sum(chain.bytes_before(place) for chain, place in zip(self.chains, cut, strict=True))

    def last_records(self, count: int) -> Cut:
        """Return the cut before the last ``count`` records."""
        if len(self.chains) == 1:
            return [max(len(self) - count, 0)]
        return self._back_from(count, is_bytes=False)

    def last_bytes(self, size: int) -> Cut:
        """Return the cut before the longest end of the sequence that has no more bytes than ``size``."""
        if len(self.chains) == 1:
            return [self.chains[0].first_fitting(size)]
        return self._back_from(size, is_bytes=True)

    def _back_from(self, budget: int, *, is_bytes: bool) -> Cut:
        key = self._fitting_key(budget, is_bytes=is_bytes)
        cut = [chain.place_at(key, beyond=False) for chain in self.chains]
        budget -= (self.size - self.bytes_before(cut)) if is_bytes else len(self) - sum(cut)
        for number, chunk in self.chunks(self.start, cut, is_backward=True):
            for at in range(chunk.high - 1, chunk.low - 1, -1):
                budget -= len(chunk.lines.texts[at]) + 1 if is_bytes else 1
                if budget < 0:
                    return self.cut_after(number, self.place_of(number, chunk.spot(at)))
        return self.start

    def _fitting_key(self, budget: int, *, is_bytes: bool) -> float:
        """Return a key from which on no more than ``budget`` follows, and not much less: no file is read."""
        keys = [rows.highest for chain in self.chains if not chain.is_oldest for rows in chain.rows]
        low, high = min(keys, default=0.0) - 1, nextafter(max(keys, default=0.0), inf)
        total = self.size if is_bytes else len(self)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if not low < middle < high:
                break
            spans = [chain.before(middle) for chain in self.chains]
            if total - sum(span.size if is_bytes else span.records for span in spans) <= budget:
                high = middle
            else:
                low = middle
        return high

    def stats(self) -> KindStats:
        """Count what is stored, kept or not."""
        found = [rows.stats() for chain in self.chains for rows in chain.rows]
        if not found:
            return KindStats()
        return KindStats(
            records=len(self),
            bytes=self.size,
            oldest=min(one.oldest for one in found if one.oldest is not None),
            newest=max(one.newest for one in found if one.newest is not None),
        )


def _next_key(run: _Run) -> tuple[float, int]:
    return run.next_key


def later(one: Cut, other: Cut) -> Cut:
    """Return the later of two cuts of one order."""
    return [*map(max, one, other)]
