"""Pages in store order: by row id, from a cursor on, no count and no offset."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django_papyra._sql.connection import bytes_of
from django_papyra.mapping import clip, record_of, stored
from django_papyra.models import INCARNATION_LENGTH, NAME_LENGTH, SYSTEM_LENGTH, WORD_LENGTH
from papyra.exceptions import InvalidQueryError, RecordDecodeError
from papyra.persistence.models import RecordKind
from papyra.persistence.query import Page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.models import Q

    from django_papyra.querysets import RecordQuerySet
    from papyra.persistence.models import Record
    from papyra.persistence.query import RecordQuery

_log = logging.getLogger(__name__)

_MAX_DIGITS = 19
SORTED = 5_000
_COLUMNS: Mapping[str, tuple[Mapping[RecordKind, str], int]] = {
    "system_id": (dict.fromkeys(RecordKind, "system_id"), SYSTEM_LENGTH),
    "incarnation": (dict.fromkeys(RecordKind, "incarnation"), INCARNATION_LENGTH),
    "path": ({RecordKind.EVENT: "actor_path", RecordKind.DEAD_LETTER: "target_path"}, NAME_LENGTH),
    "address": ({RecordKind.EVENT: "actor_address", RecordKind.DEAD_LETTER: "target"}, NAME_LENGTH),
    "type": ({RecordKind.EVENT: "event_type", RecordKind.DEAD_LETTER: "message_type"}, NAME_LENGTH),
    "reason": ({RecordKind.DEAD_LETTER: "reason"}, WORD_LENGTH),
}


def read_page(alias: str, query: RecordQuery, kept: Q) -> Page[Record]:
    """Return the page that ``query`` asks for among the ``kept`` rows; damaged ones are only logged."""
    conditions = _columns(query)
    if conditions is None:
        return Page((), None, query.cursor)
    rows = stored(query.kind, alias).filter(kept).between(query.since, query.until)
    found: list[Record] = []
    place = _place(query.cursor)
    last = 0
    while True:
        asked = query.limit + 1 - len(found)
        following = _following(rows, place, conditions, is_newest_first=query.newest_first)
        page = list(following.values_list("id", "incarnation", "seq", "body")[:asked])
        for row_id, incarnation, seq, body in page:
            record = _decoded(query.kind, row_id, (incarnation, seq), body)
            if record is None or not query.matches(record):  # a column is cut, and an engine may ignore case
                continue
            if len(found) == query.limit:
                return Page(tuple(found), str(last), str(last))
            found.append(record)
            last = row_id
        if len(page) < asked:
            end = page[-1][0] if page else place
            return Page(tuple(found), None, None if end is None else str(end))
        place = page[-1][0]


def _place(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= _MAX_DIGITS):
        raise InvalidQueryError(f"not a cursor of this store: {cursor[:100]!r}")
    return int(cursor)


def _columns(query: RecordQuery) -> Mapping[str, str] | None:
    """Return the conditions on columns; ``None`` where this kind lacks one, so that nothing can match."""
    is_path = query.actor is not None and query.actor.startswith("/")
    asked = {
        "system_id": query.system_id,
        "incarnation": query.incarnation,
        "path" if is_path else "address": query.actor,
        "type": query.type,
        "reason": query.reason,
    }
    conditions: dict[str, str] = {}
    for name, value in asked.items():
        if value is not None:
            columns, length = _COLUMNS[name]
            if query.kind not in columns:
                return None
            conditions[columns[query.kind]] = clip(value, length)
    return conditions


def _following(
    rows: RecordQuerySet[Any], place: int | None, wanted: Mapping[str, str], *, is_newest_first: bool
) -> RecordQuerySet[Any]:
    """Return the rows after ``place`` in order: those that few share by an index, else by passing them all.

    No index has a column's rows in store order: one that many rows share would be sorted for each page.
    """
    if place is not None:
        rows = rows.filter(**{"id__lt" if is_newest_first else "id__gt": place})
    for column, value in wanted.items():
        few = rows.filter(**{column: value})
        if not few.order_by()[SORTED : SORTED + 1].exists():
            rows, wanted = few, {name: wanted[name] for name in wanted if name != column}
            break
    return rows.walked_for(wanted).order_by("-id" if is_newest_first else "id")


def _decoded(kind: RecordKind, row_id: int, identity: tuple[str, int], body: object) -> Record | None:
    try:
        record = record_of(bytes_of(body))
    except RecordDecodeError as error:
        _log.warning("%s row %d is damaged and was left out: %s", kind, row_id, error)
        return None
    if record.kind is kind and (record.incarnation, record.seq) == identity:
        return record
    _log.warning("%s row %d holds another record than it says and was left out", kind, row_id)
    return None
