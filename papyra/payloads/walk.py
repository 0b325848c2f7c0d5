"""The tagging walk over built-in values: a tree that JSON can hold, and what was lost on the way.

Only exact types are trusted. The walk reads them by no method that a subclass could have replaced, and on
copies of its own, since another thread may still change the value. What a value's own code raises (a
property, a zone's offset) becomes a mark in the payload; only what ends a process passes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, OrderedDict, defaultdict, deque
from enum import Enum
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Any

import msgspec

from papyra.payloads.excerpt import excerpt
from papyra.payloads.fidelity import Fidelity, Losses
from papyra.payloads.leaves import LEAVES, has_surrogate, write_float, write_text
from papyra.payloads.names import message_name
from papyra.payloads.redaction import DEFAULT_REDACTION
from papyra.payloads.values import Redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from papyra.payloads.fidelity import PayloadLimits
    from papyra.payloads.redaction import Redaction
    from papyra.payloads.shapes import Shape

Tree = Any  # exact dict, list, str, int, float, bool and None, all the way down

FACTORIES = (bool, int, float, str, bytes, list, tuple, dict, set, frozenset)
MIN_ITEM, MIN_MEMBER = len("0,"), len('"":0,')
UNSTORABLE_KEYS = frozenset({"unstorable", "repr"})

MIN_INT, MAX_INT = -(2**63), 2**64 - 1
_MAX_DIGITS = 4300
_INT_LIMIT = 10**_MAX_DIGITS
CACHED_LENGTH = 128
_REDACTED = Redacted()


class TooLargeError(Exception):
    """The payload is over its limit; found before its JSON is built."""


class Walk(ABC):
    """One value's way to a tree; remembers where it stands and how much room is left."""

    __slots__ = ("_opened", "_room", "is_odd", "limits", "losses", "path", "redaction")

    def __init__(self, limits: PayloadLimits, redaction: Redaction | None) -> None:
        self.losses = Losses()
        self.limits = limits
        self.redaction = redaction
        self.is_odd = odd_key_test(redaction)
        self._room = limits.max_bytes
        self._opened: set[int] = set()
        self.path: list[object] = ["data"]

    def value(self, value: Any, shape: Shape | None = None) -> Tree:
        """Return the tree of any value; ``shape`` is what its place declares, if that helps."""
        depth = len(self.path)
        try:
            kind = type(value)
            found = _LEAVES.get(kind)
            if found is not None and found[0] is kind:
                return found[1](self, value)
            return self._enter(value, kind, shape)
        except (KeyboardInterrupt, SystemExit, TooLargeError):
            raise
        except BaseException as error:  # noqa: BLE001  # the value's own code may raise anything
            del self.path[depth:]
            return self.unstorable(value, f"reading a {message_name(value)} raised {message_name(error)}")

    def reader(self, kind: type) -> Callable[[Any, Any], Tree]:
        """Return what reads values of this type, given the walk and the value."""
        found = _CONTAINERS.get(kind)
        return found[1] if found is not None and found[0] is kind else type(self).instance

    @abstractmethod
    def instance(self, value: Any) -> Tree:
        """Return the tree of an instance of any other class."""

    @abstractmethod
    def declared(self, value: Any, shape: Shape) -> Tree:
        """Return the tree of a value whose place declares what it is."""

    def items(self, source: Iterable[Any]) -> list[Tree]:
        """Return the trees of the items of a list, or of what lists its items without code of its own."""
        copy = list(source)
        self.spend(MIN_ITEM * len(copy))
        self.fill(copy, enumerate(copy))
        return copy

    def mapping(self, source: dict[Any, Any]) -> Tree:
        """Return the tree of an exact dict, or the form of it that keeps its odd keys."""
        copy = source.copy()
        self.spend(MIN_MEMBER * len(copy))
        size = 0
        odd = copy.keys() == UNSTORABLE_KEYS
        for key in copy:
            if type(key) is not str:
                odd = True
                break
            length = len(key)
            size += length
            odd = odd or length > CACHED_LENGTH or self.is_odd(key)
        if odd:
            return self._odd_mapping(copy)
        self.spend(size)
        self.fill(copy, copy.items())
        return copy

    def rows(self, source: dict[Any, Any]) -> list[Tree]:
        """Return the ``[key, value]`` trees of an exact OrderedDict, Counter or defaultdict."""
        self.spend(MIN_MEMBER * len(source))
        return self.pairs(source.items())

    def pairs(self, entries: Iterable[tuple[Any, Any]]) -> list[Tree]:
        """Return ``[key, value]`` trees, in order."""
        rows = []
        for key, item in list(entries):
            shown = self.shown(_key_text(key), item)
            self.path.append(key)
            rows.append([self.value(key), self.value(shown)])
            self.path.pop()
        return rows

    def fill(self, tree: Any, entries: Iterable[tuple[Any, Any]]) -> None:
        """Replace, in a list or dict of our own, each item that needs a tag."""
        size = 0
        for key, item in entries:
            kind = type(item)
            if kind is str:
                if item.isascii():
                    size += len(item)
                    continue
            elif kind is int:
                if MIN_INT <= item <= MAX_INT:
                    continue
            elif kind is bool or item is None or (kind is float and isfinite(item)):
                continue
            self.path.append(key)
            tree[key] = self.value(item)
            self.path.pop()
        self.spend(size)

    def shown(self, key: str, item: Any) -> Any:
        """Return the item, or what stands for it under a secret key; None hides nothing."""
        if self.redaction is None or item is None or not self.redaction.is_secret(key):
            return item
        return _REDACTED

    def spend(self, size: int) -> None:
        """Count bytes that the JSON will have at least."""
        self._room -= size
        if self._room < 0:
            raise TooLargeError

    def lose(self, fidelity: Fidelity, why: str) -> None:
        """Note a loss at the present place."""
        self.losses.add(fidelity, _place(self.path), why)

    def unstorable(self, value: object, why: str) -> Tree:
        """Return the mark of a value that cannot be stored."""
        redaction = self.redaction or DEFAULT_REDACTION
        text = excerpt(value, max_bytes=self.limits.max_repr_bytes, redaction=redaction)
        self.lose(Fidelity.UNSTORABLE, why)
        self.spend(len(text) + len(why))
        return {"unstorable": why, "repr": text}

    def _enter(self, value: Any, kind: type, shape: Shape | None) -> Tree:
        identity = id(value)
        if identity in self._opened:
            return self.unstorable(value, "contains itself")
        if len(self._opened) >= self.limits.max_depth:
            return self.unstorable(value, f"nested deeper than {self.limits.max_depth}")
        self._opened.add(identity)
        try:
            return self.reader(kind)(self, value) if shape is None else self.declared(value, shape)
        finally:
            self._opened.discard(identity)

    def text(self, value: str) -> Tree:
        """Return the tree of an exact str."""
        self.spend(len(value))
        return write_text(value)[0] if has_surrogate(value) else value

    def integer(self, value: int) -> Tree:
        """Return the tree of an exact int."""
        if MIN_INT <= value <= MAX_INT:
            return value
        if not -_INT_LIMIT < value < _INT_LIMIT:
            return self.unstorable(value, f"an int of more than {_MAX_DIGITS} digits")
        self.spend(value.bit_length() // 4)
        return value

    def default_dict(self, value: defaultdict[Any, Any]) -> Tree:
        """Return the tag of a defaultdict; only a built-in factory can be named."""
        factory = value.default_factory
        of = next((each.__name__ for each in FACTORIES if each is factory), None)
        if of is None and factory is not None:
            self.lose(Fidelity.INEXACT, "the default_factory is dropped")
        return {"$": "default_dict", "of": of, "v": self.rows(value)}

    def deque(self, value: deque[Any]) -> Tree:
        """Return the tag of a deque."""
        bound = {} if value.maxlen is None else {"maxlen": value.maxlen}
        return {"$": "deque", "v": self.items(list(value)), **bound}

    def _odd_mapping(self, copy: dict[Any, Any]) -> Tree:
        odd = any(type(key) is not str or has_surrogate(key) for key in copy)
        if odd or copy.keys() == UNSTORABLE_KEYS:
            return {"$": "dict", "v": self.pairs(copy.items())}
        renamed = {
            f"${key}" if _is_dollars(key) else key: self.shown(key, item) for key, item in copy.items()
        }
        self.spend(sum(map(len, renamed)))
        self.fill(renamed, renamed.items())
        return renamed


def _leaf(write: Callable[[Any], tuple[dict[str, Any], str]]) -> Callable[[Walk, Any], Tree]:
    def tag(walk: Walk, value: Any) -> Tree:
        if isinstance(value, (bytes, bytearray, memoryview)):
            walk.spend(len(value))
        tree, lost = write(value)
        walk.spend(len(tree["v"]))
        if lost:
            walk.lose(Fidelity.INEXACT, lost)
        return tree

    return tag


# The exact type stands in each entry again: a metaclass can make another class an equal key.
_LEAVES: dict[type, tuple[type, Callable[[Any, Any], Tree]]] = {
    **{kind: (kind, _leaf(write)) for kind, write in LEAVES.items()},
    str: (str, Walk.text),
    int: (int, Walk.integer),
    float: (float, lambda _, value: value if isfinite(value) else write_float(value)[0]),
    bool: (bool, lambda _, value: value),
    type(None): (type(None), lambda _, value: value),
}


def tag_items(tag: str, walk: Walk, items: list[Any]) -> Tree:
    """Return the tag of a list of our own; a set's items in an order of their own, not of their hashes."""
    walk.spend(MIN_ITEM * len(items))
    walk.fill(items, enumerate(items))
    if tag in _SETS:
        items.sort(key=msgspec.json.encode)
    return {"$": tag, "v": items}


_SETS = ("set", "frozenset")

_CONTAINERS: dict[type, tuple[type, Callable[[Any, Any], Tree]]] = {
    dict: (dict, Walk.mapping),
    list: (list, Walk.items),
    tuple: (tuple, lambda walk, value: tag_items("tuple", walk, list(value))),
    set: (set, lambda walk, value: tag_items("set", walk, list(value))),
    frozenset: (frozenset, lambda walk, value: tag_items("frozenset", walk, list(value))),
    OrderedDict: (OrderedDict, lambda walk, value: {"$": "ordered_dict", "v": walk.rows(value)}),
    Counter: (Counter, lambda walk, value: {"$": "counter", "v": walk.rows(value)}),
    defaultdict: (defaultdict, Walk.default_dict),
    deque: (deque, Walk.deque),
}


def _is_dollars(key: str) -> bool:
    return key != "" and not key.strip("$")


@lru_cache(maxsize=16)
def odd_key_test(redaction: Redaction | None) -> Callable[[str], bool]:
    """Return a cached test of plain text keys: has to be escaped, hidden, or cannot be a key of JSON."""

    @lru_cache(maxsize=2048)
    def is_odd(key: str) -> bool:
        secret = redaction is not None and redaction.is_secret(key)
        return secret or _is_dollars(key) or has_surrogate(key)

    return is_odd


def _key_text(key: Any) -> str:
    """Return the text by which a key of any kind names something."""
    kind = type(key)
    if issubclass(kind, str):
        return str.__str__(key)
    if kind is bytes:
        return str(key, "latin-1")
    if issubclass(kind, Enum):
        return str.__str__(object.__getattribute__(key, "_name_"))
    return ""


def _place(path: list[object]) -> str:
    """``data.items[3].when``; a step that is no plain name or number is shown in brackets."""
    place = "data"
    for step in path[1:]:
        kind = type(step)
        if kind is str and isinstance(step, str):
            named = step.isidentifier() and step.isascii() and len(step) <= CACHED_LENGTH
            place += f".{step}" if named else f"[{step[:60]!a}]"
        elif kind is int and isinstance(step, int) and MIN_INT <= step <= MAX_INT:
            place += f"[{step}]"
        else:
            place += f"[a {message_name(step)}]"
    return place
