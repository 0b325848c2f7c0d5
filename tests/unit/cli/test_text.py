from __future__ import annotations

import os
import subprocess
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papyra.cli.text import clipped, counted, printable, shell_word, sized, spanned, timed

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\x08\x7f\u202e\u2028\ud800"


@given(st.text(alphabet=st.characters()))
def test_nothing_that_moves_colours_or_hides_reaches_a_terminal(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert not any(unicodedata.category(letter)[0] == "C" for letter in shown)


def test_hostile_letters_are_shown_by_their_numbers() -> None:
    assert printable(HOSTILE) == (r"\x1b]0;owned\x07\x1b[2J\x9b31m\x0d\x08\x7f\u202e\u2028\ud800")
    assert printable("\U000e0041") == r"\U000e0041"


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S", "Zs"], exclude_characters="\xa0")))
def test_ordinary_text_is_shown_as_it_is(text: str) -> None:
    if text.isprintable():
        assert printable(text) is text


def test_a_clipped_text_says_how_much_is_missing() -> None:
    assert clipped("a" * 10, 10) == "a" * 10
    assert clipped("a" * 1010, 10) == "a" * 10 + "… (+1,000 characters)"


def test_counts_and_sizes_read_like_english() -> None:
    assert [counted(number, "record") for number in (0, 1, 1042)] == [
        "0 records",
        "1 record",
        "1,042 records",
    ]
    assert counted(2, "anomaly") == "2 anomalies"
    assert [sized(number) for number in (1, 2104, 10_240, 5 * 2**20, 3 * 2**40, 2**60)] == [
        "1 byte",
        "2,104 bytes",
        "10.0 KiB",
        "5.0 MiB",
        "3.0 TiB",
        "1024.0 PiB",
    ]
    assert [spanned(seconds) for seconds in (0.42, 12, 300, 11_520, 777_600)] == [
        "0.4 s",
        "12 s",
        "5 min",
        "3.2 h",
        "9.0 days",
    ]


@pytest.mark.parametrize(
    ("timestamp", "text"),
    [
        (1_795_569_868.123456, "2026-11-25T01:24:28.123Z"),
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1837.5, "1970-01-01T00:30:37.500Z"),
        (None, "never"),
        (1e300, "1e+300"),
        (-1e300, "-1e+300"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_any_stored_number_is_shown_as_a_time_or_as_it_is(timestamp: float | None, text: str) -> None:
    assert timed(timestamp, "milliseconds") == text


@pytest.mark.parametrize(
    "word",
    [
        "plain",
        "two words",
        "it's",
        "$(reboot)",
        "a\nb",
        "\x1b[2J",
        "back\\slash\t'",
        "\x9b1m",
        "\udcff.log",
        "ä\u202e",
    ],
)
def test_a_word_copied_into_a_shell_is_that_word(word: str) -> None:
    spelt = shell_word(word)
    assert spelt.isprintable()
    done = subprocess.run(["bash", "-c", f"printf %s {spelt}"], capture_output=True, check=True)
    assert done.stdout == os.fsencode(word)
