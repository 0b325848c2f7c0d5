"""The timeline of one actor: its lives, and in each what failed, what was decided and which messages died."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

from papyra.history.answers import Life, Stop, Timeline
from papyra.history.fold import LIFECYCLE, Fold, moment_of
from papyra.history.reading import crash_of, fields_of, handled_of, path_of, restart_of, stop_of, text_of
from papyra.persistence.models import EventType, PersistedDeadLetter, PersistedEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from papyra.history.fold import Trace


def timeline(
    system_id: str,
    path: str,
    events: Iterable[PersistedEvent],
    letters: Iterable[PersistedDeadLetter],
    *,
    last: int = 8,
    horizon: float | None = None,
) -> Timeline:
    """Return the lives of one actor, by incarnation, from its own events and its system's, in any order.

    Each with the ``last`` messages that it handled. ``horizon`` is the time before which the store no longer
    keeps events.
    """
    fold = Fold()
    lived: dict[Trace, list[PersistedEvent]] = defaultdict(list)
    handled: list[PersistedEvent] = []
    oldest: dict[str, float] = defaultdict(lambda: math.inf)
    for event in events:
        oldest[event.incarnation] = min(event.timestamp, oldest[event.incarnation])
        is_its = event.system_id == system_id and path_of(event) == path
        if event.event_type == EventType.MESSAGE_HANDLED:
            handled += [event] if is_its else ()
        elif event.event_type not in LIFECYCLE:
            fold.add(event)
        elif is_its:
            fold.add(event)
            lived[fold.trace_of(event)].append(event)
    drafts = _drafts_of(fold, lived)
    addresses = {path, *(event.actor_address for own in lived.values() for event in own)}
    own_letters = (
        letter
        for letter in letters
        if letter.system_id == system_id
        and (letter.target_path == path or (not letter.target_path and letter.target in addresses))
    )
    loose = _hand_out(drafts, own_letters, handled)
    runs = {draft.incarnation for draft in drafts}
    limits = [oldest[run] for run in runs if not fold.run(run).began]
    return Timeline(
        system_id,
        path,
        tuple(draft.life(last) for draft in drafts),
        _in_order(loose),
        max(limits if horizon is None else [horizon, *limits], default=None),
        fold.notes_of(runs),
    )


def _hand_out(
    drafts: list[_Draft], letters: Iterable[PersistedDeadLetter], handled: list[PersistedEvent]
) -> list[PersistedDeadLetter]:
    """Give each life its own; returns the letters of none."""
    loose: list[PersistedDeadLetter] = []
    for letter in letters:
        draft = _draft_of(letter.incarnation, letter.target, letter.timestamp, drafts)
        (loose if draft is None else draft.letters).append(letter)
    for event in handled:
        draft = _draft_of(event.incarnation, event.actor_address, event.timestamp, drafts)
        if draft is not None:
            draft.handled.append(event)
    return loose


def _drafts_of(fold: Fold, lived: Mapping[Trace, list[PersistedEvent]]) -> list[_Draft]:
    drafts: list[_Draft] = []
    for trace, own in lived.items():
        drafts += _split(own)
        drafts[-1].inferred = fold.run(trace.incarnation).stop_of(trace)
    drafts.sort(key=lambda draft: draft.begin)
    _infer_stops(drafts)
    return drafts


class _Draft:
    """The events of one life, while it is put together."""

    def __init__(self, first: PersistedEvent) -> None:
        self.incarnation = first.incarnation
        self.path = path_of(first)
        self.address = first.actor_address
        self.has_start = first.event_type == EventType.ACTOR_STARTED
        self.begin = first.timestamp
        self.events = [first]
        self.letters: list[PersistedDeadLetter] = []
        self.handled: list[PersistedEvent] = []
        self.inferred: Stop | None = None

    @property
    def is_over(self) -> bool:
        return self.events[-1].event_type == EventType.ACTOR_STOPPED

    def life(self, last: int) -> Life:
        start = fields_of(self.events[0].payload)
        types = [event.actor_type for event in self.events if event.actor_type]
        return Life(
            self.incarnation,
            types[0] if types else text_of(start, "type"),
            text_of(start, "parent") or self.path.rpartition("/")[0],
            self.begin if self.has_start else None,
            tuple(crash_of(event) for event in self.events if event.event_type == EventType.ACTOR_CRASHED),
            tuple(
                restart_of(event) for event in self.events if event.event_type == EventType.ACTOR_RESTARTED
            ),
            stop_of(self.events[-1]) if self.is_over else self.inferred,
            _in_order(self.letters),
            tuple(map(handled_of, sorted(self.handled, key=moment_of)[-last:])) if last > 0 else (),
        )


def _split(events: list[PersistedEvent]) -> list[_Draft]:
    drafts: list[_Draft] = []
    for event in sorted(events, key=moment_of):
        if drafts and not drafts[-1].is_over and event.event_type != EventType.ACTOR_STARTED:
            drafts[-1].events.append(event)
        else:
            drafts.append(_Draft(event))
    return drafts


def _infer_stops(drafts: list[_Draft]) -> None:
    """Say of a life without a stop on record that it ended by the next start: only then the name was free."""
    newest: dict[str, _Draft] = {}
    for draft in drafts:
        before = newest.get(draft.incarnation)
        if before is not None and not before.is_over:
            before.inferred = Stop(draft.begin, draft.incarnation, "", is_inferred=True)
        newest[draft.incarnation] = draft


def _draft_of(incarnation: str, address: str, timestamp: float, drafts: list[_Draft]) -> _Draft | None:
    found = None
    for draft in drafts:
        is_its = draft.incarnation == incarnation and address in {draft.address, ""}
        if is_its and (not draft.has_start or draft.begin <= timestamp):
            found = draft
    return found


def _in_order(letters: list[PersistedDeadLetter]) -> tuple[PersistedDeadLetter, ...]:
    return tuple(sorted(letters, key=lambda letter: (letter.timestamp, letter.seq)))
