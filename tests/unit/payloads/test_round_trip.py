"""What goes in comes out, of the same types, through one line of strict JSON."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest
from hypothesis import given, settings

from papyra.payloads import DEFAULT_REDACTION, Fidelity, Redaction, decode, encode
from tests.unit.payloads.samples import EDGES, same, values


def strict(data: bytes) -> Any:
    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is no JSON")

    return json.loads(data.decode("utf-8"), parse_constant=refuse)


@pytest.mark.parametrize("value", EDGES.values(), ids=EDGES.keys())
def test_each_value_of_the_closed_list_reads_back_equal_and_of_the_same_type(value: object) -> None:
    encoded = encode(value)

    assert (encoded.fidelity, encoded.detail) == (Fidelity.EXACT, "")
    assert same(decode(encoded.json), value)
    assert same(decode(encoded.json.decode()), value)


@settings(max_examples=400, deadline=None)
@given(values)
def test_any_value_of_the_closed_list_reads_back_through_one_line_of_strict_json(value: object) -> None:
    encoded = encode(value)

    assert encoded.fidelity is Fidelity.EXACT
    assert same(decode(encoded.json), value)
    assert len(encoded.json.decode("utf-8").splitlines()) == 1
    assert all(character >= " " and not "\x7f" <= character <= "\x9f" for character in encoded.json.decode())
    strict(encoded.json)


@settings(max_examples=150, deadline=None)
@given(values)
def test_encoding_what_was_decoded_gives_the_same_bytes(value: object) -> None:
    once = encode(value).json

    assert encode(decode(once)).json == once


@settings(max_examples=150, deadline=None)
@given(values)
def test_redaction_that_matches_nothing_changes_nothing(value: object) -> None:
    assert encode(value, redaction=Redaction(["nosuchword"])) == encode(value)


def test_sets_are_written_in_one_order_however_they_were_built() -> None:
    names = [f"name-{number}" for number in range(200)]

    assert encode(set(names)).json == encode({*names[::-1]}).json
    assert encode(frozenset(names)).json == encode(frozenset(names[::-1])).json


def test_plain_json_values_are_written_plainly() -> None:
    value = {"sku": "A-1", "qty": 2, "price": 9.5, "ok": True, "note": None, "tags": ["é"], "in": {"a": [{}]}}

    assert json.loads(encode(value).json) == value
    assert "$" not in encode(value, redaction=DEFAULT_REDACTION).json.decode()


def test_the_value_itself_is_left_alone() -> None:
    inner = [math.nan, (1,)]
    value = {"$": inner, "password": "x"}

    encode(value, redaction=DEFAULT_REDACTION)

    assert value == {"$": inner, "password": "x"}
    assert value["$"] is inner
    assert type(inner[1]) is tuple


def test_a_value_that_stands_in_two_places_is_no_cycle() -> None:
    shared = [1, (2,)]
    encoded = encode({"a": shared, "b": [shared, shared]})

    assert encoded.fidelity is Fidelity.EXACT
    assert decode(encoded.json) == {"a": shared, "b": [shared, shared]}


class Pacific(tzinfo):
    """A zone of a class that nobody knows, like those of pytz and dateutil."""

    def utcoffset(self, _: datetime | None) -> timedelta | None:
        return timedelta(hours=-8)

    def tzname(self, _: datetime | None) -> str:
        return "PST"

    def dst(self, _: datetime | None) -> None:
        return None


class Nowhere(Pacific):
    def utcoffset(self, _: datetime | None) -> timedelta | None:
        return None


@pytest.mark.parametrize(
    ("value", "read", "why"),
    [
        (
            datetime(2024, 1, 1, tzinfo=Pacific()),
            datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-8))),
            f"data: a time zone of type {__name__}.Pacific is kept as its offset only",
        ),
        (
            datetime(2024, 1, 1, tzinfo=Nowhere()),
            datetime(2024, 1, 1),  # noqa: DTZ001  # naive is what it comes to
            f"data: a time zone of type {__name__}.Nowhere is kept as its offset only",
        ),
        (
            defaultdict(lambda: 5, {"a": 1}),
            defaultdict(None, {"a": 1}),
            "data: the default_factory is dropped",
        ),
    ],
    ids=["zone of an unknown class", "zone without an offset", "factory that is no built-in"],
)
def test_what_cannot_be_kept_whole_is_inexact_and_says_what_is_lost(
    value: object, read: object, why: str
) -> None:
    encoded = encode(value)

    assert (encoded.fidelity, encoded.detail) == (Fidelity.INEXACT, why)
    assert decode(encoded.json) == read


@pytest.mark.parametrize("text", ["a\u2028b", "a\x85b", "\x7f", "\x9b31m", "\\\u2028"])
def test_no_line_end_or_control_character_of_unicode_stands_raw_in_a_line(text: str) -> None:
    data = encode([text]).json

    assert data.isascii()
    assert strict(data) == [text]
