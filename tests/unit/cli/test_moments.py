from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papyra.cli.moments import read_moment, read_size, read_span

NOW = 1_795_569_868.5
TUESDAY = datetime(2026, 11, 24, 3, 12, 7, 500_000, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1795569868", 1_795_569_868.0),
        ("1795569868.25", 1_795_569_868.25),
        ("0", 0.0),
        ("-5", -5.0),
        ("1.5e9", 1.5e9),
        ("2026-11-24T03:12:07.5Z", TUESDAY),
        ("2026-11-24 03:12:07.5", TUESDAY),
        ("2026-11-24T04:12:07.5+01:00", TUESDAY),
        ("2026-11-24", datetime(2026, 11, 24, tzinfo=UTC).timestamp()),
        ("90s", NOW - 90),
        ("15m", NOW - 900),
        ("2h", NOW - 7200),
        ("1.5h", NOW - 5400),
        ("3d", NOW - 3 * 86_400),
        (" 1w ", NOW - 604_800),
    ],
)
def test_a_time_is_an_epoch_number_an_iso_text_or_a_span_ago(text: str, moment: float) -> None:
    assert read_moment(text, now=NOW) == moment


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "15 minutes", "m", "-2h", "nan", "inf", "1e999", "2026-13-01", "٣d", "0x10", "1_000"],
)
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="write epoch seconds"):
        read_moment(text, now=NOW)


@given(st.floats(min_value=-1e10, max_value=1e11).map(lambda number: round(number, 3)))
def test_every_epoch_number_is_read_back(number: float) -> None:
    assert read_moment(f"{number:.3f}", now=NOW) == number


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert isinstance(read_moment(text, now=NOW), float)


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1.0), ("0.5h", 1800.0), ("2w", 1_209_600.0)])
def test_a_span_has_a_unit(text: str, seconds: float) -> None:
    assert read_span(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5x", "-5s", "5 s"])
def test_what_is_no_span_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 90s"):
        read_span(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("500000", 500_000),
        ("200kB", 200_000),
        ("64MiB", 64 * 2**20),
        ("1.5G", 1_500_000_000),
        ("1 TiB", 2**40),
    ],
)
def test_a_size_is_bytes_or_has_a_unit(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1PB", "1e3"])
def test_what_is_no_size_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="write bytes"):
        read_size(text)
