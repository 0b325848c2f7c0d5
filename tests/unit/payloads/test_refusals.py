"""Edited data that does not fit its class is refused with the field named; what fits is taken as it is."""

from __future__ import annotations

import json

import pytest

from papyra.exceptions import PayloadError
from papyra.payloads import MessageRegistry
from tests.unit.payloads import messages as m


@pytest.fixture(scope="module")
def registry() -> MessageRegistry:
    return MessageRegistry(m.REGISTERED)


def stored(name: str, data: object, version: int) -> str:
    return json.dumps({"type": name, "version": version, "data": data})


ACT = "tests.unit.payloads.messages.Act"
ITEM = {"sku": "a"}
REFUSED: list[tuple[str, object, str]] = [
    ("shop.Order", {"order_id": 1, "itmes": []}, "data.itmes: unknown field; there are order_id, items, "),
    ("shop.Order", {"order_id": "1"}, "data.order_id: Expected `int`, got `str`"),
    ("shop.Order", {"order_id": 1.5}, "data.order_id: Expected `int`, got `float`"),
    ("shop.Order", {"order_id": True}, "data.order_id: Expected `int`, got `bool`"),
    ("shop.Order", {"order_id": None}, "data.order_id: Expected `int`, got `null`"),
    ("shop.Order", {}, "data: Object missing required field `order_id`"),
    ("shop.Order", [], "data: Expected `object`, got `array`"),
    ("shop.Order", "x", "data: Expected `object`, got `str`"),
    ("shop.Order", {"order_id": 1, "items": {}}, "data.items: Expected `array`, got `object`"),
    (
        "shop.Order",
        {"order_id": 1, "items": [ITEM, {"sku": 5}]},
        "data.items[1].sku: Expected `str`, got `int`",
    ),
    (
        "shop.Order",
        {"order_id": 1, "items": [{"sku": "a", "x": 1}]},
        "data.items[0].x: unknown field; there are sku, ",
    ),
    ("shop.Order", {"order_id": 1, "items": [{}]}, "data.items[0]: Object missing required field `sku`"),
    ("shop.Order", {"order_id": 1, "status": "lost"}, "data.status: Invalid enum value 'lost'"),
    ("shop.Order", {"order_id": 1, "gift": {"sku": "a", "y": 1}}, "data.gift.y: unknown field"),
    ("shop.Order", {"order_id": 1, "by_sku": {"k": {"sku": "a", "z": 1}}}, "data.by_sku.k.z: unknown field"),
    ("shop.Order", {"order_id": 1, "pair": [{"sku": "a", "z": 1}, 1]}, "data.pair[0].z: unknown field"),
    ("shop.Order", {"order_id": 1, "pair": [ITEM]}, "data.pair: Expected `array` of length 2"),
    ("shop.Order", {"order_id": 1, "seen": [{"sku": "a", "z": 1}]}, "data.seen[0].z: unknown field"),
    ("shop.Order", {"order_id": 1, "when": "yesterday"}, "data.when: Invalid RFC3339 encoded datetime"),
    ("shop.Order", {"order_id": 1, "$": 1}, "data: unknown tag 1"),
    ("shop.Order", {"order_id": 1, "$$": 1}, "data.$: unknown field"),
    ("shop.Cancel", {"order_id": 1, "raeson": "x"}, "data.raeson: unknown field; there are order_id, reason"),
    (
        "tests.unit.payloads.messages.Everything",
        {"note": {"item": {"sku": "a", "z": 1}}},
        "data.note.item.z: ",
    ),
    ("tests.unit.payloads.messages.Everything", {"note": {"txet": "a"}}, "data.note.txet: unknown field"),
    (
        "tests.unit.payloads.messages.Everything",
        {"row": [{"sku": "a", "z": 1}]},
        "data.row[0].z: unknown field",
    ),
    ("tests.unit.payloads.messages.Everything", {"small": 10}, "data.small: Expected `int` <= 9"),
    ("tests.unit.payloads.messages.Everything", {"kind": "c"}, "data.kind: Invalid enum value 'c'"),
    (
        "tests.unit.payloads.messages.Tree",
        {"name": "a", "children": [{"name": "b", "x": 1}]},
        "data.children[0].x: ",
    ),
    (
        "tests.unit.payloads.messages.Draw",
        {"shape": {"type": "sq", "radius": 1}},
        "data.shape.radius: unknown field",
    ),
    (
        "tests.unit.payloads.messages.Draw",
        {"shape": {"type": "oval"}},
        "data.shape.type: Invalid value 'oval'",
    ),
    (
        "tests.unit.payloads.messages.Camel",
        {"order_id": 1},
        "data.order_id: unknown field; there are orderId, ",
    ),
    ("tests.unit.payloads.messages.Positive", {"value": -1}, "data: must not be negative"),
    (
        "tests.unit.payloads.messages.Positive",
        {"value": 13},
        "data: rebuilding it raised KeyError('unlucky')",
    ),
    ("tests.unit.payloads.messages.Command", "dance", "data: Invalid enum value 'dance'"),
    (
        "tests.unit.payloads.messages.Holder",
        {"box": {"content": {"sku": 1}}},
        "data.box.content.sku: Expected `str`",
    ),
    (
        "tests.unit.payloads.messages.Holder",
        {"box": {"content": {"sku": "a", "q": 1}}},
        "data.box.content.q: unknown",
    ),
    (ACT, {}, "data: missing required field command"),
    (ACT, {"command": None, "cuont": 1}, "data.cuont: unknown field"),
    (ACT, {"command": None, "count": "1"}, "data.count: Expected `int`, got `str`"),
    (ACT, {"command": None, "items": [{"sku": 1}]}, "data.items[0].sku: Expected `str`, got `int`"),
    (ACT, {"command": None, "items": [{"sku": "a", "x": 1}]}, "data.items[0].x: unknown field"),
    (ACT, {"command": {"order_id": 1}}, "data.command: expected tests.unit.payloads.messages.Pay or "),
    (
        ACT,
        {"command": None, "colour": "none"},
        "data.colour: expected tests.unit.payloads.messages.Colour, got str",
    ),
    (ACT, [], "data: expected an object, got list"),
    ("int", "5", "data: Expected `int`, got `str`"),
    ("int", True, "data: Expected `int`, got `bool`"),
    ("bool", 1, "data: Expected `bool`, got `int`"),
    ("str", None, "data: Expected `str`, got `null`"),
    ("dict", [], "data: Expected `object`, got `array`"),
    (
        "dict",
        {"a": {"$": "object", "type": "gone.Class", "v": {}}},
        "data.a: 'gone.Class' is not a registered type",
    ),
    (
        "dict",
        {"a": {"$": "subclass", "type": "gone.Text", "v": "x"}},
        "data.a: 'gone.Text' is not a registered type",
    ),
    ("dict", {"a": {"$": "redacted"}}, "data.a: redacted when it was stored; give a value"),
    ("dict", {"a": {"unstorable": "why", "repr": "r"}}, "data.a: could not be stored (why); give a value"),
    (
        "dict",
        {"a": [{"$": "object", "type": "shop.Order", "v": {"order_id": "x"}}]},
        "data.a[0].order_id: Expected",
    ),
    (
        "dict",
        {"a": {"$": "object", "type": "tests.unit.payloads.messages.Status", "v": "LOST"}},
        "data.a: not a tests.unit.payloads.messages.Status: 'LOST'",
    ),
    (
        "dict",
        {"a": {"$": "object", "type": "tests.unit.payloads.messages.Perm", "v": 64}},
        "data.a: not a tests.unit.payloads.messages.Perm: 64",
    ),
    (
        "dict",
        {"a": {"$": "subclass", "type": "tests.unit.payloads.messages.Text", "v": 5}},
        "data.a: not a tests.unit.payloads.messages.Text: 5",
    ),
]


