"""Which incarnations have no end and are lost, and where retention began to cut each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from django_papyra._sql.judging import judged
from django_papyra.mapping import stored
from django_papyra.models import Incarnation, IncarnationState
from django_papyra.querysets import instant
from papyra.node import Node, is_gone, this_node
from papyra.persistence.integrity import HEARTBEAT_LIMIT_SECONDS, OpenIncarnation
from papyra.persistence.models import RecordKind

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

ROW_LIMIT_SECONDS = 15.0
"""A host that has beaten once and then is silent for three beats is lost."""


class Lost(NamedTuple):
    """An incarnation that began, did not end, and will not: its process is gone or silent."""

    incarnation: str
    system_id: str
    last_seen: float


def kept_from(alias: str, incarnations: Collection[str] | None = None) -> Mapping[tuple[str, str], int]:
    """Return, by incarnation and kind, below which number retention may have left gaps."""
    rows = Incarnation.objects.using(alias).exclude(kept_from={}).values_list("incarnation", "kept_from")
    if incarnations is not None:
        rows = rows.filter(incarnation__in=incarnations)
    return {(incarnation, kind): seq for incarnation, floors in rows for kind, seq in floors.items()}


def find_lost(alias: str, seen: Sequence[OpenIncarnation], now: float) -> list[Lost]:
    """Return the lost among the running rows and those that a history shows without an end (``seen``)."""
    known = {row.incarnation: row for row in Incarnation.objects.using(alias).running()}
    ended = set(
        Incarnation.objects.using(alias)
        .filter(incarnation__in=[open_.incarnation for open_ in seen])
        .exclude(state=IncarnationState.RUNNING)
        .values_list("incarnation", flat=True)
    )
    candidates = {open_.incarnation: open_ for open_ in seen if open_.incarnation not in ended}
    lost = []
    for incarnation in sorted({*known, *candidates}):
        row, open_ = known.get(incarnation), candidates.get(incarnation)
        node = Node.from_mapping(row.node) if row is not None else None
        if node is None and open_ is not None:
            node = open_.node
        last_seen = _last_seen(alias, incarnation)
        if _is_lost(row, node, last_seen, now):
            system_id = row.system_id if row is not None else _system_of(alias, incarnation)
            lost.append(Lost(incarnation, system_id, last_seen))
    return lost


def _is_lost(row: Incarnation | None, node: Node | None, last_seen: float, now: float) -> bool:
    if node is not None and is_gone(node):
        return True
    if node is not None and this_node().sees(node):
        return False  # however silent, it lives
    if row is not None and row.heartbeat_at is not None:
        return row.heartbeat_at < instant(now - ROW_LIMIT_SECONDS)
    return now - last_seen > HEARTBEAT_LIMIT_SECONDS


def _last_seen(alias: str, incarnation: str) -> float:
    newest = [
        row.head.timestamp
        for kind in RecordKind
        for row in judged(kind, stored(kind, alias).filter(incarnation=incarnation).order_by("-seq")[:1])
        if row.head is not None
    ]
    return max(newest, default=0.0)


def _system_of(alias: str, incarnation: str) -> str:
    events = stored(RecordKind.EVENT, alias).filter(incarnation=incarnation).order_by("seq")
    return events.values_list("system_id", flat=True).first() or ""
