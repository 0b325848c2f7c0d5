"""Look for damage: each row against its body, the history against itself, the file by its own engine."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from django.db import connections

from django_papyra._sql import presence
from django_papyra._sql.judging import Judged, judged, table_of
from django_papyra._sql.stats import stored_bytes
from django_papyra.mapping import stored
from papyra.persistence import codec
from papyra.persistence.integrity import HistoryCheck, Placement
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
    from collections.abc import Iterator

    from django_papyra.querysets import RecordQuerySet
    from papyra.clock import Clock
    from papyra.persistence.query import ProgressCallback

SHOWN_ANOMALIES = 1_000
TAIL_RECORDS = 10_000
"""How far a scan of depth tail goes back at most, over all kinds."""
_STEP = 200
LOSS_NOTES = (EventType.RECORDS_LOST.value, EventType.RECORDS_DROPPED.value)
_SAID_CLEAN = frozenset({"healthy", "recovered"})
_TELLING = frozenset(
    {*LOSS_NOTES, EventType.SYSTEM_STARTED, EventType.INCARNATION_LOST, EventType.STARTUP_CHECKED}
)
_NOTHING = msgspec.Raw(b"null")
_MISPLACED = {
    Placement.DUPLICATE: PersistenceAnomalyType.DUPLICATE_RECORD,
    Placement.CONFLICT: PersistenceAnomalyType.CONFLICTING_RECORD,
}


class Seen(NamedTuple):
    """What a scan keeps of a row: everything but its body."""

    kind: RecordKind
    row_id: int
    length: int
    checksum: str
    head: codec.Head | None
    fault: PersistenceAnomalyType | None
    detail: str
    time: float


@dataclass(slots=True)
class Findings:
    """What a scan saw: the report's figures, and what a recovery has to act on."""

    anomalies: list[PersistenceAnomaly] = field(default_factory=list)
    counts: Counter[PersistenceAnomalyType] = field(default_factory=Counter)
    records: int = 0
    bytes: int = 0
    bad: list[tuple[RecordKind, int]] = field(default_factory=list)
    doubled: list[tuple[RecordKind, int]] = field(default_factory=list)
    stale: list[tuple[RecordKind, int]] = field(default_factory=list)
    holes: list[LossNote] = field(default_factory=list)
    lost: list[presence.Lost] = field(default_factory=list)
    unrepairable: list[PersistenceAnomaly] = field(default_factory=list)

    @property
    def has_work(self) -> bool:
        """Whether a repair would change anything."""
        return bool(self.bad or self.doubled or self.stale or self.holes or self.lost)

    def add(self, anomaly: PersistenceAnomaly) -> None:
        """Count ``anomaly``, and show it among the first."""
        self.counts[anomaly.type] += 1
        if len(self.anomalies) < SHOWN_ANOMALIES:
            self.anomalies.append(anomaly)

    def report(self, backend: str, depth: ScanDepth) -> PersistenceScanReport:
        """Return the public form."""
        return PersistenceScanReport(
            backend,
            tuple(self.anomalies),
            depth=depth,
            checked_records=self.records,
            checked_bytes=self.bytes,
            counts=dict(self.counts),
        )


