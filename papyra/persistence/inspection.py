"""Look at a history: pages of records, what a store holds, and what its newest records say; read-only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from papyra.persistence.models import (
    EventType,
    PersistedAudit,
    PersistedDeadLetter,
    PersistedEvent,
    Record,
    RecordKind,
)
from papyra.persistence.query import DEFAULT_LIMIT, Page, RecordQuery

if TYPE_CHECKING:
    from papyra.persistence.backend import PersistenceBackend
    from papyra.persistence.models import StoreStats
    from papyra.persistence.retention import RetentionPolicy

_SHOWN_STOPS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectionReport:
    """What a store holds, and how its newest ``limit`` records of each kind divide up.

    ``looked_at`` counts those records, ``is_complete`` says whether it was all there is.
    """

    backend: str
    stats: StoreStats
    retention: RetentionPolicy
    limit: int
    looked_at: Mapping[RecordKind, int]
    is_complete: bool
    systems: Mapping[str, int]
    incarnations: int
    event_types: Mapping[str, int]
    letter_reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class IncarnationSummary:
    """One incarnation as its records tell it; ``ended`` is the type of the event that closed it, or empty."""

    system_id: str
    incarnation: str
    started: float | None = None
    ended_at: float | None = None
    ended: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Why one actor stopped, in the wire words of its stop event."""

    system_id: str
    actor: str
    timestamp: float
    reason: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterGroup:
    """Letters that died the same death."""

    target: str
    message_type: str
    reason: str
    count: int
    newest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What the newest records say: who ran, why actors stopped, which messages died."""

    stats: StoreStats
    looked_at: Mapping[RecordKind, int]
    is_complete: bool
    event_types: Mapping[str, int]
    incarnations: tuple[IncarnationSummary, ...]
    stop_reasons: Mapping[str, int]
    stops: tuple[Stop, ...]
    letters: tuple[LetterGroup, ...]
    audits: tuple[PersistedAudit, ...]
    last_check: PersistedEvent | None


async def read_records(backend: PersistenceBackend, query: RecordQuery, limit: int) -> Page[Record]:
    """Return up to ``limit`` records that ``query`` matches, over as many pages as it takes."""
    found: list[Record] = []
    while True:
        wanted = min(limit - len(found), DEFAULT_LIMIT)
        page = await backend.read(replace(query, limit=wanted))
        found += page.records
        if page.cursor is None or len(found) >= limit:
            return Page(tuple(found), page.cursor)
        query = replace(query, cursor=page.cursor)


async def inspect(backend: PersistenceBackend, limit: int = DEFAULT_LIMIT) -> InspectionReport:
    """Count what is stored, and divide up the newest ``limit`` records of each kind."""
    newest = await _Newest.read(backend, RecordQuery(kind=RecordKind.EVENT), limit)
    records: tuple[Record, ...] = (*newest.events, *newest.audits, *newest.letters)
    return InspectionReport(
        backend=backend.name,
        stats=await backend.stats(),
        retention=backend.retention,
        limit=limit,
        looked_at=newest.looked_at,
        is_complete=newest.is_complete,
        systems=Counter(record.system_id for record in records),
        incarnations=len({record.incarnation for record in records} - {""}),
        event_types=Counter(event.event_type for event in newest.events),
        letter_reasons=_letter_reasons(newest.letters),
    )


async def summarise(backend: PersistenceBackend, within: RecordQuery, limit: int = 10_000) -> Summary:
    """Fold the newest ``limit`` records of each kind that pass ``within``'s filters, whatever its kind."""
    newest = await _Newest.read(backend, within, limit)
    stops = [_stop_of(event) for event in newest.events if event.event_type == EventType.ACTOR_STOPPED]
    checks = (event for event in newest.events if event.event_type == EventType.STARTUP_CHECKED)
    return Summary(
        stats=await backend.stats(),
        looked_at=newest.looked_at,
        is_complete=newest.is_complete,
        event_types=Counter(event.event_type for event in newest.events),
        incarnations=_incarnations(newest.events),
        stop_reasons=Counter(stop.reason for stop in stops),
        stops=tuple(stops[:_SHOWN_STOPS]),
        letters=_letter_groups(newest.letters),
        audits=_newest_by_system(newest.audits),
        last_check=next(checks, None),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Newest:
    """The newest records of each kind, newest first."""

    events: tuple[PersistedEvent, ...]
    audits: tuple[PersistedAudit, ...]
    letters: tuple[PersistedDeadLetter, ...]
    is_complete: bool

    @classmethod
    async def read(cls, backend: PersistenceBackend, within: RecordQuery, limit: int) -> _Newest:
        pages = {kind: await read_records(backend, replace(within, kind=kind), limit) for kind in RecordKind}
        return cls(
            events=cast("tuple[PersistedEvent, ...]", pages[RecordKind.EVENT].records),
            audits=cast("tuple[PersistedAudit, ...]", pages[RecordKind.AUDIT].records),
            letters=cast("tuple[PersistedDeadLetter, ...]", pages[RecordKind.DEAD_LETTER].records),
            is_complete=all(page.cursor is None for page in pages.values()),
        )

    @property
    def looked_at(self) -> dict[RecordKind, int]:
        return {
            RecordKind.EVENT: len(self.events),
            RecordKind.AUDIT: len(self.audits),
            RecordKind.DEAD_LETTER: len(self.letters),
        }


def _stop_of(event: PersistedEvent) -> Stop:
    return Stop(
        system_id=event.system_id,
        actor=event.actor_path or event.actor_address,
        timestamp=event.timestamp,
        reason=_word(event.payload, "reason"),
        error=_word(event.payload, "error"),
    )


def _word(payload: object, name: str) -> str:
    """Return one field of a payload as text; events of other programs may lack it, or hold anything."""
    value = payload.get(name) if isinstance(payload, Mapping) else None
    return value if isinstance(value, str) else "" if value is None else str(value)


_OPENING_AND_CLOSING = {EventType.SYSTEM_STARTED, EventType.SYSTEM_STOPPED, EventType.INCARNATION_LOST}


def _incarnations(events: tuple[PersistedEvent, ...]) -> tuple[IncarnationSummary, ...]:
    found: dict[str, IncarnationSummary] = {}
    for event in reversed(events):
        if event.event_type not in _OPENING_AND_CLOSING:
            continue
        is_notice = event.event_type == EventType.INCARNATION_LOST
        incarnation = _word(event.payload, "closes") if is_notice else event.incarnation
        summary = found.get(incarnation) or IncarnationSummary(
            system_id=event.system_id, incarnation=incarnation
        )
        if event.event_type == EventType.SYSTEM_STARTED:
            summary = replace(summary, started=event.timestamp)
        else:
            summary = replace(summary, ended_at=event.timestamp, ended=event.event_type)
        found[incarnation] = summary
    return tuple(reversed(found.values()))


def _letter_reasons(letters: tuple[PersistedDeadLetter, ...]) -> Counter[str]:
    reasons: Counter[str] = Counter()
    for letter in letters:
        reasons[letter.reason] += letter.count
    return reasons


def _letter_groups(letters: tuple[PersistedDeadLetter, ...]) -> tuple[LetterGroup, ...]:
    counts: Counter[tuple[str, str, str]] = Counter()
    newest: dict[tuple[str, str, str], float] = {}
    for letter in letters:
        key = (letter.target_path or letter.target, letter.message_type, letter.reason)
        counts[key] += letter.count
        newest.setdefault(key, letter.timestamp)
    return tuple(
        LetterGroup(target=key[0], message_type=key[1], reason=key[2], count=count, newest=newest[key])
        for key, count in counts.most_common()
    )


def _newest_by_system(audits: tuple[PersistedAudit, ...]) -> tuple[PersistedAudit, ...]:
    newest: dict[str, PersistedAudit] = {}
    for audit in audits:
        newest.setdefault(audit.system_id, audit)
    return tuple(newest.values())
