"""What is asked of the tables, in words; every query here is bounded by its page, never by the table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self, TypeVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Concat
from django.utils import timezone

if TYPE_CHECKING:
    from collections.abc import Mapping

Row_co = TypeVar("Row_co", bound=models.Model, covariant=True)

COUNT_CAP = 10_000
PROTECTED_STATES = ("open", "requested")
_STEP_BACK_SECONDS = 2 * 3600.0
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

    def between(self, since: float | None, until: float | None) -> Self:
        """Keep ``since <= timestamp < until``; the bounds on ``at`` are there for its indexes.

        Local time, which ``at`` is without ``USE_TZ``, steps back in autumn: then the bounds leave it room.
        """
        room = 0.0 if settings.USE_TZ else _STEP_BACK_SECONDS
        rows = self
        if since is not None:
            rows = rows.filter(at__gte=instant(since - room), timestamp__gte=since)
        if until is not None:
            rows = rows.filter(at__lte=instant(until + room), timestamp__lt=until)
        return rows

    def walked_for(self, wanted: Mapping[str, str]) -> Self:
        """Keep the rows in which columns have these values, with no use of the columns' indexes.

        A planner without statistics takes the index of a value that every row has, to look for one that is
        rare or to sort what another index has in order.
        """
        rows = self
        for column, value in wanted.items():
            plain = f"plain_{column}"
            rows = rows.alias(**{plain: Concat(F(column), Value(""))}).filter(**{plain: value})
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


class DeadLetterQuerySet(RecordQuerySet[Row_co]):
    """Dead letters."""

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
