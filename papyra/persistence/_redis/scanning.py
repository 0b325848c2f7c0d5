"""Look for damage: each entry by itself, the history against itself and against what was acknowledged."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from papyra.node import is_gone, this_node
from papyra.persistence._redis.bounds import look
from papyra.persistence._redis.entries import FIRST, RawEntry, StreamId, judge
from papyra.persistence._redis.reading import Span, raw_entries
from papyra.persistence._redis.walking import walk
from papyra.persistence.integrity import HistoryCheck, OpenIncarnation, Placement, loss_note_of
from papyra.persistence.models import (
    EventType,
    LossNote,
    PersistenceAnomaly,
    PersistenceAnomalyType,
    PersistenceScanReport,
    RecordKind,
    ScanDepth,
)
from papyra.persistence.query import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from papyra.persistence._redis.connecting import Door
    from papyra.persistence._redis.entries import Judged
    from papyra.persistence._redis.keys import Keys
    from papyra.persistence.codec import Head
    from papyra.persistence.query import ProgressCallback

SHOWN_ANOMALIES = 1_000
TAIL_RECORDS = 10_000
"""How far a scan of depth tail goes back at most, over all kinds."""
_FIRST_CHUNK = 500
_SAID_CLEAN = frozenset({"healthy", "recovered"})
_MISPLACED = {
    Placement.DUPLICATE: PersistenceAnomalyType.DUPLICATE_RECORD,
    Placement.CONFLICT: PersistenceAnomalyType.CONFLICTING_RECORD,
}
Stream = tuple[str, str]


class Bad(NamedTuple):
    """An entry that has to leave its stream, and why."""

    kind: RecordKind
    id: StreamId
    reason: PersistenceAnomalyType
    detail: str
    identity: tuple[str, int] | None
    is_doubled: bool


class Known(NamedTuple):
    """What the server knows of each incarnation and kind: the highest number, and where retention has cut."""

    highest: Mapping[Stream, int]
    floors: Mapping[Stream, int]


@dataclass(slots=True)
class Findings:
    """What a scan saw: the report's figures, and what a recovery has to act on."""

    anomalies: list[PersistenceAnomaly] = field(default_factory=list)
    counts: Counter[PersistenceAnomalyType] = field(default_factory=Counter)
    records: int = 0
    bytes: int = 0
    bad: list[Bad] = field(default_factory=list)
    holes: list[LossNote] = field(default_factory=list)
    lost: list[OpenIncarnation] = field(default_factory=list)
    unrepairable: list[PersistenceAnomaly] = field(default_factory=list)

    @property
    def has_work(self) -> bool:
        """Whether a repair would change anything."""
        return bool(self.bad or self.holes or self.lost)

    def add(self, anomaly: PersistenceAnomaly) -> None:
        """Count ``anomaly``, and show it among the first."""
        self.counts[anomaly.type] += 1
        if len(self.anomalies) < SHOWN_ANOMALIES:
            self.anomalies.append(anomaly)

    def report(self, backend: str, depth: ScanDepth, warnings: tuple[str, ...]) -> PersistenceScanReport:
        """Return the public form."""
        return PersistenceScanReport(
            backend,
            tuple(self.anomalies),
            depth=depth,
            checked_records=self.records,
            checked_bytes=self.bytes,
            counts=dict(self.counts),
            warnings=warnings,
        )


def known_numbers(door: Door, keys: Keys) -> Known:
    """Read what is stored and what retention has removed."""
    highest: dict[Stream, int] = {}
    floors: dict[Stream, int] = {}
    flat = door.call("HGETALL", keys.dedup)
    for name, number in zip(flat[::2], flat[1::2], strict=True):
        stream, _, what = name.decode("ascii", "replace").partition("#")
        incarnation, _, kind = stream.rpartition(":")
        if incarnation and number.isdigit() and what in {"", "floor"}:
            (floors if what else highest)[incarnation, kind] = int(number)
    return Known(highest, floors)


