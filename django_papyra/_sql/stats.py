"""How much is stored: exact while that is cheap, then an estimate that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import Count, Max, Min, Sum

from django_papyra.mapping import stored
from django_papyra.models import QuarantinedRecord
from django_papyra.querysets import COUNT_CAP
from papyra.persistence.models import KindStats, RecordKind, StoreStats

if TYPE_CHECKING:
    from django_papyra.querysets import RecordQuerySet

_SAMPLE = 1_000


def measure(alias: str, backend: str) -> StoreStats:
    """Return counts, bytes and time spans; beyond ten thousand rows of a kind its counts are estimates."""
    kinds = {}
    is_estimate = False
    for kind in RecordKind:
        rows = stored(kind, alias)
        if rows.capped_count() > COUNT_CAP:
            is_estimate = True
            kinds[kind] = _estimated(rows)
        else:
            kinds[kind] = measured(rows)
    quarantined = QuarantinedRecord.objects.using(alias).aggregate(bytes=Sum("size"))["bytes"] or 0
    return StoreStats(
        backend=backend,
        kinds=kinds,
        total_bytes=sum(kind.bytes for kind in kinds.values()) + quarantined,
        quarantine_bytes=quarantined,
        is_estimate=is_estimate,
    )


def measured(rows: RecordQuerySet[Any]) -> KindStats:
    """Return the exact figures of ``rows``, at the price of reading each."""
    sums = rows.order_by().aggregate(Count("id"), Sum("size"), Min("timestamp"), Max("timestamp"))
    return KindStats(
        records=sums["id__count"],
        bytes=sums["size__sum"] or 0,
        oldest=sums["timestamp__min"],
        newest=sums["timestamp__max"],
    )


def stored_bytes(rows: RecordQuerySet[Any]) -> int:
    """Return how many bytes ``rows`` have, estimated where they are many."""
    if rows.capped_count() > COUNT_CAP:
        return _estimated(rows).bytes
    return int(rows.order_by().aggregate(Sum("size"))["size__sum"] or 0)


def _estimated(rows: RecordQuerySet[Any]) -> KindStats:
    """Reckon with ids, which may have gaps, and with the size of the newest rows."""
    first, last = (rows.order_by(order).values_list("id", flat=True).first() for order in ("id", "-id"))
    oldest, newest = (
        rows.order_by(*order).values_list("timestamp", flat=True).first()
        for order in (("at", "id"), ("-at", "-id"))
    )
    if first is None or last is None:  # emptied meanwhile
        return KindStats()
    sizes = list(rows.order_by("-id").values_list("size", flat=True)[:_SAMPLE])
    count = last - first + 1
    return KindStats(
        records=count, bytes=count * sum(sizes) // max(1, len(sizes)), oldest=oldest, newest=newest
    )
