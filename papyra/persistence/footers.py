"""The last line of a sealed segment; pure."""

from __future__ import annotations

import msgspec

from papyra.exceptions import RecordDecodeError
from papyra.persistence import codec


class Footer(msgspec.Struct, frozen=True, kw_only=True):
    """What the ``bytes`` before it hold.

    ``removed`` counts what rewrites took out: with ``records`` it leads to the base of the next segment.
    """

    seq: int = 0
    kind: str = codec.FOOTER_KIND
    records: int
    removed: int = 0
    bytes: int
    oldest: float | None = None
    newest: float | None = None
    first: tuple[str, int] | None = None
    last: tuple[str, int] | None = None
    sealed_at: float
    sha256: str


def encode_footer(footer: Footer) -> bytes:
    """Return the footer line, newline included."""
    return codec.frame(0, b"", msgspec.json.encode(footer)[len(b'{"seq":0,') : -1])[0]


def decode_footer(line: bytes) -> Footer:
    """Read a framed footer ``line``; raises `RecordDecodeError`."""
    try:
        footer = _FOOTER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordDecodeError(f"not a footer: {error}") from error
    if footer.kind != codec.FOOTER_KIND or footer.seq != 0:
        raise RecordDecodeError(f"not a footer: kind {footer.kind!r:.100}, seq {footer.seq}")
    return footer


_FOOTER = msgspec.json.Decoder(Footer)
