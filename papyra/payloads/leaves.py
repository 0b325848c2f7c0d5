r"""Tags for single values: each pair of functions here writes one and reads it back equal.

Together with `papyra.payloads.decoding` this is the whole, closed list (part of the file format):

=================  ===============================================================================
``"$"``            the object's other members
=================  ===============================================================================
``float``          ``v``: ``"nan"``, ``"inf"``, ``"-inf"``
``str``            ``v``: text with ``\`` doubled and each lone surrogate as ``\udcff``
``bytes``          ``v``: base64; ``bytearray`` and ``memoryview`` (of bytes) alike
``complex``        ``v``: ``[real, imag]``
``decimal``        ``v``: its text, ``"-0"``, ``"1E+3"``, ``"sNaN"`` and the like included
``uuid``           ``v``: its text
``timedelta``      ``v``: ``[days, seconds, microseconds]``
``date``           ``v``: ISO 8601
``time``           ``v``: ISO 8601 with the offset of a fixed zone; ``offset``: instead, in microseconds, if
                   it is no whole minutes; ``name``: if the fixed zone has one; ``zone``: an IANA name, for a
                   ``v`` without offset; ``fold``: 1
``datetime``       like ``time``
``tuple``          ``v``: list; ``set`` and ``frozenset`` (in the order of their encoded bytes) alike
``deque``          ``v``: list; ``maxlen``: if bounded
``dict``           ``v``: list of ``[key, value]``, for keys that are not plain text; ``ordered_dict`` and
                   ``counter`` alike
``default_dict``   ``v``: like ``dict``; ``of``: ``"int"``, ``"list"``, … or ``null``
``subclass``       ``type``: name of a subclass of a built-in; ``v``: the built-in's part. Read without a
                   registry as ``v``, which is equal
``object``         ``type``: name of a dataclass, Struct or enum; ``v``: its fields, or the member's name.
                   Read without a registry as `Foreign`
``redacted``       none; reads as `Redacted`
=================  ===============================================================================

A key of only ``$`` signs is written with one more. ``{"unstorable": why, "repr": …}`` stands for what could
not be stored and reads as `Unstorable`; a real dict of that shape is written as a ``dict`` tag.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Any
from uuid import UUID

from papyra.exceptions import PayloadError
from papyra.payloads.moments import (
    read_date,
    read_datetime,
    read_time,
    read_timedelta,
    write_date,
    write_datetime,
    write_time,
    write_timedelta,
)

if TYPE_CHECKING:
    from collections.abc import Callable

Tag = dict[str, Any]

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_ESCAPE = re.compile(r"\\(?:\\|u(d[89a-f][0-9a-f]{2}))")


def has_surrogate(text: str) -> bool:
    """Whether UTF-8, and so JSON, cannot hold this text."""
    return _SURROGATE.search(text) is not None


def write_text(value: str) -> tuple[Tag, str]:
    """Return the tag of a text with lone surrogates."""
    escaped = value.replace("\\", "\\\\").encode("utf-8", "backslashreplace")
    return {"$": "str", "v": escaped.decode()}, ""


def read_text(tag: Tag) -> str:
    """Read `write_text` back, one surrogate at a time: a high and a low one stay two characters."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else "\\", tag["v"])


def write_float(value: float) -> tuple[Tag, str]:
    """Return the tag of a number that JSON has no word for."""
    return {"$": "float", "v": repr(value)}, ""


def _float_tree(value: float) -> float | Tag:
    return value if isfinite(value) else write_float(value)[0]


def _write_complex(value: complex) -> tuple[Tag, str]:
    return {"$": "complex", "v": [_float_tree(value.real), _float_tree(value.imag)]}, ""


def _read_complex(tag: Tag) -> complex:
    real, imag = (part if type(part) is float else _FLOATS[part["v"]] for part in tag["v"])
    return complex(real, imag)


def _write_base64(value: bytes | bytearray) -> tuple[Tag, str]:
    return {"$": type(value).__name__, "v": b64encode(value).decode()}, ""


def _write_memoryview(value: memoryview) -> tuple[Tag, str]:
    if value.ndim != 1 or value.format != "B":
        raise TypeError(f"a memoryview of {value.ndim} dimensions and format {value.format!r}")
    return {"$": "memoryview", "v": b64encode(value).decode()}, ""


def _read_base64(tag: Tag) -> bytes:
    return b64decode(tag["v"], validate=True)


def _write_decimal(value: Decimal) -> tuple[Tag, str]:
    return {"$": "decimal", "v": str(value)}, ""


def _write_uuid(value: UUID) -> tuple[Tag, str]:
    return {"$": "uuid", "v": str(value)}, ""


_FLOATS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}

# Each writes the tag, and says what it loses.
LEAVES: dict[type, Callable[[Any], tuple[Tag, str]]] = {
    bytes: _write_base64,
    bytearray: _write_base64,
    memoryview: _write_memoryview,
    complex: _write_complex,
    Decimal: _write_decimal,
    UUID: _write_uuid,
    datetime: write_datetime,
    date: write_date,
    time: write_time,
    timedelta: write_timedelta,
    float: write_float,
    str: write_text,
}

_READERS: dict[str, Callable[[Tag], Any]] = {
    "float": lambda tag: _FLOATS[tag["v"]],
    "str": read_text,
    "bytes": _read_base64,
    "bytearray": lambda tag: bytearray(_read_base64(tag)),
    "memoryview": lambda tag: memoryview(_read_base64(tag)),
    "complex": _read_complex,
    "decimal": lambda tag: Decimal(tag["v"]),
    "uuid": lambda tag: UUID(tag["v"]),
    "datetime": read_datetime,
    "date": read_date,
    "time": read_time,
    "timedelta": read_timedelta,
}


def is_leaf(tag_name: object) -> bool:
    """Whether `read_leaf` knows this tag."""
    return type(tag_name) is str and tag_name in _READERS


def read_leaf(tag: Tag) -> object:
    """Return the value of a leaf's tag; raises `PayloadError` unless it is just as it would be written."""
    name = tag["$"]
    try:
        value = _READERS[name](tag)
        canonical, _ = LEAVES[type(value)](value)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, OSError) as error:
        raise PayloadError(f"not a {name}: {tag!r:.200}") from error
    if canonical != tag:
        raise PayloadError(f"not how a {name} is written: {tag!r:.200}; expected {canonical!r:.200}")
    return value
