"""The one place where rows meet records: each column follows from the exact line, written or scanned."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec
from django.db import models as db

from django_papyra import models
from django_papyra.querysets import RecordQuerySet, instant
from papyra.exceptions import RecordDecodeError
from papyra.persistence import codec
from papyra.persistence.models import PersistedAudit, PersistedDeadLetter, PersistedEvent, Record, RecordKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    DbField = db.Field[object, object]

RowModel = type[models.Event] | type[models.Audit] | type[models.DeadLetter]

MODELS: Mapping[RecordKind, RowModel] = {
    RecordKind.EVENT: models.Event,
    RecordKind.AUDIT: models.Audit,
    RecordKind.DEAD_LETTER: models.DeadLetter,
}
_NOT_DERIVED = frozenset({"id", "state"})
_MAX_INT = 2**63 - 1
_WORD = re.compile(r"[a-z][a-z_]*")


class _Why(msgspec.Struct):
    reason: object = ""
    error: object = ""
    text: object = ""
    cause: object = ""


class _Explained(msgspec.Struct):
    payload: msgspec.Raw = msgspec.Raw(b"null")


_EXPLAINED = msgspec.json.Decoder(_Explained)
_WHY = msgspec.json.Decoder(_Why)


class Row(NamedTuple):
    """One record as a table stores it, by column; ``id`` is the table's own."""

    kind: RecordKind
    values: Mapping[str, object]


def concrete_fields(kind: RecordKind) -> Sequence[DbField]:
    """Return the columns of ``kind``'s table, in order."""
    return cast("Sequence[DbField]", MODELS[kind]._meta.concrete_fields)  # noqa: SLF001  # Django's public name for it


def stored(kind: RecordKind, alias: str) -> RecordQuerySet[Any]:
    """Return every row of ``kind``."""
    return cast("RecordQuerySet[Any]", MODELS[kind].objects.using(alias))


def derived_columns(kind: RecordKind) -> tuple[str, ...]:
    """Return the names of the columns that follow from the body."""
    return tuple(field.name for field in concrete_fields(kind) if field.name not in _NOT_DERIVED)


def clip(text: str, length: int) -> str:
    """Return what a column of ``length`` shows of ``text``: cut, and without what some engine refuses."""
    if not text.isascii() or "\0" in text:
        text = text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text[:length]


def row_of(record: Record, line: bytes, *, incarnation: str, seq: int) -> Row:
    """Return the row of ``record``, whose framed ``line`` ends with its newline."""
    body = line[:-1]
    values: dict[str, object] = {
        "incarnation": incarnation,
        "seq": seq,
        "system_id": record.system_id,
        "timestamp": float(record.timestamp),
        "at": instant(record.timestamp),
        "crc": codec.checksum_of(body),
        "size": len(line),
        "body": body.decode("utf-8"),
    }
    match record:
        case PersistedEvent():
            values |= _event_columns(record, body)
        case PersistedAudit():
            values |= {
                name: getattr(record, name) for name in derived_columns(record.kind) if name not in values
            }
        case PersistedDeadLetter():
            values |= _letter_columns(record)
    return Row(record.kind, {name: _fit(_FIELDS[record.kind][name], value) for name, value in values.items()})


def record_of(body: bytes) -> Record:
    """Return the record of a stored ``body``; raises `RecordDecodeError` where it is not what was written."""
    if not codec.is_framed(body):
        raise RecordDecodeError("the body is not a framed record")
    if not codec.has_sound_checksum(body):
        raise RecordDecodeError("the body's checksum is wrong")
    record = codec.decode_record(body)
    if record is None:
        raise RecordDecodeError("the body is of a kind that this version does not know")
    return record


def _event_columns(event: PersistedEvent, body: bytes) -> dict[str, object]:
    reason, why = _explanation(body)
    return {
        "event_type": event.event_type,
        "actor_path": event.actor_path,
        "actor_address": event.actor_address,
        "actor_type": event.actor_type,
        "reason": reason,
        "why": why,
        "message_id": event.message_id,
        "cause_id": event.cause_id,
        "root_id": event.root_id,
        "trace_id": event.trace_id,
    }


def _letter_columns(letter: PersistedDeadLetter) -> dict[str, object]:
    return {
        "state": models.LetterState.OPEN.value,
        "target": letter.target,
        "target_path": letter.target_path,
        "target_type": letter.target_type,
        "message_type": letter.message_type,
        "reason": letter.reason,
        "why": letter.error,
        "fidelity": letter.fidelity,
        "attempts": letter.attempts,
        "count": letter.count,
        "message_id": letter.message_id,
        "cause_id": letter.cause_id,
        "root_id": letter.root_id,
        "sender_path": letter.sender_path,
        "redelivered_from": letter.redelivered_from,
        "trace_id": letter.trace_id,
    }


def _explanation(body: bytes) -> tuple[object, object]:
    """Return an event's reason word and its text, from the stored payload, so that a scan reads the same."""
    try:
        why = _WHY.decode(_EXPLAINED.decode(body).payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "", ""
    is_word = isinstance(why.reason, str) and _WORD.fullmatch(why.reason) is not None
    text = why.error or why.text or why.cause or ("" if is_word else why.reason)
    return (why.reason if is_word else ""), text


_FIELDS: Mapping[RecordKind, Mapping[str, DbField]] = {
    kind: {field.name: field for field in concrete_fields(kind)} for kind in MODELS
}


def _fit(field: DbField, value: object) -> object:
    if isinstance(field, db.CharField):
        return clip(value, field.max_length or 0) if isinstance(value, str) else ""
    if isinstance(field, db.BigIntegerField):
        if isinstance(value, int) and not isinstance(value, bool):
            return max(-_MAX_INT, min(_MAX_INT, value))
        return 1 if field.name == "count" else 0  # what the codec reads in its place
    return value
