"""How much is stored: exact while that is cheap, then as counted by the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from papyra.persistence._redis.bounds import look
from papyra.persistence._redis.walking import Column, walk
from papyra.persistence.models import KindStats, RecordKind, StoreStats

if TYPE_CHECKING:
    from collections.abc import Iterable

    from papyra.persistence._redis.connecting import Door
    from papyra.persistence._redis.keys import Keys

EXACT_RECORDS = 10_000


class Measured:
    """Adds entries up."""

    def __init__(self) -> None:
        self._records = self._bytes = 0
        self._oldest: float | None = None
        self._newest: float | None = None

    def add(self, columns: Iterable[Column]) -> None:
        """Take these in."""
        for column in columns:
            self._records += 1
            self._bytes += column.size
            time = column.timestamp
            self._oldest = time if self._oldest is None else min(self._oldest, time)
            self._newest = time if self._newest is None else max(self._newest, time)

    @property
    def stats(self) -> KindStats:
        """The sums so far."""
        return KindStats(records=self._records, bytes=self._bytes, oldest=self._oldest, newest=self._newest)


def measure(door: Door, keys: Keys, backend: str) -> StoreStats:
    """Return counts, bytes and time spans.

    Beyond ten thousand records of a kind the time span is that of its first and last entry, and the bytes are
    as counted when they were written.
    """
    kinds: dict[RecordKind, KindStats] = {}
    is_estimate = False
    for kind in RecordKind:
        counted = look(door, keys, kind)
        if counted.length <= EXACT_RECORDS:
            measured = Measured()
            for columns in walk(door, keys.stream(kind)):
                measured.add(columns)
            kinds[kind] = measured.stats
        else:
            is_estimate = True
            ends = [
                next(walk(door, keys.stream(kind), newest_first=is_end, step=1)) for is_end in (False, True)
            ]
            size = counted.bytes if counted.is_sound else counted.length * ends[1][0].size
            kinds[kind] = KindStats(
                records=counted.length,
                bytes=size,
                oldest=ends[0][0].timestamp,
                newest=ends[1][0].timestamp,
            )
    quarantined = _memory(door, keys.quarantine)
    used = sum(_memory(door, key) for key in (*keys.streams, keys.dedup, keys.meta))
    return StoreStats(
        backend=backend,
        kinds=kinds,
        total_bytes=max(used, sum(kind.bytes for kind in kinds.values())) + quarantined,
        quarantine_bytes=quarantined,
        is_estimate=is_estimate,
    )


def _memory(door: Door, key: str) -> int:
    """Return about how many bytes of the server's memory ``key`` takes."""
    return int(door.call("MEMORY", "USAGE", key) or 0)


def sum_of(parts: Iterable[KindStats]) -> KindStats:
    """Return all of them together."""
    parts = list(parts)
    return KindStats(
        records=sum(part.records for part in parts),
        bytes=sum(part.bytes for part in parts),
        oldest=min((part.oldest for part in parts if part.oldest is not None), default=None),
        newest=max((part.newest for part in parts if part.newest is not None), default=None),
    )
