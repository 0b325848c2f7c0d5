"""Act on a scan's findings; each step is one transaction, safe to be killed after, safe to repeat.

SQL has no original to set aside whole, so quarantine and repair are the same here.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from django.db import connections, transaction

from django_papyra._sql import quarantine
from django_papyra._sql.judging import Judged, judged, plain_columns, table_of
from django_papyra._sql.lease import Lease, count_removal
from django_papyra._sql.scanning import missing_ranges
from django_papyra.mapping import stored
from django_papyra.models import QuarantinedRecord
from papyra.persistence.models import EventType, LossNote, PersistenceAnomalyType, RecordKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from django_papyra._sql.insert import Inserter
    from django_papyra._sql.scanning import Findings
    from papyra.clock import Clock
    from papyra.persistence.entries import Entry
    from papyra.persistence.models import PersistenceRecoveryConfig, ScanDepth
    from papyra.persistence.own import OwnRecords

_STEP = 200
CAUSE_DAMAGED = "damaged"
CAUSE_MISSING = "missing"


class Done(NamedTuple):
    """What one step did, or several."""

    corrected: frozenset[str] = frozenset()
    emptied: frozenset[str] = frozenset()
    quarantined_bytes: int = 0
    losses: tuple[LossNote, ...] = ()

    def plus(self, other: Done) -> Done:
        """Return both together."""
        return Done(
            self.corrected | other.corrected,
            self.emptied | other.emptied,
            self.quarantined_bytes + other.quarantined_bytes,
            self.losses + other.losses,
        )


class Repair:
    """The steps of one recovery, each to be run in the writer's thread."""

    def __init__(self, alias: str, inserter: Inserter, own: OwnRecords, clock: Clock) -> None:
        self._alias = alias
        self._inserter = inserter
        self._own = own
        self._clock = clock
        self.lease = Lease(alias, clock)

    def steps(self, found: Findings) -> Iterator[Callable[[], Done]]:
        """Yield the steps that move bad rows to quarantine and derive stale columns anew."""
        for kind, ids in _in_steps(found.bad + found.doubled):
            yield partial(self._remove, kind, ids)
        for kind, ids in _in_steps(found.stale):
            yield partial(self._correct, kind, ids)

    def conclude(
        self, found: Findings, done: Done, config: PersistenceRecoveryConfig, depth: ScanDepth
    ) -> Done:
        """Explain the holes, close the lost incarnations, and record the recovery."""
        with transaction.atomic(using=self._alias):
            self.lease.take()
            notes = tuple(
                missing._replace(cause=CAUSE_MISSING)
                for hole in found.holes
                for missing in missing_ranges(self._alias, hole)
            )
            entries = [self._own.loss(note, self._system_of(note)) for note in notes]
            for lost in found.lost:
                payload = {"closes": lost.incarnation, "last_seen": lost.last_seen}
                entries.append(self._own.entry(EventType.INCARNATION_LOST, payload, lost.system_id))
            done = done.plus(Done(losses=notes))
            run = {
                "mode": config.mode.value,
                "depth": depth.value,
                "found": {type_.value: count for type_, count in found.counts.items()},
                "losses": len(done.losses),
                "quarantined_bytes": done.quarantined_bytes,
                "quarantine": QuarantinedRecord._meta.db_table,  # noqa: SLF001  # Django's public name for it
            }
            entries.append(self._own.entry(EventType.RECOVERY_RUN, run))
            self._store(entries)
        return done

    def _remove(self, kind: RecordKind, ids: Sequence[int]) -> Done:
        with transaction.atomic(using=self._alias):
            self.lease.take()
            rows = judged(kind, stored(kind, self._alias).filter(id__in=ids).order_by("id"))
            bad = [row for row in rows if row.head is None]
            doubled = [row for row in rows if self._is_doubled(row)]
            for row in bad + doubled:
                self._quarantine(row)
            with connections[self._alias].cursor() as cursor:
                table = connections[self._alias].ops.quote_name(table_of(kind))
                for row in bad + doubled:
                    cursor.execute(f"DELETE FROM {table} WHERE id = %s", (row.row_id,))  # noqa: S608  # our table
            count_removal(self._alias)
            losses = tuple(_merged(bad))
            self._store([self._own.loss(note, self._system_of(note)) for note in losses])
        size = sum(len(row.body) for row in bad + doubled)
        return Done(emptied=frozenset({table_of(kind)}), quarantined_bytes=size, losses=losses)

    def _correct(self, kind: RecordKind, ids: Sequence[int]) -> Done:
        with transaction.atomic(using=self._alias):
            self.lease.take()
            for row in judged(kind, stored(kind, self._alias).filter(id__in=ids)):
                if row.expected is not None:
                    columns = {name: value for name, value in row.expected.items() if name != "state"}
                    stored(kind, self._alias).filter(id=row.row_id).update(**columns)
        return Done(corrected=frozenset({table_of(kind)}))

    def _is_doubled(self, row: Judged) -> bool:
        if row.head is None:
            return False
        older = stored(row.kind, self._alias).filter(
            incarnation=row.head.incarnation, seq=row.head.seq, id__lt=row.row_id
        )
        return older.exists()

    def _quarantine(self, row: Judged) -> None:
        incarnation, seq = row.identity or ("", None)
        quarantine.keep(
            self._alias,
            kind=row.kind.value,
            incarnation=incarnation,
            seq=seq,
            row_id=row.row_id,
            reason=row.fault or PersistenceAnomalyType.DUPLICATE_RECORD,
            detail=row.detail or "its identity stands in an older row",
            content=row.body,
            columns=plain_columns(row),
            now=self._clock.now(),
        )

    def _system_of(self, note: LossNote) -> str:
        rows = stored(RecordKind(note.kind), self._alias).filter(incarnation=note.incarnation)
        return rows.values_list("system_id", flat=True).first() or ""

    def _store(self, entries: Sequence[Entry]) -> None:
        for error in self._inserter.store(entries).values():
            raise error


def _in_steps(rows: Sequence[tuple[RecordKind, int]]) -> Iterator[tuple[RecordKind, list[int]]]:
    for kind in RecordKind:
        ids = sorted({row_id for of_kind, row_id in rows if of_kind is kind})
        for start in range(0, len(ids), _STEP):
            yield kind, ids[start : start + _STEP]


def _merged(rows: Sequence[Judged]) -> Iterator[LossNote]:
    """Yield one note for each run of neighbours."""
    last: LossNote | None = None
    for row in sorted((row for row in rows if row.identity is not None), key=_by_identity):
        assert row.identity is not None  # noqa: S101  # filtered above
        incarnation, seq = row.identity
        note = LossNote(incarnation, row.kind.value, seq, seq, CAUSE_DAMAGED)
        if last is not None and incarnation == last.incarnation and seq == last.last + 1:
            last = last._replace(last=seq)
            continue
        if last is not None:
            yield last
        last = note
    if last is not None:
        yield last


def _by_identity(row: Judged) -> tuple[str, int]:
    return row.identity or ("", 0)