class Scan:
    """One look at the store, in the reader's thread."""

    def __init__(
        self, door: Door, keys: Keys, now: float, chunk: int, progress: ProgressCallback | None
    ) -> None:
        self._door = door
        self._keys = keys
        self._now = now
        self._chunk = chunk
        self._progress = progress
        self._total_bytes = 0
        self._known = known_numbers(
            door, keys
        )  # before the ends: what comes later is not this scan's business
        self._history = HistoryCheck(self._known.floors)
        self._found = Findings()

    def run(self, depth: ScanDepth) -> Findings:
        """Scan and return what was found; changes nothing."""
        kinds = [kind for kind in RecordKind if self._is_stream(kind)]
        ends = {kind: self._newest(kind) for kind in kinds}
        if depth is ScanDepth.TAIL:
            for kind, row in self._tail(ends):
                self._take(kind, row)
        else:
            self._total_bytes = sum(look(self._door, self._keys, kind).bytes for kind in kinds)
            for kind in kinds:
                for judged in self._judged(kind, Span(high=str(ends[kind]))):
                    self._take(kind, judged)
            self._expect_what_was_stored(kinds)
        self._find_holes(kinds)
        self._find_lost()
        return self._found

    def _is_stream(self, kind: RecordKind) -> bool:
        key = self._keys.stream(kind)
        type_ = self._door.call("TYPE", key).decode()
        if type_ in {"stream", "none"}:
            return True
        anomaly = PersistenceAnomaly(
            PersistenceAnomalyType.FOREIGN_FILE, key, f"a {type_} that is not papyra's stands under this key"
        )
        self._found.add(anomaly)
        self._found.unrepairable.append(anomaly)
        return False

    def _newest(self, kind: RecordKind) -> StreamId:
        newest = next(walk(self._door, self._keys.stream(kind), newest_first=True, step=1), [])
        return newest[0].id if newest else FIRST

    def _judged(self, kind: RecordKind, span: Span) -> Iterator[Judged]:
        stream, chunk = self._keys.stream(kind), min(_FIRST_CHUNK, self._chunk)
        for entries in raw_entries(self._door, stream, span, chunk=chunk, most=self._chunk):
            for entry in entries:
                yield judge(kind, entry)

    def _downward(self, kind: RecordKind, start: StreamId) -> Iterator[Judged]:
        return self._judged(kind, Span(high=str(start), newest_first=True))

    def _tail(self, ends: Mapping[RecordKind, StreamId]) -> Iterator[tuple[RecordKind, Judged]]:
        """Yield, oldest first, what came since the last clean mark; events first: they explain the rest."""
        left, clean_since = TAIL_RECORDS, -math.inf
        if RecordKind.EVENT in ends:
            rows, clean_since = self._since_clean_mark(ends[RecordKind.EVENT])
            left -= len(rows)
            yield from ((RecordKind.EVENT, row) for row in reversed(rows))
        for kind in (RecordKind.DEAD_LETTER, RecordKind.AUDIT):
            rows = []
            for row in self._downward(kind, ends[kind]) if kind in ends else ():
                if left == 0 or (row.head is not None and row.head.timestamp < clean_since):
                    break
                rows.append(row)
                left -= 1
            yield from ((kind, row) for row in reversed(rows))

    def _since_clean_mark(self, newest: StreamId) -> tuple[list[Judged], float]:
        rows: list[Judged] = []
        clean_since = -math.inf
        awaited = ""  # the incarnation of the mark, whose SystemStarted belongs to the tail
        for row in self._downward(RecordKind.EVENT, newest):
            rows.append(row)
            head = row.head
            if head is not None:
                if clean_since == -math.inf and _is_clean_mark(head):
                    clean_since, awaited = head.timestamp, head.incarnation
                    if head.event_type == EventType.SYSTEM_STOPPED:
                        break
                elif head.incarnation == awaited and head.event_type == EventType.SYSTEM_STARTED:
                    break
            if len(rows) == TAIL_RECORDS:
                break
        return rows, clean_since

    def _take(self, kind: RecordKind, judged: Judged) -> None:
        found, entry = self._found, judged.entry
        found.records += 1
        found.bytes += entry.size
        if self._progress is not None and found.records % _FIRST_CHUNK == 0:
            self._progress(self._so_far())
        head = judged.head
        if head is None:
            assert judged.fault is not None  # noqa: S101  # no head, so there is one
            self._add(kind, judged, judged.fault, judged.detail)
        elif judged.checksum:
            placement = self._history.add(head, checksum=judged.checksum)
            if placement in _MISPLACED:
                self._add(kind, judged, _MISPLACED[placement], "its identity stands in an older entry")

    def _so_far(self) -> Progress:
        return Progress(
            records=self._found.records,
            bytes=self._found.bytes,
            total_bytes=max(self._total_bytes, self._found.bytes),
        )

    def _add(self, kind: RecordKind, judged: Judged, reason: PersistenceAnomalyType, detail: str) -> None:
        entry, head = judged.entry, judged.head
        identity = _claimed(entry) if head is None else (head.incarnation, head.seq)
        self._found.bad.append(Bad(kind, entry.id, reason, detail, identity, head is not None))
        self._found.add(
            PersistenceAnomaly(
                reason, self._keys.stream(kind), f"entry {entry.id}: {detail}", length=entry.size
            )
        )

    def _expect_what_was_stored(self, kinds: list[RecordKind]) -> None:
        """Have the history miss its newest records too, or all of it, where they were stored once."""
        for stream, highest in self._known.highest.items():
            last = self._history.last_seq(*stream)
            if stream[1] in kinds and last < highest:
                if not last:
                    self._history.place(stream, 0, 0)
                self._history.place(stream, highest + 1, 0)

    def _find_holes(self, kinds: list[RecordKind]) -> None:
        if self._progress is not None:
            self._progress(self._so_far())
        if not self._history.holes():
            return
        if RecordKind.EVENT in kinds:
            self._take_notes()
        floors = known_numbers(self._door, self._keys).floors  # raised since by who removes beside this scan
        for hole in self._missing(self._history.holes(), floors):
            self._found.holes.append(hole)
            detail = f"{hole.incarnation}: {hole.first} to {hole.last} are not there"
            stream = self._keys.stream(RecordKind(hole.kind))
            self._found.add(PersistenceAnomaly(PersistenceAnomalyType.MISSING_RECORDS, stream, detail))

    def _take_notes(self) -> None:
        """Learn what loss notes say that stand before a tail, or came since this scan began."""
        stream = self._keys.stream(RecordKind.EVENT)
        for columns in walk(self._door, stream):
            for column in columns:
                if column.may_be_note:
                    at = str(column.id)
                    for raw in self._door.call("XRANGE", stream, at, at):
                        head = judge(RecordKind.EVENT, RawEntry.of(raw)).head
                        note = None if head is None else loss_note_of(head)
                        if note is not None:
                            self._history.note(note)

    def _missing(self, holes: list[LossNote], floors: Mapping[Stream, int]) -> Iterator[LossNote]:
        """Yield what of ``holes`` is not there: a tail does not see what was stored late, long ago."""
        for kind in RecordKind:
            of_kind = [hole for hole in holes if hole.kind == kind]
            there = self._numbers_in(kind, of_kind) if of_kind else {}
            for hole in of_kind:
                stream = hole.incarnation, hole.kind
                first = max(hole.first, floors.get(stream, 0))
                for seq in sorted(seq for seq in there[hole.incarnation] if first <= seq <= hole.last):
                    if first < seq:
                        yield hole._replace(first=first, last=seq - 1)
                    first = seq + 1
                if first <= hole.last:
                    yield hole._replace(first=first)

    def _numbers_in(self, kind: RecordKind, holes: list[LossNote]) -> dict[str, set[int]]:
        spans = {hole.incarnation: (hole.first, hole.last) for hole in holes}
        for hole in holes:
            first, last = spans[hole.incarnation]
            spans[hole.incarnation] = min(first, hole.first), max(last, hole.last)
        there: dict[str, set[int]] = {incarnation: set() for incarnation in spans}
        for columns in walk(self._door, self._keys.stream(kind)):
            for column in columns:
                span = spans.get(column.incarnation)
                if span is not None and span[0] <= column.seq <= span[1]:
                    there[column.incarnation].add(column.seq)
        return there

    def _find_lost(self) -> None:
        self._found.lost = self._history.open_incarnations(self._now, is_gone, here=this_node())
        for lost in self._found.lost:
            detail = f"{lost.incarnation} has no end; last seen {lost.last_seen}"
            stream = self._keys.stream(RecordKind.EVENT)
            self._found.add(PersistenceAnomaly(PersistenceAnomalyType.OPEN_INCARNATION, stream, detail))


def _claimed(entry: RawEntry) -> tuple[str, int] | None:
    """Return the identity that a damaged entry's fields claim."""
    fields = dict(zip(entry.fields[::2], entry.fields[1::2], strict=False))
    incarnation, seq = fields.get(b"incarnation", b""), fields.get(b"seq", b"")
    if not incarnation.isascii() or not seq.isdigit() or not 0 < int(seq) < 2**53:
        return None
    return incarnation.decode("ascii"), int(seq)


def _is_clean_mark(head: Head) -> bool:
    if head.event_type == EventType.SYSTEM_STOPPED:
        return True
    if head.event_type != EventType.STARTUP_CHECKED:
        return False
    try:
        return msgspec.json.decode(head.payload, type=_Checked).verdict in _SAID_CLEAN
    except msgspec.DecodeError:
        return False


class _Checked(msgspec.Struct):
    verdict: str = ""
