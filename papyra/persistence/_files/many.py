"""Read many framed lines at once: what `codec` says of each, in a third of the time. Pure."""

from __future__ import annotations

import sys
from array import array
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Literal
from zlib import crc32

import msgspec

from papyra.persistence import codec
from papyra.persistence.fields import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Sequence


class _KnownHead(codec.Head, frozen=True, gc=False, kw_only=True):
    """What `codec.decode_head` asks of a line of a known kind, said so that msgspec judges it."""

    seq: Annotated[int, msgspec.Meta(ge=1, le=MAX_INTEGER)]
    kind: Literal["event", "audit", "dead_letter"]
    incarnation: Annotated[str, msgspec.Meta(min_length=1)]
    timestamp: Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)] = 0.0


def sound_checksums(lines: Sequence[bytes]) -> array[int] | None:
    """Return the checksum of each of ``lines``; ``None`` where one is not framed, or not what was written.

    Each ends in a newline. It says what `codec.is_framed` and `codec.has_sound_checksum` say of each without
    it, in a third of the time.
    """
    if not are_framed(lines):
        return None
    checksums = array("I", map(crc32, map(_checked_bytes, lines)))
    digits = array("I", checksums)
    if sys.byteorder == "little":
        digits.byteswap()
    tails = digits.tobytes().hex("|", digits.itemsize).replace("|", '"}\n,"crc":"')
    found = b"".join(map(_last_bytes, lines))
    return checksums if found == b',"crc":"%b"}\n' % tails.encode("ascii") else None


def are_framed(lines: Sequence[bytes]) -> bool:
    """Whether each of ``lines`` begins as a frame does."""
    return b"".join(map(_first_bytes, lines)) == codec.FRAME_HEAD * len(lines)


def decode_heads(lines: bytes) -> Sequence[codec.Head] | None:
    """Return what `codec.decode_head` says of each of ``lines``; ``None`` where one needs a look of its own.

    They are framed, of known kinds, and each ends in a newline. Where there are as many values as lines, each
    line is one: each newline stands between two braces, which JSON has nowhere within a value.
    """
    try:
        heads = _KNOWN_HEAD.decode_lines(lines)
        if not lines.isascii():
            lines.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return heads


_first_bytes = itemgetter(slice(len(codec.FRAME_HEAD)))
_TAIL_LENGTH = codec.FRAME_TAIL_LENGTH + 1
_checked_bytes = itemgetter(slice(-_TAIL_LENGTH))
_last_bytes = itemgetter(slice(-_TAIL_LENGTH, None))
_KNOWN_HEAD = msgspec.json.Decoder(_KnownHead)
