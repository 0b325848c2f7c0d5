"""The allow-list: what may be rebuilt, what edited data must look like, how old versions step up."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, make_dataclass
from enum import Enum
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from papyra.exceptions import ConfigurationError, PayloadError, UnknownMessageTypeError
from papyra.payloads import MessageRegistry, encode_message, message, message_name
from tests.unit.payloads import messages as m

if TYPE_CHECKING:
    from fractions import Fraction


@pytest.fixture
def registry() -> MessageRegistry:
    return MessageRegistry(m.REGISTERED)


def stored(name: str, data: object, version: int = 1) -> str:
    return json.dumps({"type": name, "version": version, "data": data})


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"5",
        b"{}",
        b'{"type":"int","version":1}',
        b'{"type":"int","version":1,"data":5,"more":6}',
        b'{"type":5,"version":1,"data":5}',
        b'{"type":"int","version":"1","data":5}',
        b'{"type":"int","version":0,"data":5}',
        b'{"type":"int","version":true,"data":5}',
        b'{"type":"int","version":1.0,"data":5}',
        b'{"type":null,"version":1,"data":5}',
    ],
)
def test_what_is_no_stored_message_is_refused(payload: bytes, registry: MessageRegistry) -> None:
    with pytest.raises(PayloadError):
        registry.decode_message(payload)


def test_only_registered_messages_are_rebuilt(registry: MessageRegistry) -> None:
    for name in ("tests.unit.payloads.messages.Unmarked", "os.system", "", "x" * 10_000):
        with pytest.raises(UnknownMessageTypeError) as refused:
            registry.decode_message(stored(name, {}))
        assert len(str(refused.value)) < 300


def test_a_class_that_a_field_names_is_rebuilt_in_messages_but_is_none(registry: MessageRegistry) -> None:
    name = message_name(m.Item)

    assert name not in registry.names()
    with pytest.raises(UnknownMessageTypeError):
        registry.get(name)
    nested = {"a": {"$": "object", "type": name, "v": {"sku": "a"}}}
    assert registry.decode_message(stored("dict", nested)) == {"a": m.Item("a")}

    registry.add(m.Item)
    assert registry.get(name).cls is m.Item


def test_names_and_entries_are_what_was_registered() -> None:
    registry = MessageRegistry([m.Order, m.Pay])

    assert {"int", "str", "dict", "list", "tuple", "NoneType", "datetime.datetime", "uuid.UUID"} <= set(
        registry.names()
    )
    assert {"shop.Order", "tests.unit.payloads.messages.Pay"} <= set(registry.names())
    assert (registry.get("shop.Order").cls, registry.get("shop.Order").version) == (m.Order, 3)


def test_names_are_as_marked_or_where_the_class_is_from() -> None:
    assert message_name(m.Order) == message_name(m.Order(1)) == "shop.Order"
    assert message_name(m.Item) == message_name(m.Item("a")) == "tests.unit.payloads.messages.Item"
    values: list[object] = [5, "x", {}, None, int]
    assert [message_name(each) for each in values] == [
        "int",
        "str",
        "dict",
        "NoneType",
        "int",
    ]


def test_a_mark_is_not_inherited() -> None:
    @dataclass
    class Express(m.Order):
        fast: bool = True

    assert message_name(Express) != "shop.Order"
    assert message_name(Express).endswith("Express")


def test_marking_changes_nothing_else() -> None:
    @dataclass
    class Bare:
        x: int

    before = dict(vars(Bare))
    marked = message(name="bare", version=2)(Bare)

    assert marked is Bare
    assert {key: value for key, value in vars(Bare).items() if key != "__papyra_message__"} == before
    with pytest.raises(UnknownMessageTypeError):
        MessageRegistry().get("bare")


@pytest.mark.parametrize("name", ["", "a\nb", "\ud800", "x" * 201])
def test_a_name_that_cannot_be_stored_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="name"):
        message(name=name)


@pytest.mark.parametrize("version", [0, -1, 1.0, True, "1", None])
def test_a_version_that_does_not_count_is_refused(version: Any) -> None:
    with pytest.raises(ConfigurationError, match="version"):
        message(version=version)


def test_a_module_gives_its_marked_classes() -> None:
    module = ModuleType("shop_messages")
    vars(module).update(
        Order=m.Order, Alias=m.Order, Pay=m.Pay, Item=m.Item, number=5, registry=MessageRegistry
    )
    registry = MessageRegistry()

    assert registry.add_module(module) == ("shop.Order", "tests.unit.payloads.messages.Pay")
    assert registry.get("shop.Order").cls is m.Order
    with pytest.raises(UnknownMessageTypeError):
        registry.get("tests.unit.payloads.messages.Item")
    assert registry.add_module(ModuleType("empty")) == ()


def test_adding_the_same_class_again_changes_nothing(registry: MessageRegistry) -> None:
    before = registry.names()
    registry.add(m.Order)
    registry.add(int)

    assert registry.names() == before


def test_two_classes_of_one_name_are_refused(registry: MessageRegistry) -> None:
    twin = message(name="shop.Order")(make_dataclass("Twin", [("x", int)]))

    with pytest.raises(ConfigurationError, match=r"shop\.Order.*@message"):
        registry.add(twin)
    assert registry.get("shop.Order").cls is m.Order


@dataclass
class NeedsFraction:
    value: Fraction


@dataclass
class HoldsTrouble:
    item: m.Item
    trouble: NeedsFraction


@pytest.mark.parametrize("cls", [m.Plain, object, Exception, Enum, type, "shop.Order", 5, None, list[int]])
def test_what_nothing_says_how_to_store_cannot_be_registered(cls: Any) -> None:
    with pytest.raises(ConfigurationError):
        MessageRegistry().add(cls)


@pytest.mark.parametrize("cls", [NeedsFraction, HoldsTrouble])
def test_annotations_that_do_not_resolve_are_refused_at_start_and_nothing_is_added(cls: type) -> None:
    registry = MessageRegistry()
    before = dict(registry.known)

    with pytest.raises(ConfigurationError, match="Fraction"):
        registry.add(cls)

    assert dict(registry.known) == before


def test_older_versions_step_up_one_by_one(registry: MessageRegistry) -> None:
    def split_customer(data: dict[str, Any]) -> dict[str, Any]:
        data["order_id"] = data.pop("id")
        return data

    def add_items(data: dict[str, Any]) -> dict[str, Any]:
        return {"items": [{"sku": data.pop("sku")}], **data}

    registry.add_step(m.Order, 1, split_customer)
    registry.add_step("shop.Order", 2, add_items)
    registry.add_step(m.Order, 1, split_customer)

    assert registry.decode_message(stored("shop.Order", {"id": 5, "sku": "a"})) == m.Order(5, [m.Item("a")])
    assert registry.decode_message(stored("shop.Order", {"order_id": 5, "sku": "a"}, 2)) == m.Order(
        5, [m.Item("a")]
    )
    assert registry.decode_message(stored("shop.Order", {"order_id": 5}, 3)) == m.Order(5)


def test_a_missing_or_failing_step_and_a_newer_version_are_refused_clearly(registry: MessageRegistry) -> None:
    with pytest.raises(PayloadError, match=r"shop\.Order: no step is registered from version 1 to 2"):
        registry.decode_message(stored("shop.Order", {}))
    with pytest.raises(PayloadError, match="stored as version 4, newer than the 3 known here"):
        registry.decode_message(stored("shop.Order", {"order_id": 1}, 4))

    registry.add_step("shop.Order", 2, lambda data: data["nothing"])
    with pytest.raises(PayloadError, match="KeyError"):
        registry.decode_message(stored("shop.Order", {"order_id": 1}, 2))
    with pytest.raises(ConfigurationError, match="has a step from version 2 already"):
        registry.add_step(m.Order, 2, lambda data: data)


def test_steps_see_values_not_tags(registry: MessageRegistry) -> None:
    seen: list[Any] = []

    def step(data: dict[str, Any]) -> dict[str, Any]:
        seen.append(data)
        return {"order_id": 1}

    registry.add_step("shop.Order", 2, step)
    registry.decode_message(
        stored("shop.Order", {"at": {"$": "date", "v": "2024-01-01"}, "it": encoded_item(registry)}, 2)
    )

    assert str(seen[0]["at"]) == "2024-01-01"
    assert seen[0]["it"] == [m.Item("a")]


def encoded_item(registry: MessageRegistry) -> Any:
    return json.loads(encode_message([m.Item("a")], registry=registry).json)["data"]


def test_a_class_whose_init_only_value_is_not_stored_says_so_when_rebuilt() -> None:
    registry = MessageRegistry([m.Seeded])

    assert registry.decode_message(stored(message_name(m.Seeded), {"value": 3})) == m.Seeded(3)


def test_fields_outside_init_are_set_as_they_were(registry: MessageRegistry) -> None:
    act = registry.decode_message(stored(message_name(m.Act), {"command": None, "computed": 9}))
    everything = registry.decode_message(stored("tests.unit.payloads.messages.Everything", {"computed": 9}))

    assert (act.computed, everything.computed) == (9, 9)


def test_importing_payloads_registers_nothing_and_reads_no_environment() -> None:
    code = (
        "import sys; import papyra.payloads as p; r = p.MessageRegistry(); "
        "assert not [n for n in r.names() if n.startswith(('papyra', 'tests'))]; "
        "assert not {'django', 'redis', 'asyncio', 'logging', 'pickle'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
