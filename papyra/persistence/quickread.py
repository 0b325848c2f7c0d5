"""The short way from a line to its record, all fields at a time; pure. The long way is in `codec`."""

from __future__ import annotations

from collections import deque
from itertools import repeat
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Union

import msgspec

from papyra.persistence.fields import (
    CLASSES,
    FIELDS,
    MAX_INTEGER,
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
    from collections.abc import Callable, Sequence

    from papyra.persistence.models import Record

_TYPES: dict[object, object] = {
    text: str,
    flag: bool,
    integer: Annotated[int, msgspec.Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)],
    epoch_seconds: float,
    epoch_seconds_or_none: float | None,
    texts: tuple[str, ...],
    text_by_text: dict[str, str],
}
_IDENTITY: list[tuple[str, Any]] = [
    ("seq", Annotated[int, msgspec.Meta(ge=1, le=MAX_INTEGER)]),
    ("incarnation", Annotated[str, msgspec.Meta(min_length=1)]),
]


class _Way(NamedTuple):
    """How a line becomes a record: what sets its fields, in the order of the line's, and ``extra``.

    The classes are frozen, so that their own way sets each field through a check that forbids it to others.
    """

    cls: type[Record]
    setters: Sequence[Callable[[Record, object], None]]
    set_extra: Callable[[Record, object], None]


def quick_record(line: bytes) -> Record | None:
    """Return the record of a framed, sound ``line`` if all of it is as this version writes it.

    ``None`` where the long way has to judge: unknown fields and kinds, odd types, tagged payloads, odd JSON.
    """
    if _may_be_tagged(line):
        return None
    try:
        found = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    way = _WAYS[type(found)]
    record = _new(way.cls)
    for put, value in zip(way.setters, _values(found), strict=False):  # the checksum is the last, and not put
        put(record, value)
    way.set_extra(record, NOTHING)
    return record


def quick_records(lines: bytes, count: int) -> list[Record] | None:
    """Return what `quick_record` returns of each of so many lines, all of one kind.

    ``None`` where it would be of one. Field by field of all records: nothing in Python is done for each.
    """
    if _may_be_tagged(lines):
        return None
    try:
        found = _decode_lines(lines)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    types = {*map(type, found)}
    if len(found) != count or len(types) != 1:
        return None
    way = _WAYS[types.pop()]
    records = [*map(_new, repeat(way.cls, count))]
    for put, column in zip(way.setters, zip(*map(_values, found), strict=True), strict=False):
        deque(map(put, records, column), 0)
    deque(map(way.set_extra, records, repeat(NOTHING)), 0)
    return records


def _may_be_tagged(lines: bytes) -> bool:
    """Whether something stands there that tagged payloads have, however they are written."""
    return b"$" in lines or b'"unstorable"' in lines or (b"\\" in lines and b"\\u" in lines)


def _line_type(kind: str) -> type[msgspec.Struct]:
    required: list[tuple[str, Any]] = []
    optional: list[tuple[str, Any, Any]] = []
    for field in FIELDS[kind]:
        type_ = _TYPES.get(field.check, object)
        if field.is_required:
            required.append((field.name, type_))
        else:
            optional.append((field.name, type_, {} if field.check is text_by_text else field.empty))
    return msgspec.defstruct(
        f"{kind.title()}Line",
        [*_IDENTITY, *required, *optional, ("crc", str)],
        tag_field="kind",
        tag=kind,
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
    )


def _way(kind: str) -> _Way:
    cls = CLASSES[kind]
    names = (*_LINES[kind].__struct_fields__[:-1], "extra")
    *setters, set_extra = [getattr(cls, name).__set__ for name in names]
    return _Way(cls, setters, set_extra)


_LINES = {kind: _line_type(kind) for kind in CLASSES}
_WAYS: dict[type, _Way] = {line: _way(kind) for kind, line in _LINES.items()}
_DECODER = msgspec.json.Decoder(Union[tuple(_LINES.values())])  # noqa: UP007  # of types made above
_decode, _decode_lines = _DECODER.decode, _DECODER.decode_lines
_new, _values = object.__new__, msgspec.structs.astuple
