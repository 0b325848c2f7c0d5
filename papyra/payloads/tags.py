"""Tags for containers, read back: a node's children are values by then. `leaves` has the whole list."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from typing import TYPE_CHECKING, Any, TypeVar

from papyra.exceptions import PayloadError
from papyra.payloads.values import Redacted, Unstorable
from papyra.payloads.walk import FACTORIES, UNSTORABLE_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable

Node = dict[str, Any]
C = TypeVar("C", set[Any], dict[Any, Any])

_FACTORIES = {factory.__name__: factory for factory in FACTORIES}
_ROWS = frozenset({"dict", "ordered_dict", "counter", "default_dict"})
_LISTS = _ROWS | {"tuple", "set", "frozenset", "deque"}
_KEYS = {
    **dict.fromkeys(_LISTS, ({"$", "v"}, {"$", "v"})),
    "deque": ({"$", "v"}, {"$", "v", "maxlen"}),
    "default_dict": ({"$", "v", "of"}, {"$", "v", "of"}),
    "object": ({"$", "v", "type"}, {"$", "v", "type"}),
    "subclass": ({"$", "v", "type"}, {"$", "v", "type"}),
    "redacted": ({"$"}, {"$"}),
}


def check_shape(node: Node) -> None:
    """Raise `PayloadError` unless the node, not yet descended into, is a tag as it is written."""
    name = node["$"]
    if type(name) is not str or name not in _KEYS:
        raise PayloadError(f"unknown tag {name!r:.100}")
    least, most = _KEYS[name]
    sound = least <= node.keys() <= most and ("type" not in node or type(node["type"]) is str)
    if sound and name in _LISTS:
        sound = type(node["v"]) is list
    if sound and name in _ROWS:
        sound = all(type(row) is list and len(row) == len(("key", "value")) for row in node["v"])
    if not sound:
        raise PayloadError(f"not how a {name} is written: {node!r:.200}")


def build(node: Node) -> Any:
    """Return the value of a dict node; raises `PayloadError`, and TypeError for what cannot be hashed."""
    name = node.get("$")
    if name is not None:
        return _BUILDERS[name](node)
    if node.keys() == UNSTORABLE_KEYS:
        why, excerpt = node["unstorable"], node["repr"]
        if type(why) is not str or type(excerpt) is not str:
            raise PayloadError("not how an unstorable value is marked")
        return Unstorable(why, excerpt)
    if any(key[:1] == "$" for key in node):
        return {_unescaped(key): item for key, item in node.items()}
    return node


def _set(node: Node) -> set[Any]:
    return _checked(set(node["v"]), node)


def _frozenset(node: Node) -> frozenset[Any]:
    return frozenset(_set(node))


def _pairs(node: Node) -> dict[Any, Any]:
    return _checked(dict(node["v"]), node)


def _counter(node: Node) -> Counter[Any]:
    counter: Counter[Any] = Counter()
    dict.update(counter, _pairs(node))
    return counter


def _default_dict(node: Node) -> defaultdict[Any, Any]:
    of = node["of"]
    if of is not None and (type(of) is not str or of not in _FACTORIES):
        raise PayloadError(f"unknown default factory {of!r:.100}")
    return defaultdict(None if of is None else _FACTORIES[of], _pairs(node))


def _deque(node: Node) -> deque[Any]:
    bound = node.get("maxlen")
    if "maxlen" in node and (type(bound) is not int or not len(node["v"]) <= bound < 2**63):
        raise PayloadError(f"not the bound of this deque: {bound!r:.100}")
    return deque(node["v"], bound)


def _checked(container: C, node: Node) -> C:
    if len(container) != len(node["v"]):
        raise PayloadError("the same key or item twice")
    return container


def _unescaped(key: str) -> str:
    return key if key.strip("$") else key[1:]


_BUILDERS: dict[str, Callable[[Node], Any]] = {
    "tuple": lambda node: tuple(node["v"]),
    "set": _set,
    "frozenset": _frozenset,
    "deque": _deque,
    "dict": _pairs,
    "ordered_dict": lambda node: OrderedDict(_pairs(node)),
    "counter": _counter,
    "default_dict": _default_dict,
    "redacted": lambda node: Redacted(),  # noqa: ARG005  # called like the others
}
