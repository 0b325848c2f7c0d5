"""Turn records into lines and lines into records; pure, and the only place that knows the line format."""

from __future__ import annotations

import json
import math
import re
import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec

from papyra import payloads
from papyra.exceptions import InvalidRecordError, PayloadError, RecordDecodeError, RecordTooLargeError
from papyra.persistence.fields import (
    BY_NAME,
    CLASSES,
    FIELDS,
    FRAME,
    MAX_INTEGER,
    TAGGED,
    checked_extra,
    epoch_seconds,
)
from papyra.persistence.models import NOTHING, Record
from papyra.persistence.quick import quick_body
from papyra.persistence.quickread import quick_record
from papyra.persistence.ready import ReadyEvent, ReadyRun

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORMAT = 1
HEADER_KIND = "header"
FOOTER_KIND = "footer"
MAX_RECORD_BYTES = 16 * 1024 * 1024
FRAME_ROOM = 160
"""How many bytes a frame adds to a body, at most."""
FRAME_HEAD = b'{"seq":'
FRAME_TAIL_LENGTH = 18
FRAME_TAIL = re.compile(rb',"crc":"([0-9a-f]{8})"\}\Z')

KINDS: dict[type, str] = {cls: cls.kind.value for cls in CLASSES.values()}
"""The wire word of each record class."""
_INCARNATION = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")


class Head(msgspec.Struct, frozen=True, gc=False):
    """What scans, indexes and checks need of a line, without its payload decoded."""

    seq: int = 0
    kind: str = ""
    incarnation: str = ""
    timestamp: float = 0.0
    event_type: str = ""
    payload: msgspec.Raw = msgspec.Raw(b"null")


class Header(msgspec.Struct, frozen=True):
    """The first line of a file we create."""

    seq: int
    kind: str
    format: int
    store: str = ""
    family: str = ""
    segment: int = 0
    base: int = 0
    doubtful_from: int | None = None
    """Of a segment begun because a sync of the one before it failed: from which byte on that one is void."""


def encode_body(record: Record) -> bytes:
    """Return what follows the identity in the line of ``record``: everything that does not depend on it.

    Raises `InvalidRecordError` for what no store can hold, `RecordTooLargeError` over 16 MiB.
    """
    if type(record) not in KINDS:
        raise InvalidRecordError(f"an event, audit or dead letter is needed, not {type(record).__name__}")
    quick = quick_body(record, _encoded)
    text = _unambiguous(_by_fields(record) if quick is None else quick[1:-1])
    if len(text) + FRAME_ROOM > MAX_RECORD_BYTES:
        raise RecordTooLargeError(f"{record.kind} of {len(text)} bytes: the limit is {MAX_RECORD_BYTES}")
    return text


def _by_fields(record: Record) -> bytes:
    try:
        return _json_of(_body_of(record))
    except (TypeError, ValueError) as error:
        raise InvalidRecordError(str(error)) from error


def frame_record(kind: str, body: bytes, *, incarnation: str, seq: int) -> tuple[bytes, int]:
    """Return the whole line, newline included, of an `encode_body` under this identity, and its checksum.

    Raises `InvalidRecordError` for what is not an identity.
    """
    if type(seq) is not int or not 1 <= seq <= MAX_INTEGER:
        raise InvalidRecordError(f"not a sequence number: {seq!r:.50}")
    if type(incarnation) is not str:
        raise InvalidRecordError(f"not an incarnation: {incarnation!r:.100}")
    return frame(seq, stream_head(kind, incarnation), body)


@lru_cache(maxsize=128)
def stream_head(kind: str, incarnation: str) -> bytes:
    """Return what stands between number and body in each line of one incarnation and kind."""
    if not _INCARNATION.match(incarnation):
        raise InvalidRecordError(f"not an incarnation: {incarnation!r:.100}")
    return b'"kind":"%b","incarnation":"%b",' % (kind.encode(), incarnation.encode())


def frame(seq: int, head: bytes, body: bytes) -> tuple[bytes, int]:
    """Return line and checksum of a record whose `stream_head` is known already."""
    checked = b'{"seq":%d,%b%b' % (seq, head, body)
    checksum = crc32(checked)
    return b'%b,"crc":"%08x"}\n' % (checked, checksum), checksum


def encode_record(record: Record, *, incarnation: str, seq: int) -> bytes:
    """Return the whole framed line, newline included, of ``record`` under this identity."""
    body = encode_body(record)
    return frame_record(record.kind.value, body, incarnation=incarnation, seq=seq)[0]


