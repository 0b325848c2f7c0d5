"""What can still be said of bytes that are no line: frames in them, a torn end, a claimed identity. Pure."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

from papyra.persistence import codec
from papyra.persistence.models import RecordId

if TYPE_CHECKING:
    from collections.abc import Iterator

_TAIL = re.compile(rb',"crc":"[0-9a-f]{8}"\}')
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_CONTROL = re.compile(rb"[\x00-\x1f]")
_CLAIM = re.compile(
    rb'\{"seq":([1-9][0-9]{0,18}),"kind":"([a-z_]{1,100})","incarnation":"([A-Za-z0-9_.:-]{1,64})"'
)
_FIXED_LETTERS = 10
_ROTTEN_LETTERS = 2
_UTF8 = codecs.getincrementaldecoder("utf-8")


def find_frames(text: bytes) -> Iterator[tuple[int, int]]:
    """Yield the ``(start, stop)`` of every sound frame in ``text``.

    Neither end of a frame stands inside one, so each tail belongs to the head nearest before it, and no byte
    is looked at twice.
    """
    done = 0
    for tail in _TAIL.finditer(text):
        start = text.rfind(codec.FRAME_HEAD, done, tail.start())
        done = tail.end()
        if start >= 0 and codec.has_sound_checksum(text[start:done]):
            yield start, done


def has_frame_end(text: bytes) -> bool:
    """Whether ``text`` begins or ends like a frame, which no line of the published package does."""
    return (
        text.startswith(codec.FRAME_HEAD)
        or codec.FRAME_TAIL.search(text[-codec.FRAME_TAIL_LENGTH :]) is not None
    )


def is_torn(text: bytes) -> bool:
    """Whether ``text`` is how an object begins whose end was never written: a crash, and not rot."""
    if not text.startswith(b"{") or _CONTROL.search(text) or _has_almost_a_tail(text):
        return False
    try:
        _UTF8().decode(text)  # a letter cut in two at the very end is no error
    except UnicodeDecodeError:
        return False
    bare = _STRING.sub(b"", text)
    return bare.count(b"{") + bare.count(b"[") > bare.count(b"}") + bare.count(b"]")


def _has_almost_a_tail(text: bytes) -> bool:
    end = text[-codec.FRAME_TAIL_LENGTH :]
    fixed = zip(end[:8] + end[16:], b',"crc":""}', strict=False)
    same = sum(letter == meant for letter, meant in fixed)
    return same >= _FIXED_LETTERS - _ROTTEN_LETTERS


def claimed_identity(text: bytes) -> RecordId | None:
    """Return the identity that damaged ``text`` begins with; it may be as wrong as the rest."""
    found = _CLAIM.match(text)
    if found is None:
        return None
    return RecordId(found[3].decode("ascii"), found[2].decode("ascii"), int(found[1]))
