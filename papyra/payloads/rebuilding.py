"""An instance of a known class out of stored data: strict, and every refusal names the place."""

from __future__ import annotations

import re
import types
import typing
from enum import Enum, Flag
from typing import TYPE_CHECKING, Any

import msgspec

from papyra.exceptions import PayloadError
from papyra.payloads.names import message_name
from papyra.payloads.shapes import BASES, EitherShape, FieldsShape, ItemsShape, RowShape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from papyra.payloads.shapes import KnownType, Place, Shape

_FILLED: dict[type, Callable[[Any, Any], None]] = {list: list.extend, dict: dict.update, set: set.update}
_AT = re.compile(r"(?P<why>.*?)(?: - at (?:`key` in )?`\$(?P<steps>.*)`)?\Z", re.DOTALL)


def rebuild(known: KnownType, data: Any, place: str) -> Any:
    """Return the instance that ``data`` describes; ``data`` itself if it is one."""
    if type(data) is known.cls:
        return data
    refuse_unknown_fields(known.shape, data, place)
    if isinstance(known.shape, FieldsShape) and not known.convertible:
        return _construct(known.shape, data, place)
    return _convert(data, known.cls, place, convertible=known.convertible)


def rebuild_tagged(known: KnownType, data: Any, place: str) -> Any:
    """Return the instance of a class that a tag names, out of what the tag holds."""
    cls = known.cls
    base = next((each for each in BASES if issubclass(cls, each)), None)
    try:
        if issubclass(cls, Enum):
            return cls(data) if base is not None or issubclass(cls, Flag) else cls[data]
        if base is not None:
            return _subclass_instance(cls, base, data)
    except (ValueError, TypeError, KeyError) as error:
        raise PayloadError(f"{place}: not a {known.name}: {data!r:.100}") from error
    return rebuild(known, data, place)


def refuse_unknown_fields(shape: Shape | None, data: Any, place: str) -> None:
    """Raise `PayloadError` for a key that its class does not have; msgspec would drop it without a word."""
    for where, inner, item in _parts(shape, data, place):
        refuse_unknown_fields(inner, item, where)


def _parts(shape: Shape | None, data: Any, place: str) -> Iterator[tuple[str, Shape | None, Any]]:
    kind = type(data)
    match shape:
        case FieldsShape() if kind is dict:
            yield from _fields(shape, data, place)
        case EitherShape():
            for option in shape.options:
                if not isinstance(option, FieldsShape) or option.tag is None or _has_tag(data, option.tag):
                    yield place, option, data
        case ItemsShape(item=item) if kind is dict and shape.cls is dict:
            yield from ((f"{place}{_step(key)}", item, each) for key, each in data.items())
        case ItemsShape(item=item) if kind in {list, tuple, set, frozenset} and shape.cls is not dict:
            yield from ((f"{place}[{index}]", item, each) for index, each in enumerate(data))
        case RowShape(items=items) if kind in {list, tuple}:
            yield from ((f"{place}[{i}]", *pair) for i, pair in enumerate(zip(items, data, strict=False)))


def _fields(shape: FieldsShape, data: dict[Any, Any], place: str) -> Iterator[tuple[str, Shape | None, Any]]:
    inner = {each.key: each.shape for each in shape.places}
    for key, item in data.items():
        if key in inner:
            yield f"{place}.{key}", inner[key], item
        elif shape.tag is None or key != shape.tag[0]:
            there = ", ".join(inner) or "none"
            raise PayloadError(f"{place}{_step(key)}: unknown field; there are {there:.500}")


def _step(key: object) -> str:
    return f".{key:.60}" if isinstance(key, str) else f"[{key!r:.60}]"


def _has_tag(data: Any, tag: tuple[str, str | int]) -> bool:
    return type(data) is dict and data.get(tag[0]) == tag[1]


def _convert(data: Any, hint: Any, place: str, *, convertible: bool) -> Any:
    if not convertible:
        classes = _classes(hint)
        if classes and not isinstance(data, classes):
            names = " or ".join(message_name(each) for each in classes)
            raise PayloadError(f"{place}: expected {names}, got {message_name(data)}")
        return data
    try:
        return msgspec.convert(data, hint, strict=True)
    except msgspec.ValidationError as error:
        found = _AT.match(str(error))
        why, steps = (found["why"], found["steps"] or "") if found else (str(error), "")
        raise PayloadError(f"{place}{steps:.300}: {why:.300}") from error


def _construct(shape: FieldsShape, data: Any, place: str) -> Any:
    """Return the instance field by field, for a class that msgspec cannot build as a whole."""
    if type(data) is not dict:
        raise PayloadError(f"{place}: expected an object, got {message_name(data)}")
    missing = [each.key for each in shape.places if each.required and each.key not in data]
    if missing:
        raise PayloadError(f"{place}: missing required field {', '.join(missing)}")
    given = [each for each in shape.places if each.key in data]
    values = {each.attribute: _field(each, data[each.key], place) for each in given}
    instance = shape.cls(**{each.attribute: values[each.attribute] for each in given if each.init})
    for each in given:
        if not each.init:
            object.__setattr__(instance, each.attribute, values[each.attribute])
    return instance


def _field(field: Place, data: Any, place: str) -> Any:
    return _convert(data, field.hint, f"{place}.{field.key}", convertible=field.convertible)


def _classes(hint: Any) -> tuple[type, ...]:
    """Return the classes an annotation allows at its top level; none if it allows what is no class."""
    union = typing.get_origin(hint) in {typing.Union, types.UnionType}
    options = typing.get_args(hint) if union else (hint,)
    classes = tuple(typing.get_origin(each) or each for each in options)
    return classes if all(isinstance(each, type) for each in classes) else ()


def _subclass_instance(cls: type, base: type, data: Any) -> Any:
    """Return a subclass's instance through the built-in's own constructor; the class's code does not run."""
    if type(data) is not base:
        raise TypeError(f"expected {base.__name__}")
    new: Callable[..., Any] = base.__new__
    if base not in _FILLED:
        return new(cls, data)
    instance = new(cls)
    _FILLED[base](instance, data)
    return instance
