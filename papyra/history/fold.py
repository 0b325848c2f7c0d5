"""Fold events, in any order, into the newest fact about each actor and each incarnation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from papyra.history.answers import LifeState, Stop, UnknownSpan
from papyra.history.reading import fields_of, path_of, stop_of, text_of
from papyra.persistence.models import EventType, LossNote, RecordKind

if TYPE_CHECKING:
    from collections.abc import Collection

    from papyra.persistence.models import PersistedEvent

Moment = tuple[float, int]
"""When an event happened, within its incarnation; the number decides between equal times."""

LIFECYCLE = frozenset(
    {EventType.ACTOR_STARTED, EventType.ACTOR_RESTARTED, EventType.ACTOR_CRASHED, EventType.ACTOR_STOPPED}
)
_LOSSES = frozenset({EventType.RECORDS_DROPPED, EventType.RECORDS_LOST})
_BEFORE_ALL: Moment = (-math.inf, -1)
_AFTER_CRASH = {
    "restart": LifeState.RESTARTING,
    "stop": LifeState.STOPPING,
    "escalate": LifeState.STOPPING,
    "ignore": LifeState.RUNNING,
    "resume": LifeState.RUNNING,
}


def moment_of(event: PersistedEvent) -> Moment:
    """Return where ``event`` stands in its incarnation."""
    return event.timestamp, event.seq


class Trace:
    """What is known of one actor in one incarnation."""

    __slots__ = (
        "_type_moment",
        "first_moment",
        "incarnation",
        "newest",
        "newest_moment",
        "path",
        "started",
        "system_id",
        "type",
    )

    def __init__(self, event: PersistedEvent) -> None:
        self.system_id = event.system_id
        self.incarnation = event.incarnation
        self.path = path_of(event)
        self.type = ""
        self.started = self.newest_moment = self._type_moment = _BEFORE_ALL
        self.first_moment = moment_of(event)
        self.newest = event

    def add(self, event: PersistedEvent) -> None:
        """Take in a lifecycle event."""
        moment = moment_of(event)
        if event.event_type == EventType.ACTOR_STARTED and moment >= self.started:
            self.started = moment
        self.first_moment = min(self.first_moment, moment)
        if moment >= self.newest_moment:
            self.newest, self.newest_moment = event, moment
        type_ = event.actor_type or text_of(fields_of(event.payload), "type")
        if type_ and moment >= self._type_moment:
            self.type, self._type_moment = type_, moment

    @property
    def is_stopped(self) -> bool:
        """Whether its last word was a stop."""
        return self.newest.event_type == EventType.ACTOR_STOPPED

    @property
    def since(self) -> float | None:
        """When its present life began, ``None`` where only later events are on record."""
        return None if self.started == _BEFORE_ALL else self.started[0]

    @property
    def state(self) -> LifeState:
        """What it was doing, if it had not stopped."""
        if self.newest.event_type != EventType.ACTOR_CRASHED:
            return LifeState.RUNNING
        return _AFTER_CRASH.get(text_of(fields_of(self.newest.payload), "decision"), LifeState.CRASHED)


class Run:
    """What is known of one incarnation."""

    __slots__ = ("began", "first", "last_seen", "newest", "newest_seq", "noticed", "stopped")

    def __init__(self) -> None:
        self.first = math.inf
        self.newest = -math.inf
        self.newest_seq = 0
        self.began = False
        self.stopped: float | None = None
        self.last_seen: float | None = None
        self.noticed = math.inf

    @property
    def has_actors(self) -> bool:
        """Whether it is a system's, and not only a writer's."""
        return self.began or self.first < math.inf

    def may_run(self, at: float) -> bool:
        """Whether its actors may have run at ``at``, as far as its own end tells."""
        return self.stopped is None and (self.last_seen is None or at <= max(self.last_seen, self.newest))

    def stop_of(self, trace: Trace) -> Stop | None:
        """Return why the actor stopped: its own word, or what ended all of them; ``None`` while it runs."""
        if trace.is_stopped:
            return stop_of(trace.newest)
        if self.stopped is not None:
            return Stop(self.stopped, trace.incarnation, "shutdown", is_inferred=True)
        if self.last_seen is not None:
            return Stop(self.last_seen, trace.incarnation, "node_lost", is_inferred=True)
        return None


class Fold:
    """Everything folded up to ``until``; a loss noticed later still counts, because it tells of then."""

    def __init__(self, until: float = math.inf) -> None:
        self.traces: dict[tuple[str, str, str], Trace] = {}
        self.runs: dict[str, Run] = {}
        self._until = until
        self._notes: list[LossNote] = []

    def add(self, event: PersistedEvent) -> None:
        """Take in one event; those of other types than ours are of no account."""
        if event.event_type in _LOSSES:
            self._add_loss(event)
        if event.event_type == EventType.INCARNATION_LOST:
            self._add_lost(event)
        if not event.timestamp <= self._until:  # a NaN is not in time either
            return
        run = self.run(event.incarnation)
        run.newest = max(run.newest, event.timestamp)
        run.newest_seq = max(run.newest_seq, event.seq)
        if event.event_type in LIFECYCLE:
            run.first = min(run.first, event.timestamp)
            self.trace_of(event).add(event)
        elif event.event_type == EventType.SYSTEM_STARTED:
            run.began = True
        elif event.event_type == EventType.SYSTEM_STOPPED:
            run.stopped = event.timestamp

    def trace_of(self, event: PersistedEvent) -> Trace:
        """Return the trace of the actor that ``event`` is about; by address, for a path has many lives."""
        key = event.system_id, event.incarnation, event.actor_address or event.actor_path
        trace = self.traces.get(key)
        if trace is None:
            trace = self.traces[key] = Trace(event)
        return trace

    def newest_lives(self) -> dict[tuple[str, str, str], Trace]:
        """Return who came last by each system, incarnation and path; those before were asked to stop."""
        newest: dict[tuple[str, str, str], Trace] = {}
        for trace in self.traces.values():
            place = trace.system_id, trace.incarnation, trace.path
            if place not in newest or newest[place].first_moment < trace.first_moment:
                newest[place] = trace
        return newest

    def run(self, incarnation: str) -> Run:
        """Return what is known of ``incarnation``."""
        return self.runs.setdefault(incarnation, Run())

    def unknown_before(self, at: float) -> float | None:
        """Return when the history begins of what may have run then and has no start on record."""
        partial = (
            run.first
            for run in self.runs.values()
            if not run.began and run.first < math.inf and run.may_run(at)
        )
        return max(partial, default=None)

    def unknown_between(self, at: float) -> tuple[UnknownSpan, ...]:
        """Return the lost incarnations whose end lies somewhere around ``at``."""
        return tuple(
            UnknownSpan(incarnation, run.last_seen, run.noticed)
            for incarnation, run in sorted(self.runs.items())
            if run.stopped is None and run.last_seen is not None and run.last_seen < at < run.noticed
        )

    def gaps(self, at: float) -> tuple[LossNote, ...]:
        """Return the lost events that may hide a start or a stop before ``at``."""
        return tuple(sorted({note for note in self._notes if self._hides(note, at)}))

    def notes_of(self, incarnations: Collection[str]) -> tuple[LossNote, ...]:
        """Return the lost events of these incarnations."""
        return tuple(sorted({note for note in self._notes if note.incarnation in incarnations}))

    def _hides(self, note: LossNote, at: float) -> bool:
        run = self.runs.get(note.incarnation)
        return run is not None and run.has_actors and run.may_run(at) and note.first <= run.newest_seq + 1

    def _add_loss(self, event: PersistedEvent) -> None:
        note = LossNote.from_payload(event.payload)
        if note is not None and note.kind == RecordKind.EVENT:
            self._notes.append(note)

    def _add_lost(self, event: PersistedEvent) -> None:
        payload = fields_of(event.payload)
        closes, seen = text_of(payload, "closes"), payload.get("last_seen")
        if closes:
            run = self.run(closes)
            run.last_seen = float(seen) if isinstance(seen, int | float) else event.timestamp
            run.noticed = min(run.noticed, event.timestamp)
