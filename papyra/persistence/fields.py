"""What the plain fields of a record may hold: whatever a store would silently change is refused instead."""

from __future__ import annotations

import math
from dataclasses import MISSING, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from papyra.persistence.models import NOTHING, PersistedAudit, PersistedDeadLetter, PersistedEvent, RecordKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.persistence.models import Record

FRAME = frozenset({"seq", "kind", "incarnation", "crc"})
"""What the frame of a line says; nothing inside a record can."""
TAGGED = frozenset({"payload", "details"})
"""What goes through the tagging walk and may hold anything."""
CLASSES: dict[str, type[PersistedEvent | PersistedAudit | PersistedDeadLetter]] = {
    RecordKind.EVENT.value: PersistedEvent,
    RecordKind.AUDIT.value: PersistedAudit,
    RecordKind.DEAD_LETTER.value: PersistedDeadLetter,
}
MAX_INTEGER = 2**63 - 1

_MAX_EXTRA_DEPTH = 100
_MAX_EXTRA_BITS = 14_000  # below the 4,300 digits that JSON readers take


class Field(NamedTuple):
    """One field; ``check`` returns what is stored for a value, or raises for one of another type.

    Required fields are the published ones, written even when empty: readers of such lines look for them.
    """

    name: str
    empty: object
    is_required: bool
    check: Callable[[object], object]


def text(value: object) -> str:
    """Accept strings, as plain ones."""
    if not isinstance(value, str):
        raise TypeError(f"a string is needed, not {type(value).__name__}")
    return str.__str__(value)


def integer(value: object) -> int:
    """Accept integers that every store can hold."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"an integer is needed, not {type(value).__name__}")
    if not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise ValueError("the integer needs more than 64 bits")
    return int(value)


def epoch_seconds(value: object) -> float:
    """Accept finite numbers."""
    if not isinstance(value, float | int) or isinstance(value, bool):
        raise TypeError(f"epoch seconds are needed, not {type(value).__name__}")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise ValueError("a finite time is needed")
    return seconds


def epoch_seconds_or_none(value: object) -> float | None:
    """Accept finite numbers and nothing."""
    return None if value is None else epoch_seconds(value)


def flag(value: object) -> bool:
    """Accept true and false."""
    if not isinstance(value, bool):
        raise TypeError(f"true or false is needed, not {type(value).__name__}")
    return value


def texts(value: object) -> tuple[str, ...]:
    """Accept lists and tuples of strings."""
    if not isinstance(value, list | tuple):
        raise TypeError(f"strings are needed, not {type(value).__name__}")
    return tuple(text(item) for item in value)


def text_by_text(value: object) -> dict[str, str]:
    """Accept dicts of strings by string."""
    if not isinstance(value, dict | MappingProxyType):
        raise TypeError(f"a dict of strings is needed, not {type(value).__name__}")
    return {text(key): text(item) for key, item in value.items()}


def anything(value: object) -> object:
    """Accept what goes through the tagging walk."""
    return value


_CHECKS: dict[str, tuple[Callable[[object], object], object]] = {
    "str": (text, ""),
    "int": (integer, 0),
    "float": (epoch_seconds, 0.0),
    "bool": (flag, False),
    "float | None": (epoch_seconds_or_none, None),
    "tuple[str, ...]": (texts, ()),
    "Mapping[str, str]": (text_by_text, NOTHING),
    "object": (anything, None),
}


def _fields_of(cls: type) -> tuple[Field, ...]:
    known = []
    for field in fields(cls):
        if field.name in FRAME or field.name == "extra":
            continue
        check, empty = _CHECKS[str(field.type)]
        is_required = field.default is MISSING and field.default_factory is MISSING
        default = empty if field.default is MISSING else field.default
        known.append(Field(field.name, default, is_required, check))
    first = {"system_id": 0, "timestamp": 1}
    return tuple(sorted(known, key=lambda field: first.get(field.name, 2)))


FIELDS = {kind: _fields_of(cls) for kind, cls in CLASSES.items()}
BY_NAME = {kind: {field.name: field for field in known} for kind, known in FIELDS.items()}


def checked_extra(record: Record) -> dict[str, object]:
    """Return the extra fields of ``record``: plain JSON under names that are not taken.

    A known name is free where its value is of a type that this version does not know, as it was read.
    """
    if not isinstance(record.extra, dict | MappingProxyType):
        raise TypeError(f"extra: a dict is needed, not {type(record.extra).__name__}")
    known = BY_NAME[record.kind]
    for name in record.extra:
        if name in FRAME or (name in known and not _is_of_newer_type(record, known[name])):
            raise ValueError(f"extra: {name!r:.100} is a field of its own")
    return {text(name): plain_json(value) for name, value in record.extra.items()}


def _is_of_newer_type(record: Record, field: Field) -> bool:
    if field.name in TAGGED or field.name == "timestamp" or getattr(record, field.name) != field.empty:
        return False
    try:
        field.check(record.extra[field.name])
    except (TypeError, ValueError):
        return True
    return False


def plain_json(value: object, depth: int = 0) -> object:
    """Return ``value`` if JSON says it as it is."""
    if value is None or isinstance(value, bool) or type(value) is str:
        return value
    if (type(value) is int and value.bit_length() < _MAX_EXTRA_BITS) or (
        type(value) is float and math.isfinite(value)
    ):
        return value
    if depth < _MAX_EXTRA_DEPTH and type(value) is list:
        return [plain_json(item, depth + 1) for item in value]
    if depth < _MAX_EXTRA_DEPTH and type(value) is dict:
        return {text(name): plain_json(item, depth + 1) for name, item in value.items()}
    raise TypeError(f"extra: plain JSON is needed, not {type(value).__name__}")
