"""A letter is exact only if it was proved to come back; otherwise the place says why not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from papyra.exceptions import UnknownMessageTypeError
from papyra.payloads import (
    DEFAULT_REDACTION,
    Fidelity,
    Foreign,
    MessageRegistry,
    Unstorable,
    check_fidelity,
    encode_message,
)
from tests.unit.payloads import messages as m
from tests.unit.payloads.samples import same


@pytest.fixture(scope="module")
def registry() -> MessageRegistry:
    return MessageRegistry(m.REGISTERED)


@pytest.mark.parametrize("name", m.EXAMPLES)
def test_a_message_of_registered_types_comes_back_equal_and_is_proved_exact(
    name: str, registry: MessageRegistry
) -> None:
    message = m.EXAMPLES[name]
    encoded = encode_message(message, registry=registry, redaction=DEFAULT_REDACTION)

    checked = check_fidelity(message, encoded, registry)
    rebuilt = registry.decode_message(encoded.json)

    assert (checked.fidelity, checked.detail) == (Fidelity.EXACT, "")
    assert type(rebuilt) is type(message)
    assert rebuilt == message
    assert same(rebuilt, message)
    assert registry.decode_message(json.loads(encoded.json)) == message


def test_declared_places_are_stored_plainly_so_that_a_person_can_edit_them(registry: MessageRegistry) -> None:
    order = m.Order(1, [m.Item("a")], m.Status.PAID, gift=m.Item("g"), by_sku={"k": m.Item("x")})
    data = json.loads(encode_message(order, registry=registry).json)["data"]

    assert data["items"] == [{"sku": "a", "qty": 1, "unit": "kg"}]
    assert data["status"] == "paid"
    assert data["gift"]["sku"] == "g"
    assert data["by_sku"] == {"k": {"sku": "x", "qty": 1, "unit": "kg"}}


def test_the_stored_form_names_type_and_version() -> None:
    registry = MessageRegistry([m.Order])

    assert json.loads(encode_message(m.Order(1), registry=registry).json).keys() == {
        "type",
        "version",
        "data",
    }
    assert encode_message(m.Order(1), registry=registry).json.startswith(
        b'{"type":"shop.Order","version":3,"data":{'
    )
    assert encode_message("hi", registry=registry).json == b'{"type":"str","version":1,"data":"hi"}'
    assert encode_message(None, registry=registry).json == b'{"type":"NoneType","version":1,"data":null}'


INEXACT: dict[str, tuple[object, str]] = {
    "a tuple where a list is declared": (m.Order(1, (m.Item("a"),)), "data.items"),  # type: ignore[arg-type]
    "a dict where a dataclass is declared": (m.Order(1, [{"sku": "a"}]), "data.items[0]"),  # type: ignore[list-item]
    "a value where an enum is declared": (m.Order(1, status="paid"), "data.status"),  # type: ignore[arg-type]
    "an int enum where an int is declared": (m.Order(m.Level.LOW), "data.order_id"),
    "a set where a frozenset is declared": (m.Order(1, seen={m.Item("a")}), "data.seen"),  # type: ignore[arg-type]
    "a wrong type": (m.Order("one"), "data.order_id"),  # type: ignore[arg-type]
    "a bool where an int is declared": (m.Order(True), "data.order_id"),  # noqa: FBT003  # the point
    "an unregistered class": (m.Order(1, anything=[m.Unmarked(1)]), "data.anything[0]"),
    "an unregistered message": (m.Unmarked(1), "data"),
    "a field changed by its class": (m.Doubled(2), "data.value"),
    "a broken __post_init__": (object.__new__(m.Positive), "data"),
    "an unknown key of a TypedDict": (m.Everything(note={"text": "", "x": 1}), "data.note.x"),  # type: ignore[typeddict-unknown-key]
    "a constraint": (m.Everything(small=10), "data.small"),
    "an opaque field of a wrong class": (m.Act(m.Order(1)), "data.command"),  # type: ignore[arg-type]
}
INEXACT["a broken __post_init__"][0].value = -1  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", INEXACT)
def test_a_message_that_would_come_back_otherwise_is_inexact_with_the_place(
    name: str, registry: MessageRegistry
) -> None:
    message, place = INEXACT[name]
    encoded = encode_message(message, registry=registry)

    checked = check_fidelity(message, encoded, registry)

    assert checked.fidelity is Fidelity.INEXACT
    assert checked.detail.startswith((f"{place}:", f"{place}[", f"{place}."))
    assert checked.json == encoded.json


def test_what_was_foreign_when_it_was_read_is_no_message_again(registry: MessageRegistry) -> None:
    encoded = encode_message([Foreign("gone.Class", {"a": 1})], registry=registry)

    assert (encoded.fidelity, encoded.detail) == (Fidelity.INEXACT, "data[0]: gone.Class is not registered")
    with pytest.raises(UnknownMessageTypeError, match=r"^data\[0\]: 'gone\.Class' is not a registered type"):
        registry.decode_message(encoded.json)


def test_a_class_that_raises_while_it_is_rebuilt_makes_the_message_inexact(registry: MessageRegistry) -> None:
    class Mute(Exception):  # noqa: N818  # an exception that cannot be shown
        __str__ = __repr__ = None  # type: ignore[assignment]

    @dataclass
    class Touchy:
        value: int

        def __post_init__(self) -> None:
            if touchy:
                raise Mute

    touchy = False
    message = Touchy(1)
    registry = MessageRegistry([Touchy])
    encoded = encode_message(message, registry=registry)
    touchy = True

    checked = check_fidelity(message, encoded, registry)
    assert checked.fidelity is Fidelity.INEXACT
    assert checked.detail.startswith("data: rebuilding it raised <")


def test_a_detail_is_text_that_a_record_can_hold(registry: MessageRegistry) -> None:
    message = m.Order(1, anything={"\ud800" * 500: 1})
    message.items = [{"\ud800" * 500: 1}]  # type: ignore[list-item]  # the wrong type is the point
    for encoded in (
        check_fidelity(message, encode_message(message, registry=registry), registry),
        check_fidelity(m.Order("\ud800"), encode_message(m.Order("\ud800"), registry=registry), registry),  # type: ignore[arg-type]
        encode_message([Unstorable("\ud800" * 9000, "x")], registry=registry),
    ):
        assert encoded.fidelity is not Fidelity.EXACT
        assert 0 < len(encoded.detail.encode("utf-8")) < 3000


def test_a_number_where_a_union_of_an_enum_and_text_is_declared_is_no_loss() -> None:
    registry = MessageRegistry([m.Either])
    for value in ("low", m.Level.HIGH, None):
        message = m.Either(value)
        assert check_fidelity(message, encode_message(message, registry=registry), registry).detail == ""
        assert registry.decode_message(encode_message(message, registry=registry).json) == message


def test_no_equality_of_the_message_is_asked() -> None:
    class Loud:
        def __eq__(self, other: object) -> bool:
            raise AssertionError

        __hash__ = None  # type: ignore[assignment]

    nan = m.Pay(1, float("nan"))
    registry = MessageRegistry(m.REGISTERED)

    assert check_fidelity(nan, encode_message(nan, registry=registry), registry).fidelity is Fidelity.EXACT
    assert encode_message(Loud(), registry=registry).fidelity is Fidelity.UNSTORABLE


def test_a_redacted_message_says_so_and_is_rebuilt_only_after_an_edit(registry: MessageRegistry) -> None:
    message = m.WithSecret("bob", "hunter2")
    encoded = encode_message(message, registry=registry, redaction=DEFAULT_REDACTION)

    assert check_fidelity(message, encoded, registry) is encoded
    assert encoded.fidelity is Fidelity.REDACTED
    with pytest.raises(ValueError, match=r"^data\.password: redacted"):
        registry.decode_message(encoded.json)

    edited = json.loads(encoded.json)
    edited["data"]["password"] = "again"  # noqa: S105  # no secret
    assert registry.decode_message(edited) == m.WithSecret("bob", "again")


def test_a_message_with_an_unstorable_part_is_rebuilt_only_after_an_edit(registry: MessageRegistry) -> None:
    encoded = encode_message(m.Order(1, anything={"lock": m.Plain()}), registry=registry)

    assert encoded.fidelity is Fidelity.UNSTORABLE
    assert encoded.detail.startswith("data.anything.lock: an object of type ")
    with pytest.raises(ValueError, match=r"^data\.anything\.lock: could not be stored"):
        registry.decode_message(encoded.json)


def test_messages_stored_before_their_type_was_registered_are_rebuilt_once_it_is() -> None:
    message: Any = m.EXAMPLES["full order"]
    stored = encode_message(message, registry=MessageRegistry())

    assert stored.fidelity is Fidelity.INEXACT
    assert stored.detail == "data: shop.Order is not registered (and 22 more)"
    assert MessageRegistry([m.Order, m.Perm]).decode_message(stored.json) == message
