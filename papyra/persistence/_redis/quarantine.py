"""Keep, field by field, what leaves a stream; and show what lies there."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple

from papyra.clock import minted_at
from papyra.exceptions import RecordDecodeError
from papyra.persistence import codec
from papyra.persistence._redis.entries import FIRST, RawEntry, StreamId, record_of
from papyra.persistence._redis.keys import STREAMS
from papyra.persistence._redis.reading import Span, raw_entries
from papyra.persistence.models import RecordKind
from papyra.persistence.quarantined import PREVIEW_BYTES, QuarantineEntry, QuarantinePage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from papyra.persistence._redis.connecting import Door
    from papyra.persistence._redis.keys import Keys
    from papyra.persistence.models import Record

_AT_ONCE = 100
_KINDS = {name: kind for kind, name in STREAMS.items()}


class Kept(NamedTuple):
    """What quarantine holds of one entry."""

    stream: str
    id: str
    reason: str
    detail: str
    found_at: float
    fields: Sequence[bytes]

    def encode(self) -> bytes:
        """Return it as it is stored, with a checksum of the fields."""
        kept = {
            "stream": self.stream,
            "id": self.id,
            "reason": self.reason,
            "detail": self.detail,
            "found_at": self.found_at,
            "sha256": _digest(self.fields),
            "fields": [base64.b64encode(value).decode("ascii") for value in self.fields],
        }
        return json.dumps(kept, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, text: bytes) -> tuple[Kept, bool]:
        """Read `encode` back, and say whether the fields are what was taken out; raises `ValueError`."""
        raw = json.loads(text)
        if not isinstance(raw, dict) or not isinstance(raw.get("fields"), list):
            raise ValueError("nothing that was set aside")  # noqa: TRY004  # as what else is no entry
        fields = [base64.b64decode(str(value), validate=True) for value in raw["fields"]]
        stream, id_, reason, detail = (
            str(raw.get(name, "")) for name in ("stream", "id", "reason", "detail")
        )
        found_at = raw.get("found_at")
        kept = cls(stream, id_, reason, detail, found_at if isinstance(found_at, float) else 0.0, fields)
        return kept, raw.get("sha256") == _digest(fields)


def _digest(fields: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for value in fields:
        digest.update(b"%d:%b," % (len(value), value))
    return digest.hexdigest()


class Quarantine:
    """Changes nothing; belongs to the reader's thread."""

    def __init__(self, door: Door, keys: Keys) -> None:
        self._door = door
        self._keys = keys

    def entries(self) -> Iterator[QuarantineEntry]:
        """Yield what lies here, the oldest first, then streams that were set aside whole."""
        for entry in self._raw(self._keys.quarantine):
            try:
                kept, is_intact = Kept.decode(entry.fields[1])
            except (ValueError, IndexError, binascii.Error):
                continue  # nothing of ours
            content = _content(kept.fields)
            yield QuarantineEntry(
                name=str(entry.id),
                reason=kept.reason,
                store=kept.stream,
                found_at=kept.found_at,
                offset=None,
                length=len(content),
                preview=content[:PREVIEW_BYTES],
                is_intact=is_intact,
                position=entry.id.milliseconds * 2**64 + entry.id.number,
            )
        for kind in RecordKind:
            for name in self._set_aside(kind):
                first = next(self._raw(name), None)
                yield QuarantineEntry(
                    name=name,
                    reason="set_aside",
                    store=self._keys.stream(kind),
                    found_at=minted_at(name.rpartition(":")[2]),
                    offset=None,
                    length=int(self._door.call("MEMORY", "USAGE", name) or 0),
                    preview=b"" if first is None else _content(first.fields)[:PREVIEW_BYTES],
                    is_intact=True,
                    position=None,
                )

    def _set_aside(self, kind: RecordKind) -> list[str]:
        names = self._door.call("SMEMBERS", self._keys.set_aside(kind, "all"))
        return sorted(str(name, "utf-8", "replace") for name in names)

    def pages(self, entry: QuarantineEntry) -> Iterator[QuarantinePage]:
        """Yield the records of ``entry`` that can be read, and the bytes that are none."""
        if entry.position is None:
            kind = next(kind for kind in RecordKind if self._keys.stream(kind) == entry.store)
            for entries in self._chunks(entry.name):
                yield _page(kind, entries)
            return
        at = str(StreamId(*divmod(entry.position, 2**64)))
        for raw in self._door.call("XRANGE", self._keys.quarantine, at, at):
            kept, _ = Kept.decode(RawEntry.of(raw).fields[1])
            kind = _KINDS[kept.stream.rpartition(":")[2]]
            yield _page(kind, [RawEntry(FIRST, kept.fields)])

    def _raw(self, stream: str) -> Iterator[RawEntry]:
        for entries in self._chunks(stream):
            yield from entries

    def _chunks(self, stream: str) -> Iterator[list[RawEntry]]:
        return raw_entries(self._door, stream, Span(), chunk=_AT_ONCE, most=_AT_ONCE)


def _page(kind: RecordKind, entries: Sequence[RawEntry]) -> QuarantinePage:
    records, rest = [], []
    for entry in entries:
        content, record = _content(entry.fields), _record_or_none(kind, entry)
        if record is None:
            rest.append(content)
        else:
            records.append((record, content + b"\n"))
    return QuarantinePage(tuple(records), tuple(rest))


def _record_or_none(kind: RecordKind, entry: RawEntry) -> Record | None:
    """Return the record in an entry's body, whatever was wrong with what stood beside it."""
    content = _content(entry.fields)
    try:
        if codec.is_framed(content) and codec.has_sound_checksum(content):
            return codec.decode_record(content)
        return record_of(kind, entry)
    except RecordDecodeError:
        return None


def _content(fields: Sequence[bytes]) -> bytes:
    """Return the line that an entry holds, or all of it where it has other fields."""
    return fields[1] if len(fields) > 1 and fields[0] in {b"body", b"data"} else b" ".join(fields)
