"""What ran at a time, and why what does not run any more stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from papyra.history.answers import ActorKey, LifeState, RunningActor, RunningAt, Stop
from papyra.history.fold import Fold, Trace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from papyra.persistence.models import PersistedEvent


def running_at(events: Iterable[PersistedEvent], at: float, *, horizon: float | None = None) -> RunningAt:
    """Return what ran at ``at``, from events in any order; those after it tell of processes lost meanwhile.

    ``horizon`` is the time before which the store no longer keeps events.
    """
    fold = Fold(until=at)
    for event in events:
        fold.add(event)
    newest = set(fold.newest_lives().values())
    running = [
        RunningActor(
            trace.system_id,
            trace.incarnation,
            trace.path,
            trace.type,
            trace.state if trace in newest else LifeState.STOPPING,
            trace.since,
        )
        for trace in fold.traces.values()
        if not trace.is_stopped and fold.run(trace.incarnation).may_run(at)
    ]
    limits = [limit for limit in (horizon, fold.unknown_before(at)) if limit is not None]
    return RunningAt(
        at,
        tuple(sorted(running, key=_place)),
        max(limits, default=None),
        fold.unknown_between(at),
        fold.gaps(at),
    )


def why_stopped(events: Iterable[PersistedEvent]) -> dict[ActorKey, Stop]:
    """Return the last stop of each actor that does not run any more, from events in any order."""
    fold = Fold()
    for event in events:
        fold.add(event)
    newest: dict[ActorKey, Trace] = {}
    for trace in fold.newest_lives().values():
        key = _key_of(trace)
        if key not in newest or newest[key].first_moment < trace.first_moment:
            newest[key] = trace
    stops = ((key, fold.run(trace.incarnation).stop_of(trace)) for key, trace in sorted(newest.items()))
    return {key: stop for key, stop in stops if stop is not None}


def _place(actor: RunningActor) -> tuple[str, str, list[str]]:
    return actor.system_id, actor.incarnation, actor.path.split("/")


def _key_of(trace: Trace) -> ActorKey:
    is_generated = trace.path.rpartition("/")[2].startswith("$")
    return ActorKey(trace.system_id, trace.path, trace.incarnation if is_generated else "")
