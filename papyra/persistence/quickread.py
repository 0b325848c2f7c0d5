"""The short way from a line to its record, all fields at a time; pure. The long way is in `codec`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Union

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
    from collections.abc import Callable

    from papyra.persistence.models import Record

_TELLING = (b"$", b'"unstorable"', b"\\u")
"""What a tagged payload has in it, however it is written."""
_TYPES: dict[object, object] = {
    text: str,
    flag: bool,
    integer: Annotated[int, msgspec.Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)],
    epoch_seconds: float,
    epoch_seconds_or_none: float | None,
    texts: tuple[str, ...],
    text_by_text: dict[str, str],
}
_FRAME: list[tuple[str, Any]] = [
    ("seq", Annotated[int, msgspec.Meta(ge=1, le=MAX_INTEGER)]),
    ("incarnation", Annotated[str, msgspec.Meta(min_length=1)]),
    ("crc", str),
]


def quick_record(line: bytes) -> Record | None:
    """Return the record of a framed, sound ``line`` if all of it is as this version writes it.

    ``None`` where the long way has to judge: unknown fields and kinds, odd types, tagged payloads, odd JSON.
    """
    for word in _TELLING:
        if word in line:
            return None
    try:
        found = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return _BUILDERS[type(found)](found)


def quick_records(lines: bytes, count: int) -> list[Record] | None:
    """Return what `quick_record` returns of each of so many lines; ``None`` where it would be of one."""
    for word in _TELLING:
        if word in lines:
            return None
    try:
        found = _decode_lines(lines)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return [_BUILDERS[type(line)](line) for line in found] if len(found) == count else None


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
        [*_FRAME, *required, *optional],
        tag_field="kind",
        tag=kind,
        forbid_unknown_fields=True,
        gc=False,
    )


def _builder(kind: str) -> Callable[[Any], Record]:
    """Return what makes a record of a line, as if its class were called, at a third of the price.

    The classes are frozen, so that their own way sets each field through a check that forbids it to others.
    """
    cls = CLASSES[kind]
    names = ["seq", "incarnation", *(field.name for field in FIELDS[kind])]
    sets = "; ".join(f"set_{name}(record, line.{name})" for name in names)
    code = f"def build(line):\n    record = new(cls); {sets}; set_extra(record, NOTHING)\n    return record"
    scope: dict[str, Any] = {"new": object.__new__, "cls": cls, "NOTHING": NOTHING}
    scope |= {f"set_{name}": getattr(cls, name).__set__ for name in [*names, "extra"]}
    exec(code, scope)  # noqa: S102  # as dataclasses does; there is nothing in it but names of our own fields
    build: Callable[[Any], Record] = scope["build"]
    return build


_LINES = {kind: _line_type(kind) for kind in CLASSES}
_BUILDERS = {line: _builder(kind) for kind, line in _LINES.items()}
_DECODER = msgspec.json.Decoder(Union[tuple(_LINES.values())])  # noqa: UP007  # of types made above
_decode, _decode_lines = _DECODER.decode, _DECODER.decode_lines
