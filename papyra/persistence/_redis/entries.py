"""Turn the fields of a stream's entry into a record, or say what is wrong with them. Pure."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from papyra.exceptions import RecordDecodeError
from papyra.persistence import codec
from papyra.persistence.models import PersistenceAnomalyType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from papyra.persistence.models import Record, RecordKind

FIELDS = (b"body", b"crc", b"incarnation", b"kind", b"seq")
"""The fields of each entry, always these and in this order."""
LEGACY = b"data"
"""The one field of an entry of the published package."""

_ID = re.compile(rb"([0-9]{1,20})-([0-9]{1,20})")
_MOST = 2**64


class StreamId(NamedTuple):
    """The id that the server gave an entry; they order a stream."""

    milliseconds: int
    number: int

    @classmethod
    def of(cls, raw: bytes) -> StreamId:
        """Read what the server says; raises `ValueError` for anything else."""
        match = _ID.fullmatch(raw)
        if match is None:
            raise ValueError(f"not the id of an entry: {raw[:100]!r}")
        milliseconds, number = int(match[1]), int(match[2])
        if max(milliseconds, number) >= _MOST:
            raise ValueError(f"not the id of an entry: {raw[:100]!r}")
        return cls(milliseconds, number)

    def __str__(self) -> str:
        return f"{self.milliseconds}-{self.number}"

    @property
    def next(self) -> StreamId:
        """The id that follows."""
        if self.number + 1 == _MOST:
            return StreamId(self.milliseconds + 1, 0)
        return StreamId(self.milliseconds, self.number + 1)


FIRST = StreamId(0, 0)


class RawEntry(NamedTuple):
    """An entry as the server sends it: its id, then names and values in turn."""

    id: StreamId
    fields: Sequence[bytes]

    @classmethod
    def of(cls, raw: Sequence[bytes | Sequence[bytes]]) -> RawEntry:
        """Read one entry of an ``XRANGE`` or ``XREAD``."""
        name, fields = raw
        assert isinstance(name, bytes)  # noqa: S101  # the protocol's form
        assert not isinstance(fields, bytes)  # noqa: S101
        return cls(StreamId.of(name), fields)

    @property
    def size(self) -> int:
        """How many bytes the record has, its newline included, or all values of what is none."""
        return (len(self.fields[1]) if is_usual(self.fields) else sum(map(len, self.fields[1::2]))) + 1


class Judged(NamedTuple):
    """What an entry holds, and what is wrong with it (``fault`` is ``None`` where nothing is).

    ``head`` and ``checksum`` are there unless the entry cannot be trusted; a legacy line has no checksum.
    """

    entry: RawEntry
    head: codec.Head | None
    checksum: str = ""
    fault: PersistenceAnomalyType | None = None
    detail: str = ""


def is_usual(fields: Sequence[bytes]) -> bool:
    """Whether these are the fields that papyra writes, whatever their values."""
    return tuple(fields[::2]) == FIELDS


def judge(kind: RecordKind, entry: RawEntry) -> Judged:
    """Say what ``entry`` of the stream of ``kind`` holds."""
    fields = entry.fields
    try:
        if not is_usual(fields):
            return Judged(entry, codec.decode_legacy_head(_legacy_line(kind, fields)))
        body, crc = fields[1], fields[3]
        if not codec.is_framed(body):
            raise RecordDecodeError("the body is not a framed record")  # noqa: TRY301  # one way to say it
        if not codec.has_sound_checksum(body) or crc != body[-10:-2]:
            what = PersistenceAnomalyType.BAD_CHECKSUM
            return Judged(entry, None, fault=what, detail="the checksum is wrong")
        head = codec.decode_head(body)
        _check_identity(kind, fields, head)
    except RecordDecodeError as error:
        return Judged(entry, None, fault=PersistenceAnomalyType.GARBAGE, detail=str(error))
    return Judged(entry, head, crc.decode("ascii"))


def _check_identity(kind: RecordKind, fields: Sequence[bytes], head: codec.Head) -> None:
    _, _, _, _, _, incarnation, _, word, _, seq = fields
    if (head.incarnation.encode(), head.kind.encode(), b"%d" % head.seq) != (incarnation, word, seq):
        said = b"%b %b/%b" % (word[:30], incarnation[:80], seq[:30])
        raise RecordDecodeError(f"the entry of {said!r} holds {head.kind:.30} {head.incarnation}/{head.seq}")
    if head.kind in codec.KINDS.values() and head.kind != kind:
        raise RecordDecodeError(f"a record of kind {head.kind} in the stream of {kind}")


def record_of(kind: RecordKind, entry: RawEntry) -> Record | None:
    """Return the record in ``entry``, ``None`` for a kind that only a newer version knows.

    Raises `RecordDecodeError` exactly where `judge` finds a fault.
    """
    judged = judge(kind, entry)
    if judged.fault is not None:
        raise RecordDecodeError(judged.detail)
    if judged.checksum:
        return codec.decode_record(entry.fields[1])
    return codec.decode_legacy(_legacy_line(kind, entry.fields))


def _legacy_line(kind: RecordKind, fields: Sequence[bytes]) -> bytes:
    """Return the line that the published package meant: there the stream alone says of which kind it is."""
    if len(fields) != 2 or fields[0] != LEGACY:  # noqa: PLR2004  # a name and a value
        names = b", ".join(fields[:20:2])
        raise RecordDecodeError(f"an entry with the fields {names[:200]!r}")
    try:
        value = json.loads(fields[1])
    except (ValueError, RecursionError) as error:
        raise RecordDecodeError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise RecordDecodeError(f"JSON, but a {type(value).__name__} and not an object")
    if value.get("kind", kind) != kind:
        raise RecordDecodeError(f"a record of kind {value['kind']!r:.30} in the stream of {kind}")
    return json.dumps({"kind": kind.value, **value}).encode()
