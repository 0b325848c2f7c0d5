"""The short way to a record's JSON, a whole class of fields at a time; pure. The long way is in `fields`."""

from __future__ import annotations

from itertools import product
from math import isfinite
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from papyra.payloads import flat_copy
from papyra.persistence.fields import (
    CLASSES,
    FIELDS,
    MAX_INTEGER,
    TAGGED,
    Field,
    anything,
    epoch_seconds,
    epoch_seconds_or_none,
    flag,
    integer,
    text,
    text_by_text,
    texts,
)
from papyra.persistence.models import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.persistence.models import Record

_encode = msgspec.json.Encoder().encode


def _fits(value: int) -> bool:
    return -MAX_INTEGER <= value <= MAX_INTEGER


def _is_time(value: float | None) -> bool:
    return value is None or isfinite(value)


_TYPES: dict[object, tuple[type, ...]] = {
    text: (str,),
    flag: (bool,),
    integer: (int,),
    epoch_seconds: (float,),
    epoch_seconds_or_none: (float, type(None)),
    texts: (tuple, list),
    anything: (object,),
    text_by_text: (dict, MappingProxyType),
}
_TESTS: dict[object, Callable[..., bool]] = {
    integer: _fits,
    epoch_seconds: isfinite,
    epoch_seconds_or_none: _is_time,
}
_CONVERTED = frozenset({texts, text_by_text})


class _Way(NamedTuple):
    """How to say one class of records. ``line`` leaves out by itself what is at its default."""

    line: type[msgspec.Struct]
    values: Callable[[Record], tuple[object, ...]]
    types: frozenset[tuple[type, ...]]
    tests: tuple[tuple[int, Callable[..., bool]], ...]
    converted: tuple[tuple[int, Field], ...]
    tagged: Field
    tagged_at: int


def quick_body(record: Record, encode_payload: Callable[[object], bytes]) -> bytes | None:
    """Return the JSON object of ``record`` without its identity, if all its fields are as they should be.

    ``None`` where the long way has to judge, and to say what is wrong: odd types, fields of a newer version,
    text that is no UTF-8.
    """
    line_type, values_of, types, tests, converted, tagged, tagged_at = _WAYS[type(record)]
    values = values_of(record)
    found = [*map(type, values)]
    found[tagged_at] = object
    if record.extra is not NOTHING or (*found,) not in types:
        return None
    for at, is_sound in tests:
        if not is_sound(values[at]):
            return None
    payload: object = values[tagged_at]
    line = line_type(*values)
    if payload is not None or tagged.is_required:
        flat = flat_copy(payload)
        setattr(line, tagged.name, msgspec.Raw(encode_payload(payload)) if flat is None else flat)
    try:
        for at, field in converted:
            stored = field.check(values[at])
            setattr(line, field.name, field.empty if stored == field.empty else stored)
        return _encode(line)
    except (TypeError, ValueError):
        return None


def _way(cls: type, fields: tuple[Field, ...]) -> _Way:
    tagged_at, tagged = next((at, field) for at, field in enumerate(fields) if field.name in TAGGED)
    return _Way(
        msgspec.defstruct(f"{cls.__name__}Line", map(_slot, fields), omit_defaults=True, gc=False),
        attrgetter(*(field.name for field in fields)),
        frozenset(product(*(_TYPES[field.check] for field in fields))),
        tuple((at, _TESTS[field.check]) for at, field in enumerate(fields) if field.check in _TESTS),
        tuple((at, field) for at, field in enumerate(fields) if field.check in _CONVERTED),
        tagged,
        tagged_at,
    )


def _slot(field: Field) -> tuple[str, type] | tuple[str, type, object]:
    return (field.name, object) if field.is_required else (field.name, object, field.empty)


_WAYS = {cls: _way(cls, FIELDS[kind]) for kind, cls in CLASSES.items()}
