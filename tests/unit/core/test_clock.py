from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papyra.clock import INCARNATION_LENGTH, SYSTEM_CLOCK, mint_incarnation, minted_at
from papyra.testing import ManualClock


def test_an_incarnation_is_ordered_by_its_time_and_tells_it() -> None:
    times = [0.0, 0.001, 1.0, 1_800_000_000.123, 1_800_000_000.124, 4_000_000_000.0, 99_999_999_999.0]
    minted = [mint_incarnation(now) for now in times]
    assert minted == sorted(minted)
    assert [minted_at(incarnation) for incarnation in minted] == pytest.approx(times, abs=0.0011)
    assert all(re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{26}", incarnation) for incarnation in minted)


def test_incarnations_of_one_moment_differ() -> None:
    assert len({mint_incarnation(1.0) for _ in range(1_000)}) == 1_000


@pytest.mark.parametrize("now", [-1.0, -1e12, 1e15, 1e300])
def test_a_clock_that_is_out_of_all_bounds_still_gives_an_identity(now: float) -> None:
    incarnation = mint_incarnation(now)
    assert len(incarnation) == INCARNATION_LENGTH
    assert minted_at(incarnation) is not None


@given(st.text(max_size=30))
def test_the_time_of_another_id_is_not_known(text: str) -> None:
    found = minted_at(text)
    assert found is None or (len(text) == INCARNATION_LENGTH and found >= 0)


def test_the_systems_time_is_wall_time_to_the_microsecond() -> None:
    before = time.monotonic()
    now = SYSTEM_CLOCK.now()
    assert now == round(now, 6) > 1_700_000_000
    assert SYSTEM_CLOCK.monotonic() >= before


def test_a_manual_clock_moves_when_told() -> None:
    clock = ManualClock(100.0)
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (102.5, 2.5)
    clock.set_wall(50.0)
    assert (clock.now(), clock.monotonic()) == (50.0, 2.5)
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)
