"""Map what happened to what is stored. Identity and time are the recorder's to give. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from papyra.address import ActorAddress
from papyra.events import ActorStarted
from papyra.payloads import message_name
from papyra.persistence.models import EventType, PersistedAudit, PersistedDeadLetter, PersistedEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from papyra.audit import AuditReport
    from papyra.persistence.ready import ReadyEvent
    from papyra.ref import DeadLetter

DETAILED_ACTORS = 2_000
"""So many, the oldest, are described in a stored audit: more would not fit into a record."""

_TRACEPARENT_PARTS = 4


def started_event(ready: ReadyEvent) -> ActorStarted:
    """Return what users see of the commonest event; made when somebody looks."""
    return ActorStarted(
        ActorAddress.parse(ready.actor_address).to_dict(),
        path=ready.actor_path,
        actor_type=ready.actor_type,
        timestamp=ready.timestamp,
        message_id=ready.message_id,
        cause_id=ready.cause_id,
        root_id=ready.root_id,
    )


def system_record(system_id: str, event_type: EventType, payload: Mapping[str, object]) -> PersistedEvent:
    """Return the record of something that befell the system and no single actor."""
    return PersistedEvent(system_id, "", event_type.value, dict(payload), 0.0)


def letter_record(system_id: str, letter: DeadLetter) -> PersistedDeadLetter:
    """Return the record of a letter; its message is added by the recorder."""
    target = letter.target
    trace_id, span_id = _trace_of(letter.headers)
    return PersistedDeadLetter(
        system_id,
        "" if target is None else str(target.address),
        message_name(letter.message),
        None,
        0.0,
        target_path="" if target is None else target.path,
        target_type="" if target is None else target.actor_type,
        reason=letter.reason.value,
        error=letter.error,
        attempts=letter.attempts,
        expects_reply=letter.expects_reply,
        deadline=letter.deadline,
        message_id=letter.message_id,
        cause_id=letter.cause_id,
        root_id=letter.root_id,
        sender_path=letter.sender_path,
        headers=dict(letter.headers),
        redelivered_from=letter.redelivered_from,
        trace_id=trace_id,
        span_id=span_id,
    )


def audit_record(report: AuditReport) -> PersistedAudit:
    """Return the record of an audit; the tree goes into its details."""
    totals = report.accounting
    details: dict[str, object] = {"counters": dict(report.counters)}
    if report.actors:
        details["actors"] = [actor.to_payload() for actor in report.actors[:DETAILED_ACTORS]]
        details["actors_left_out"] = report.total_actors - min(len(report.actors), DETAILED_ACTORS)
    return PersistedAudit(
        report.system_id,
        0.0,
        report.total_actors,
        report.alive_actors,
        report.stopping_actors,
        report.restarting_actors,
        report.registry_size,
        report.registry_orphans,
        report.registry_dead,
        report.dead_letters_count,
        accepted=totals.accepted,
        handled=totals.handled,
        failed=totals.failed,
        dead=totals.dead,
        expired=totals.expired,
        pending=totals.pending,
        records_dropped=totals.records_dropped,
        details=details,
    )


def _trace_of(headers: Mapping[str, str]) -> tuple[str, str]:
    parts = headers.get("traceparent", "").split("-")
    return (parts[1], parts[2]) if len(parts) == _TRACEPARENT_PARTS else ("", "")
