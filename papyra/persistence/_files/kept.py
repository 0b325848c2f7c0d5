"""The records of one kind in all files of a store as one sequence, and from where on retention keeps it."""

from __future__ import annotations

from bisect import bisect_right
from math import inf
from typing import TYPE_CHECKING

from papyra.persistence._files.index import head_of
from papyra.persistence.models import KindStats

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from papyra.persistence._files.index import Chunk, FileIndex, Spot
    from papyra.persistence.models import RecordKind
    from papyra.persistence.retention import RetentionPolicy


class KindSequence:
    """``files`` in store order, refreshed. A record's place is how many of its kind stand before it."""

    def __init__(self, files: Sequence[FileIndex], kind: RecordKind) -> None:
        self.files = files
        self.kind = kind
        self._starts = [0]
        for file in files:
            self._starts.append(self._starts[-1] + file.count(kind))

    def __len__(self) -> int:
        return self._starts[-1]

    def _file_at(self, place: int) -> int:
        return bisect_right(self._starts, place) - 1

    def place_of(self, spot: Spot) -> int:
        """Return the place of a record that was found in one of the files."""
        return self._starts[self.files.index(spot.file)] + spot.ordinal

    def spot(self, place: int) -> Spot:
        """Return the record at ``place``."""
        file = self._file_at(place)
        return self.files[file].spot(self.kind, place - self._starts[file])

    def walk(self, first: int, stop: int, *, since: float = -inf) -> Iterator[Spot]:
        """Yield the records from ``first`` to before ``stop`` one by one, as `chunks` has them."""
        for chunk in self.chunks(first, stop, since=since):
            for at in range(len(chunk.lines)):
                yield chunk.spot(at)

    def chunks(
        self, first: int, stop: int, *, since: float = -inf, until: float = inf, is_backward: bool = False
    ) -> Iterator[Chunk]:
        """Yield the records from ``first`` to before ``stop``, without blocks where no time is in range."""
        count = len(self.files)
        for at in range(count - 1, -1, -1) if is_backward else range(count):
            low, high = max(first, self._starts[at]), min(stop, self._starts[at + 1])
            if low < high:
                base = self._starts[at]
                yield from self.files[at].chunks(
                    self.kind, low - base, high - base, since, until, is_backward=is_backward
                )

    def first_kept(self, policy: RetentionPolicy, now: float) -> int:
        """Return what `retention.first_kept` says, looking only at blocks and at the one it ends in."""
        count = len(self)
        first = 0
        if policy.max_records is not None:
            first = max(count - policy.max_records, 0)
        if policy.max_total_bytes is not None:
            first = max(first, self._first_that_fits(policy.max_total_bytes))
        if policy.max_age_seconds == 0:
            return count
        if policy.max_age_seconds is not None:
            first = self._first_since(first, now - policy.max_age_seconds)
        return first

    def _first_that_fits(self, budget: int) -> int:
        for at in range(len(self.files) - 1, -1, -1):
            file = self.files[at]
            if not file.count(self.kind):
                continue
            rows = file.blocks.kinds[self.kind]
            if rows.total_bytes <= budget:
                budget -= rows.total_bytes
                continue
            block = bisect_right(rows.bytes, rows.total_bytes - budget - 1)
            fitting = rows.counts[block]
            budget -= rows.total_bytes - rows.bytes[block]
            for _, text in reversed(file.lines(self.kind, block)):
                budget -= len(text) + 1
                if budget < 0:
                    break
                fitting -= 1
            return self._starts[at] + fitting
        return 0

    def _first_since(self, first: int, cutoff: float) -> int:
        for spot in self.walk(first, len(self), since=cutoff):
            if head_of(spot.text).timestamp >= cutoff:
                return self.place_of(spot)
        return len(self)

    def stats(self) -> KindStats:
        """Count what is stored, kept or not."""
        found = [file.blocks.kinds[self.kind].stats() for file in self.files if file.count(self.kind)]
        if not found:
            return KindStats()
        return KindStats(
            records=sum(one.records for one in found),
            bytes=sum(one.bytes for one in found),
            oldest=min(one.oldest for one in found if one.oldest is not None),
            newest=max(one.newest for one in found if one.newest is not None),
        )
