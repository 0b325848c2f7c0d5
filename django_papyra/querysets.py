"""What is asked of the tables, in words; every query here is bounded by its page, never by the table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self, TypeVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

if TYPE_CHECKING:
    from collections.abc import Iterable

Row_co = TypeVar("Row_co", bound=models.Model, covariant=True)

COUNT_CAP = 10_000
PROTECTED_STATES = ("open", "requested")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = (
    datetime(1000, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 30, tzinfo=UTC),
)  # what every engine can hold


def instant(timestamp: float) -> datetime:
    """Return epoch seconds as a `DateTimeField` takes them; naive local time without ``USE_TZ``."""
    try:
        moment = min(max(_EPOCH + timedelta(seconds=timestamp), _FIRST), _LAST)
    except OverflowError:
        moment = _LAST if timestamp > 0 else _FIRST
    return moment if settings.USE_TZ else timezone.make_naive(moment, timezone.get_default_timezone())


class RecordQuerySet(models.QuerySet[Row_co]):
    """Records of one kind."""

    def for_system(self, system_id: str) -> Self:
        """Keep the records of one system."""
        return self.filter(system_id=system_id)

    def between(self, since: float | None, until: float | None) -> Self:
        """Keep ``since <= timestamp < until``; the bounds on ``at`` are there for its indexes."""
        rows = self
        if since is not None:
            rows = rows.filter(at__gte=instant(since), timestamp__gte=since)
        if until is not None:
            rows = rows.filter(at__lte=instant(until), timestamp__lt=until)
        return rows

    def newest_first(self) -> Self:
        """Order as the lists do: by time, then by arrival."""
        return self.order_by("-at", "-id")

    def before(self, at: datetime, row_id: int) -> Self:
        """Keep what follows this place in `newest_first`; the outer bound lets an index seek to it."""
        return self.filter(Q(at__lt=at) | Q(at=at, id__lt=row_id), at__lte=at)

    def after(self, at: datetime, row_id: int) -> Self:
        """Keep what stands before this place in `newest_first`."""
        return self.filter(Q(at__gt=at) | Q(at=at, id__gt=row_id), at__gte=at)

    def capped_count(self, cap: int = COUNT_CAP) -> int:
        """Count at most ``cap + 1`` rows: a larger result means "more than ``cap``"."""
        return self.order_by()[: cap + 1].count()


class EventQuerySet(RecordQuerySet[Row_co]):
    """Events."""

    def for_actor(self, actor: str) -> Self:
        """Keep one actor's events, by path (begins with ``/``) or by address."""
        return self.filter(**{"actor_path" if actor.startswith("/") else "actor_address": actor})

    def of_types(self, types: Iterable[str]) -> Self:
        """Keep events of these types."""
        return self.filter(event_type__in=tuple(types))


class DeadLetterQuerySet(RecordQuerySet[Row_co]):
    """Dead letters."""

    def for_actor(self, actor: str) -> Self:
        """Keep the letters to one actor, by path (begins with ``/``) or by address."""
        return self.filter(**{"target_path" if actor.startswith("/") else "target": actor})

    def unresolved(self) -> Self:
        """Keep the letters that still wait for somebody: retention protects them."""
        return self.filter(state__in=PROTECTED_STATES)


class IncarnationQuerySet(models.QuerySet[Row_co]):
    """Runs of systems."""

    def of_systems(self) -> Self:
        """Leave out processes that wrote without hosting a system; only retention gives those a row."""
        return self.exclude(state="writer")

    def running(self) -> Self:
        """Keep those with neither a stop nor a loss on record."""
        return self.filter(state="running")