def frame_all(checked: Sequence[bytes]) -> tuple[bytes, list[int]]:
    """Return the lines, in one piece, that are ``checked`` up to their checksums, and those."""
    checksums = list(map(crc32, checked))
    digits = struct.pack(f">{len(checksums)}I", *checksums).hex("|", 4).encode("ascii")
    tails = b',"crc":"%b"}\n' % digits.replace(b"|", b'"}\n|,"crc":"')
    parts = [b""] * (2 * len(checksums))
    parts[0::2] = checked
    parts[1::2] = tails.split(b"|")
    return b"".join(parts), checksums


def encode_ready(events: Sequence[ReadyEvent]) -> ReadyRun:
    """Return neighbouring events as lines: what `encode_record` says of the record of each.

    Raises `InvalidRecordError`, `RecordTooLargeError` as `encode_body` does.
    """
    timestamps = [event.timestamp for event in events]
    if not all(map(math.isfinite, timestamps)):
        raise InvalidRecordError("timestamp: a finite time is needed")
    try:
        checked = _encode_lines(events).split(b"}\n")
    except UnicodeEncodeError as error:
        raise InvalidRecordError(str(error)) from error
    checked.pop()
    largest = max(map(len, checked))
    if largest > MAX_RECORD_BYTES:
        raise RecordTooLargeError(f"event of {largest} bytes: the limit is {MAX_RECORD_BYTES}")
    lines, checksums = frame_all(checked)
    return ReadyRun(events[0].seq, events[0].incarnation, timestamps, lines, checksums)


def plain_records(record: Record | ReadyEvent | ReadyRun) -> list[Record]:
    """Return what is ready as the records it stands for, for a store that takes no other."""
    if isinstance(record, ReadyEvent):
        return [record.to_record()]
    if isinstance(record, ReadyRun):
        return [_known(decode_record(line)) for line in record.lines.splitlines()]
    return [record]


def _known(record: Record | None) -> Record:
    assert record is not None  # noqa: S101  # of a known kind
    return record


def encode_header(
    *, store: str, family: str, segment: int, base: int = 0, doubtful_from: int | None = None
) -> bytes:
    """Return the header line, newline included, of a file we create."""
    header: dict[str, object] = {
        "kind": HEADER_KIND,
        "format": FORMAT,
        "store": store,
        "family": family,
        "segment": segment,
    }
    if base:
        header["base"] = base
    if doubtful_from is not None:
        header["doubtful_from"] = doubtful_from
    return frame(0, b"", _unambiguous(_json_of(header)))[0]


