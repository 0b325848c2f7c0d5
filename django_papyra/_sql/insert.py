"""Put records into their tables, each exactly once, however often and beside whatever else they are tried."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import IntegrityError, connections, transaction
from django.db.models.constants import OnConflict

from django_papyra._sql import incarnations, presence, quarantine
from django_papyra._sql.errors import POISON
from django_papyra.mapping import MODELS, Row, concrete_fields, row_of, stored
from papyra.exceptions import InvalidRecordError, PersistenceError, RecordConflictError
from papyra.persistence.models import LossNote, RecordKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

    from papyra.persistence.entries import Entry

_log = logging.getLogger(__name__)

LOOKUP = 500
Refusals = dict[int, PersistenceError]


class _Item(NamedTuple):
    position: int
    entry: Entry
    row: Row

    @classmethod
    def of(cls, position: int, entry: Entry) -> _Item:
        row = row_of(entry.record, entry.line, incarnation=entry.incarnation, seq=entry.seq)
        return cls(position, entry, row)

    @property
    def key(self) -> tuple[str, int]:
        return self.entry.incarnation, self.entry.seq


class Inserter:
    """Writes encoded entries; ``note_loss`` makes the entry that explains a loss, under the next identity."""

    def __init__(
        self, alias: str, note_loss: Callable[[LossNote, str], Entry], now: Callable[[], float]
    ) -> None:
        self._alias = alias
        self._note_loss = note_loss
        self._now = now

    def store(self, entries: Sequence[Entry]) -> Refusals:
        """Commit ``entries`` in order and return, by position, those refused for good. Idempotent.

        One transaction, unless a value is refused: then the batch is halved until that record stands alone,
        and only it goes to quarantine.
        """
        refusals: Refusals = {}
        items = [_Item.of(position, entry) for position, entry in enumerate(entries)]
        self._store(items, refusals)
        return refusals

    def _store(self, items: Sequence[_Item], refusals: Refusals) -> None:
        if not items:
            return
        try:
            with transaction.atomic(using=self._alias):
                conflicts = self._insert(items)
        except POISON as error:
            if len(items) == 1:
                refusals[items[0].position] = self._set_aside(items[0], error)
            else:
                middle = len(items) // 2
                self._store(items[:middle], refusals)
                self._store(items[middle:], refusals)
        else:
            refusals |= conflicts

    def _insert(self, items: Sequence[_Item]) -> Refusals:
        conflicts: Refusals = {}
        floors = presence.kept_from(self._alias, {item.key[0] for item in items})
        for kind in RecordKind:
            fresh: list[_Item] = []
            removed: list[_Item] = []
            for item in items:
                if item.row.kind is kind:
                    incarnation, seq = item.key
                    (removed if seq < floors.get((incarnation, kind), 0) else fresh).append(item)
            if fresh and not self._insert_rows(kind, fresh):
                conflicts |= self._find_conflicts(kind, fresh, is_expected=True)
            if removed:  # retention took it, or protects it: it does not come back
                conflicts |= self._find_conflicts(kind, removed, is_expected=False)
        incarnations.follow(self._alias, (item.entry for item in items if item.position not in conflicts))
        return conflicts

    def _insert_rows(self, kind: RecordKind, items: Sequence[_Item]) -> bool:
        """Insert what is not there; whether every row was new."""
        connection = connections[self._alias]
        names, sql = _statement(kind, connection)
        adapt = connection.ops.adapt_datetimefield_value
        rows: list[tuple[Any, ...]] = [
            tuple(
                adapt(value) if isinstance(value := item.row.values[name], datetime) else value
                for name in names
            )
            for item in items
        ]
        with connection.cursor() as cursor:
            cursor.executemany(sql, rows)
            return bool(cursor.rowcount == len(rows))

    def _find_conflicts(self, kind: RecordKind, items: Sequence[_Item], *, is_expected: bool) -> Refusals:
        """Compare ``items`` with the rows of their identities: equal is a no-op, other bytes conflict."""
        bodies: dict[tuple[str, int], str] = {}
        by_incarnation: dict[str, list[int]] = {}
        for item in items:
            incarnation, seq = item.key
            by_incarnation.setdefault(incarnation, []).append(seq)
        for incarnation, seqs in by_incarnation.items():
            for start in range(0, len(seqs), LOOKUP):
                rows = stored(kind, self._alias).filter(
                    incarnation=incarnation, seq__in=seqs[start : start + LOOKUP]
                )
                bodies |= {(incarnation, seq): body for seq, body in rows.values_list("seq", "body")}
        conflicts: Refusals = {}
        for item in items:
            body = bodies.get(item.key)
            if body is None and is_expected:  # an "ignore" that ignored more than a duplicate
                raise IntegrityError(f"the table took no row for {item.entry.id}")
            if body is not None and body != item.row.values["body"]:
                conflicts[item.position] = RecordConflictError(f"{item.entry.id} is stored with other bytes")
        return conflicts

    def _set_aside(self, item: _Item, error: Exception) -> PersistenceError:
        """Keep a record that no table takes in quarantine, and write why its number is missing."""
        incarnation, seq = item.key
        note = LossNote(incarnation, item.row.kind.value, seq, seq, f"refused: {error}"[:200])
        try:
            with transaction.atomic(using=self._alias):
                if self._quarantine(item, error):
                    self._insert([_Item.of(-1, self._note_loss(note, item.entry.record.system_id))])
        except POISON:
            _log.exception("no loss note could be written for %s", item.entry.id)
            with transaction.atomic(using=self._alias):
                self._quarantine(item, error)
        return InvalidRecordError(
            f"{item.entry.id} was refused by the database and lies in quarantine: {error}"
        )

    def _quarantine(self, item: _Item, error: Exception) -> bool:
        incarnation, seq = item.key
        return quarantine.keep(
            self._alias,
            kind=item.row.kind.value,
            incarnation=incarnation,
            seq=seq,
            row_id=None,
            reason="refused",
            detail=str(error),
            content=item.entry.line[:-1],
            columns={},
            now=self._now(),
        )


def _statement(kind: RecordKind, connection: BaseDatabaseWrapper) -> tuple[tuple[str, ...], str]:
    """Return the columns and the INSERT that passes over identities that are there already."""
    fields = [field for field in concrete_fields(kind) if field.name != "id"]
    quote = connection.ops.quote_name
    columns = ", ".join(quote(str(field.column)) for field in fields)
    insert = connection.ops.insert_statement(on_conflict=OnConflict.IGNORE)
    suffix = connection.ops.on_conflict_suffix_sql(fields, OnConflict.IGNORE, [], [])
    table = quote(MODELS[kind]._meta.db_table)  # noqa: SLF001  # Django's public name for it
    places = ", ".join(["%s"] * len(fields))
    return (
        tuple(field.name for field in fields),
        f"{insert} {table} ({columns}) VALUES ({places}) {suffix}",
    )
