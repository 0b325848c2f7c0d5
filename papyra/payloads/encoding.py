"""Any Python value to one line of strict JSON, and what was lost. Never raises; the same for all backends."""

from __future__ import annotations

import re
from functools import lru_cache
from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from papyra.payloads.excerpt import excerpt
from papyra.payloads.fidelity import DEFAULT_LIMITS, Encoded, Fidelity
from papyra.payloads.instances import InstanceWalk
from papyra.payloads.names import message_name
from papyra.payloads.redaction import DEFAULT_REDACTION
from papyra.payloads.walk import CACHED_LENGTH, MAX_INT, MIN_INT, UNSTORABLE_KEYS, TooLargeError, odd_key_test

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from papyra.payloads.fidelity import PayloadLimits
    from papyra.payloads.redaction import Redaction
    from papyra.payloads.shapes import KnownType

# DEL, the C1 controls and the two Unicode line ends are legal in JSON, but no line of a log should hold them.
_UNPRINTABLE = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]")

_FEW = 32
_SHORT = 4096
_NOTHING_KNOWN: Mapping[type, KnownType] = MappingProxyType({})
_NO_ROOM = "no stack or memory was left to encode it"
LAST_RESORT = Encoded(
    b'{"unstorable":"%b","repr":""}' % _NO_ROOM.encode(), Fidelity.UNSTORABLE, f"data: {_NO_ROOM}"
)


def encode(
    value: object, *, limits: PayloadLimits = DEFAULT_LIMITS, redaction: Redaction | None = None
) -> Encoded:
    """Return the tagged JSON of any value.

    Fidelity is about `decode`, which knows no classes: a dataclass or plain enum reads back as `Foreign`, a
    subclass of a built-in as its equal base, and so both are inexact.
    """
    try:
        flat = flat_copy(value, redaction)
        if flat is not None:
            json = msgspec.json.encode(flat)
            if len(json) <= limits.max_bytes:
                return Encoded(json, Fidelity.EXACT)
        return run_walk(value, InstanceWalk(limits, redaction, _NOTHING_KNOWN))
    except Exception:  # noqa: BLE001  # what is left: stack or memory ran out again while noting just that
        return LAST_RESORT


def flat_copy(value: object, redaction: Redaction | None = None) -> dict[str, Any] | None:
    """Return a copy of a small dict of short plain text and numbers, the usual event; else ``None``.

    JSON says such a dict as the walk would, in half the time.
    """
    if type(value) is not dict or len(value) > _FEW:
        return None
    copy = value.copy()
    is_usual = _usual_key_test(redaction)
    for key, item in copy.items():
        if type(key) is not str or len(key) > CACHED_LENGTH or not is_usual(key):
            return None
        kind = type(item)
        if kind is str:
            is_plain = len(item) <= _SHORT and item.isascii() and "\x7f" not in item
        elif kind is int:
            is_plain = MIN_INT <= item <= MAX_INT
        else:
            is_plain = item is None or kind is bool or (kind is float and isfinite(item))
        if not is_plain:
            return None
    return None if copy.keys() == UNSTORABLE_KEYS else copy


@lru_cache(maxsize=64)
def _usual_key_test(redaction: Redaction | None) -> Callable[[str], bool]:
    is_odd = odd_key_test(redaction)

    @lru_cache(maxsize=2048)
    def is_usual(key: str) -> bool:
        return key.isascii() and "\x7f" not in key and not is_odd(key)

    return is_usual


def run_walk(value: object, walk: InstanceWalk, *, as_message: bool = False) -> Encoded:
    """Encode one value; ``as_message`` leaves its own class to be named by whoever wraps the JSON."""
    limits = walk.limits
    try:
        tree = walk.message(value) if as_message else walk.value(value)
        json = _one_line(msgspec.json.encode(tree))
        if len(json) <= limits.max_bytes:
            return Encoded(json, walk.losses.fidelity, walk.losses.detail)
        why = f"larger than {limits.max_bytes} bytes"
    except (KeyboardInterrupt, SystemExit):
        raise
    except TooLargeError:
        why = f"larger than {limits.max_bytes} bytes"
    except BaseException as error:  # noqa: BLE001  # a class whose metaclass raises; a stack that was nearly full
        why = f"encoding it raised {message_name(error)}"
    text = excerpt(value, max_bytes=limits.max_repr_bytes, redaction=walk.redaction or DEFAULT_REDACTION)
    json = _one_line(msgspec.json.encode({"unstorable": why, "repr": text}))
    return Encoded(json, Fidelity.UNSTORABLE, f"data: {why}")


def _one_line(json: bytes) -> bytes:
    if json.isascii() and b"\x7f" not in json:
        return json
    return _UNPRINTABLE.sub(lambda found: b"\\u%04x" % ord(found[0].decode()), json)
