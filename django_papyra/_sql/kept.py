"""Where the kept records of one kind begin: retention as one row id, followed as the table grows."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

from django.db.models import Min, Q

from django_papyra._sql.lease import removals
from django_papyra.mapping import stored
from django_papyra.models import DeadLetter
from django_papyra.querysets import PROTECTED_STATES
from papyra.persistence.models import RecordKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django_papyra.querysets import RecordQuerySet
    from papyra.persistence.retention import RetentionPolicy

_STEP = 2_000


@dataclass(slots=True)
class _Run:
    """The longest newest run within count and bytes, as of the row ``newest``; it rests on ``state``."""

    state: tuple[int | None, int | None, int]
    newest: int
    first: int
    records: int = 0
    bytes: int = 0

    @property
    def is_over(self) -> bool:
        max_records, max_bytes, _ = self.state
        return (max_records is not None and self.records > max_records) or (
            max_bytes is not None and self.bytes > max_bytes
        )


@dataclass(frozen=True, slots=True)
class _Aged:
    """From ``start`` to ``seen`` every row is older than ``cutoff`` or, up to ``next_to_come``, yet to come.

    The last old one stands before ``first``.
    """

    cutoff: float
    start: int
    first: int
    seen: int
    next_to_come: float = inf

    def holds(self, cutoff: float, now: float, start: int) -> bool:
        return self.cutoff <= cutoff and now < self.next_to_come and self.start <= start


class KeptWindow:
    """Finds the oldest kept row of one kind, by the rule of `papyra.persistence.retention.first_kept`.

    What it saw before makes the next look cost only what is new. Belongs to one thread.
    """

    def __init__(self, alias: str, kind: RecordKind) -> None:
        self._alias = alias
        self._kind = kind
        self._run: _Run | None = None
        self._aged: _Aged | None = None

    def first(self, policy: RetentionPolicy, now: float) -> int:
        """Return the id of the oldest row that this kind's ``policy`` keeps; past the newest for none."""
        newest = _id(stored(self._kind, self._alias).order_by("-id"))
        if newest is None:
            return 0
        if 0 in {policy.max_records, policy.max_total_bytes, policy.max_age_seconds}:
            return newest + 1
        first = 0
        if policy.max_records is not None or policy.max_total_bytes is not None:
            first = self._first_fitting(policy, newest)
        if policy.max_age_seconds is not None:
            first = self._first_young(first, policy.max_age_seconds, now, newest)
        return first

    def _first_fitting(self, policy: RetentionPolicy, newest: int) -> int:
        state = policy.max_records, policy.max_total_bytes, removals(self._alias)
        if self._run is None or self._run.state != state:
            self._run = self._walk_back(_Run(state, newest, newest + 1))
        elif newest > self._run.newest:
            self._follow(self._run)
        return self._run.first

    def _walk_back(self, run: _Run) -> _Run:
        for row_id, size in self._sizes(run.newest, is_upward=False):
            run.records += 1
            run.bytes += size
            if run.is_over:
                run.records -= 1
                run.bytes -= size
                break
            run.first = row_id
        return run

    def _follow(self, run: _Run) -> None:
        for row_id, size in self._sizes(run.newest + 1, is_upward=True):
            run.records += 1
            run.bytes += size
            run.newest = row_id
        oldest = self._sizes(run.first, is_upward=True)
        while run.is_over:
            row_id, size = next(oldest)
            run.records -= 1
            run.bytes -= size
            run.first = row_id + 1

    def _first_young(self, fitting: int, age: float, now: float, newest: int) -> int:
        cutoff, before = now - age, self._aged
        if before is None or not before.holds(cutoff, now, fitting):
            before = _Aged(cutoff, fitting, fitting, fitting)
        first, seen, to_come = max(before.first, fitting), max(before.seen, fitting), before.next_to_come
        rows = stored(self._kind, self._alias).filter(id__gte=seen, id__lte=newest).order_by("id")
        found = rows.filter(timestamp__gte=cutoff).values_list("id", "timestamp").first()
        if first == seen and (found is None or found[1] <= now):
            first = seen = newest + 1 if found is None else found[0]
        else:  # what is yet to come is as old as what is behind it
            young = _id(rows.filter(timestamp__gte=cutoff, timestamp__lte=now))
            passed = rows if young is None else rows.filter(id__lt=young)
            old = _id(passed.filter(timestamp__lt=cutoff).order_by("-id"))
            first, seen = first if old is None else old + 1, newest + 1 if young is None else young
            earliest = passed.filter(timestamp__gt=now).aggregate(at=Min("timestamp"))["at"]
            to_come = to_come if earliest is None else min(to_come, earliest)
        self._aged = _Aged(cutoff, before.start, first, seen, to_come)
        return first

    def _sizes(self, start: int, *, is_upward: bool) -> Iterator[tuple[int, int]]:
        rows = (
            stored(self._kind, self._alias).order_by("id" if is_upward else "-id").values_list("id", "size")
        )
        while True:
            page = list(rows.filter(Q(id__gte=start) if is_upward else Q(id__lte=start))[:_STEP])
            yield from page
            if len(page) < _STEP:
                return
            start = page[-1][0] + (1 if is_upward else -1)


def _id(rows: RecordQuerySet[Any]) -> int | None:
    return rows.values_list("id", flat=True).first()


class Keeper:
    """What reads show and compaction leaves: the kept run of each kind, below it the protected letters."""

    def __init__(self, alias: str, max_unresolved: int) -> None:
        self._alias = alias
        self._max_unresolved = max_unresolved
        self._windows = {kind: KeptWindow(alias, kind) for kind in RecordKind}

    def first(self, kind: RecordKind, policy: RetentionPolicy, now: float) -> int:
        """Return the id at which the kept run of ``kind`` begins."""
        return self._windows[kind].first(policy.for_kind(kind), now)

    def kept(self, kind: RecordKind, policy: RetentionPolicy, now: float) -> Q:
        """Return the condition that a row is kept."""
        first = self.first(kind, policy, now)
        condition = Q(id__gte=first)
        protected_from = self.protected_from(kind, first)
        if protected_from is not None:
            condition |= Q(id__gte=protected_from, state__in=PROTECTED_STATES)
        return condition

    def protected_from(self, kind: RecordKind, first: int) -> int | None:
        """Return the id from which open letters below ``first`` are protected, ``None`` where there are none.

        The newest ``max_unresolved`` of them are.
        """
        if kind is not RecordKind.DEAD_LETTER or self._max_unresolved == 0 or first == 0:
            return None
        below = DeadLetter.objects.using(self._alias).unresolved().filter(id__lt=first).order_by("-id")
        ids = below.values_list("id", flat=True)
        if ids.first() is None:
            return None
        last = ids[self._max_unresolved - 1 : self._max_unresolved].first()
        return 0 if last is None else last
