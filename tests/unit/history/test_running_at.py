from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papyra.history import LifeState, RunningAt, UnknownSpan, running_at
from papyra.persistence.models import LossNote, PersistedEvent
from tests.unit.history.events import T0, Tape
from tests.unit.history.odd import odd_events


def paths(answer: RunningAt) -> list[str]:
    return [actor.path for actor in answer.actors]


def test_an_actor_runs_from_its_start_to_its_stop() -> None:
    tape = Tape().begin()
    tape.started("/desk")
    stop = tape.stopped("/desk")
    assert paths(running_at(tape.events, T0)) == []
    assert paths(running_at(tape.events, T0 + 1.5)) == ["/desk"]
    assert paths(running_at(tape.events, stop.timestamp)) == []


def test_the_answer_names_type_incarnation_and_since_in_tree_order() -> None:
    tape = Tape().begin()
    for path in ("/desk-2", "/desk", "/desk/stock", "/desk/stock/shelf"):
        tape.started(path, "shop.Thing")
    answer = running_at(tape.events, tape.now)
    assert paths(answer) == ["/desk", "/desk/stock", "/desk/stock/shelf", "/desk-2"]
    stock = answer.actors[1]
    assert (stock.system_id, stock.incarnation, stock.type, stock.since) == (
        "orders",
        "A",
        "shop.Thing",
        T0 + 3,
    )
    assert (stock.parent, stock.state) == ("/desk", LifeState.RUNNING)
    assert answer.is_complete


@pytest.mark.parametrize(
    ("decision", "state"),
    [
        ("restart", LifeState.RESTARTING),
        ("stop", LifeState.STOPPING),
        ("escalate", LifeState.STOPPING),
        ("ignore", LifeState.RUNNING),
        ("", LifeState.CRASHED),
        ("a word of a newer version", LifeState.CRASHED),
    ],
)
def test_after_a_crash_the_state_is_what_was_decided(decision: str, state: LifeState) -> None:
    tape = Tape().begin()
    tape.started("/desk")
    tape.crashed("/desk", decision)
    assert running_at(tape.events, tape.now).actors[0].state is state


def test_a_restart_keeps_since_and_a_new_life_does_not() -> None:
    tape = Tape().begin()
    first = tape.started("/desk")
    tape.crashed("/desk")
    tape.restarted("/desk")
    assert running_at(tape.events, tape.now).actors[0].since == first.timestamp
    tape.stopped("/desk")
    second = tape.started("/desk")
    assert running_at(tape.events, tape.now).actors[0].since == second.timestamp


def test_nothing_runs_after_the_system_stopped_even_where_a_stop_is_missing() -> None:
    tape = Tape().begin()
    tape.started("/desk")
    tape.ended()
    assert paths(running_at(tape.events, tape.now)) == []
    assert paths(running_at(tape.events, T0 + 1)) == ["/desk"]


def test_a_lost_process_runs_until_it_was_last_seen_and_unknown_until_that_was_noticed() -> None:
    dead = Tape("A").begin()
    dead.started("/desk")
    sibling = Tape("B", start=T0 + 60).begin()
    notice = sibling.lost("A", T0 + 10)
    events = dead.events + sibling.events

    assert paths(running_at(events, T0 + 10)) == ["/desk"]
    between = running_at(events, T0 + 30)
    assert paths(between) == []
    assert between.unknown_between == (UnknownSpan("A", T0 + 10, notice.timestamp),)
    assert not between.is_complete
    assert running_at(events, notice.timestamp) == RunningAt(notice.timestamp, ())


def test_a_process_called_lost_that_went_on_is_believed_rather_than_the_notice() -> None:
    living = Tape("A").begin()
    living.started("/desk")
    hasty = Tape("B").begin()
    hasty.lost("A", T0)
    assert paths(running_at(living.events + hasty.events, T0 + 1)) == ["/desk"]


def test_two_processes_of_one_system_are_told_apart() -> None:
    one, other = Tape("A").begin(), Tape("B").begin()
    one.started("/desk")
    other.started("/desk")
    one.stopped("/desk")
    answer = running_at(one.events + other.events, T0 + 10)
    assert [(actor.incarnation, actor.path) for actor in answer.actors] == [("B", "/desk")]


def test_a_history_that_begins_in_the_middle_says_before_when_it_knows_nothing() -> None:
    tape = Tape().begin()
    tape.started("/desk")
    crash = tape.crashed("/desk")
    answer = running_at(tape.events[2:], tape.now)
    assert answer.unknown_before == crash.timestamp
    assert [(actor.path, actor.since) for actor in answer.actors] == [("/desk", None)]
    assert not answer.is_complete


def test_a_horizon_limits_the_answer_however_whole_the_rest_looks() -> None:
    tape = Tape().begin()
    assert running_at(tape.events, tape.now, horizon=T0 - 5).unknown_before == T0 - 5
    assert running_at((), T0, horizon=T0 + 5) == RunningAt(T0, (), T0 + 5)