def _body_of(record: Record) -> dict[str, object]:
    body: dict[str, object] = {}
    for name, empty, is_required, check in FIELDS[record.kind]:
        value = getattr(record, name)
        if value is empty and not is_required:
            continue
        if name in TAGGED:
            body[name] = msgspec.Raw(_encoded(value))
            continue
        try:
            stored = check(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: {error}") from error
        if is_required or stored != empty:
            body[name] = stored
    if record.extra is not NOTHING:
        body.update(checked_extra(record))
    return body


def _encoded(value: object) -> bytes:
    return value.json if isinstance(value, payloads.Encoded) else payloads.encode(value).json


def _json_of(body: Mapping[str, object]) -> bytes:
    try:
        return msgspec.json.encode(body)[1:-1]
    except UnicodeEncodeError:  # a lone surrogate: only ASCII escapes can say it
        plain = {
            name: json.loads(bytes(value)) if isinstance(value, msgspec.Raw) else value
            for name, value in body.items()
        }
        return json.dumps(plain, separators=(",", ":")).encode("ascii")[1:-1]


def _unambiguous(text: bytes) -> bytes:
    """Make sure that head and tail of a frame stand nowhere inside one, so that a reader may look for them.

    Quotes inside strings are escaped, so both can only come from objects, where a space changes nothing.
    """
    return text.replace(FRAME_HEAD, b'{ "seq":').replace(b',"crc":"', b', "crc":"')


def is_framed(line: bytes) -> bool:
    """Whether ``line`` (no newline) has the head and tail of a frame; its checksum may still be wrong."""
    return line.startswith(FRAME_HEAD) and FRAME_TAIL.search(line, len(line) - FRAME_TAIL_LENGTH) is not None


def checksum_of(line: bytes) -> str:
    """Return the eight hex digits that a framed ``line`` (no newline) carries."""
    return line[-10:-2].decode("ascii")


def has_sound_checksum(line: bytes) -> bool:
    """Whether a framed ``line`` (no newline) is what was written."""
    return b"%08x" % crc32(line[:-FRAME_TAIL_LENGTH]) == line[-10:-2]


def decode_head(line: bytes) -> Head:
    """Read identity and time of a framed, sound ``line``; raises `RecordDecodeError`.

    It is the judge: a line of a known kind whose head can be read is a record, whatever else is in it.
    """
    try:
        head = _HEAD.decode(line)
        if not line.isascii():
            line.decode()  # a raw payload is not looked into otherwise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        head = _head_by_json(line)
    if not head.kind:
        raise RecordDecodeError("a JSON object without a kind")
    if head.kind in CLASSES and not (
        1 <= head.seq <= MAX_INTEGER and head.incarnation and math.isfinite(head.timestamp)
    ):
        raise RecordDecodeError(
            f"no identity or time: {head.incarnation!r:.100}, {head.seq}, {head.timestamp}"
        )
    return head


def decode_header(line: bytes) -> Header:
    """Read a framed header ``line``; raises `RecordDecodeError`."""
    try:
        header = _HEADER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordDecodeError(f"not a header: {error}") from error
    if header.kind != HEADER_KIND or header.seq != 0:
        raise RecordDecodeError(f"not a header: kind {header.kind!r:.100}, seq {header.seq}")
    return header


def decode_record(line: bytes) -> Record | None:
    """Read a framed, sound ``line`` (no newline); ``None`` for a kind that only a newer version knows.

    Raises `RecordDecodeError` exactly where `decode_head` does.
    """
    return quick_record(line) or decode_by_fields(line)


def decode_by_fields(line: bytes) -> Record | None:
    """Read what `decode_record` reads, field by field, whatever may be in it."""
    head = decode_head(line)
    if head.kind not in CLASSES:
        return None
    try:
        raw: Mapping[str, object] = _RAW.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raw = _object(line)
    return _build(head.kind, raw, head)


def decode_legacy(line: bytes) -> Record | None:
    """Read an unframed line of the published package; ``None`` for an unknown kind.

    Any JSON object with a ``kind`` is sound; missing fields read as empty, and an identity it claims is
    none. Raises `RecordDecodeError`.
    """
    raw = _object(line)
    kind = raw.get("kind")
    if not isinstance(kind, str):
        raise RecordDecodeError("a JSON object without a kind")
    return _build(kind, raw, None) if kind in CLASSES else None


def decode_legacy_head(line: bytes) -> Head:
    """Read kind and time of what `decode_legacy` reads; raises `RecordDecodeError` exactly where it does."""
    raw = _object(line)
    kind = raw.get("kind")
    if not isinstance(kind, str):
        raise RecordDecodeError("a JSON object without a kind")
    try:
        return Head(kind=kind, timestamp=epoch_seconds(raw.get("timestamp")))
    except (TypeError, ValueError):  # read as empty
        return Head(kind=kind)


def _object(line: bytes) -> dict[str, object]:
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise RecordDecodeError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise RecordDecodeError(f"JSON, but a {type(value).__name__} and not an object")
    return value


def _head_by_json(line: bytes) -> Head:
    raw = _object(line)
    try:
        plain = {name: raw[name] for name in Head.__struct_fields__ if name in raw}
        plain["payload"] = msgspec.Raw(json.dumps(raw.get("payload")).encode())
        return msgspec.convert(plain, Head)
    except (msgspec.ValidationError, ValueError, RecursionError) as error:
        raise RecordDecodeError(f"not a record: {error}") from error


def _build(kind: str, raw: Mapping[str, object], head: Head | None) -> Record:
    known = BY_NAME[kind]
    values: dict[str, Any] = {name: field.empty for name, field in known.items() if field.is_required}
    extra: dict[str, object] = {}
    for name, value in raw.items():
        if name in TAGGED and name in known:
            values[name] = value if head is None else _payload(value)
        elif name in known:
            plain = _plain(value)
            try:
                values[name] = known[name].check(plain)
            except (TypeError, ValueError):  # of a newer version's own type
                if name != "timestamp":
                    extra[name] = plain
        elif name not in FRAME:
            extra[name] = _plain(value)
    if head is not None:
        values |= {"incarnation": head.incarnation, "seq": head.seq}
    return CLASSES[kind](**values, extra=extra or NOTHING)


def _plain(value: object) -> object:
    if not isinstance(value, msgspec.Raw):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _as_json_has_it(bytes(value))


def _payload(value: object) -> object:
    text = bytes(value) if isinstance(value, msgspec.Raw) else json.dumps(value).encode()
    try:
        return payloads.decode(text)
    except PayloadError:  # a tag that only a newer version knows: shown as it is stored
        return _as_json_has_it(text)


def _as_json_has_it(text: bytes) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # such as an integer of 5,000 digits
        return text.decode("utf-8", "replace")


_encode_lines = msgspec.json.Encoder().encode_lines
_HEAD = msgspec.json.Decoder(Head)
_HEADER = msgspec.json.Decoder(Header)
_RAW = msgspec.json.Decoder(dict[str, msgspec.Raw])