class Scan:
    """One look at the store, in the reader's thread."""

    def __init__(self, alias: str, clock: Clock, progress: ProgressCallback | None) -> None:
        self._alias = alias
        self._clock = clock
        self._progress = progress
        self._total_bytes = 0
        self._history = HistoryCheck(presence.kept_from(alias))
        self._found = Findings()

    def run(self, depth: ScanDepth) -> Findings:
        """Scan and return what was found; changes nothing."""
        # What comes later is not this scan's business.
        ends = {kind: self._newest(kind) for kind in RecordKind}
        if depth is ScanDepth.FULL:
            self._check_file()
            self._total_bytes = sum(stored_bytes(stored(kind, self._alias)) for kind in RecordKind)
            for kind in RecordKind:
                for row in self._upward(kind, ends[kind]):
                    self._take(row)
        else:
            for row in self._tail(ends):
                self._take(row)
        self._find_holes()
        self._find_lost()
        return self._found

    def _newest(self, kind: RecordKind) -> int:
        return stored(kind, self._alias).order_by("-id").values_list("id", flat=True).first() or 0

    def _check_file(self) -> None:
        connection = connections[self._alias]
        if connection.vendor != "sqlite":
            return
        with connection.cursor() as cursor:
            for kind in RecordKind:
                cursor.execute(f"PRAGMA quick_check({connection.ops.quote_name(table_of(kind))})")
                for (line,) in cursor.fetchall():
                    if line != "ok":
                        anomaly = PersistenceAnomaly(
                            PersistenceAnomalyType.GARBAGE, table_of(kind), f"quick_check: {line}"
                        )
                        self._found.add(anomaly)
                        self._found.unrepairable.append(anomaly)

    def _upward(self, kind: RecordKind, end: int) -> Iterator[Seen]:
        rows = stored(kind, self._alias).filter(id__lte=end).order_by("id")
        page = _look(kind, rows[:_STEP])
        while page:
            yield from page
            page = _look(kind, rows.filter(id__gt=page[-1].row_id)[:_STEP])

    def _downward(self, kind: RecordKind, start: int) -> Iterator[Seen]:
        rows = stored(kind, self._alias).order_by("-id")
        page = _look(kind, rows.filter(id__lte=start)[:_STEP])
        while page:
            yield from page
            page = _look(kind, rows.filter(id__lt=page[-1].row_id)[:_STEP])

    def _tail(self, ends: dict[RecordKind, int]) -> Iterator[Seen]:
        """Yield, oldest first, what came since the last clean mark; events first: they explain the rest."""
        rows, clean_since = self._since_clean_mark(ends[RecordKind.EVENT])
        left = TAIL_RECORDS - len(rows)
        yield from reversed(rows)
        for kind in (RecordKind.DEAD_LETTER, RecordKind.AUDIT):
            rows = []
            for row in self._downward(kind, ends[kind]):
                if left == 0 or row.time < clean_since:
                    break
                rows.append(row)
                left -= 1
            yield from reversed(rows)

    def _since_clean_mark(self, newest: int) -> tuple[list[Seen], float]:
        rows: list[Seen] = []
        clean_since = -math.inf
        awaited = ""  # the incarnation of the mark, whose SystemStarted belongs to the tail
        for row in self._downward(RecordKind.EVENT, newest):
            rows.append(row)
            head = row.head
            if head is None:
                continue
            if clean_since == -math.inf and _is_clean_mark(head):
                clean_since, awaited = head.timestamp, head.incarnation
                if head.event_type == EventType.SYSTEM_STOPPED:
                    break
            elif head.incarnation == awaited and head.event_type == EventType.SYSTEM_STARTED:
                break
            if len(rows) == TAIL_RECORDS:
                break
        return rows, clean_since

    def _take(self, row: Seen) -> None:
        self._found.records += 1
        self._found.bytes += row.length + 1
        if self._progress is not None and self._found.records % _STEP == 0:
            self._progress(self._so_far())
        place = row.kind, row.row_id
        if row.head is None:
            self._found.bad.append(place)
        else:
            placement = self._history.add(row.head, checksum=row.checksum)
            if placement in _MISPLACED:
                self._found.doubled.append(place)
                self._add(row, _MISPLACED[placement], "its identity stands in an older row")
                return
            if row.fault is not None:
                self._found.stale.append(place)
        if row.fault is not None:
            self._add(row, row.fault, row.detail)

    def _so_far(self) -> Progress:
        return Progress(
            records=self._found.records,
            bytes=self._found.bytes,
            total_bytes=max(self._total_bytes, self._found.bytes),
        )

    def _add(self, row: Seen, fault: PersistenceAnomalyType, detail: str) -> None:
        self._found.add(
            PersistenceAnomaly(fault, table_of(row.kind), detail, offset=row.row_id, length=row.length)
        )

    def _find_holes(self) -> None:
        if self._progress is not None:
            self._progress(self._so_far())
        if not self._history.holes():
            return
        for note in self._loss_notes():  # written since the scan began, or before its tail
            if note.head is not None:
                self._history.add(note.head, checksum=note.checksum)
        for hole in self._history.holes():
            for missing in missing_ranges(self._alias, hole):
                self._found.holes.append(missing)
                detail = f"{missing.incarnation}: {missing.first} to {missing.last} are not there"
                table = table_of(RecordKind(missing.kind))
                self._found.add(PersistenceAnomaly(PersistenceAnomalyType.MISSING_RECORDS, table, detail))

    def _loss_notes(self) -> Iterator[Seen]:
        rows = stored(RecordKind.EVENT, self._alias).filter(event_type__in=LOSS_NOTES).order_by("id")
        page = _look(RecordKind.EVENT, rows[:_STEP])
        while page:
            yield from page
            page = _look(RecordKind.EVENT, rows.filter(id__gt=page[-1].row_id)[:_STEP])

    def _find_lost(self) -> None:
        unended = self._history.open_incarnations(math.inf, lambda _: True)
        self._found.lost = presence.find_lost(self._alias, unended, self._clock.now())
        for lost in self._found.lost:
            detail = f"{lost.incarnation} of {lost.system_id!r} has no end; last seen {lost.last_seen}"
            self._found.add(
                PersistenceAnomaly(
                    PersistenceAnomalyType.OPEN_INCARNATION, "django_papyra_incarnation", detail
                )
            )


def _look(kind: RecordKind, rows: RecordQuerySet[Any]) -> list[Seen]:
    return [_seen(row) for row in judged(kind, rows)]


def _seen(row: Judged) -> Seen:
    head = row.head
    if head is not None and head.event_type not in _TELLING:  # what says nothing must not keep its line alive
        head = msgspec.structs.replace(head, payload=_NOTHING)
    return Seen(
        row.kind,
        row.row_id,
        len(row.body),
        codec.checksum_of(row.body) if head is not None else "",
        head,
        row.fault,
        row.detail,
        row.time,
    )


def missing_ranges(alias: str, hole: LossNote) -> Iterator[LossNote]:
    """Yield what of ``hole`` is missing still: a tail scan does not see what was stored late, long ago.

    Nor does a scan see what a compaction beside it removed since it began.
    """
    stream = hole.incarnation, hole.kind
    floor = presence.kept_from(alias, {hole.incarnation}).get(stream, 0)
    hole = hole._replace(first=max(hole.first, floor))
    rows = stored(RecordKind(hole.kind), alias).filter(
        incarnation=hole.incarnation, seq__gte=hole.first, seq__lte=hole.last
    )
    first = hole.first
    for seq in rows.order_by("seq").values_list("seq", flat=True).iterator(chunk_size=_STEP):
        if seq > first:
            yield hole._replace(first=first, last=seq - 1)
        first = seq + 1
    if first <= hole.last:
        yield hole._replace(first=first)


def _is_clean_mark(head: codec.Head) -> bool:
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
