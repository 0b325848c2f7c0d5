"""The records that wait for the store: ordered, bounded, every loss noted exactly. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar

import msgspec

from papyra.payloads import encode
from papyra.persistence.models import EventType, LossNote, PersistedEvent, Record, RecordKind
from papyra.persistence.ready import ReadyEvent, ReadyRun

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from papyra._runtime.handled import HandledRun
    from papyra._runtime.stamps import Stamps

Storable = Record | ReadyEvent | ReadyRun

RECORD_OVERHEAD = 768
"""What a waiting record takes in memory beside its texts, measured; a loss note takes no more."""

HANDLED_OVERHEAD = 192
"""What a handled message takes while it waits to become an event, measured."""

TOGETHER_BYTES = 256 * RECORD_OVERHEAD
"""Events wait as one as long as they take no more."""

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


def is_loss_note(record: Storable) -> bool:
    """Whether ``record`` only says what could not be kept."""
    return isinstance(record, PersistedEvent) and record.event_type in _LOSS_NOTES


def count_of(each: Storable) -> int:
    """Return how many records ``each`` is."""
    return len(each) if isinstance(each, ReadyRun) else 1


def singles(each: Storable) -> Sequence[Storable]:
    """Return those records, each by itself."""
    return each.singles() if isinstance(each, ReadyRun) else (each,)


class _Waiting(msgspec.Struct, gc=False):
    order: int
    record: Storable
    size: int
    count: ClassVar[int] = 1

    @property
    def span(self) -> tuple[int, int]:
        return self.record.seq, self.record.seq

    @property
    def timestamp(self) -> float:
        return self.record.timestamp


class _WaitingEvents:
    """Events that came one after the other with nothing between; ``last_order`` is the newest one's."""

    __slots__ = ("events", "last_order", "order", "size")

    def __init__(self, order: int, events: list[ReadyEvent], size: int) -> None:
        self.order = self.last_order = order
        self.events = events
        self.size = size

    @property
    def count(self) -> int:
        return len(self.events)

    @property
    def span(self) -> tuple[int, int]:
        return self.events[0].seq, self.events[-1].seq

    @property
    def timestamp(self) -> float:
        return self.events[0].timestamp

    def split(self, count: int) -> _WaitingEvents:
        """Take the first ``count`` out."""
        part = self.events[:count]
        del self.events[:count]
        size = sum(map(_size_of, part))
        self.size -= size
        return _WaitingEvents(self.order, part, size)


class _WaitingRun:
    """Neighbouring events, of which each takes as much as any other."""

    __slots__ = ("order", "run")

    def __init__(self, order: int, run: HandledRun) -> None:
        self.order = order
        self.run = run

    @property
    def count(self) -> int:
        return len(self.run)

    @property
    def size(self) -> int:
        return HANDLED_OVERHEAD * len(self.run)

    @property
    def span(self) -> tuple[int, int]:
        return self.run.seq, self.run.seq + len(self.run) - 1

    @property
    def timestamp(self) -> float:
        return self.run.timestamp

    def split(self, count: int) -> _WaitingRun:
        """Take the first ``count`` out."""
        return _WaitingRun(self.order, self.run.split(count))


class _Loss:
    """A run of dropped records of one kind; it grows until its note is taken.

    The note for dropped events stands in their place, with the last one's number and the first one's time.
    Another kind's note gets the next number that is free, and what is left of that kind waits behind it. So
    no reader ever sees a hole without its note.
    """

    __slots__ = ("first", "kind", "last", "order", "seq", "timestamp")
    size = RECORD_OVERHEAD
    count = 1

    def __init__(self, kind: RecordKind, first: int, order: int, seq: int, timestamp: float) -> None:
        self.kind = kind
        self.first = self.last = first
        self.order = order
        self.seq = seq
        self.timestamp = timestamp


