from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from papyra.history import ActorKey, Crash, Failure, Life, Restart, Stop, Timeline, timeline, why_stopped
from papyra.persistence.models import EventType, LossNote, PersistedEvent
from tests.unit.history.events import T0, Tape, letter
from tests.unit.history.odd import odd_events


def test_a_life_tells_start_crash_decision_restart_and_stop() -> None:
    tape = Tape().begin()
    start = tape.started("/desk")
    crash = tape.crashed("/desk")
    restart = tape.restarted("/desk")
    stop = tape.stopped("/desk")
    tape.started("/other")
    expected = Life(
        "A",
        "shop.Desk",
        "",
        start.timestamp,
        (
            Crash(
                crash.timestamp,
                Failure("ValueError", "no stock", "Traceback …"),
                "receive",
                "A-7",
                "shop.Order",
                "restart",
                1,
                3,
            ),
        ),
        (Restart(restart.timestamp, "ValueError: no stock", 1, 3),),
        Stop(stop.timestamp, "A", "requested", "as asked"),
    )
    assert timeline("orders", "/desk", tape.events, ()) == Timeline("orders", "/desk", (expected,))


def test_a_crash_tells_what_came_before_it_and_a_restart_whose_failure_it_was() -> None:
    tape = Tape().begin()
    tape.started("/desk")
    recent = [{"message_id": "A-5", "message_type": "shop.Count"}, {"message_id": 6}, "damaged"]
    details = {"error": "E", "message": "Order(item='x')", "recent": recent, "scope": "one_for_all"}
    tape.add(EventType.ACTOR_CRASHED, details, path="/desk")
    tape.add(EventType.ACTOR_RESTARTED, {"reason": "E", "sibling": "/till"}, path="/desk")
    (life,) = timeline("orders", "/desk", tape.events, ()).lives
    (crash,), (restart,) = life.crashes, life.restarts
    assert (crash.message, crash.scope, restart.sibling) == ("Order(item='x')", "one_for_all", "/till")
    assert crash.recent == (("A-5", "shop.Count"), ("", ""), ("", ""))


def test_lives_are_split_by_stop_and_by_incarnation_oldest_first() -> None:
    first = Tape("A").begin()
    first.started("/desk")
    first.stopped("/desk")
    first.started("/desk")
    second = Tape("B", start=T0 + 100).begin()
    second.started("/desk")
    lives = timeline("orders", "/desk", [*second.events, *first.events], ()).lives
    assert [(life.incarnation, life.started) for life in lives] == [
        ("A", T0 + 1),
        ("A", T0 + 3),
        ("B", T0 + 101),
    ]


def test_r3_why_an_actor_stopped_reads_back_in_full() -> None:
    tape = Tape().begin()
    tape.started("/desk")
    tape.add(
        EventType.ACTOR_STOPPED,
        {
            "reason": "restart_limit",
            "text": "3 restarts in 60 s",
            "error": "KeyError: 'x'",
            "message_id": "A-9",
            "decision": "restart",
            "restart": 3,
            "limit": 3,
        },
        path="/desk",
    )
    stop = Stop(
        T0 + 2, "A", "restart_limit", "3 restarts in 60 s", Failure("KeyError", "'x'"), "A-9", "restart", 3, 3
    )
    assert why_stopped(tape.events) == {ActorKey("orders", "/desk"): stop}
    assert timeline("orders", "/desk", tape.events, ()).lives[0].stop == stop
    assert str(ActorKey("orders", "/desk")) == "orders/desk"


def test_letters_belong_to_the_life_they_fell_into() -> None:
    tape = Tape().begin()
    early = letter("/desk", T0 + 0.5)
    tape.started("/desk")
    during = letter("/desk", T0 + 1.5)
    tape.stopped("/desk")
    after = letter("/desk", T0 + 2.5, reason="target_stopped")
    tape.started("/desk")
    elsewhere = letter("/desk", T0 + 1.5, incarnation="B")
    others = [letter("/other", T0 + 1.5)]
    found = timeline("orders", "/desk", tape.events, [after, during, early, elsewhere, *others])
    assert [life.letters for life in found.lives] == [(during, after), ()]
    assert found.letters == (early, elsewhere)


def test_a_life_without_a_stop_ends_with_its_process_or_system() -> None:
    tape, closed = Tape("A").begin(), Tape("C").begin()
    tape.started("/desk")
    closed.started("/desk")
    end = closed.ended()
    notice = Tape("B", start=T0 + 50).begin()
    notice.lost("A", T0 + 9)
    events = tape.events + closed.events + notice.events
    stops = {life.incarnation: life.stop for life in timeline("orders", "/desk", events, ()).lives}
    assert stops == {
        "A": Stop(T0 + 9, "A", "node_lost", is_inferred=True),
        "C": Stop(end.timestamp, "C", "shutdown", is_inferred=True),
    }
    assert why_stopped(tape.events + notice.events)[ActorKey("orders", "/desk")].reason == "node_lost"


def test_a_life_that_runs_has_no_stop() -> None:
    tape = Tape().begin()
    tape.started("/desk")
    tape.crashed("/desk")
    assert timeline("orders", "/desk", tape.events, ()).lives[0].stop is None
    assert why_stopped(tape.events) == {}


def test_a_name_that_starts_again_had_stopped_even_if_that_is_not_on_record() -> None:
    tape = Tape().begin()
    tape.started("/desk")
    again = tape.started("/desk")
    first, second = timeline("orders", "/desk", tape.events, ()).lives
    assert first.stop == Stop(again.timestamp, "A", "", is_inferred=True)
    assert second.stop is None