def test_lost_events_are_named_where_they_may_hide_a_start() -> None:
    tape = Tape().begin()
    tape.started("/desk")
    tape.loss_note(3, 7)
    tape.loss_note(9, 9, kind="dead_letter")
    tape.loss_note(400, 500)
    answer = running_at(tape.events, tape.now)
    assert answer.gaps == (LossNote("A", "event", 3, 7, "garbage"),)
    assert not answer.is_complete


def test_the_order_in_which_events_are_read_does_not_matter() -> None:
    tape = Tape().begin()
    for path in ("/a", "/b", "/c"):
        tape.started(path)
    tape.crashed("/a")
    tape.stopped("/b")
    tape.started("/b")
    tape.crashed("/c", "stop")
    tape.stopped("/c")
    expected = running_at(tape.events, tape.now)
    for seed in range(20):
        shuffled = list(tape.events)
        random.Random(seed).shuffle(shuffled)  # noqa: S311  # no secret
        assert running_at(shuffled, tape.now) == expected


class LiveTree:
    """A system as it runs, next to the tape that records it."""

    def __init__(self) -> None:
        self.tape = Tape().begin()
        self.alive: dict[str, LifeState] = {}
        self.snapshots: list[dict[str, LifeState]] = [{}]

    def step(self, number: int) -> None:
        """Do whatever ``number`` picks of what can happen next."""
        spawnable = [path for path in ("/a", "/b", "/a/x", "/a/x/y") if self._is_free(path)]
        moves = [(self._spawn, path) for path in spawnable]
        moves += [(self._crash, path) for path, state in self.alive.items() if state is LifeState.RUNNING]
        moves += [
            (self._restart, path) for path, state in self.alive.items() if state is LifeState.RESTARTING
        ]
        moves += [(self._stop, path) for path in self.alive]
        move, path = moves[number % len(moves)]
        move(path)

    def _is_free(self, path: str) -> bool:
        parent = path.rpartition("/")[0]
        return path not in self.alive and (not parent or parent in self.alive)

    def _spawn(self, path: str) -> None:
        self.tape.started(path)
        self._record(path, LifeState.RUNNING)

    def _crash(self, path: str) -> None:
        self.tape.crashed(path)
        self._record(path, LifeState.RESTARTING)

    def _restart(self, path: str) -> None:
        self.tape.restarted(path)
        self._record(path, LifeState.RUNNING)

    def _stop(self, path: str) -> None:
        below = sorted((each for each in self.alive if each.startswith(f"{path}/")), reverse=True)
        for each in [*below, path]:
            self.tape.stopped(each, "requested" if each == path else "parent_stopped")
            del self.alive[each]
            self.snapshots.append(dict(self.alive))

    def _record(self, path: str, state: LifeState) -> None:
        self.alive[path] = state
        self.snapshots.append(dict(self.alive))


@given(st.lists(st.integers(min_value=0, max_value=1000), max_size=40))
def test_folding_every_prefix_reproduces_the_live_tree(moves: list[int]) -> None:
    tree = LiveTree()
    for move in moves:
        tree.step(move)
    events = tree.tape.events
    for number, alive in enumerate(tree.snapshots):
        prefix, now = events[: number + 1], events[number].timestamp
        for answer in (running_at(prefix, now), running_at(events, now)):
            assert {actor.path: actor.state for actor in answer.actors} == alive
            assert answer.is_complete


@given(odd_events(), st.floats())
def test_odd_payloads_times_and_numbers_never_raise(events: list[PersistedEvent], at: float) -> None:
    assert isinstance(running_at(events, at), RunningAt)


def test_published_records_without_path_or_incarnation_are_told_by_their_address() -> None:
    events = [
        PersistedEvent("local", "local:1", "ActorStarted", {"address": {}}, 10.0),
        PersistedEvent("local", "local:2", "ActorStarted", {}, 11.0),
        PersistedEvent("local", "local:1", "ActorStopped", {"reason": "stopped"}, 12.0),
    ]
    answer = running_at(events, 13.0)
    assert paths(answer) == ["local:2"]
    assert answer.unknown_before == 10.0


def test_an_actor_that_is_still_stopping_runs_beside_who_has_its_name_now() -> None:
    tape = Tape().begin()
    tape.started("/desk", address="orders:1")
    tape.started("/desk", address="orders:2")
    tape.stopped("/desk", address="orders:1")

    def states(at: float) -> list[tuple[LifeState, float | None]]:
        return [(actor.state, actor.since) for actor in running_at(tape.events, at).actors]

    assert states(T0 + 2) == [(LifeState.STOPPING, T0 + 1), (LifeState.RUNNING, T0 + 2)]
    assert states(T0 + 3) == [(LifeState.RUNNING, T0 + 2)]
