"""The short way to a record's JSON, a whole class of fields at a time; pure. The long way is in `fields`."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from papyra.payloads import flat_copy
from papyra.persistence.fields import FIELDS, TAGGED, Field, text
from papyra.persistence.models import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.persistence.models import Record

_TEXT_ALONE = {str}
_encode = msgspec.json.Encoder().encode


class _Way(NamedTuple):
    """``line`` leaves out by itself what is at its default; ``others`` are the fields that are no text."""

    line: type[msgspec.Struct]
    values: Callable[[Record], tuple[object, ...]]
    texts: Callable[[Record], tuple[object, ...]]
    others: tuple[Field, ...]
    tagged: tuple[tuple[str, bool], ...]


def quick_body(record: Record, encode_payload: Callable[[object], bytes]) -> bytes | None:
    """Return the JSON object of ``record`` without its identity, if all its fields are as they should be.

    ``None`` where the long way has to judge, and to say what is wrong: odd types, fields of a newer version,
    text that is no UTF-8.
    """
    way = _WAYS[record.kind]
    if record.extra is not NOTHING or {*map(type, way.texts(record))} != _TEXT_ALONE:
        return None
    line = way.line(*way.values(record))
    try:
        for field in way.others:
            stored = field.check(getattr(record, field.name))
            setattr(line, field.name, field.empty if stored == field.empty else stored)
        for name, is_required in way.tagged:
            value = getattr(record, name)
            if value is not None or is_required:
                flat = flat_copy(value)
                setattr(line, name, msgspec.Raw(encode_payload(value)) if flat is None else flat)
        return _encode(line)
    except (TypeError, ValueError):
        return None


def _way(kind: str, fields: tuple[Field, ...]) -> _Way:
    texts = tuple(field.name for field in fields if field.check is text)
    return _Way(
        msgspec.defstruct(f"{kind}_line", [_slot(field) for field in fields], omit_defaults=True, gc=False),
        attrgetter(*(field.name for field in fields)),
        attrgetter(*texts),
        tuple(field for field in fields if field.check is not text and field.name not in TAGGED),
        tuple((field.name, field.is_required) for field in fields if field.name in TAGGED),
    )


def _slot(field: Field) -> tuple[str, type] | tuple[str, type, object]:
    return (field.name, object) if field.is_required else (field.name, object, field.empty)


_WAYS = {kind: _way(kind, fields) for kind, fields in FIELDS.items()}
