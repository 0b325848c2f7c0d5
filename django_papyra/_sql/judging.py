"""Whether a row is what was written: its body's frame and checksum, then its columns against the body."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django_papyra._sql.connection import bytes_of
from django_papyra.mapping import MODELS, derived_columns, row_of
from papyra.exceptions import RecordDecodeError
from papyra.persistence import codec
from papyra.persistence.models import PersistenceAnomalyType, RecordKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django_papyra.querysets import RecordQuerySet

UNREADABLE = (ValueError, TypeError, OverflowError)
"""What a driver or field raises for a value that is not of the column's type, as SQLite may hold."""
_INCARNATION = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


@dataclass(frozen=True, slots=True)
class Judged:
    """One row, and what is wrong with it (``fault`` is ``None`` where nothing is).

    ``head`` is there unless the body cannot be trusted, ``expected`` where only derived columns disagree.
    """

    kind: RecordKind
    row_id: int
    body: bytes
    columns: Mapping[str, object]
    fault: PersistenceAnomalyType | None = None
    detail: str = ""
    head: codec.Head | None = None
    expected: Mapping[str, object] | None = None

    @property
    def time(self) -> float:
        """When it was recorded, by its column where the body does not say; never where neither does."""
        if self.head is not None:
            return self.head.timestamp
        column = self.columns.get("timestamp")
        return column if isinstance(column, float) else math.inf

    @property
    def identity(self) -> tuple[str, int] | None:
        """What the columns call it, where they hold an identity."""
        incarnation, seq = self.columns.get("incarnation"), self.columns.get("seq")
        if (
            isinstance(incarnation, str)
            and _INCARNATION.fullmatch(incarnation)
            and isinstance(seq, int)
            and seq > 0
        ):
            return incarnation, seq
        return None


def table_of(kind: RecordKind) -> str:
    """Return the name of the table that holds ``kind``."""
    return MODELS[kind]._meta.db_table  # noqa: SLF001  # Django's public name for it


def judge(kind: RecordKind, row_id: int, columns: Mapping[str, object]) -> Judged:
    """Return ``columns`` (every derived one) with what is wrong about them."""
    body = bytes_of(columns["body"])

    def bad(fault: PersistenceAnomalyType, detail: str) -> Judged:
        return Judged(kind, row_id, body, columns, fault, detail)

    if not codec.is_framed(body):
        return bad(PersistenceAnomalyType.GARBAGE, "the body is not a framed record")
    if not codec.has_sound_checksum(body):
        return bad(PersistenceAnomalyType.BAD_CHECKSUM, "the body's checksum is wrong")
    try:
        head = codec.decode_head(body)
        record = codec.decode_record(body)
    except RecordDecodeError as error:
        return bad(PersistenceAnomalyType.GARBAGE, str(error))
    identity = head.incarnation, head.seq
    if record is None or record.kind is not kind or identity != (columns["incarnation"], columns["seq"]):
        where = f"{columns['incarnation']!r:.80}/{columns['seq']!r:.30}"
        return bad(
            PersistenceAnomalyType.GARBAGE,
            f"the row of {where} holds {head.kind:.30} {head.incarnation}/{head.seq}",
        )
    expected = row_of(record, body + b"\n", incarnation=head.incarnation, seq=head.seq).values
    wrong = [name for name in derived_columns(kind) if columns[name] != expected[name]]
    if not wrong:
        return Judged(kind, row_id, body, columns, head=head)
    detail = f"columns that do not follow from the body: {', '.join(wrong)}"
    return Judged(
        kind, row_id, body, columns, PersistenceAnomalyType.STALE_INDEX, detail, head=head, expected=expected
    )


def judged(kind: RecordKind, rows: RecordQuerySet[Any]) -> list[Judged]:
    """Return ``rows``, a page of ``kind``, judged."""
    names = ("id", *derived_columns(kind))
    try:
        found = list(rows.values_list(*names))
    except UNREADABLE:  # a column that the driver cannot convert: find out which
        ids = list(rows.values_list("id", flat=True))
        found = [
            _readable_columns(type(rows)(rows.model, using=rows.db).filter(id=row_id), names)
            for row_id in ids
        ]
    return [judge(kind, values[0], dict(zip(names[1:], values[1:], strict=True))) for values in found]


def _readable_columns(row: RecordQuerySet[Any], names: Sequence[str]) -> tuple[Any, ...]:
    values: list[Any] = []
    for name in names:
        try:
            values.append(row.values_list(name, flat=True).first())
        except UNREADABLE:
            values.append(None)
    return tuple(values)


def plain_columns(judged: Judged) -> dict[str, object]:
    """Return the columns other than the body as JSON can hold them."""
    return {
        name: value if isinstance(value, str | int | float | None) else _shown(value)
        for name, value in judged.columns.items()
        if name != "body"
    }


def _shown(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else repr(value)
