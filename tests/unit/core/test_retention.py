from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papyra.persistence.backends import retention as published
from papyra.persistence.models import RecordKind
from papyra.persistence.retention import UNLIMITED, AgeWalk, RetentionPolicy, Stored, first_kept

NOW = 1_000.0
STORED = st.lists(st.builds(Stored, st.floats(0, 2_000).map(round), st.integers(1, 50)), max_size=30)
POLICIES = st.builds(
    RetentionPolicy,
    st.none() | st.integers(0, 40),
    st.none() | st.integers(0, 1_200),
    st.none() | st.integers(0, 600),
)


@given(STORED, POLICIES)
def test_i10_what_is_kept_is_the_newest_run_within_every_limit(
    stored: list[Stored], policy: RetentionPolicy
) -> None:
    first = first_kept(stored, policy, now=NOW)
    kept = stored[first:]
    assert 0 <= first <= len(stored)
    if policy.max_records is not None:
        assert len(kept) <= policy.max_records
    if policy.max_total_bytes is not None:
        assert sum(record.size for record in kept) <= policy.max_total_bytes
    if policy.max_age_seconds is not None and kept:
        assert kept[0].timestamp >= NOW - policy.max_age_seconds


@given(STORED, POLICIES)
def test_no_more_goes_than_a_limit_asks_for(stored: list[Stored], policy: RetentionPolicy) -> None:
    first = first_kept(stored, policy, now=NOW)
    if first == 0:
        return
    last_gone, with_it = stored[first - 1], stored[first - 1 :]
    assert (
        (policy.max_records is not None and len(with_it) > policy.max_records)
        or (policy.max_total_bytes is not None and sum(one.size for one in with_it) > policy.max_total_bytes)
        or (policy.max_age_seconds is not None and last_gone.timestamp < NOW - policy.max_age_seconds)
        or policy.max_age_seconds == 0
    )


@given(STORED, POLICIES)
def test_applying_it_again_takes_nothing_more(stored: list[Stored], policy: RetentionPolicy) -> None:
    kept = stored[first_kept(stored, policy, now=NOW) :]
    assert first_kept(kept, policy, now=NOW) == 0


@given(STORED, POLICIES, st.integers(0, 500))
def test_time_only_takes_more(stored: list[Stored], policy: RetentionPolicy, later: int) -> None:
    stored = [one for one in stored if one.timestamp <= NOW]  # what is yet to come is young once it has come
    assert first_kept(stored, policy, now=NOW + later) >= first_kept(stored, policy, now=NOW)


def times(*ages: float) -> list[Stored]:
    return [Stored(NOW - age, 1) for age in ages]


@pytest.mark.parametrize(
    ("ages", "first"),
    [
        ((20, 20, 5), 2),
        ((5, 20, 5), 0),
        ((20, 10, 5), 1),
        ((20, -99, 20), 3),
        ((20, -99, -99, 20, 5), 4),
        ((5, 20), 0),
        ((-99, 5, 20), 0),
        ((-99,), 0),
        ((20, -99), 1),
        ((), 0),
    ],
)
def test_age_takes_a_prefix_and_none_that_is_young_by_its_own_time(
    ages: tuple[float, ...], first: int
) -> None:
    assert first_kept(times(*ages), RetentionPolicy(max_age_seconds=10), now=NOW) == first


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "forget", "cut", "look"]), st.integers(0, 10), st.integers(-60, 60)
        ),
        max_size=60,
    ),
    st.integers(1, 30),
)
def test_what_a_walk_remembers_changes_no_answer_whatever_the_clock_does(
    steps: list[tuple[str, int, int]], age: int
) -> None:
    walk, times, now = AgeWalk(), list[float](), NOW
    for step, count, number in steps:
        match step:
            case "add":
                times.append(now - number)
            case "forget":
                walk.forget(min(count, len(times)))
                del times[:count]
            case "cut":
                walk.cut(count)
                del times[count:]
            case _:
                now += number
        for fitting in (0, count // 2):
            if fitting <= len(times):
                found = walk.first_kept(len(times), times.__getitem__, fitting, age, now)
                assert found == AgeWalk().first_kept(len(times), times.__getitem__, fitting, age, now)


def test_a_clock_set_back_makes_no_walk_look_at_what_it_saw() -> None:
    looked = 0

    def time_of(at: int) -> float:
        nonlocal looked
        looked += 1
        return NOW + at

    walk = AgeWalk()
    for back in range(100):
        assert walk.first_kept(1_000, time_of, 0, 10, NOW - 1 - back) == 0
    assert looked <= 1_100
    assert walk.first_kept(1_000, time_of, 0, 10, NOW + 100) == 90
    assert looked <= 1_200


def test_a_run_that_just_fits_is_kept_whole() -> None:
    stored = [Stored(NOW, 7), Stored(NOW, 10), Stored(NOW, 20)]
    limits = [
        first_kept(stored, RetentionPolicy(max_total_bytes=size), now=NOW)
        for size in (37, 36, 30, 29, 20, 19)
    ]
    assert limits == [0, 1, 1, 2, 2, 3]


def test_no_limit_looks_at_nothing() -> None:
    class Unread(list[Stored]):
        def __getitem__(self, index: Any) -> Any:
            raise AssertionError(index)

    stored = Unread(times(*range(100)))
    assert first_kept(stored, UNLIMITED, now=NOW) == 0
    assert first_kept(stored, RetentionPolicy(max_records=40), now=NOW) == 60
    assert first_kept(stored, RetentionPolicy(max_age_seconds=0), now=NOW) == 100


@pytest.mark.parametrize("name", ["max_records", "max_age_seconds", "max_total_bytes"])
@pytest.mark.parametrize("value", [-1, -0.5, math.nan])
def test_a_negative_limit_is_refused(name: str, value: float) -> None:
    limits: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=name):
        RetentionPolicy(**limits)


@pytest.mark.parametrize("name", ["max_records", "max_total_bytes"])
@pytest.mark.parametrize("value", [2.5, "3", True, math.inf])
def test_a_limit_that_is_no_number_of_things_is_refused(name: str, value: Any) -> None:
    limits: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=name):
        RetentionPolicy(**limits)


@pytest.mark.parametrize(
    "wrong",
    [{"max_age_seconds": "3"}, {"events": {"max_records": 3}}, {"audits": 3}, {"dead_letters": "keep"}],
)
def test_a_limit_of_another_type_is_refused_by_its_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RetentionPolicy(**wrong)


def test_a_policy_of_its_own_replaces_all_limits_of_its_kind() -> None:
    policy = RetentionPolicy(5, audits=RetentionPolicy(max_age_seconds=1))
    assert policy.for_kind(RecordKind.EVENT).max_records == 5
    assert policy.for_kind(RecordKind.DEAD_LETTER).max_records == 5
    assert policy.for_kind(RecordKind.AUDIT) == RetentionPolicy(max_age_seconds=1)


def test_nesting_goes_one_level() -> None:
    inner = RetentionPolicy(events=RetentionPolicy())
    with pytest.raises(ValueError, match="audits"):
        RetentionPolicy(audits=inner)


def test_a_policy_is_unlimited_only_if_every_kind_is() -> None:
    assert UNLIMITED.is_unlimited
    assert not RetentionPolicy(dead_letters=RetentionPolicy(max_records=0)).is_unlimited
    everywhere = RetentionPolicy(1, events=UNLIMITED, audits=UNLIMITED, dead_letters=UNLIMITED)
    assert everywhere.is_unlimited


def test_the_published_place_has_it() -> None:
    assert published.RetentionPolicy is RetentionPolicy