_Entry = _Waiting | _WaitingEvents | _WaitingRun
_Queue = deque[_Entry] | deque[_Loss] | deque[_Entry | _Loss]


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
        self._queues: dict[RecordKind, deque[_Entry]] = {kind: deque() for kind in _DROP_ORDER}
        self._events = self._queues[RecordKind.EVENT]
        self._kept: deque[_Entry | _Loss] = deque()  # never dropped, and notes with a number of their own
        self._event_losses: deque[_Loss] = deque()
        self._fronts: tuple[tuple[RecordKind | None, _Queue], ...] = (
            (None, self._kept),
            (None, self._event_losses),
            *self._queues.items(),
        )
        self._open_notes: dict[RecordKind, _Loss] = {}
        self._taken: list[_Entry | _Loss] = []

    def __len__(self) -> int:
        return self._count

    @property
    def has_room(self) -> bool:
        """Whether at least half of both bounds is free."""
        return self._count * 2 <= self._max_records and self.bytes * 2 <= self._max_bytes

    def push(self, record: Storable, size: int) -> bool:
        """Add a stamped ``record`` whose texts take ``size`` bytes; returns whether anything was dropped."""
        self._add(record, RECORD_OVERHEAD + size)
        return self._keep_bounds()

    def push_event(self, event: ReadyEvent) -> bool:
        """Add a stamped event; returns whether anything was dropped."""
        size = _size_of(event)
        queue = self._events
        newest = queue[-1] if queue else None
        order = self.last_order + 1
        if (
            type(newest) is _WaitingEvents
            and newest.last_order == self.last_order
            and newest.size + size <= TOGETHER_BYTES
        ):
            newest.events.append(event)
            newest.size += size
            newest.last_order = order
        else:
            queue.append(_WaitingEvents(order, [event], size))
        self.last_order = order
        self._count += 1
        self.bytes += size
        return (self._count > self._max_records or self.bytes > self._max_bytes) and self._keep_bounds()

    def push_run(self, run: HandledRun) -> bool:
        """Add events of handled messages; returns whether anything was dropped."""
        self.last_order += 1
        entry = _WaitingRun(self.last_order, run)
        self._events.append(entry)
        self._count += entry.count
        self.bytes += entry.size
        return self._keep_bounds()

    def _keep_bounds(self) -> bool:
        has_dropped = False
        while (self._count > self._max_records or self.bytes > self._max_bytes) and self._drop_oldest():
            has_dropped = True
        return has_dropped

    def take(self, max_records: int, max_bytes: int) -> list[Storable]:
        """Take the next batch, at least one record if any waits; it counts until `settle`."""
        taken = self._taken  # those of whoever took a batch and was cancelled come once more
        count = sum(entry.count for entry in taken)
        size = sum(entry.size for entry in taken)
        while count < max_records and (queue := self._next_queue()) is not None:
            entry = queue[0]
            if taken and size + entry.size > max_bytes:
                break
            if not isinstance(entry, _Waiting | _Loss) and count + entry.count > max_records:
                entry = entry.split(max_records - count)
            else:
                queue.popleft()
            if isinstance(entry, _Loss) and self._open_notes.get(entry.kind) is entry:
                del self._open_notes[entry.kind]  # what waited behind it may be next
            taken.append(entry)
            count += entry.count
            size += entry.size
        return [record for entry in taken for record in self._storable(entry)]

    def _storable(self, entry: _Entry | _Loss) -> Sequence[Storable]:
        match entry:
            case _WaitingEvents():
                return entry.events
            case _WaitingRun():
                return (entry.run.ready(),)
            case _Waiting():
                return (entry.record,)
            case _Loss():
                return (self._note_of(entry),)

    def settle(self) -> None:
        """Forget what was taken: it is durable, or refused for good."""
        for entry in self._taken:
            self._count -= entry.count
            self.bytes -= entry.size
        self._taken = []

    def order_of(self, position: int) -> int:
        """Return the order of the record at ``position`` in the batch that was taken; 0 is before any."""
        for entry in self._taken:
            if position < entry.count:
                return entry.order
            position -= entry.count
        return 0

    def note_refused(self, refused: Iterable[tuple[Storable, str]]) -> None:
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

    def count_dropped(self, records: Iterable[Storable]) -> None:
        """Count records that the store let go, and of which it stores the loss notes."""
        for record in records:
            self.dropped[record.kind] += 1

    def is_done(self, order: int) -> bool:
        """Whether nothing that was pushed up to ``order`` (a former ``last_order``) waits any more."""
        heads = [queue[0] for _, queue in self._fronts if queue]
        return all(entry.order > order for entry in (*self._taken, *heads))

    def _add(self, record: Storable, size: int) -> None:
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
            queue = self._queues[kind]
            if queue:
                entry = self._oldest_of(queue)
                self._count -= entry.count
                self.bytes -= entry.size
                self.dropped[kind] += entry.count
                if kind is RecordKind.EVENT:
                    self._note_events(entry)
                else:
                    self._note_other(kind, entry.span[0])
                return True
        return False

    def _oldest_of(self, queue: deque[_Entry]) -> _Entry:
        """Take the oldest entry out, or as much of it as is too much."""
        entry = queue[0]
        if isinstance(entry, _WaitingRun):
            bytes_over = self.bytes - self._max_bytes
            going = max(1, self._count - self._max_records, -(-bytes_over // HANDLED_OVERHEAD))
            if going < entry.count:
                return entry.split(going)
        elif isinstance(entry, _WaitingEvents) and entry.count > 1:
            return entry.split(1)
        return queue.popleft()

    def _note_events(self, entry: _Entry) -> None:
        first, last = entry.span
        loss = self._event_losses[-1] if self._event_losses else None
        if loss is not None and loss.last + 1 == first:
            loss.last = loss.seq = last
            return
        loss = _Loss(RecordKind.EVENT, first, entry.order, last, entry.timestamp)
        loss.last = last
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


def _size_of(event: ReadyEvent) -> int:
    return RECORD_OVERHEAD + len(event.payload)


def _place_of(refused: tuple[Storable, str]) -> tuple[str, int]:
    record = refused[0]
    return record.kind.value, record.seq
