from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from papyra.persistence import codec
from papyra.testing.records import INCARNATION

if TYPE_CHECKING:
    from papyra.persistence.models import Record


def line_of(record: Record, seq: int = 1) -> bytes:
    return codec.encode_record(record, incarnation=INCARNATION, seq=seq).removesuffix(b"\n")


def framed(body: str | bytes) -> bytes:
    """Frame any text, as a writer with other ideas might have."""
    text = body.encode() if isinstance(body, str) else body
    return b'%b,"crc":"%08x"}' % (text, zlib.crc32(text))


def decoded(line: bytes) -> Any:
    return codec.decode_record(line)
