from __future__ import annotations

from hypothesis import given

from papyra.history import Accounting, accounting, letters_by_reason
from papyra.persistence.models import EventType, PersistedAudit, PersistedEvent
from tests.unit.history.events import T0, Tape, letter
from tests.unit.history.odd import odd_events


def audit(timestamp: float, accepted: int, handled: int, *, incarnation: str = "A") -> PersistedAudit:
    return PersistedAudit(
        "orders",
        timestamp,
        *(1, 1, 0, 0, 1),
        (),
        (),
        0,
        incarnation=incarnation,
        accepted=accepted,
        handled=handled,
        failed=1,
        pending=accepted - handled - 1,
    )


def test_the_newest_audit_counts_for_an_incarnation_that_runs() -> None:
    (one,) = accounting([audit(T0 + 60, 9, 8), audit(T0, 5, 2)])
    assert (one.timestamp, one.accepted, one.handled, one.failed, one.pending) == (T0 + 60, 9, 8, 1, 0)
    assert (one.is_final, one.settled, one.is_balanced, one.lost_with_node) == (False, 9, True, 0)


def test_what_the_system_said_when_it_stopped_is_final() -> None:
    tape = Tape().begin()
    stop = tape.ended(
        {"accepted": 10, "handled": 7, "failed": 1, "dead": 1, "expired": 1, "records_dropped": 2}
    )
    assert accounting([audit(T0 + 60, 9, 8)], tape.events) == (
        Accounting(
            system_id="orders",
            incarnation="A",
            timestamp=stop.timestamp,
            accepted=10,
            handled=7,
            failed=1,
            dead=1,
            expired=1,
            records_dropped=2,
            is_final=True,
        ),
    )


def test_r1_a_killed_process_lost_what_it_had_not_settled_at_its_last_audit() -> None:
    notice = Tape("B").begin()
    notice.lost("A", T0 + 70)
    lost, living = accounting([audit(T0, 9, 4), audit(T0 + 1, 9, 4, incarnation="B")], notice.events)
    assert (lost.incarnation, lost.lost_with_node) == ("A", 4)
    assert (living.incarnation, living.lost_with_node) == ("B", 0)


def test_a_stop_without_figures_leaves_the_last_audit() -> None:
    tape = Tape().begin()
    tape.ended(None)
    (one,) = accounting([audit(T0, 9, 4)], tape.events)
    assert (one.accepted, one.is_final) == (9, False)


def test_published_audits_have_no_accounting() -> None:
    assert accounting([audit(T0, 9, 4, incarnation="")]) == ()


@given(odd_events())
def test_odd_payloads_never_raise(events: list[PersistedEvent]) -> None:
    assert accounting((), events) == ()


def test_letters_are_summed_by_reason_most_first() -> None:
    letters = [letter("/a", T0), letter("/b", T0, reason="expired", count=7), letter("/c", T0)]
    assert letters_by_reason(letters) == {"expired": 7, "handler_failed": 2}
    assert list(letters_by_reason(letters)) == ["expired", "handler_failed"]
    assert letters_by_reason([letter("/a", T0, count=0)]) == {"handler_failed": 1}


def test_letters_that_a_storm_left_uncounted_in_full_are_added_from_its_summary() -> None:
    tape = Tape().begin()
    tape.add(EventType.DEAD_LETTERS_SUPPRESSED, {"reason": "overflow", "count": 900})
    tape.add(EventType.DEAD_LETTERS_SUPPRESSED, {"reason": "overflow", "count": "many"})
    assert letters_by_reason([letter("/a", T0, reason="overflow")], tape.events) == {"overflow": 901}
