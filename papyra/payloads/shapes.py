"""What a message's annotations promise about its fields, as far as storing and rebuilding depend on it.

Where a field's type is declared, a nested dataclass, Struct or enum member is stored plainly (readable, and
editable by hand), because rebuilding knows what to make of it; everywhere else with its type's name.
"""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from enum import Enum, Flag
from typing import Any

import msgspec
from msgspec import inspect

from papyra.exceptions import ConfigurationError

# Subclasses of these are stored by the built-in's part of them.
BASES = (str, int, float, bytes, list, tuple, dict, set, frozenset)

_INDIRECT = ("__supertype__", "__value__", "__bound__")  # NewType, type alias, TypeVar


@dataclass(slots=True, eq=False)
class FieldsShape:
    """A dataclass or Struct; with ``cls`` dict, a TypedDict. Not frozen: a recursive one contains itself."""

    cls: type
    places: tuple[Place, ...] = ()
    tag: tuple[str, str | int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class EnumShape:
    """A plain enum, stored as its member's value, which is a str or an int throughout."""

    cls: type[Enum]

    @property
    def stored_as(self) -> type | None:
        """Return the type of the values."""
        return next((type(each.value) for each in self.cls), None)


@dataclass(slots=True, eq=False)
class ItemsShape:
    """A list, set, mapping or ``tuple[T, ...]`` whose items (a mapping's values) are declared."""

    cls: type
    item: Shape | None = None


@dataclass(slots=True, eq=False)
class RowShape:
    """A tuple whose places are declared one by one."""

    items: tuple[Shape | None, ...]
    cls: type = tuple


@dataclass(slots=True, eq=False)
class EitherShape:
    """A union; msgspec has made sure that its options are told apart by their JSON kind or by a tag."""

    options: tuple[Single, ...] = ()


Single = FieldsShape | EnumShape | ItemsShape | RowShape
Shape = Single | EitherShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One field: the attribute, its key in the store, what is declared of it (None: nothing of use)."""

    attribute: str
    key: str
    shape: Shape | None = None
    hint: object = field(default=object)
    convertible: bool = True
    required: bool = False
    init: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownType:
    """A class that stored data may be rebuilt into; ``is_message`` if it may stand at the top."""

    name: str
    cls: type
    version: int
    is_message: bool
    shape: Shape | None
    convertible: bool


def field_keys(cls: type) -> tuple[tuple[str, str], ...] | None:
    """Return ``(attribute, stored key)`` of a dataclass or Struct, None for any other class."""
    if issubclass(cls, msgspec.Struct):
        pairs = tuple(zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True))
        if any(key.startswith("$") or not key.isprintable() for _, key in pairs):
            raise ConfigurationError(f"{cls.__qualname__} renames a field to what cannot be a stored key")
        return pairs
    if dataclasses.is_dataclass(cls):
        return tuple((each.name, each.name) for each in dataclasses.fields(cls))
    return None


def resolved_hints(cls: type) -> dict[str, Any]:
    """Return the evaluated annotations; one that does not resolve at run time is a `ConfigurationError`."""
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except Exception as error:
        raise ConfigurationError(
            f"the annotations of {cls.__module__}.{cls.__qualname__} do not resolve at run time: {error}; "
            "a message's types must be there when it is registered, not for the type checker only",
        ) from error


def shape_of_class(cls: type) -> FieldsShape | None:
    """Return the shape of a dataclass or Struct field by field, so that one odd field spoils no other."""
    keys = field_keys(cls)
    if keys is None:
        return None
    hints = resolved_hints(cls)
    declared = {each.name: each for each in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else {}
    return FieldsShape(cls, tuple(_place(cls, *pair, hints[pair[0]], declared.get(pair[0])) for pair in keys))


def shape_of(hint: object) -> tuple[Shape | None, bool]:
    """Return the shape of an annotation, None if there is nothing to know, and whether msgspec can build it.

    It cannot build unions of dataclasses, enums of mixed values, combined flags, or classes with an InitVar.
    """
    try:
        msgspec.json.Decoder(hint)
    except (TypeError, NameError):
        return None, False
    shapes = _Shapes()
    shape = shapes.of(inspect.type_info(hint))
    return (None, False) if shapes.met_flags else (shape, True)


def nested_classes(hint: object) -> set[type]:
    """Return every class named in an annotation, at any depth of its arguments."""
    found: set[type] = set()
    seen: set[int] = set()
    pending = [hint]
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, type):
            found.add(current)
        else:
            pending += [*typing.get_args(current), typing.get_origin(current)]
            pending += [getattr(current, name, None) for name in _INDIRECT]
    return found


def _place(
    cls: type, attribute: str, key: str, hint: object, declared: dataclasses.Field[Any] | None
) -> Place:
    if declared is not None:
        required = declared.default is declared.default_factory is dataclasses.MISSING
        init = declared.init
    else:
        required, init = attribute in _required_of(cls), True
    shape, convertible = shape_of(hint)
    return Place(
        attribute=attribute,
        key=key,
        shape=shape,
        hint=hint,
        convertible=convertible,
        required=required and init,
        init=init,
    )


def _required_of(cls: type) -> set[str]:
    return {each.name for each in msgspec.structs.fields(cls) if each.required}


_DICT: type = dict
_COLLECTIONS: dict[type, type] = {
    inspect.ListType: list,
    inspect.VarTupleType: tuple,
    inspect.SetType: set,
    inspect.FrozenSetType: frozenset,
}


class _Shapes:
    """One translation of msgspec's description; remembers what it has begun: a type may contain itself."""

    def __init__(self) -> None:
        self._begun: dict[int, FieldsShape] = {}
        self.met_flags = False

    def of(self, info: inspect.Type) -> Shape | None:
        match info:
            case inspect.DataclassType() | inspect.StructType(array_like=False) | inspect.TypedDictType():
                return self._fields(info)
            case inspect.EnumType(cls=cls):
                self.met_flags = self.met_flags or issubclass(cls, Flag)
                return EnumShape(cls)
            case inspect.NamedTupleType():
                for each in info.fields:
                    self.of(each.type)
                return None
            case inspect.TupleType():
                row = tuple(self.of(item) for item in info.item_types)
                return RowShape(row) if any(row) else None
            case inspect.UnionType():
                shapes = (self.of(each) for each in info.types)
                options = tuple(each for each in shapes if each and not isinstance(each, EitherShape))
                return EitherShape(options) if options else None
            case _:
                return self._items(info)

    def _items(self, info: inspect.Type) -> ItemsShape | None:
        if isinstance(info, inspect.DictType):
            self.of(info.key_type)
            kind, declared = _DICT, info.value_type
        elif isinstance(info, inspect.CollectionType) and type(info) in _COLLECTIONS:
            kind, declared = _COLLECTIONS[type(info)], info.item_type
        else:
            return None
        item = self.of(declared)
        return ItemsShape(kind, item) if item else None

    def _fields(
        self, info: inspect.DataclassType | inspect.StructType | inspect.TypedDictType
    ) -> FieldsShape:
        if id(info) in self._begun:
            return self._begun[id(info)]
        if isinstance(info, inspect.TypedDictType):
            shape = FieldsShape(dict)
        else:
            shape = FieldsShape(typing.get_origin(info.cls) or info.cls)
        if isinstance(info, inspect.StructType) and info.tag_field is not None and info.tag is not None:
            shape.tag = (info.tag_field, info.tag)
        self._begun[id(info)] = shape
        shape.places = tuple(
            Place(attribute=each.name, key=each.encode_name, shape=self.of(each.type)) for each in info.fields
        )
        return shape
