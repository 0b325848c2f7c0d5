"""Messages to their stored form, and the proof that one comes back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from papyra.exceptions import PayloadError
from papyra.payloads.decoding import decode, parse
from papyra.payloads.encoding import LAST_RESORT, encode, run_walk
from papyra.payloads.fidelity import DEFAULT_LIMITS, Encoded, Fidelity, PayloadLimits, shortened
from papyra.payloads.instances import InstanceWalk
from papyra.payloads.names import message_name, message_version

if TYPE_CHECKING:
    from papyra.payloads.redaction import Redaction
    from papyra.payloads.registry import MessageRegistry

_ANY_DEPTH = 1000
_ANY_SIZE = 2**40
_LAST_RESORT = replace(LAST_RESORT, json=b'{"type":"?","version":1,"data":%b}' % LAST_RESORT.json)


def encode_message(
    message: object,
    *,
    registry: MessageRegistry,
    limits: PayloadLimits = DEFAULT_LIMITS,
    redaction: Redaction | None = None,
) -> Encoded:
    """Return ``{"type": name, "version": n, "data": tagged}``; never raises.

    EXACT says that the walk met nothing it would lose; only `check_fidelity` proves it.
    """
    try:
        kind = type(message)
        head = msgspec.json.encode(message_name(kind))
        version = message_version(kind)
        data = run_walk(message, InstanceWalk(limits, redaction, registry.known), as_message=True)
        return replace(data, json=b'{"type":%b,"version":%d,"data":%b}' % (head, version, data.json))
    except Exception:  # noqa: BLE001  # what is left: stack or memory ran out
        return _LAST_RESORT


def check_fidelity(message: object, encoded: Encoded, registry: MessageRegistry) -> Encoded:
    """Return EXACT only if the stored message rebuilds to an equal one, else INEXACT with the place.

    Equality is judged on what both encode to: no ``__eq__`` of the message runs, NaN equals itself, types
    count. A payload that is redacted, unstorable or known to be inexact is returned as it is.
    """
    return prove_exact(type(message), encoded, registry)


def prove_exact(kind: type, encoded: Encoded, registry: MessageRegistry) -> Encoded:
    """Do so without the message, of which the class is enough: ``encoded`` says what it was."""
    if encoded.fidelity is not Fidelity.EXACT:
        return encoded
    try:
        rebuilt = registry.decode_message(encoded.json)
    except PayloadError as error:
        return replace(encoded, fidelity=Fidelity.INEXACT, detail=shortened(str(error)))
    generous = PayloadLimits(max_depth=_ANY_DEPTH, max_bytes=2 * len(encoded.json) + DEFAULT_LIMITS.max_bytes)
    again = encode_message(rebuilt, registry=registry, limits=generous)
    is_same = again.json == encoded.json  # else an int may have come back as the float it was declared
    place = None if is_same else _first_difference(parse(encoded.json), parse(again.json))
    if type(rebuilt) is kind and place is None:
        return encoded
    detail = shortened(f"{place or 'data'}: rebuilt as another value")
    return replace(encoded, fidelity=Fidelity.INEXACT, detail=detail)


def check_reading(encoded: Encoded) -> Encoded:
    """Return INEXACT where a reader of records, who knows no classes, sees, and would send, another value."""
    if encoded.fidelity is not Fidelity.EXACT or b'"subclass"' not in encoded.json:
        return encoded
    again = restored(decode(encoded.json))
    place = _first_difference(parse(encoded.json), parse(again))
    if place is None:
        return encoded
    detail = shortened(f"{place}: a subclass of a built-in, read as its base where no field declares it")
    return replace(encoded, fidelity=Fidelity.INEXACT, detail=detail)


def restored(payload: object) -> bytes:
    """Return the JSON of a stored message's payload that was read, however deep or large it is."""
    generous = PayloadLimits(max_depth=_ANY_DEPTH, max_bytes=_ANY_SIZE)
    return encode(payload, limits=generous).json


def _first_difference(stored: Any, again: Any) -> str | None:
    """Return the first place where two trees differ; an int may come back as the float it was declared."""
    pending = [(stored, again, "")]
    while pending:
        left, right, place = pending.pop()
        kinds = {type(left), type(right)}
        if kinds == {dict} and left.keys() == right.keys():
            inside_tag = "$" in left  # whose members are no steps
            pending += [
                (left[key], right[key], place if inside_tag else f"{place}.{key}") for key in reversed(left)
            ]
        elif kinds == {list} and len(left) == len(right):
            pending += [(left[i], right[i], f"{place}[{i}]") for i in reversed(range(len(left)))]
        elif left != right or not (len(kinds) == 1 or kinds == {int, float}):
            return place.removeprefix(".")
    return None
