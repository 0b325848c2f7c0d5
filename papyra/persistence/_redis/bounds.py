"""Where the kept records of one kind begin: retention as the id of an entry, followed as the stream grows."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from papyra.persistence._redis.entries import FIRST, StreamId
from papyra.persistence._redis.scripts import COUNTED
from papyra.persistence._redis.walking import STEP, walk
from papyra.persistence.models import RecordKind

if TYPE_CHECKING:
    from papyra.persistence._redis.connecting import Door
    from papyra.persistence._redis.keys import Keys
    from papyra.persistence.retention import RetentionPolicy

BEYOND = StreamId(2**64 - 1, 2**64 - 1)
"""Past every entry: none is kept."""
_FEW = 20


class Counted(NamedTuple):
    """What is counted of one stream; ``is_sound``: nobody added or removed behind the count's back.

    ``gone`` is what retention removed ever, in one ``epoch`` of counting; ``doubled`` are the entries that
    repeat another, as far as was noted.
    """

    length: int
    records: int
    bytes: int
    gone: int
    gone_bytes: int
    epoch: int
    is_sound: bool
    doubled: frozenset[StreamId]


def look(door: Door, keys: Keys, kind: RecordKind) -> Counted:
    """Read the count of ``kind``, which costs nothing at any size."""
    fields = [f"{kind}:{name}" for name in ("records", "bytes", "gone", "gone_bytes", "epoch", "doubled")]
    ((length, found),) = door.run(COUNTED, [keys.stream(kind), keys.meta], fields)
    records, size, gone, gone_bytes, epoch = (int(each or 0) for each in found[:-1])
    doubled = frozenset(map(StreamId.of, (found[-1] or b"").split()))
    is_sound = length == (records if found[0] else 0)
    return Counted(length, length, size if length else 0, gone, gone_bytes, epoch, is_sound, doubled)


@dataclass(frozen=True, slots=True)
class _Place:
    """An entry, and how many records and bytes were ever before it."""

    epoch: int
    id: StreamId
    records: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _Aged:
    """From ``start`` to ``seen`` each entry is older than ``cutoff`` or, until ``next_to_come``, yet to come.

    The last old one stands before ``first``.
    """

    cutoff: float
    start: StreamId
    first: StreamId
    seen: StreamId
    next_to_come: float = inf

    def holds(self, cutoff: float, now: float, start: StreamId) -> bool:
        return self.cutoff <= cutoff and now < self.next_to_come and self.start <= start


class Kept:
    """Finds the oldest kept entry of one kind, by the rule of `papyra.persistence.retention.first_kept`.

    What it saw before makes the next look cost only what is new. Belongs to one thread.
    """

    def __init__(self, door: Door, keys: Keys, kind: RecordKind) -> None:
        self._door = door
        self._keys = keys
        self._kind = kind
        self._stream = keys.stream(kind)
        self._place: _Place | None = None
        self._aged: _Aged | None = None

    def first(self, policy: RetentionPolicy, now: float) -> StreamId:
        """Return the id from which on this kind's ``policy`` keeps."""
        if 0 in {policy.max_records, policy.max_total_bytes, policy.max_age_seconds}:
            return BEYOND
        first = self.first_fitting(policy)
        if policy.max_age_seconds is not None:
            first = self._first_young(first, policy.max_age_seconds, now)
        return first

    def first_fitting(self, policy: RetentionPolicy) -> StreamId:
        """Return the id from which on count and bytes are within their limits."""
        if policy.max_records is None and policy.max_total_bytes is None:
            return FIRST
        while True:
            counted = look(self._door, self._keys, self._kind)
            if not counted.is_sound:
                return self._walk_back(policy)
            place = self._place
            if place is None or place.epoch != counted.epoch or place.records < counted.gone:
                place = _Place(counted.epoch, FIRST, counted.gone, counted.gone_bytes)
            self._place = self._walk_on(place, policy, counted)
            if self._place is place or look(self._door, self._keys, self._kind).gone == counted.gone:
                return self._place.id

    def _walk_on(self, place: _Place, policy: RetentionPolicy, counted: Counted) -> _Place:
        over, over_bytes = -1, -1
        if policy.max_records is not None:
            over = counted.gone + counted.records - place.records - policy.max_records
        if policy.max_total_bytes is not None:
            over_bytes = counted.gone_bytes + counted.bytes - place.bytes - policy.max_total_bytes
        if over <= 0 and over_bytes <= 0:
            return place
        step = min(max(over, _FEW), STEP)
        id_, records, size = place.id, place.records, place.bytes
        for columns in walk(self._door, self._stream, id_, step=step):
            for column in columns:
                if over <= 0 and over_bytes <= 0:
                    return _Place(place.epoch, id_, records, size)
                id_, records, size = column.id.next, records + 1, size + column.size
                over, over_bytes = over - 1, over_bytes - column.size
        return _Place(place.epoch, id_, records, size)

    def _walk_back(self, policy: RetentionPolicy) -> StreamId:
        first, records, size = BEYOND, 0, 0
        max_records = inf if policy.max_records is None else policy.max_records
        max_bytes = inf if policy.max_total_bytes is None else policy.max_total_bytes
        for columns in walk(self._door, self._stream, newest_first=True):
            for column in columns:
                records, size = records + 1, size + column.size
                if records > max_records or size > max_bytes:
                    return first
                first = column.id
        return FIRST

    def _first_young(self, fitting: StreamId, age: float, now: float) -> StreamId:
        cutoff, before = now - age, self._aged
        if before is None or not before.holds(cutoff, now, fitting):
            before = _Aged(cutoff, fitting, fitting, fitting)
        first, seen, to_come = max(before.first, fitting), max(before.seen, fitting), before.next_to_come
        for columns in walk(self._door, self._stream, seen, step=_FEW):
            for column in columns:
                if cutoff <= column.timestamp <= now:
                    self._aged = _Aged(cutoff, before.start, first, seen, to_come)
                    return first
                seen = column.id.next
                if column.timestamp < cutoff:
                    first = seen
                else:  # what is yet to come is as old as what is behind it
                    to_come = min(to_come, column.timestamp)
        self._aged = _Aged(cutoff, before.start, first, seen, to_come)
        return first


class Keeper:
    """The bounds of every kind."""

    def __init__(self, door: Door, keys: Keys) -> None:
        self._kept = {kind: Kept(door, keys, kind) for kind in RecordKind}

    def first(self, kind: RecordKind, policy: RetentionPolicy, now: float) -> StreamId:
        """Return the id from which on ``policy`` keeps records of ``kind``."""
        return self._kept[kind].first(policy.for_kind(kind), now)

    def first_fitting(self, kind: RecordKind, policy: RetentionPolicy) -> StreamId:
        """Return the id from which on count and bytes are within their limits."""
        return self._kept[kind].first_fitting(policy.for_kind(kind))
