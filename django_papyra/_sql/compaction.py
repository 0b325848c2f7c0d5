"""Make retention physical: oldest rows first, a slice of ids at a time, so that appends go on in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

from django.db import connections, transaction
from django.db.models import Count, Max, Min, Q

from django_papyra._sql.judging import judged, table_of
from django_papyra._sql.kept import Keeper
from django_papyra._sql.lease import Lease, count_removal
from django_papyra._sql.scanning import LOSS_NOTES
from django_papyra._sql.stats import measured
from django_papyra.mapping import stored
from django_papyra.models import Incarnation, IncarnationState
from django_papyra.querysets import PROTECTED_STATES, DeadLetterQuerySet
from papyra.persistence.integrity import loss_note_of
from papyra.persistence.models import EventType, KindStats, RecordKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django_papyra._sql.insert import Inserter
    from django_papyra.models import DeadLetter
    from django_papyra.querysets import RecordQuerySet
    from papyra.clock import Clock
    from papyra.persistence.models import LossNote
    from papyra.persistence.own import OwnRecords
    from papyra.persistence.retention import RetentionPolicy

STEP_ROWS = 2_000


class Bounds(NamedTuple):
    """What goes of one kind: rows below ``first``, but not open letters from ``protected_from`` on."""

    kind: RecordKind
    first: int
    protected_from: int | None
    before: KindStats
    goes: KindStats


class Slice(NamedTuple):
    """What one step removed, and where the next begins (``None``: nothing is left)."""

    removed: KindStats
    following: int | None


class Compaction:
    """The steps of one compaction: `plan` in any thread, the others in the writer's."""

    def __init__(self, alias: str, inserter: Inserter, own: OwnRecords, clock: Clock) -> None:
        self._alias = alias
        self._inserter = inserter
        self._own = own
        self.lease = Lease(alias, clock)
        self._clock = clock

    def plan(self, policy: RetentionPolicy, max_unresolved: int) -> tuple[Bounds, ...]:
        """Return what would go; changes nothing."""
        keeper = Keeper(self._alias, max_unresolved)
        plans = []
        for kind in RecordKind:
            first = keeper.first(kind, policy, self._clock.now())
            protected_from = keeper.protected_from(kind, first)
            before = measured(stored(kind, self._alias))
            bounds = Bounds(kind, first, protected_from, before, KindStats())
            plans.append(
                bounds._replace(goes=measured(self._going(bounds, 0, first)) if first else KindStats())
            )
        return tuple(plans)

    def step(self, bounds: Bounds, start: int) -> Slice:
        """Remove the rows of one slice of ids from ``start`` on."""
        ids = stored(bounds.kind, self._alias).filter(id__gte=start, id__lt=bounds.first).order_by("id")
        end = ids.values_list("id", flat=True)[STEP_ROWS : STEP_ROWS + 1].first()
        stop = bounds.first if end is None else end
        with transaction.atomic(using=self._alias):
            self.lease.take()
            going = self._going(bounds, start, stop)
            removed = measured(going)
            if removed.records:
                self._remember(bounds.kind, going)
                self._record_dropped(bounds.kind, going)
                self._delete(bounds, start, stop)
                count_removal(self._alias)
        return Slice(removed, end)

    def _going(self, bounds: Bounds, start: int, stop: int) -> RecordQuerySet[Any]:
        rows = stored(bounds.kind, self._alias).filter(id__gte=start, id__lt=stop)
        if bounds.protected_from is None:
            return rows
        return rows.exclude(Q(id__gte=bounds.protected_from) & Q(state__in=PROTECTED_STATES))

    def _delete(self, bounds: Bounds, start: int, stop: int) -> None:
        """Delete without the ORM: it would load each row for whoever listens to every model's signals."""
        connection = connections[self._alias]
        where = "id >= %s AND id < %s"
        values: list[int | str] = [start, stop]
        if bounds.protected_from is not None:
            where += " AND NOT (id >= %s AND state IN (%s, %s))"
            values += [bounds.protected_from, *PROTECTED_STATES]
        table = connection.ops.quote_name(table_of(bounds.kind))
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {table} WHERE {where}", values)  # noqa: S608  # our own words

    def _record_dropped(self, kind: RecordKind, going: RecordQuerySet[Any]) -> None:
        if kind is not RecordKind.DEAD_LETTER:
            return
        letters = cast("DeadLetterQuerySet[DeadLetter]", going).unresolved()
        by_system = letters.order_by("system_id").values_list("system_id")
        for system_id, count, oldest, newest in by_system.annotate(
            Count("id"), Min("timestamp"), Max("timestamp")
        ):
            payload = {"count": count, "oldest": oldest, "newest": newest}
            entry = self._own.entry(EventType.DEAD_LETTERS_DROPPED, payload, system_id)
            for error in self._inserter.store([entry]).values():
                raise error

    def _remember(self, kind: RecordKind, going: RecordQuerySet[Any]) -> None:
        """Note below which number each incarnation has gaps now: they are no finding, nor filled again."""
        tops = going.order_by("incarnation").values_list("incarnation").annotate(Max("seq"))
        for incarnation, last in list(tops):
            self._set_floor(incarnation, kind.value, last + 1)
        if kind is RecordKind.EVENT:
            for note in self._notes(going):  # it may explain a gap among what stays
                self._set_floor(note.incarnation, note.kind, note.last + 1)

    def _notes(self, going: RecordQuerySet[Any]) -> Iterator[LossNote]:
        for row in judged(RecordKind.EVENT, going.filter(event_type__in=LOSS_NOTES)):
            note = loss_note_of(row.head) if row.head is not None else None
            if note is not None and note.kind in set(RecordKind):
                yield note

    def _set_floor(self, incarnation: str, kind: str, seq: int) -> None:
        row, _ = Incarnation.objects.using(self._alias).get_or_create(
            incarnation=incarnation, defaults={"system_id": "", "host": "", "state": IncarnationState.WRITER}
        )
        if row.kept_from.get(kind, 0) < seq:
            row.kept_from[kind] = seq
            row.save(using=self._alias, update_fields=("kept_from",))
