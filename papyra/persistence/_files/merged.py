"""The records of one kind in all files of a store as one sequence: several writers' put in order by time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from math import inf, nextafter
from typing import TYPE_CHECKING, NamedTuple

from papyra.persistence.models import KindStats

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from papyra.persistence._files.chain import Chain
    from papyra.persistence._files.index import Chunk, FileIndex, Spot
    from papyra.persistence.models import RecordKind

    Cut = Sequence[int]
    """A place in the sequence: how many records of each chain stand before it."""

_HALVINGS = 64


class Stretch(NamedTuple):
    """Records that follow each other in the sequence, as they are read: onwards or back.

    ``parts``: out of which blocks, with the numbers of their chains; ``order``: the place of each record
    among those of the parts, one part after the other.
    """

    texts: Sequence[bytes]
    parts: Sequence[tuple[int, Chunk]]
    order: Sequence[int]

    def spot(self, at: int) -> tuple[int, Spot]:
        """Return one of them, with the number of its chain."""
        place = self.order[at]
        for number, chunk in self.parts:
            if place < chunk.high - chunk.low:
                return number, chunk.spot(chunk.low + place)
            place -= chunk.high - chunk.low
        raise IndexError(at)

    def times(self, kind: RecordKind) -> list[float]:
        """Return the time of each."""
        parts = [chunk.file.times(kind, chunk.block)[chunk.low : chunk.high] for _, chunk in self.parts]
        found = [time for part in parts for time in part]
        return [found[at] for at in self.order]


class _Run:
    """One chain on its way through the sequence: what of its present block is still to come."""

    def __init__(self, number: int, chain: Chain, chunks: Iterator[Chunk], *, is_backward: bool) -> None:
        self.number = number
        self._chain = chain
        self._chunks = chunks
        self._is_backward = is_backward
        self._chunk: Chunk | None = None
        self._keys: list[float] = []

    def has_more(self) -> bool:
        """Go on to the next block where nothing of this one is to come; false at the end."""
        if self._chunk is None or self._chunk.low == self._chunk.high:
            self._chunk = next(self._chunks, None)
            if self._chunk is not None:
                self._keys = self._chain.keys(self._chunk)
        return self._chunk is not None

    @property
    def last_key(self) -> tuple[float, int]:
        """The key of what comes last of the present block."""
        chunk = self._present
        return self._keys[chunk.low if self._is_backward else chunk.high - 1], self.number

    def take_to(self, limit: tuple[float, int]) -> tuple[Chunk, list[float]]:
        """Return what comes before, or is, the record with the key ``limit`` of some chain; and the keys."""
        chunk, (key, number) = self._present, limit
        if self._is_backward:
            bisect = bisect_right if self.number < number else bisect_left
            at = bisect(self._keys, key, chunk.low, chunk.high)
            taken, self._chunk = chunk._replace(low=at), chunk._replace(high=at)
        else:
            bisect = bisect_left if self.number > number else bisect_right
            at = bisect(self._keys, key, chunk.low, chunk.high)
            taken, self._chunk = chunk._replace(high=at), chunk._replace(low=at)
        return taken, self._keys[taken.low : taken.high]

    @property
    def _present(self) -> Chunk:
        assert self._chunk is not None  # noqa: S101  # has_more() said so
        return self._chunk


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

    def stretches(
        self, first: Cut, stop: Cut, *, since: float = -inf, until: float = inf, is_backward: bool = False
    ) -> Iterator[Stretch]:
        """Yield what comes next, from ``first`` to before ``stop``; each takes some chain's block to its end.

        Blocks in which no time is in the range are left out.
        """
        ways = [
            chain.chunks(low, high, since, until, is_backward=is_backward)
            for chain, low, high in zip(self.chains, first, stop, strict=True)
        ]
        if len(ways) == 1:
            for chunk in ways[0]:
                yield _stretch([(0, chunk)], [], is_backward=is_backward)
            return
        runs = [
            _Run(number, self.chains[number], way, is_backward=is_backward) for number, way in enumerate(ways)
        ]
        while runs := [run for run in runs if run.has_more()]:
            limit = (max if is_backward else min)(run.last_key for run in runs)
            parts: list[tuple[int, Chunk]] = []
            keys: list[float] = []
            for run in runs:
                chunk, taken = run.take_to(limit)
                parts.append((run.number, chunk))
                keys += taken
            yield _stretch(parts, keys, is_backward=is_backward)

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
        for stretch in self.stretches(cut, self.end):
            return stretch.spot(0)
        return None

    def last(self) -> tuple[int, Spot] | None:
        """Return the last record of all."""
        for stretch in self.stretches(self.start, self.end, is_backward=True):
            return stretch.spot(0)
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
        for stretch in self.stretches(self.start, cut, is_backward=True):
            for at, text in enumerate(stretch.texts):
                budget -= len(text) + 1 if is_bytes else 1
                if budget < 0:
                    number, spot = stretch.spot(at)
                    return self.cut_after(number, self.place_of(number, spot))
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


def _stretch(parts: Sequence[tuple[int, Chunk]], keys: Sequence[float], *, is_backward: bool) -> Stretch:
    """Put the records of ``parts`` in order by their ``keys``; those of one part are in it."""
    texts = [text for _, chunk in parts for text in chunk.texts]
    order: Sequence[int] = range(len(texts))
    if len(parts) > 1:
        order = sorted(order, key=keys.__getitem__)
        texts = [texts[at] for at in order]
    return Stretch(texts[::-1], parts, order[::-1]) if is_backward else Stretch(texts, parts, order)


def later(one: Cut, other: Cut) -> Cut:
    """Return the later of two cuts of one order."""
    return [*map(max, one, other)]
