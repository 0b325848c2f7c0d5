"""What one run came to, out of the stored history alone."""

from papyra.history import accounting, letters_by_reason, why_stopped
from papyra.persistence.base import BasePersistence
from papyra.persistence.models import (
    EventType,
    PersistedAudit,
    PersistedDeadLetter,
    PersistedEvent,
    RecordKind,
)
from papyra.persistence.query import RecordQuery

LIFE = (
    EventType.ACTOR_CRASHED,
    EventType.ACTOR_RESTARTED,
    EventType.ACTOR_ESCALATED,
    EventType.ACTOR_STOPPED,
)


async def tell_story(backend: BasePersistence, incarnation: str) -> list[str]:
    """Return the lines that answer: how much is on record, why did actors stop, which messages were lost."""
    events, audits, letters = [], [], []
    for kind in RecordKind:
        query = RecordQuery(kind=kind, incarnation=incarnation, newest_first=False)
        async for record in backend.iterate(query):
            match record:
                case PersistedEvent():
                    events.append(record)
                case PersistedAudit():
                    audits.append(record)
                case PersistedDeadLetter():
                    letters.append(record)
    counts = f"{len(events)} events, {len(audits)} audits, {len(letters)} dead letters"
    return [
        "",
        f"On record for {incarnation}: {counts}",
        "  " + ", ".join(f"{sum(event.event_type == type_ for event in events)} {type_}" for type_ in LIFE),
        "",
        "Why each stopped actor stopped:",
        *_stops(events),
        "",
        "Dead letters by reason:",
        *(f"  {count:>4}  {reason}" for reason, count in letters_by_reason(letters, events).items()),
        "",
        "The accounting:",
        *_accounts(audits, events),
    ]


def _stops(events: list[PersistedEvent]) -> list[str]:
    lines = []
    for actor, stop in sorted(why_stopped(events).items()):
        error = f": {stop.error.type}: {stop.error.text}" if stop.error and stop.error.type else ""
        budget = f", restart {stop.restart} of {stop.limit}" if stop.restart and stop.limit else ""
        lines.append(f"  {actor!s:<26} {stop.reason}{error}{budget}")
    return lines


def _accounts(audits: list[PersistedAudit], events: list[PersistedEvent]) -> list[str]:
    last_audit, at_stop = accounting(audits), accounting(audits, events)
    return [
        f"  {name}: accepted {one.accepted} = handled {one.handled} + failed {one.failed} + dead {one.dead}"
        f" + expired {one.expired} + pending {one.pending}"
        for name, found in (("in the last audit", last_audit), ("at the stop", at_stop))
        for one in found
    ]
