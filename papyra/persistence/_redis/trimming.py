"""Make retention physical: oldest entries first, some thousand at a time; appends go on in between."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from papyra.persistence._redis.bounds import Keeper, look
from papyra.persistence._redis.doubled import Doubles
from papyra.persistence._redis.entries import RawEntry, StreamId, judge
from papyra.persistence._redis.scripts import RECKON, TRIM
from papyra.persistence._redis.stats import Measured
from papyra.persistence._redis.walking import walk
from papyra.persistence.integrity import loss_note_of
from papyra.persistence.models import KindStats, RecordKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from papyra.persistence._redis.connecting import Door
    from papyra.persistence._redis.keys import Keys
    from papyra.persistence._redis.walking import Column
    from papyra.persistence.models import LossNote
    from papyra.persistence.retention import Removal, RetentionPolicy

_log = logging.getLogger(__name__)

STEP = 2_000
_MOST_DOUBLED = 1_000
"""So many entries that repeat another are noted, for reads to leave out; a scan finds all of them."""


class Bounds(NamedTuple):
    """What goes of one kind: entries below ``first``. ``forced`` of them a consumer group still waits for."""

    kind: RecordKind
    first: StreamId
    before: KindStats
    forced: int = 0


class Trimming:
    """Belongs to one thread. At most ``max_retained_for_groups`` records stay for consumer groups alone."""

    def __init__(self, door: Door, keys: Keys, max_retained_for_groups: int | None) -> None:
        self._door = door
        self._keys = keys
        self._keeper = Keeper(door, keys)
        self._most_for_groups = max_retained_for_groups

    def plan(self, policy: RetentionPolicy, removal: Removal) -> Iterator[Bounds]:
        """Yield what would go of each kind; changes nothing."""
        for kind in RecordKind:
            counted = look(self._door, self._keys, kind)
            first = self._keeper.first(kind, policy, removal.now)
            if removal.max_share_by_age < 1:
                first = min(first, self._capped(kind, policy, removal))
            first, forced = self._spared(kind, first)
            yield Bounds(kind, first, KindStats(records=counted.length, bytes=counted.bytes), forced)

    def _capped(self, kind: RecordKind, policy: RetentionPolicy, removal: Removal) -> StreamId:
        """Return the first to stay where only a share of all may go for its age alone."""
        fitting = self._keeper.first_fitting(kind, policy)
        most = max(int(look(self._door, self._keys, kind).length * removal.max_share_by_age), 1)
        return max(fitting, self._nth(kind, most))

    def _nth(self, kind: RecordKind, number: int) -> StreamId:
        """Return the id that follows the ``number`` oldest."""
        last = StreamId(0, 0)
        for columns in walk(self._door, self._keys.stream(kind)):
            if len(columns) >= number:
                return columns[number - 1].id.next
            number -= len(columns)
            last = columns[-1].id.next
        return last

    def _spared(self, kind: RecordKind, first: StreamId) -> tuple[StreamId, int]:
        """Return the first to stay where groups still need some, and how many go although one needs them."""
        needed = needed_from(self._door, self._keys.stream(kind))
        if needed is None or needed >= first:
            return first, 0
        if self._most_for_groups is None:
            return needed, 0
        kept_for_groups = Measured()
        for columns in walk(self._door, self._keys.stream(kind), needed, first):
            kept_for_groups.add(columns)
        forced = max(kept_for_groups.stats.records - self._most_for_groups, 0)
        if not forced:
            return needed, 0
        for columns in walk(self._door, self._keys.stream(kind), needed, first):
            if len(columns) > forced:
                return columns[forced].id, forced
            forced -= len(columns)
        return first, forced

    def measure(self, bounds: Bounds) -> KindStats:
        """Return how much ``bounds`` lets go."""
        measured = Measured()
        for columns in walk(self._door, self._keys.stream(bounds.kind), None, bounds.first):
            measured.add(columns)
        return measured.stats

    def step(self, bounds: Bounds, *, at_least: int = 1) -> KindStats:
        """Remove the oldest that go, some thousand at most; nothing, once fewer than ``at_least`` do."""
        stream = self._keys.stream(bounds.kind)
        while len(columns := next(walk(self._door, stream, None, bounds.first, step=STEP), [])) >= at_least:
            measured = Measured()
            measured.add(columns)
            if self._trim(bounds.kind, columns, measured.stats.bytes):
                return measured.stats
        return KindStats()

    def _trim(self, kind: RecordKind, columns: Sequence[Column], size: int) -> int:
        floors: dict[str, int] = {}
        for column in columns:
            if column.incarnation:
                _raise(floors, f"{column.incarnation}:{kind}", column.seq)
            if column.may_be_note:
                note = self._note_at(column.id)
                if note is not None:  # it may explain a gap among what stays: then nothing there is missed
                    _raise(floors, f"{note.incarnation}:{note.kind}", note.last)
        keys = self._keys.dedup, self._keys.meta, self._keys.stream(kind)
        ends = str(columns[0].id), str(columns[-1].id.next)
        pairs = [each for pair in floors.items() for each in pair]
        (removed,) = self._door.run(TRIM, keys, (kind.value, *ends, size, *pairs))
        return int(removed)

    def _note_at(self, id_: StreamId) -> LossNote | None:
        raw = self._door.call("XRANGE", self._keys.stream(RecordKind.EVENT), str(id_), str(id_))
        judged = [judge(RecordKind.EVENT, RawEntry.of(each)) for each in raw]
        return loss_note_of(judged[0].head) if judged and judged[0].head is not None else None

    def reckon(self, kind: RecordKind) -> None:
        """Count a stream anew where somebody added or removed behind the count's back."""
        if look(self._door, self._keys, kind).is_sound:
            return
        size = 0
        ahead = behind = 0.0
        doubles = Doubles(kind)
        for columns in walk(self._door, self._keys.stream(kind)):
            doubles.add(columns)
            size += sum(column.size for column in columns)
            offsets = [column.timestamp * 1000 - column.id.milliseconds for column in columns]
            ahead, behind = max(ahead, max(offsets) + 1), max(behind, 1 - min(offsets))
        keys = self._keys.meta, self._keys.stream(kind)
        noted = " ".join(map(str, sorted(doubles.ids)[:_MOST_DOUBLED]))
        counted = str(doubles.end), doubles.entries, size, int(ahead), int(behind), noted
        (is_taken,) = self._door.run(RECKON, keys, (kind.value, *counted))
        if is_taken:
            _log.warning("%s was changed by another program; it was counted anew", self._keys.stream(kind))


def needed_from(door: Door, stream: str) -> StreamId | None:
    """Return the oldest entry that a consumer group of ``stream`` still needs; ``None`` without a group.

    That is the first it was not given, or the smallest that is pending.
    """
    if not door.call("EXISTS", stream):
        return None
    needed: list[StreamId] = []
    for flat in door.call("XINFO", "GROUPS", stream):
        group = dict(zip(flat[::2], flat[1::2], strict=True))
        needed.append(StreamId.of(group[b"last-delivered-id"]).next)
        if group[b"pending"]:
            _, smallest, *_ = door.call("XPENDING", stream, group[b"name"])
            if smallest is not None:
                needed.append(StreamId.of(smallest))
    return min(needed, default=None)


def _raise(floors: dict[str, int], field: str, seq: int) -> None:
    floors[field] = max(seq, floors.get(field, 0))
