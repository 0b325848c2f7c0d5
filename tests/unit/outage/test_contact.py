"""The states of a store with a server, and when it does what by itself."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from papyra.persistence.contact import LOOK_SECONDS, MOST_SECONDS, Contact, Mode, pause_before_retry


@given(failures=st.integers(1, 10_000), draw=st.floats(0, 1, exclude_max=True))
def test_a_pause_is_anything_from_nothing_to_twice_the_longest_before_and_never_over_the_most(
    failures: int, draw: float
) -> None:
    assert 0 <= pause_before_retry(failures, draw) <= min(MOST_SECONDS, 0.1 * 2 ** min(failures, 10))
    assert pause_before_retry(failures, 0.0) == 0
    assert pause_before_retry(failures, 0.999) <= 2 * pause_before_retry(max(failures - 1, 1), 0.999)


def test_at_first_it_looks_at_once_and_then_now_and_then() -> None:
    contact = Contact()
    assert (contact.mode, contact.due) == (Mode.CONNECTED, -math.inf)
    settled = contact.settled(10.0)
    assert (settled.mode, settled.due) == (Mode.CONNECTED, 10.0 + LOOK_SECONDS)


def test_failures_add_up_until_the_server_answers() -> None:
    contact = Contact()
    for failures in range(1, 5):
        contact = contact.lost(100.0, 0.5, 0.0)
        assert contact.mode is Mode.AWAY
        assert contact.due == 100.0 + pause_before_retry(failures, 0.5)
    assert contact.answered(10).failures == 0
    assert contact.settled(0.0).failures == 0


def test_what_comes_during_a_replay_is_owed_twice_and_paid_by_what_was_sent() -> None:
    replaying = Contact().lost(0.0, 0.5, 0.0).answered(10)
    assert (replaying.mode, replaying.owed) == (Mode.REPLAYING, 0)
    owing = replaying.kept(300).kept(200)
    assert owing.owed == 1_000
    assert owing.answered(600).owed == 400
    assert owing.answered(5_000).owed == 0
    assert owing.lost(0.0, 0.5, 0.0).owed == 0


def test_what_comes_while_it_is_away_is_not_owed() -> None:
    assert Contact().lost(0.0, 0.5, 0.0).kept(100).owed == 0


def test_who_waits_while_it_is_asked_gets_as_much_time_before_it_is_asked_again() -> None:
    assert Contact().lost(100.0, 0.0, 3.0).due == 103.0
    assert Contact().lost(100.0, 0.0, 3_600.0).due == 100.0 + MOST_SECONDS
