"""Read what a person or a script types for a time, a span or a size; pure."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhdw])\Z")
_EPOCH = re.compile(r"-?[0-9]+(?:\.[0-9]*)?(?:[eE]\+?[0-9]+)?\Z")
_SIZES = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(k|m|g|t|ki|mi|gi|ti|)b?\Z", re.IGNORECASE)


def read_span(text: str) -> float:
    """Return the seconds of ``90s``, ``15m``, ``2h``, ``3d`` or ``1w``; raises ``ValueError``."""
    match = _SPAN.match(text.strip())
    if match is None:
        raise ValueError(f"not a span: {text!r}; write it like 90s, 15m, 2h, 3d or 1w")
    return float(match[1]) * _UNITS[match[2]]


def read_moment(text: str, *, now: float) -> float:
    """Return epoch seconds of a number, of ISO 8601 (without a zone: UTC), or of a span before ``now``."""
    text = text.strip()
    if _SPAN.match(text):
        return now - read_span(text)
    if _EPOCH.match(text):
        moment = float(text)
        if math.isfinite(moment):
            return moment
    try:
        read = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(
            f"not a time: {text!r}; write epoch seconds, 2026-11-25T03:12:00Z (no zone: UTC), or 15m, 2h, 3d"
        ) from error
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


def read_size(text: str) -> int:
    """Return the bytes of ``500000``, ``200kB``, ``64MiB`` or ``1.5G``; raises ``ValueError``."""
    match = _SIZE.match(text.strip())
    if match is None:
        raise ValueError(f"not a size: {text!r}; write bytes, or a number with kB, MB, GB, KiB, MiB or GiB")
    return int(float(match[1]) * _SIZES[match[2].lower()])
