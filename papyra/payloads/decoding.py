"""Stored JSON back to values: the closed tag list, and classes only where a resolver hands them out."""

from __future__ import annotations

import json
from math import isinf
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from papyra.exceptions import PayloadError
from papyra.payloads.leaves import is_leaf, read_leaf
from papyra.payloads.tags import build, check_shape
from papyra.payloads.values import Foreign, Redacted, Unstorable

if TYPE_CHECKING:
    from collections.abc import Callable

    Resolve = Callable[[str, object, str], object]
    Entry = tuple[Any, Any, int]  # what holds a node, its key there, the index of the holder's own entry

_CLASS_TAGS = ("object", "subclass")


def decode(data: bytes | str) -> object:
    """Return the value that `encode` was given; raises `PayloadError` on anything malformed.

    A dataclass or plain enum reads back as `Foreign`: this function knows no classes and imports none.
    """
    return read_tree(parse(data))


def parse(data: bytes | str) -> Any:
    """Return the JSON tree; strict RFC 8259, UTF-8, and no number that would become infinity."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass  # json has the last word, as everywhere; it takes escaped lone surrogates, for one
    try:
        text = (data.encode() if isinstance(data, str) else data).decode()
        return json.loads(text, parse_constant=_refuse_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"not JSON: {error}") from error


def read_tree(tree: Any, resolve: Resolve | None = None) -> Any:
    """Return the value of a tagged tree, which is left as it is.

    ``resolve(type_name, data, place)`` returns a class's instance. Where one is given, what stands in for a
    missing value (`Redacted`, `Unstorable`) is refused.
    """
    root = [tree]
    entries: list[Entry] = []
    pending: list[Entry] = [(root, 0, -1)]
    while pending:  # a loop, not recursion: tags nest three times as deep as what they stand for
        entry = pending.pop()
        node = _open(entry, entries)
        if node is not None:
            children = node.items() if type(node) is dict else enumerate(node)
            index = len(entries)
            entries.append(entry)
            pending += [
                (node, key, index) for key, child in children if type(child) is dict or type(child) is list
            ]
    for entry in reversed(entries):
        holder, key, _ = entry
        holder[key] = _close(holder[key], entry, entries, resolve)
    return root[0]


def _open(entry: Entry, entries: list[Entry]) -> Any:
    """Return a copy of the node, put in its place for its children to be replaced in; None if it has none."""
    holder, key, _ = entry
    node = holder[key]
    try:
        if type(node) is dict and "$" in node:
            if is_leaf(node["$"]):
                holder[key] = read_leaf(node)
                return None
            check_shape(node)
    except (PayloadError, RecursionError) as error:
        raise PayloadError(f"{_place(entry, entries)}: {error}") from error
    if type(node) is not dict and type(node) is not list:
        return None
    holder[key] = node.copy()
    return holder[key]


def _close(node: Any, entry: Entry, entries: list[Entry], resolve: Resolve | None) -> Any:
    """Return the value of a node whose children are values already."""
    if type(node) is list:
        return node
    tag = node.get("$")
    if tag in _CLASS_TAGS:
        if resolve is not None:
            return resolve(node["type"], node["v"], _place(entry, entries))
        return Foreign(node["type"], node["v"]) if tag == "object" else node["v"]
    try:
        value = build(node)
    except (PayloadError, TypeError, RecursionError) as error:  # of a key or a set's item that does not hash
        raise PayloadError(f"{_place(entry, entries)}: {error}") from error
    if resolve is not None and type(value) is Redacted:
        raise PayloadError(f"{_place(entry, entries)}: redacted when it was stored; give a value")
    if resolve is not None and type(value) is Unstorable:
        raise PayloadError(f"{_place(entry, entries)}: could not be stored ({value.why:.200}); give a value")
    return value


def _place(entry: Entry, entries: list[Entry]) -> str:
    steps = ""
    while entry[2] >= 0:
        holder, key, parent = entry
        if not (type(holder) is dict and "$" in holder):  # a tag's own members are no steps
            steps = (f"[{key}]" if type(key) is int else f".{key:.60}") + steps
        entry = entries[parent]
    return f"data{steps}"


def _finite(text: str) -> float:
    value = float(text)
    if isinf(value):
        raise ValueError(f"the number {text[:40]} is out of range")
    return value


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")
