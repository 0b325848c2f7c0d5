"""The tagging walk over what is no exact built-in: dataclasses, Structs, enums, subclasses of built-ins."""

from __future__ import annotations

from enum import Enum, Flag
from itertools import repeat
from typing import TYPE_CHECKING, Any

import msgspec

from papyra.payloads.fidelity import Fidelity
from papyra.payloads.names import message_name
from papyra.payloads.shapes import (
    BASES,
    EitherShape,
    EnumShape,
    FieldsShape,
    ItemsShape,
    Place,
    RowShape,
    field_keys,
)
from papyra.payloads.values import Foreign, Redacted, Unstorable
from papyra.payloads.walk import MIN_ITEM, MIN_MEMBER, UNSTORABLE_KEYS, Tree, Walk, tag_items

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from papyra.payloads.fidelity import PayloadLimits
    from papyra.payloads.redaction import Redaction
    from papyra.payloads.shapes import KnownType, Shape

_ALL = slice(None)
_ITERATORS: dict[type, Callable[[Any], Iterator[Any]]] = {
    list: list.__iter__,
    tuple: tuple.__iter__,
    set: set.__iter__,
    frozenset: frozenset.__iter__,
}


class InstanceWalk(Walk):
    """The walk with the classes that a registry knows, and with what their annotations declare."""

    __slots__ = ("_known",)

    def __init__(
        self, limits: PayloadLimits, redaction: Redaction | None, known: Mapping[type, KnownType]
    ) -> None:
        super().__init__(limits, redaction)
        self._known = known

    def message(self, value: object) -> Tree:
        """Return the tree of a message: of its fields alone, since its class is named beside it."""
        kind = type(value)
        known = self._known_type(kind)
        if known is not None:
            return self.value(value, known.shape)
        keys = None if issubclass(kind, BASES) else field_keys(kind)
        if keys is None:
            return self.value(value)
        self._lose_class(kind)
        return self.value(value, _loose_shape(kind, keys))

    def instance(self, value: Any) -> Tree:
        """Return the tag of an instance of a class that is no exact built-in."""
        kind = type(value)
        if kind is Foreign or kind is Redacted or kind is Unstorable:
            return self._stand_in(value)
        base = next((each for each in BASES if issubclass(kind, each)), None)
        keys = field_keys(kind)
        if base is not None and keys is None:
            return self._tag("subclass", kind, self._part(value, kind, base))
        if base is None and issubclass(kind, Enum):
            raw = object.__getattribute__(value, "_value_" if issubclass(kind, Flag) else "_name_")
            return self._tag("object", kind, self.value(raw))
        if base is None and keys is not None:
            known = self._known_type(kind)
            shape = known.shape if known is not None else None
            fields = shape if isinstance(shape, FieldsShape) else _loose_shape(kind, keys)
            return self._tag("object", kind, self._fields(value, fields))
        return self.unstorable(value, f"an object of type {message_name(kind)}")

    def declared(self, value: Any, shape: Shape) -> Tree:
        """Return the tree of a value that is of its declared kind (see `_fitting`)."""
        kind = type(value)
        match shape:
            case FieldsShape() if kind is not dict:
                return self._fields(value, shape)
            case EnumShape():
                raw = object.__getattribute__(value, "_value_")
                if type(raw) is str or type(raw) is int:
                    return self.value(raw)
            case RowShape(items=items) if len(items) == len(value):
                return {"$": "tuple", "v": self._row(value, items)}
            case ItemsShape(item=item) if kind is list or kind is tuple:
                row = self._row(value, repeat(item))
                return row if kind is list else {"$": "tuple", "v": row}
            case ItemsShape(item=item) if kind is dict:
                return self._declared_mapping(value.copy(), item)
        return self.reader(kind)(self, value)

    def _fields(self, value: Any, shape: FieldsShape) -> Tree:
        tree: Tree = {} if shape.tag is None else dict((shape.tag,))
        loose = []
        for place in shape.places:
            item = object.__getattribute__(value, place.attribute)
            if item is msgspec.UNSET:
                continue
            key = place.key
            item = self.shown(place.attribute, item)
            if key is not place.attribute:
                item = self.shown(key, item)
            if place.shape is None:
                loose.append((key, item))
                tree[key] = None  # keeps the order of the fields
            else:
                tree[key] = self._below(key, item, place.shape)
        for key, item in loose:
            tree[key] = item
        self.spend(MIN_MEMBER * len(tree))
        self.fill(tree, loose)
        if tree.keys() == UNSTORABLE_KEYS:
            return {"$": "dict", "v": [list(row) for row in tree.items()]}
        return tree

    def _row(self, value: Iterable[Any], shapes: Iterable[Shape | None]) -> list[Tree]:
        copy = list(value)
        self.spend(MIN_ITEM * len(copy))
        return [self._below(i, *pair) for i, pair in enumerate(zip(copy, shapes, strict=False))]

    def _declared_mapping(self, copy: dict[Any, Any], shape: Shape | None) -> Tree:
        if not all(type(key) is str and not self.is_odd(key) for key in copy):
            return self.mapping(copy)
        self.spend(MIN_MEMBER * len(copy) + sum(map(len, copy)))
        for key, item in copy.items():
            copy[key] = self._below(key, item, shape)
        return copy

    def _below(self, step: str | int, value: Any, shape: Shape | None) -> Tree:
        self.path.append(step)
        tree = self.value(value, shape and self._fitting(shape, type(value)))
        self.path.pop()
        return tree

    def _fitting(self, shape: Shape, kind: type) -> Shape | None:
        """Return the option that a value of this type takes, and note a value that will come back as one."""
        options = shape.options if isinstance(shape, EitherShape) else (shape,)
        for option in options:
            if option.cls is kind:
                return option
        for option in options:
            plain = isinstance(option, FieldsShape) and kind is dict
            if plain or (isinstance(option, EnumShape) and kind is option.stored_as):
                self.lose(Fidelity.INEXACT, f"a {kind.__name__} where {message_name(option.cls)} is declared")
        return None

    def _stand_in(self, value: Any) -> Tree:
        if type(value) is Redacted:
            self.lose(Fidelity.REDACTED, "redacted")
            return {"$": "redacted"}
        if type(value) is Unstorable:
            why, text = str.__str__(value.why), str.__str__(value.excerpt)
            self.lose(Fidelity.UNSTORABLE, why)
            return {"unstorable": self.value(why), "repr": self.value(text)}
        if self._known:
            self.lose(Fidelity.INEXACT, f"{value.type_name} is not registered")
        name, data = str.__str__(value.type_name), value.data
        tree = self.mapping(data) if type(data) is dict else self.value(data)
        return {"$": "object", "type": name, "v": tree}

    def _part(self, value: Any, kind: type, base: type) -> Tree:
        """Return the tree of a subclass's built-in part, read by the built-in's own methods."""
        if base is str:
            return self.value(str.__str__(value))
        if base is int:
            return self.value(int.__int__(value))
        if base is float:
            return self.value(float.__float__(value))
        if base is bytes:
            return self.value(bytes.__getitem__(value, _ALL))
        if base is dict:
            entries = list(dict.items(value))
            plain = all(type(key) is str for key, _ in entries)
            return self.mapping(dict(entries)) if plain else {"$": "dict", "v": self.pairs(entries)}
        items = list(_ITERATORS[base](value))
        names = getattr(kind, "_fields", ()) if base is tuple else ()
        if type(names) is tuple and len(names) == len(items):  # a named tuple's fields have keys
            items = [self.shown(str.__str__(name), item) for name, item in zip(names, items, strict=True)]
        return self.items(items) if base is list else tag_items(base.__name__, self, items)

    def _tag(self, tag: str, kind: type, tree: Tree) -> Tree:
        known = self._known_type(kind)
        if known is None:
            self._lose_class(kind)
        return {"$": tag, "type": message_name(kind) if known is None else known.name, "v": tree}

    def _lose_class(self, kind: type) -> None:
        why = "is not registered" if self._known else "reads back without its class"
        self.lose(Fidelity.INEXACT, f"{message_name(kind)} {why}")

    def _known_type(self, kind: type) -> KnownType | None:
        known = self._known.get(kind)
        return known if known is not None and known.cls is kind else None


def _loose_shape(cls: type, keys: tuple[tuple[str, str], ...]) -> FieldsShape:
    return FieldsShape(cls, tuple(Place(attribute=attribute, key=key) for attribute, key in keys))
