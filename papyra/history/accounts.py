"""What became of messages: the accounting of each incarnation, and letters by reason."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from papyra.history.answers import Accounting
from papyra.history.reading import fields_of, number_of, text_of
from papyra.persistence.models import EventType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from papyra.persistence.models import PersistedAudit, PersistedDeadLetter, PersistedEvent


def accounting(
    audits: Iterable[PersistedAudit], events: Iterable[PersistedEvent] = ()
) -> tuple[Accounting, ...]:
    """Return the last known accounting of each incarnation, oldest first.

    What ``SystemStopped`` says is final; else it is the newest audit. Without an incarnation there is none.
    """
    latest: dict[str, Accounting] = {}
    for audit in audits:
        known = latest.get(audit.incarnation)
        if audit.incarnation and (known is None or known.timestamp <= audit.timestamp):
            latest[audit.incarnation] = _of_audit(audit)
    lost: set[str] = set()
    for event in events:
        if event.event_type == EventType.INCARNATION_LOST:
            lost.add(text_of(fields_of(event.payload), "closes"))
        elif event.event_type == EventType.SYSTEM_STOPPED and event.incarnation:
            final = _of_stop(event)
            if final is not None:
                latest[event.incarnation] = final
    return tuple(sorted((_with_loss(one, lost) for one in latest.values()), key=lambda one: one.timestamp))


def letters_by_reason(
    letters: Iterable[PersistedDeadLetter], events: Iterable[PersistedEvent] = ()
) -> dict[str, int]:
    """Return how many messages died for each reason, most first; ``events`` tell what was only counted."""
    counts: dict[str, int] = defaultdict(int)
    for letter in letters:
        counts[letter.reason] += max(letter.count, 1)
    for event in events:
        if event.event_type == EventType.DEAD_LETTERS_SUPPRESSED:
            payload = fields_of(event.payload)
            counts[text_of(payload, "reason")] += max(number_of(payload, "count") or 0, 0)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _of_audit(audit: PersistedAudit) -> Accounting:
    return Accounting(
        system_id=audit.system_id,
        incarnation=audit.incarnation,
        timestamp=audit.timestamp,
        accepted=audit.accepted,
        handled=audit.handled,
        failed=audit.failed,
        dead=audit.dead,
        expired=audit.expired,
        pending=audit.pending,
        records_dropped=audit.records_dropped,
    )


def _of_stop(event: PersistedEvent) -> Accounting | None:
    said = fields_of(fields_of(event.payload).get("accounting"))
    if number_of(said, "accepted") is None:
        return None
    return Accounting(
        system_id=event.system_id,
        incarnation=event.incarnation,
        timestamp=event.timestamp,
        accepted=number_of(said, "accepted") or 0,
        handled=number_of(said, "handled") or 0,
        failed=number_of(said, "failed") or 0,
        dead=number_of(said, "dead") or 0,
        expired=number_of(said, "expired") or 0,
        pending=number_of(said, "pending") or 0,
        records_dropped=number_of(said, "records_dropped") or 0,
        is_final=True,
    )


def _with_loss(one: Accounting, lost: set[str]) -> Accounting:
    if one.is_final or one.incarnation not in lost:
        return one
    return replace(one, lost_with_node=max(one.accepted - one.settled, 0))
