from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papyra.address import (
    ActorAddress,
    check_name,
    check_system_id,
    is_generated,
    join_path,
    split_reference,
)
from papyra.exceptions import InvalidNameError, PapyraError

NAMES = st.from_regex(r"[A-Za-z0-9_.-]{1,100}", fullmatch=True)


@given(NAMES, st.integers(0, 10**17))
def test_a_printed_address_is_read_back(system: str, number: int) -> None:
    address = ActorAddress(system, number)
    assert ActorAddress.parse(str(address)) == address
    assert ActorAddress.parse(f"{system}://{number}") == address
    assert ActorAddress.from_dict(address.to_dict()) == address


@pytest.mark.parametrize(
    "raw",
    [
        *("", ":", "orders", "orders:", ":5", "://5", "orders:-1", "orders:+1", "orders:1.0", "orders:x"),
        *(
            "orders:٣",
            "orders: 1",
            "orders:1 ",
            "orders:1\n",
            "orders://",
            "orders:" + "9" * 5_000,
            "orders:5:",
        ),
    ],
)
def test_what_is_no_address_is_refused(raw: str) -> None:
    with pytest.raises(InvalidNameError, match="not an actor address"):
        ActorAddress.parse(raw)


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"system": "orders"},
        {"system": 5, "actor_id": 5},
        {"system": "orders", "actor_id": "5"},
        {"system": "orders", "actor_id": True},
        {"system": "orders", "actor_id": -1},
        {"system": "", "actor_id": 1},
    ],
    ids=str,
)
def test_a_dict_that_is_no_address_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(InvalidNameError):
        ActorAddress.from_dict(raw)


def test_a_name_error_is_ours_and_a_value_error_and_stays_short() -> None:
    with pytest.raises(InvalidNameError) as caught:
        check_name("ö" * 10_000)
    assert isinstance(caught.value, PapyraError)
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value)) < 300


@given(NAMES)
def test_names_of_the_alphabet_are_taken(name: str) -> None:
    assert check_name(name) == check_system_id(name) == name


BAD = ["", " ", "a b", "a/b", "ä", "a\n", "a" * 101, "$1", "a$", "\x00", "a:b", "😀"]


@pytest.mark.parametrize("name", BAD)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidNameError):
        check_name(name)
    with pytest.raises(InvalidNameError):
        check_system_id(name)


def test_paths_are_joined_below_the_root_and_below_parents() -> None:
    assert join_path("", "desk") == "/desk"
    assert join_path("/desk", "stock") == "/desk/stock"


def test_only_a_made_up_last_part_means_nothing_later() -> None:
    assert [
        is_generated(path) for path in ("/$1", "/desk/$12", "/$1/desk", "/desk", "/$", "/$x", "/a$1", "")
    ] == [*(True, True, False, False, False, False, False, False)]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("stock", ("orders", "/stock")),
        ("/desk/stock", ("orders", "/desk/stock")),
        ("/desk/$7", ("orders", "/desk/$7")),
        ("payments/desk/stock", ("payments", "/desk/stock")),
        ("payments/desk", ("payments", "/desk")),
        ("..", ("orders", "/..")),
    ],
)
def test_a_reference_is_a_path_a_name_or_a_full_form(raw: str, expected: tuple[str, str]) -> None:
    assert split_reference(raw, system_id="orders") == expected


@pytest.mark.parametrize(
    "raw", ["", "/", "//", "/desk/", "desk/", "/desk//stock", "a b", "ä/x", "/desk/$", "$x", "\n"]
)
def test_other_references_are_refused(raw: str) -> None:
    with pytest.raises(InvalidNameError):
        split_reference(raw, system_id="orders")


@given(st.text(max_size=50))
def test_any_text_is_either_read_or_refused(raw: str) -> None:
    for read in (ActorAddress.parse, check_name, lambda text: split_reference(text, system_id="orders")):
        try:
            read(raw)
        except InvalidNameError:
            continue
