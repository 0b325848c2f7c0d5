"""Encoding never raises into an actor, whatever the value does; what it does shows in the payload."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from dataclasses import make_dataclass
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from papyra.payloads import (
    DEFAULT_REDACTION,
    Encoded,
    Fidelity,
    MessageRegistry,
    PayloadLimits,
    Unstorable,
    decode,
    encode,
    encode_message,
)
from tests.unit.payloads import hostiles
from tests.unit.payloads.hostiles import HOSTILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def check(encoded: Encoded, worst: Fidelity = Fidelity.UNSTORABLE) -> Any:
    assert encoded.fidelity is worst, encoded
    assert len(encoded.json.splitlines()) == 1
    return json.loads(encoded.json)


@pytest.mark.parametrize("name", HOSTILE)
def test_an_object_that_cannot_be_stored_becomes_a_mark_with_its_place(name: str) -> None:
    hostile = HOSTILE[name]()
    encoded = encode({"items": [1, {"when": hostile}]})

    (mark,) = (check(encoded)["items"][1]["when"],)
    assert mark.keys() == {"unstorable", "repr"}
    assert len(json.dumps(mark["repr"], ensure_ascii=False).encode()) <= 2048 + 2
    assert encoded.detail.startswith("data.items[1].when: ")
    assert decode(encoded.json) == {"items": [1, {"when": Unstorable(mark["unstorable"], mark["repr"])}]}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_message_that_cannot_be_stored_still_names_its_type(name: str) -> None:
    wrapped = check(encode_message(HOSTILE[name](), registry=MessageRegistry(), redaction=DEFAULT_REDACTION))

    assert wrapped.keys() == {"type", "version", "data"}
    assert wrapped["data"].keys() == {"unstorable", "repr"}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_key_or_set_item_costs_no_more_than_itself(name: str) -> None:
    hostile = HOSTILE[name]()
    with contextlib.suppress(TypeError, RuntimeError, ValueError):
        hash(hostile)
        tree = check(encode([{hostile: 1, "fine": 2}, {hostile, 3}], redaction=DEFAULT_REDACTION))
        assert tree[0]["v"][1] == ["fine", 2]
        assert 3 in tree[1]["v"]


@pytest.mark.parametrize("ends", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_process_while_a_payload_is_read_passes(ends: type[BaseException]) -> None:
    class Interrupted(tzinfo):
        def utcoffset(self, _: datetime | None) -> timedelta | None:
            raise ends

        tzname = dst = utcoffset  # type: ignore[assignment]  # never asked

    with pytest.raises(ends):
        encode([datetime(2024, 1, 1, tzinfo=Interrupted())])


def test_a_repr_can_be_interrupted_but_cannot_end_the_process() -> None:
    class Interrupted:
        def __repr__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode([Interrupted()])
    assert "SystemExit" in encode(HOSTILE["repr exits"]()).json.decode()


@pytest.mark.parametrize(
    ("cls", "base"),
    [
        (hostiles.DictWithTraps, {"a": 1}),
        (hostiles.ListWithTraps, [1, 2]),
        (hostiles.IntWithTraps, 5),
        (hostiles.HostileText, "text"),
    ],
    ids=["dict", "list", "int", "str"],
)
def test_a_subclass_is_read_by_the_methods_of_its_base(cls: Callable[[object], object], base: object) -> None:
    encoded = encode({"a": cls(base)})

    assert check(encoded, Fidelity.INEXACT)["a"]["$"] == "subclass"
    assert decode(encoded.json) == {"a": base}


def test_a_dataclass_is_read_past_its_own_attribute_access() -> None:
    hostile = object.__new__(hostiles.FieldIsAProperty)
    object.__setattr__(hostile, "sku", "A")
    object.__setattr__(hostile, "qty", 2)

    assert check(encode(hostile), Fidelity.INEXACT)["v"] == {"sku": "A", "qty": 2}


def test_keys_that_hash_and_compare_as_they_please_are_not_compared() -> None:
    value = {hostiles.UnstableKey(): 1, hostiles.UnstableKey(): (2,)}
    hostiles.UnstableKey.count = 100

    tree = check(encode(value))

    assert [row[1] for row in tree["v"]] == [1, {"$": "tuple", "v": [2]}]


def test_a_value_that_changes_while_it_is_read_is_read_as_it_was() -> None:
    changing: dict[str, object] = {"a": 1}

    class Mischief:
        def __repr__(self) -> str:
            for number in range(100):
                changing[f"more-{number}"] = number
            return "mischief"

    changing.update(b=Mischief(), c=3)

    assert check(encode(changing)).keys() == {"a", "b", "c"}


def test_a_value_that_another_thread_changes_does_not_raise() -> None:
    changing: dict[Any, Any] = {n: n for n in range(50)}
    listed: list[Any] = []
    done = threading.Event()

    def change() -> None:
        count = 0
        while not done.is_set():
            count += 1
            changing[f"{count % 97}"] = {count}
            changing.pop(f"{(count * 7) % 97}", None)
            listed[:] = [count] * (count % 13)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(300):
            json.loads(encode([changing, listed, {"nested": changing}]).json)
    finally:
        done.set()
        thread.join()


def test_a_class_that_is_both_a_dataclass_and_a_container_is_not_half_stored() -> None:
    both = make_dataclass("Both", [("x", int)], bases=(dict,))(x=1)

    assert "Both" in check(encode(both))["unstorable"]


def test_a_field_that_no_json_key_can_name_makes_the_object_unstorable() -> None:
    renamed = msgspec.defstruct("Renamed", [("a", int)], rename={"a": "$"})

    assert check(encode([renamed(1)]))[0].keys() == {"unstorable", "repr"}


def test_a_dataclass_shaped_like_the_mark_of_an_unstorable_value_is_not_taken_for_one() -> None:
    made = make_dataclass("Shaped", [("unstorable", str), ("repr", str)])("w", "r")

    tree = check(encode(made), Fidelity.INEXACT)
    assert tree["v"] == {"$": "dict", "v": [["unstorable", "w"], ["repr", "r"]]}


def test_an_enum_of_objects_is_stored_by_its_name() -> None:
    assert check(encode(hostiles.Colour.RED), Fidelity.INEXACT)["v"] == "RED"


def test_an_exception_that_is_a_dataclass_is_stored_by_its_fields() -> None:
    tree = check(encode(hostiles.Loud(), redaction=DEFAULT_REDACTION), Fidelity.REDACTED)
    assert tree["v"] == {"token": {"$": "redacted"}}


@pytest.mark.parametrize("near", [*range(12, 60), 100, 200, 400])
def test_a_stack_that_is_nearly_full_yields_a_mark_or_the_value_but_no_error(near: int) -> None:
    value: object = {"a": (1, {2})}
    for _ in range(20):
        value = [value]
    registry = MessageRegistry()

    def descend(levels: int, *, as_message: bool) -> Encoded:
        if levels:
            return descend(levels - 1, as_message=as_message)
        return encode_message(value, registry=registry) if as_message else encode(value)

    levels = sys.getrecursionlimit() - len(list(_frames())) - near
    wrapped = descend(levels, as_message=True)
    plain = descend(levels, as_message=False)

    assert json.loads(wrapped.json).keys() == {"type", "version", "data"}
    json.loads(plain.json)
    assert {wrapped.fidelity, plain.fidelity} <= {Fidelity.EXACT, Fidelity.UNSTORABLE}


def _frames() -> Iterator[object]:
    frame = sys._getframe()  # noqa: SLF001  # the depth of the stack has no other name
    while frame is not None:
        yield frame
        frame = frame.f_back  # type: ignore[assignment]  # None ends the loop


@pytest.mark.parametrize("size", [10, 0, 100])
def test_limits_too_small_for_anything_still_yield_json(size: int) -> None:
    tiny = PayloadLimits(max_depth=size // 10, max_bytes=size, max_repr_bytes=size)

    for value in ({"a": [object()]}, "x" * 1000, [[[1]]], 5, b"x" * 1000):
        json.loads(encode(value, limits=tiny).json)