def test_an_actor_that_runs_again_is_not_among_the_stopped() -> None:
    old, new = Tape("A").begin(), Tape("B", start=T0 + 100).begin()
    old.started("/desk")
    old.stopped("/desk")
    old.started("/$1")
    old.stopped("/$1", "completed")
    new.started("/desk")
    new.started("/$1")
    assert why_stopped(new.events + old.events) == {
        ActorKey("orders", "/$1", "A"): Stop(T0 + 4, "A", "completed", "as asked")
    }


def test_partial_histories_tell_what_is_left() -> None:
    tape = Tape().begin()
    tape.started("/desk")
    crash = tape.crashed("/desk")
    tape.stopped("/desk", "failed")
    (life,) = timeline("orders", "/desk", tape.events[2:], ()).lives
    assert life.started is None
    assert [each.timestamp for each in life.crashes] == [crash.timestamp]
    assert life.stop is not None
    assert life.stop.reason == "failed"


@pytest.mark.parametrize(
    ("payload", "failure"),
    [
        ({"error": "ValueError: no stock"}, Failure("ValueError", "no stock")),
        ({"error": "out of paper: buy some"}, Failure("", "out of paper: buy some")),
        ({"error": {"type": "ValueError", "text": "no stock"}}, Failure("ValueError", "no stock")),
        ({"error": None}, Failure()),
        (["odd"], Failure()),
    ],
)
def test_errors_are_read_in_every_form_they_were_ever_recorded_in(payload: object, failure: Failure) -> None:
    event = PersistedEvent("local", "local:1", "ActorCrashed", payload, 1.0)
    assert timeline("local", "local:1", [event], ()).lives[0].crashes[0].error == failure


@given(odd_events())
def test_odd_payloads_times_and_numbers_never_raise(events: list[PersistedEvent]) -> None:
    assert isinstance(timeline("s", "s:1", events, ()), Timeline)
    assert isinstance(why_stopped(events), dict)


def test_r3_lives_that_overlap_because_a_name_is_free_at_once_are_told_apart() -> None:
    tape = Tape().begin()
    tape.started("/desk", address="orders:1")
    tape.started("/desk", address="orders:2")
    tape.crashed("/desk", address="orders:2")
    stop = tape.stopped("/desk", address="orders:1")
    tape.restarted("/desk", address="orders:2")
    letters = [letter("/desk", T0 + 10, address="orders:1"), letter("/desk", T0 + 10, address="orders:2")]
    old, new = timeline("orders", "/desk", tape.events, letters).lives
    assert (old.started, old.stop, old.crashes) == (
        T0 + 1,
        Stop(stop.timestamp, "A", "requested", "as asked"),
        (),
    )
    assert (new.started, new.stop, len(new.crashes), len(new.restarts)) == (T0 + 2, None, 1, 1)
    assert (old.letters, new.letters) == ((letters[0],), (letters[1],))
    assert why_stopped(tape.events) == {}


def test_r3_the_last_stop_of_a_path_is_that_of_who_came_last() -> None:
    tape = Tape().begin()
    tape.started("/desk", address="orders:1")
    tape.started("/desk", address="orders:2")
    tape.stopped("/desk", "failed", address="orders:2")
    tape.stopped("/desk", address="orders:1")
    assert [stop.reason for stop in why_stopped(tape.events).values()] == ["failed"]


def test_the_last_messages_of_each_life_are_its_own_and_the_newest() -> None:
    tape = Tape().begin()
    tape.started("/desk", address="orders:1")
    for number in range(10):
        add_handled(tape, "/desk", number, address="orders:1")
    add_handled(tape, "/other", 99, address="orders:2")
    tape.stopped("/desk", address="orders:1")
    tape.started("/desk", address="orders:3")
    add_handled(tape, "/desk", 20, address="orders:3")
    first, second = timeline("orders", "/desk", tape.events[::-1], (), last=3).lives
    assert [message.message_id for message in first.messages] == ["A-7", "A-8", "A-9"]
    assert [message.message_id for message in second.messages] == ["A-20"]
    assert first.messages[0].message_type == "shop.Order"
    assert first.messages[0].seconds == 0.25


def add_handled(tape: Tape, path: str, number: int, *, address: str) -> None:
    event = tape.add(
        EventType.MESSAGE_HANDLED,
        {"message_type": "shop.Order", "seconds": 0.25},
        path=path,
        address=address,
    )
    tape.events[-1] = replace(event, message_id=f"A-{number}")


def test_what_retention_or_a_loss_took_is_said_and_not_made_up() -> None:
    tape = Tape().begin()
    tape.started("/desk")
    tape.crashed("/desk")
    tape.restarted("/desk")
    whole = timeline("orders", "/desk", tape.events, ())
    assert whole.unknown_before is None
    assert whole.is_complete
    cut = timeline("orders", "/desk", tape.events[2:], ())
    assert cut.unknown_before == tape.events[2].timestamp
    assert cut.lives[0].started is None
    assert not cut.is_complete
    assert timeline("orders", "/desk", tape.events, (), horizon=T0).unknown_before == T0
    assert timeline("orders", "/desk", (), (), horizon=T0).unknown_before == T0
    other = Tape("B", start=T0 + 50).begin()
    note = LossNote("A", "event", 2, 2, "garbage")
    other.loss_note(2, 2, of="A")
    other.loss_note(7, 9, kind="audit", of="A")
    gone = timeline("orders", "/desk", [tape.events[0], *tape.events[2:], *other.events], ())
    assert gone.gaps == (note,)
    assert gone.unknown_before is None
    assert not gone.is_complete
