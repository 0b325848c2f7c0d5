"""The start of a value's repr, for a person to look at: bounded, printable, without secrets."""

from __future__ import annotations

import dataclasses
from collections import Counter, OrderedDict, defaultdict, deque
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from papyra.payloads.names import message_name
from papyra.payloads.values import REDACTED_TEXT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from papyra.payloads.redaction import Redaction

_MAX_ITEMS = 20
_MAX_LEVELS = 4
_BIG_INT_BITS = 1024
_TEXTS = (str, bytes, bytearray)
_BRACKETS = (
    (dict, "{", "}"),
    (list, "[", "]"),
    (tuple, "(", ")"),
    (set, "{", "}"),
    (frozenset, "frozenset({", "})"),
    (deque, "deque([", "])"),
    (OrderedDict, "OrderedDict({", "})"),
    (Counter, "Counter({", "})"),
    (defaultdict, "defaultdict({", "})"),
)


class _Opened(NamedTuple):
    """A container or dataclass: its brackets, its size, and its items with key and what joins the two."""

    opening: str
    closing: str
    size: int
    items: Iterable[tuple[object, str, object]]


def excerpt(value: object, *, max_bytes: int, redaction: Redaction) -> str:
    """Return at most ``max_bytes`` (as JSON text) of the value's repr; a ``__repr__`` that raises is named.

    Containers and dataclasses are not given to ``repr``: it would walk all of a huge one, and show secrets.
    """
    room = 4 * max_bytes  # redact more than is kept, so that no cut leaves half a secret unrecognised
    text = redaction.redact_text(_describe(value, room, _MAX_LEVELS, redaction)[:room])
    text = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
    if _size(text) <= max_bytes:
        return text
    while text and (size := _size(text + "…")) > max_bytes:
        text = text[: len(text) * max_bytes // size]
    return text + "…"


def _size(text: str) -> int:
    return len(msgspec.json.encode(text)) - len('""')


def _describe(value: Any, room: int, levels: int, redaction: Redaction) -> str:
    kind = type(value)
    if any(kind is exact for exact in _TEXTS):
        return repr(value[:room]) + ("…" if len(value) > room else "")
    if kind is int and value.bit_length() > _BIG_INT_BITS:  # repr would refuse a huge one
        return f"<an int of {value.bit_length()} bits>"
    opened = _open(value, kind)
    if opened is None:
        return _repr(value)
    if not levels:
        return f"{opened.opening}…{opened.closing}"
    parts = []
    for key, joint, item in list(islice(opened.items, _MAX_ITEMS)):
        hidden = type(key) is str and redaction.is_secret(key)
        label = _describe(key, room // _MAX_ITEMS, levels - 1, redaction) if joint == ": " else str(key or "")
        shown = REDACTED_TEXT if hidden else _describe(item, room // _MAX_ITEMS, levels - 1, redaction)
        parts.append(f"{label}{joint}{shown}")
    if opened.size > _MAX_ITEMS:
        parts.append(f"… {opened.size - _MAX_ITEMS} more")
    return f"{opened.opening}{', '.join(parts)}{opened.closing}"


def _open(value: Any, kind: type) -> _Opened | None:
    for exact, opening, closing in _BRACKETS:
        if kind is exact:
            rows = value.items() if isinstance(value, dict) else ((None, item) for item in value)
            joint = ": " if isinstance(value, dict) else ""
            return _Opened(opening, closing, len(value), ((key, joint, item) for key, item in rows))
    try:
        names = _field_names(kind)
        fields = [(name, "=", object.__getattribute__(value, name)) for name in names]
    except Exception:  # noqa: BLE001  # a property in a field's place, or a metaclass, is anybody's code
        return None
    return _Opened(f"{kind.__name__}(", ")", len(fields), fields) if fields else None


def _field_names(kind: type) -> list[str]:
    if issubclass(kind, msgspec.Struct):
        return list(kind.__struct_fields__)
    if dataclasses.is_dataclass(kind):
        return [each.name for each in dataclasses.fields(kind) if each.repr]
    return []


def _repr(value: object) -> str:
    try:
        return str.__str__(repr(value))  # a subclass of str may come back, with methods of its own
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  # a __repr__ is anybody's code and may raise anything
        return f"<{message_name(value)} whose repr raised {message_name(error)}>"
