"""Depth, size and cycles end in a mark, before they cost time or memory."""

from __future__ import annotations

import json
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

import pytest

from papyra.payloads import (
    DEFAULT_LIMITS,
    Encoded,
    Fidelity,
    MessageRegistry,
    PayloadLimits,
    Unstorable,
    check_fidelity,
    decode,
    encode,
    encode_message,
)
from tests.unit.payloads.samples import same


def nested(kind: str, depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        match kind:
            case "list":
                value = [value]
            case "dict":
                value = {"a": value}
            case "tuple":
                value = (value,)
            case "odd dict":
                value = {1: value}
            case "deque":
                value = deque([value])
            case _:
                value = ({"$": [{2: value}]},)
    return value


def unstorable(encoded: Encoded) -> Any:
    assert encoded.fidelity is Fidelity.UNSTORABLE
    return json.loads(encoded.json)


@pytest.mark.parametrize("kind", ["list", "dict", "tuple", "odd dict", "deque"])
def test_a_hundred_levels_are_stored_and_one_more_is_marked_where_it_is(kind: str) -> None:
    fits = encode(nested(kind, 100))
    assert fits.fidelity is Fidelity.EXACT
    assert same(decode(fits.json), nested(kind, 100))

    deeper = encode(nested(kind, 101))
    assert deeper.detail.endswith(": nested deeper than 100")
    assert b'{"unstorable":"nested deeper than 100","repr":"[]"}' in deeper.json
    decode(deeper.json)


def test_deep_values_of_every_kind_of_nesting_come_back() -> None:
    value = nested("mixed", 25)

    assert same(decode(encode(value).json), value)


def test_what_is_far_too_deep_is_cut_not_walked() -> None:
    unstorable(encode(nested("list", 100_000)))


def test_a_list_that_contains_itself_is_marked_where_it_comes_back() -> None:
    value: list[object] = [1]
    value.append({"again": value})

    tree = unstorable(encoded := encode(value))

    assert tree[0] == 1
    assert tree[1]["again"]["unstorable"] == "contains itself"
    assert encoded.detail == "data[1].again: contains itself"


def test_every_kind_of_container_may_contain_itself() -> None:
    mapping: dict[object, object] = {}
    mapping["a"] = (mapping,)
    odd: dict[object, object] = {}
    odd[1] = odd
    items: deque[object] = deque()
    items.append(items)

    @dataclass
    class Node:
        next: object = None

    node = Node()
    node.next = [node]

    for value in (mapping, odd, items, node):
        assert encode(value).detail.endswith("contains itself")
        unstorable(encode_message(value, registry=MessageRegistry()))


def test_the_size_limit_is_that_of_the_json_to_the_byte() -> None:
    value = ["x" * 94, "é"]
    size = len(encode(value).json)

    assert encode(value, limits=PayloadLimits(max_bytes=size)).fidelity is Fidelity.EXACT
    over = encode(value, limits=PayloadLimits(max_bytes=size - 1))
    assert unstorable(over)["unstorable"] == f"larger than {size - 1} bytes"
    assert over.detail == f"data: larger than {size - 1} bytes"


def test_escapes_count_towards_the_size() -> None:
    unstorable(encode("\x00" * 200_000))
    unstorable(encode("\x9b" * 200_000))


@pytest.mark.parametrize(
    "make",
    [
        lambda: "x" * 1_048_577,
        lambda: "\ud800" * 200_000,
        lambda: b"x" * 1_000_000,
        lambda: memoryview(b"x" * 1_048_577),
        lambda: list(range(600_000)),
        lambda: {str(n): None for n in range(300_000)},
        lambda: dict.fromkeys(range(300_000)),
        lambda: set(range(600_000)),
        lambda: [10**4000] * 300,
        lambda: ["x" * 1000] * 1100,
        lambda: [object()] * 50_000,
        lambda: [{"k" * 1000: 1}] * 1100,
    ],
    ids=[
        "text",
        "surrogates",
        "bytes",
        "memoryview",
        "list",
        "dict",
        "odd dict",
        "set",
        "ints",
        "texts",
        "objects",
        "keys",
    ],
)
def test_whatever_is_over_a_mebibyte_is_marked_as_a_whole(make: Any) -> None:
    value = make()

    mark = unstorable(encode(value))

    assert mark["unstorable"] == "larger than 1048576 bytes"
    assert mark["repr"][:5]
    assert len(encode(value).json) <= 2048 + 200


def test_what_is_huge_only_when_written_out_is_refused_without_writing_it_out() -> None:
    doubled: list[Any] = ["x"]
    for _ in range(90):
        doubled = [doubled, doubled]
    text = "x" * 900_000
    started = time.process_time()

    unstorable(encode(doubled))
    unstorable(encode([text] * 400_000))
    unstorable(encode([{text: 1}] * 100_000))
    unstorable(encode(b"x" * 50_000_000))

    assert time.process_time() - started < 5


def test_an_int_of_more_digits_than_python_prints_is_marked_by_its_size() -> None:
    tree = unstorable(encode([1, 10**4300, -(10**4300)]))

    assert tree[0] == 1
    assert tree[1] == {
        "unstorable": "an int of more than 4300 digits",
        "repr": "<an int of 14285 bits>",
    }


def test_the_repr_of_a_mark_is_short_printable_and_marked_where_cut() -> None:
    class Long:
        def __repr__(self) -> str:
            return "\x00\x1b\ud800é\n" * 5000

    text = unstorable(encode(Long()))["repr"]

    assert len(json.dumps(text, ensure_ascii=False)) <= 2048 + 2
    assert text.endswith("…")
    assert text.isprintable() or set(text) - {"\n"} == {"\ufffd", "é", "…"}


def test_the_repr_of_a_huge_container_shows_its_start() -> None:
    value = {"first": [list(range(1000)), "x" * 5000], **{str(n): object for n in range(300_000)}}

    text = unstorable(encode(value))["repr"]

    assert text.startswith("{'first': [[0, 1, 2, 3, ")
    assert "… 980 more" in text


def test_the_repr_of_an_oversized_dataclass_shows_its_start_and_hides_what_it_hides() -> None:
    @dataclass
    class Upload:
        name: str
        token: str
        body: bytes
        inner: object = None
        private: str = field(default="not shown", repr=False)

    upload = Upload("cat.png", "hunter2", b"\x00" * 50_000_000, deque([OrderedDict(a=Upload("", "", b""))]))
    started = time.process_time()
    text = unstorable(encode(upload))["repr"]

    assert text.startswith("Upload(name='cat.png', token=[redacted], body=b'\\x00\\x00")
    assert "hunter2" not in text
    assert "not shown" not in text
    assert time.process_time() - started < 1


def test_limits_are_the_callers() -> None:
    limits = PayloadLimits(max_depth=2, max_bytes=100, max_repr_bytes=10)
    tree = unstorable(encode([[[1, 2, 3, 4, 5, 6]]], limits=limits))

    assert tree == [[{"unstorable": "nested deeper than 2", "repr": "[1, 2, …"}]]
    assert (DEFAULT_LIMITS.max_depth, DEFAULT_LIMITS.max_bytes) == (100, 1_048_576)


def test_a_message_that_could_not_be_stored_keeps_that_verdict_when_checked() -> None:
    registry = MessageRegistry()
    encoded = encode_message([object()], registry=registry)

    assert check_fidelity([object()], encoded, registry) is encoded


def test_a_mark_that_is_stored_again_stays_the_same_mark() -> None:
    once = encode([object()])
    again = encode(decode(once.json))

    assert again.json == once.json
    assert again.fidelity is Fidelity.UNSTORABLE
    assert decode(again.json)[0].why == "an object of type object"  # type: ignore[index]  # a list
    assert encode(Unstorable("\ud800", "x")).fidelity is Fidelity.UNSTORABLE


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"items": [0, {"when": object()}]}, "data.items[1].when"),
        ({"a b": (object(),)}, "data['a b'][0]"),
        ({"é\n": object()}, "data['\\xe9\\n']"),
        ({5: object()}, "data[5]"),
        ({(1, 2): object()}, "data[a tuple]"),
        ({10**50: object()}, "data[a int]"),
        (object(), "data"),
        ({"k" * 500: object()}, f"data['{'k' * 60}']"),
    ],
)
def test_the_detail_names_the_place(value: object, place: str) -> None:
    detail = encode(value).detail

    assert detail == f"{place}: an object of type object"


def test_the_detail_names_the_worst_loss_and_counts_the_others_like_it() -> None:
    class Text(str):
        __slots__ = ()

    encoded = encode([Text("a"), object(), Text("b"), object()])

    assert encoded.detail == "data[1]: an object of type object (and 1 more)"
