"""The records that wait for the store: ordered, bounded, every loss noted exactly. Pure."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from papyra.payloads import encode
from papyra.persistence.models import EventType, LossNote, PersistedEvent, Record, RecordKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

RECORD_OVERHEAD = 768
"""What a waiting record takes in memory beside its texts, measured; a loss note takes no more."""

_NEVER_DROPPED = frozenset(
    {
        EventType.SYSTEM_STARTED,
        EventType.SYSTEM_STOPPED,
        EventType.INCARNATION_LOST,
        EventType.STARTUP_CHECKED,
        EventType.DEAD_LETTERS_DROPPED,
        EventType.RECORDS_DROPPED,
        EventType.RECORDS_LOST,
    }
)
_DROP_ORDER = (RecordKind.AUDIT, RecordKind.EVENT, RecordKind.DEAD_LETTER)
_LOSS_NOTES = frozenset({EventType.RECORDS_DROPPED, EventType.RECORDS_LOST})


def is_loss_note(record: Record) -> bool:
    """Whether ``record`` only says what could not be kept."""
    return isinstance(record, PersistedEvent) and record.event_type in _LOSS_NOTES


class Stamps:
    """Gives out the identities and times of one incarnation: contiguous per kind, strictly increasing."""

    def __init__(self, incarnation: str, now: Callable[[], float]) -> None:
        self.incarnation = incarnation
        self.stepped_back = 0.0
        self._now = now
        self._last_seq = dict.fromkeys(RecordKind, 0)
        self._last_reading = -math.inf
        self._last_timestamp = -math.inf

    def peek(self, kind: RecordKind) -> int:
        """Return the number that the next record of ``kind`` has."""
        return self._last_seq[kind] + 1

    def take(self, kind: RecordKind) -> int:
        """Use that number up."""
        self._last_seq[kind] += 1
        return self._last_seq[kind]

    def give_back(self, kind: RecordKind, seq: int) -> bool:
        """Undo `take`, unless a later number was taken meanwhile."""
        if self._last_seq[kind] != seq:
            return False
        self._last_seq[kind] -= 1
        return True

    def time(self, given: float = 0.0) -> float:
        """Return ``given``, or now; while the clock lags behind the last time, a microsecond after that."""
        reading = self._now()
        if given:
            if self._last_timestamp < given <= reading:
                self._last_timestamp = given
            return given
        if reading < self._last_reading:
            self.stepped_back = max(self.stepped_back, self._last_reading - reading)
        self._last_reading = reading
        if reading <= self._last_timestamp:
            after = round(self._last_timestamp + 1e-6, 6)
            reading = (
                after if after > self._last_timestamp else math.nextafter(self._last_timestamp, math.inf)
            )
        self._last_timestamp = reading
        return reading


class _Waiting:
    __slots__ = ("order", "record", "size")

    def __init__(self, order: int, record: Record, size: int) -> None:
        self.order = order
        self.record = record
        self.size = size


class _Loss:
    """A run of dropped records of one kind; it grows until its note is taken.

    The note for dropped events stands in their place, with the last one's number and the first one's time.
    Another kind's note gets the next number that is free, and what is left of that kind waits behind it. So
    no reader ever sees a hole without its note.
    """

    __slots__ = ("first", "kind", "last", "order", "seq", "timestamp")
    size = RECORD_OVERHEAD

    def __init__(self, kind: RecordKind, first: int, order: int, seq: int, timestamp: float) -> None:
        self.kind = kind
        self.first = self.last = first
        self.order = order
        self.seq = seq
        self.timestamp = timestamp


_Queue = deque[_Waiting] | deque[_Loss] | deque[_Waiting | _Loss]


class Backlog:
    """Takes records in order and gives them out in order, within each kind always.

    Over its bounds it drops the oldest audits, then the oldest events, letters last; never what was taken.
    """

    def __init__(self, system_id: str, stamps: Stamps, *, max_records: int, max_bytes: int) -> None:
        self.stamps = stamps
        self.bytes = 0
        self.dropped = dict.fromkeys(RecordKind, 0)
        self.last_order = 0
        self._system_id = system_id
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._count = 0
        self._queues: dict[RecordKind, deque[_Waiting]] = {kind: deque() for kind in _DROP_ORDER}
        self._kept: deque[_Waiting | _Loss] = deque()  # never dropped, and notes with a number of their own
        self._event_losses: deque[_Loss] = deque()
        self._fronts: tuple[tuple[RecordKind | None, _Queue], ...] = (
            (None, self._kept),
            (None, self._event_losses),
            *self._queues.items(),
        )
        self._open_notes: dict[RecordKind, _Loss] = {}
        self._taken: list[_Waiting | _Loss] = []

    def __len__(self) -> int:
        return self._count

    @property
    def has_room(self) -> bool:
        """Whether at least half of both bounds is free."""
        return self._count * 2 <= self._max_records and self.bytes * 2 <= self._max_bytes

    def push(self, record: Record, size: int) -> bool:
        """Add a stamped ``record`` whose texts take ``size`` bytes; returns whether anything was dropped."""
        self._add(record, RECORD_OVERHEAD + size)
        has_dropped = False
        while (self._count > self._max_records or self.bytes > self._max_bytes) and self._drop_oldest():
            has_dropped = True
        return has_dropped

    def take(self, max_records: int, max_bytes: int) -> list[Record]:
        """Take the next batch, at least one record if any waits; it counts until `settle`."""
        size = 0
        while len(self._taken) < max_records:
            queue = self._next_queue()
            if queue is None:
                break
            entry = queue[0]
            if self._taken and size + entry.size > max_bytes:
                break
            size += entry.size
            self._taken.append(queue.popleft())
            if isinstance(entry, _Loss) and self._open_notes.get(entry.kind) is entry:
                del self._open_notes[entry.kind]
        return [
            entry.record if isinstance(entry, _Waiting) else self._note_of(entry) for entry in self._taken
        ]

    def settle(self) -> None:
        """Forget what was taken: it is durable, or refused for good."""
        self._count -= len(self._taken)
        self.bytes -= sum(entry.size for entry in self._taken)
        self._taken = []

    def note_refused(self, refused: Iterable[tuple[Record, str]]) -> None:
        """Count records that the store refused for good, and add a loss note for each run of them."""
        notes: list[LossNote] = []
        for record, cause in sorted(refused, key=_place_of):
            if is_loss_note(record):  # to note that too could go on for ever; a scan will report the hole
                continue
            self.dropped[record.kind] += 1
            kind, seq = record.kind.value, record.seq
            if notes and notes[-1].kind == kind and notes[-1].last + 1 == seq:
                notes[-1] = notes[-1]._replace(last=seq)
            else:
                notes.append(LossNote(record.incarnation, kind, seq, seq, cause))
        for note in notes:
            seq, timestamp = self.stamps.take(RecordKind.EVENT), self.stamps.time()
            self._add(self._event_of(EventType.RECORDS_LOST, note, seq, timestamp), RECORD_OVERHEAD)

    def is_done(self, order: int) -> bool:
        """Whether nothing that was pushed up to ``order`` (a former ``last_order``) waits any more."""
        heads = [queue[0] for _, queue in self._fronts if queue]
        return all(entry.order > order for entry in (*self._taken, *heads))

    def _add(self, record: Record, size: int) -> None:
        self.last_order += 1
        entry = _Waiting(self.last_order, record, size)
        if isinstance(record, PersistedEvent) and record.event_type in _NEVER_DROPPED:
            self._kept.append(entry)
        else:
            self._queues[record.kind].append(entry)
        self._count += 1
        self.bytes += size

    def _next_queue(self) -> _Queue | None:
        best: _Queue | None = None
        for kind, queue in self._fronts:
            if queue and kind not in self._open_notes and (best is None or queue[0].order < best[0].order):
                best = queue
        return best

    def _drop_oldest(self) -> bool:
        for kind in _DROP_ORDER:
            if self._queues[kind]:
                entry = self._queues[kind].popleft()
                self._count -= 1
                self.bytes -= entry.size
                self.dropped[kind] += 1
                if kind is RecordKind.EVENT:
                    self._note_event(entry)
                else:
                    self._note_other(kind, entry.record.seq)
                return True
        return False

    def _note_event(self, entry: _Waiting) -> None:
        seq = entry.record.seq
        loss = self._event_losses[-1] if self._event_losses else None
        if loss is not None and loss.last + 1 == seq:
            loss.last = loss.seq = seq
            return
        loss = _Loss(RecordKind.EVENT, seq, entry.order, seq, entry.record.timestamp)
        self._event_losses.append(loss)
        self._count += 1
        self.bytes += loss.size

    def _note_other(self, kind: RecordKind, seq: int) -> None:
        loss = self._open_notes.get(kind)
        if loss is not None and loss.last + 1 == seq:
            loss.last = seq
            return
        self.last_order += 1
        number, timestamp = self.stamps.take(RecordKind.EVENT), self.stamps.time()
        self._open_notes[kind] = loss = _Loss(kind, seq, self.last_order, number, timestamp)
        self._kept.append(loss)
        self._count += 1
        self.bytes += loss.size

    def _note_of(self, loss: _Loss) -> PersistedEvent:
        note = LossNote(self.stamps.incarnation, loss.kind.value, loss.first, loss.last, "overflow")
        return self._event_of(EventType.RECORDS_DROPPED, note, loss.seq, loss.timestamp)

    def _event_of(self, type_: EventType, note: LossNote, seq: int, timestamp: float) -> PersistedEvent:
        return PersistedEvent(
            self._system_id,
            "",
            type_.value,
            encode(note.to_payload()),
            timestamp,
            incarnation=self.stamps.incarnation,
            seq=seq,
        )


def _place_of(refused: tuple[Record, str]) -> tuple[str, int]:
    record = refused[0]
    return record.kind.value, record.seq
