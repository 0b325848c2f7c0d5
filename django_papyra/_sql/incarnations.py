"""Keep the incarnations' rows in step with the events that open and close them, in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_papyra.mapping import clip, record_of
from django_papyra.models import INCARNATION_LENGTH, NAME_LENGTH, SYSTEM_LENGTH, Incarnation, IncarnationState
from django_papyra.querysets import instant
from papyra.node import Node
from papyra.persistence.models import EventType, PersistedEvent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from papyra.persistence.entries import Entry

_FOLLOWED = frozenset({EventType.SYSTEM_STARTED, EventType.SYSTEM_STOPPED, EventType.INCARNATION_LOST})


def follow(alias: str, entries: Iterable[Entry]) -> None:
    """Apply what ``entries`` say; idempotent, and in any order: an end is never undone by a beginning."""
    for entry in entries:
        if isinstance(entry.record, PersistedEvent) and entry.record.event_type in _FOLLOWED:
            event = record_of(entry.line[:-1])  # the payload as it is stored, not as it was handed in
            assert isinstance(event, PersistedEvent)  # noqa: S101  # its line was made from one
            _follow(alias, event)


def _follow(alias: str, event: PersistedEvent) -> None:
    payload = event.payload if isinstance(event.payload, dict) else {}
    match event.event_type:
        case EventType.SYSTEM_STARTED:
            _open(alias, event, payload.get("node"))
        case EventType.SYSTEM_STOPPED:
            _close(alias, event.incarnation, event.system_id, IncarnationState.STOPPED, event.timestamp)
        case _:
            closes, seen = payload.get("closes"), payload.get("last_seen")
            if isinstance(closes, str) and clip(closes, INCARNATION_LENGTH) == closes:
                at = seen if isinstance(seen, float) else None
                _close(alias, closes, event.system_id, IncarnationState.LOST, at)


def _open(alias: str, event: PersistedEvent, raw_node: object) -> None:
    node = Node.from_mapping(raw_node) if isinstance(raw_node, dict) else None
    facts = {
        "system_id": clip(event.system_id, SYSTEM_LENGTH),
        "started_at": instant(event.timestamp),
        "host": clip(node.host, NAME_LENGTH) if node else "",
        "pid": node.pid if node else None,
        "boot_id": clip(node.boot_id, 64) if node else "",
        "node": node.to_dict() if node else {},
    }
    Incarnation.objects.using(alias).update_or_create(incarnation=event.incarnation, defaults=facts)


def _close(alias: str, incarnation: str, system_id: str, state: IncarnationState, at: float | None) -> None:
    rows = Incarnation.objects.using(alias)
    row, _ = rows.get_or_create(
        incarnation=incarnation,
        defaults={"system_id": clip(system_id, SYSTEM_LENGTH), "host": "", "state": state},
    )
    if row.state != IncarnationState.STOPPED:  # a stop on record is stronger than a stranger's guess
        row.state = state
        row.stopped_at = None if at is None else instant(at)
        row.save(using=alias, update_fields=("state", "stopped_at"))


def beat(alias: str, incarnation: str, now: float) -> None:
    """Say that the incarnation lives; one that was called lost by mistake is running again."""
    Incarnation.objects.using(alias).filter(
        incarnation=incarnation, state__in=(IncarnationState.RUNNING, IncarnationState.LOST)
    ).update(heartbeat_at=instant(now), state=IncarnationState.RUNNING, stopped_at=None)
