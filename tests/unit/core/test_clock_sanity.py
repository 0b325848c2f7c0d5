"""By which time records go for good, when the wall clock jumps; and how much of them may go at once."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papyra.exceptions import ConfigurationError
from papyra.persistence.retention import (
    BELIEVED_AFTER_SECONDS,
    CLOCK_TOLERANCE_SECONDS,
    Course,
    Removable,
    Removal,
    RetentionPolicy,
    Stored,
    first_kept,
    first_staying,
    is_worth_removing,
    trusted_now,
)
from papyra.persistence.upkeep import TrustedClock, check_interval
from papyra.testing import ManualClock

DAY = 24 * 3600.0
NOW = 1_000_000.0
YEARS = 50 * 365 * DAY


def test_a_clock_that_goes_on_or_is_set_a_little_is_followed() -> None:
    course, now = Course(NOW), 0.0
    for second in range(0, 100_000, 1000):
        wall = NOW + second + (second / 1000) * CLOCK_TOLERANCE_SECONDS / 2
        course, now = trusted_now(course, wall=wall, monotonic=second)
        assert now == wall


@pytest.mark.parametrize("jump", [3600.0, YEARS])
def test_a_jump_forward_makes_nothing_older_until_it_has_lasted(jump: float) -> None:
    course = Course(NOW)
    for second in (10, 100, BELIEVED_AFTER_SECONDS):
        course, now = trusted_now(course, wall=NOW + jump + second, monotonic=second)
        assert now == NOW + second, "as the monotonic clock says"
    course, now = trusted_now(course, wall=NOW + jump + 2 * DAY, monotonic=2 * DAY)
    assert now == NOW + jump + 2 * DAY
    assert course.jumped_to is None


def test_a_jump_that_is_put_right_leaves_nothing_behind() -> None:
    course, _ = trusted_now(Course(NOW), wall=NOW + YEARS, monotonic=10)
    course, now = trusted_now(course, wall=NOW + 20, monotonic=20)
    assert now == NOW + 20
    assert course.jumped_to is None


def test_a_jump_back_makes_nothing_older_and_does_not_block_for_ever() -> None:
    course, now = trusted_now(Course(NOW), wall=NOW - YEARS, monotonic=10)
    assert now == NOW - YEARS
    course, now = trusted_now(course, wall=NOW - YEARS + 2 * DAY, monotonic=2 * DAY)
    assert now == NOW - YEARS + 2 * DAY
    assert course.offset == NOW - YEARS


def test_a_clock_that_jumps_again_and_again_is_never_believed_and_time_still_goes_on() -> None:
    course = Course(NOW)
    for hour in range(1, 200):
        course, now = trusted_now(course, wall=NOW + hour * YEARS, monotonic=hour * 3600)
        assert now == NOW + hour * 3600


@given(st.floats(-1e9, 1e9), st.floats(0, 1e6), st.floats(-1e9, 1e9))
def test_nothing_is_ever_older_than_the_wall_clock_says(jump: float, monotonic: float, offset: float) -> None:
    _, now = trusted_now(Course(offset), wall=offset + monotonic + jump, monotonic=monotonic)
    assert now <= offset + monotonic + jump


def test_a_jump_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    trusted = TrustedClock("the store", clock)
    start = clock.now()
    clock.set_wall(start + YEARS)
    for _ in range(3):
        clock.advance(10)
        assert trusted.now() == start + clock.monotonic()
    assert [each.levelno for each in caplog.records] == [logging.WARNING]
    assert "check the clock" in caplog.text


TIMES = st.lists(st.floats(0, 2_000).map(round), max_size=40)


@given(TIMES, st.integers(0, 40), st.none() | st.integers(0, 1_500))
def test_what_goes_is_what_reads_hide_and_old_or_yet_to_come(
    times: list[int], fitting: int, age: int | None
) -> None:
    fitting = min(fitting, len(times))
    first, held = first_staying(times, fitting, age, Removal(1_000.0))
    rest = [Stored(time, 0) for time in times[fitting:]]
    assert held == 0
    assert first == fitting + first_kept(rest, RetentionPolicy(max_age_seconds=age), now=1_000.0)
    if age is not None and first > fitting and age > 0:
        assert times[first - 1] < 1_000 - age, "the last to go is old"
        assert all(time < 1_000 - age or time > 1_000 for time in times[fitting:first])


@given(st.integers(0, 100), st.integers(0, 100), st.sampled_from([0.1, 0.5, 0.9]))
def test_for_its_age_alone_no_more_than_the_share_goes_at_once(
    count: int, fitting: int, share: float
) -> None:
    fitting = min(fitting, count)
    first, held = first_staying([0.0] * count, fitting, 10, Removal(NOW, share))
    assert first + held == count
    assert first == min(count, max(fitting, int(count * share), 1))


def test_repeated_runs_come_to_an_end() -> None:
    times = [0.0] * 1000
    for _ in range(12):
        first, _ = first_staying(times, 0, 10, Removal(NOW, 0.5))
        del times[:first]
    assert times == []


@pytest.mark.parametrize(
    ("kinds", "is_worth_it"),
    [
        ([], False),
        ([(0, 0, 0, 0)], False),
        ([(0, 0, 100, 1000)], False),
        ([(49, 490, 100, 1000)], False),
        ([(50, 500, 100, 1000)], True),
        ([(0, 0, 100, 1000), (10, 100, 20, 200)], False),  # a small kind, beside a large one
        ([(0, 0, 100, 1000), (20, 200, 30, 300)], True),
        ([(10, 900, 100, 1000)], True),  # few records, yet most of the bytes
    ],
)
def test_it_is_worth_it_when_half_could_go(kinds: list[Any], *, is_worth_it: bool) -> None:
    assert is_worth_removing([Removable(*kind) for kind in kinds]) is is_worth_it


def test_what_is_no_interval_is_refused() -> None:
    check_interval("every", 0.5)
    for wrong in (0, -1, math.inf, math.nan, "60"):
        with pytest.raises(ConfigurationError, match="every must be a number of seconds above 0"):
            check_interval("every", wrong)  # type: ignore[arg-type]