@pytest.mark.parametrize(("name", "data", "refusal"), REFUSED)
def test_edited_data_that_does_not_fit_is_refused_with_the_field_named(
    name: str, data: object, refusal: str, registry: MessageRegistry
) -> None:
    version = 3 if name == "shop.Order" else 1
    with pytest.raises(PayloadError) as refused:
        registry.decode_message(stored(name, data, version))

    assert refusal in str(refused.value)
    assert str(refused.value).startswith(refusal[:8])


def test_edited_data_may_be_written_as_a_person_writes_it(registry: MessageRegistry) -> None:
    data = {
        "order_id": 7,
        "items": [{"sku": "a"}, {"sku": "b", "unit": "kg"}],
        "status": "paid",
        "when": "2024-01-01T00:00:00Z",
        "price": "1.10",
        "pair": [{"sku": "p"}, 3],
        "seen": [{"sku": "s"}],
    }
    order = registry.decode_message(stored("shop.Order", data, 3))

    assert order.items == [m.Item("a"), m.Item("b")]
    assert order.status is m.Status.PAID
    assert str(order.when) == "2024-01-01 00:00:00+00:00"
    assert str(order.price) == "1.10"
    assert (order.pair, order.seen) == ((m.Item("p"), 3), frozenset({m.Item("s")}))
