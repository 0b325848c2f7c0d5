"""Read a store from one end to the other in pages of a few megabytes, and tell how far that has come."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from papyra.exceptions import PersistenceError
from papyra.persistence.census import Census
from papyra.persistence.entries import Entry
from papyra.persistence.models import Record, RecordId
from papyra.persistence.query import DEFAULT_LIMIT, Progress, RecordQuery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from papyra.persistence.backend import PersistenceBackend
    from papyra.persistence.query import ProgressCallback

PAGE_BYTES = 4 * 1024 * 1024

_FIRST_PAGE = 64


class Told:
    """Adds up how far the whole copy has come; each record is read once and read back once."""

    def __init__(self, progress: ProgressCallback | None, total: int) -> None:
        self._progress = progress
        self._total = 2 * total
        self._records = 0
        self._bytes = 0

    def add(self, records: int, size: int) -> None:
        """Count these, and tell."""
        self._records += records
        self._bytes = min(self._bytes + size, self._total)
        if self._progress is not None:
            self._progress(Progress(records=self._records, bytes=self._bytes, total_bytes=self._total))


class Pages:
    """What ``query`` matches, in pages that `weigh` keeps at some megabytes."""

    def __init__(self, store: PersistenceBackend, query: RecordQuery) -> None:
        self._store = store
        self._query = replace(query, limit=_FIRST_PAGE)

    async def __aiter__(self) -> AsyncIterator[Sequence[Record]]:
        while True:
            page = await self._store.read(self._query)
            yield page.records
            if page.cursor is None:
                return
            self._query = replace(self._query, cursor=page.cursor)

    def weigh(self, size: int) -> None:
        """Say how many bytes the page had."""
        limit = self._query.limit
        if size > PAGE_BYTES:
            self._query = replace(self._query, limit=max(limit // 2, 1))
        elif size < PAGE_BYTES // 4:
            self._query = replace(self._query, limit=min(limit * 2, DEFAULT_LIMIT))


async def census_of(target: PersistenceBackend, query: RecordQuery, told: Told) -> Census:
    """Return which records of ``target`` match ``query``."""
    census = Census()
    pages = Pages(target, query)
    async for page in pages:
        entries = entries_of(page)
        for entry in entries:
            census.add(RecordId(entry.incarnation, entry.kind, entry.seq), entry.checksum)
        pages.weigh(sum(entry.size for entry in entries))
        told.add(len(page), 0)
    return census


def entries_of(records: Iterable[Record]) -> list[Entry]:
    """Return the lines of those that have an identity."""
    entries = []
    for record in records:
        if record.seq:
            with suppress(PersistenceError):  # nothing of ours: it could not have been brought here
                entries.append(Entry.of(record))
    return entries
