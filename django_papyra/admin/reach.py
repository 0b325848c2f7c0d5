"""How far one page looks: so many rows along one index, however few of them match."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django_papyra.admin.place import Place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_papyra.querysets import RecordQuerySet

LOOKED_THROUGH = 10_000


class Reach(NamedTuple):
    """The rows to read; beyond ``edge`` others may match, unless it is ``None``."""

    rows: RecordQuerySet[Any]
    edge: Place | None


def within_reach(rows: RecordQuerySet[Any], wanted: Mapping[str, str], *, is_newest_first: bool) -> Reach:
    """Return those of ``rows``, ordered by time, in which every column of ``wanted`` has its value.

    No index serves two columns at once: where they seldom meet, the whole table would be read for one page.
    """
    if len(wanted) < 2:  # noqa: PLR2004  # a pair
        return Reach(rows.filter(**wanted), None)
    edges = {column: _edge(rows.filter(**{column: value})) for column, value in wanted.items()}
    leading = min(edges, key=lambda column: _distance(edges[column], is_newest_first=is_newest_first))
    edge = edges[leading]
    rows = rows.filter(**{leading: wanted[leading]})
    if edge is not None:
        keep = rows.after if is_newest_first else rows.before
        rows = keep(edge.at, edge.row_id - 1 if is_newest_first else edge.row_id + 1)
    others = {column: value for column, value in wanted.items() if column != leading}
    return Reach(rows.walked_for(others), edge)


def _edge(rows: RecordQuerySet[Any]) -> Place | None:
    place = rows.values_list("at", "id")[LOOKED_THROUGH - 1 : LOOKED_THROUGH].first()
    return None if place is None or place[0] is None else Place(*place)


def _distance(edge: Place | None, *, is_newest_first: bool) -> tuple[bool, float]:
    """Order edges, the furthest first; none at all is furthest."""
    if edge is None:
        return False, 0.0
    moment = edge.at.timestamp()
    return True, moment if is_newest_first else -moment
