"""Pages in store order: by the ids of entries, from a cursor on, a few megabytes at a time."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from papyra.exceptions import InvalidQueryError, RecordDecodeError
from papyra.persistence._redis.entries import FIRST, RawEntry, StreamId, record_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from papyra.persistence._redis.connecting import Door
    from papyra.persistence._redis.keys import Keys
    from papyra.persistence.models import Record
    from papyra.persistence.query import RecordQuery

_log = logging.getLogger(__name__)

_FIRST_CHUNK = 128
_CHUNK_BYTES = 4 * 1024 * 1024


class Kept(NamedTuple):
    """Which entries count: from ``first`` on, all but those that repeat another."""

    first: StreamId
    doubled: AbstractSet[StreamId]


class Found(NamedTuple):
    """The records of a page; ``end`` is the last entry that was looked at."""

    records: Sequence[Record]
    cursor: StreamId | None
    end: StreamId

    @property
    def next(self) -> str | None:
        """The cursor of the next page."""
        return None if self.cursor is None else str(self.cursor)


def read_page(door: Door, keys: Keys, query: RecordQuery, kept: Kept, most: int) -> Found:
    """Return the page that ``query`` asks for of what is ``kept``; damaged entries are only logged."""
    found: list[Record] = []
    last = end = place_of(query.cursor) or FIRST
    for entry in _entries(door, keys, query, kept.first, most):
        record = None if entry.id in kept.doubled else _decoded(query, entry)
        if record is not None and query.matches(record):
            if len(found) == query.limit:
                return Found(found, last, last)
            found.append(record)
            last = entry.id
        end = entry.id
    return Found(found, None, end)


def place_of(cursor: str | None) -> StreamId | None:
    """Return the entry that ``cursor`` is behind; raises `InvalidQueryError` for another store's."""
    if cursor is None:
        return None
    try:
        return StreamId.of(cursor.encode("ascii"))
    except ValueError as error:
        raise InvalidQueryError(f"not a cursor of this store: {cursor[:100]!r}") from error


class Span(NamedTuple):
    """The ids between which to read, as the server takes them, and from which end."""

    low: str = "-"
    high: str = "+"
    newest_first: bool = False


def raw_entries(door: Door, stream: str, span: Span, *, chunk: int, most: int) -> Iterator[list[RawEntry]]:
    """Yield the entries in ``span``: ``chunk`` first, then up to ``most``, or some megabytes, at a time."""
    low, high, newest_first = span
    while True:
        ends = ("XREVRANGE", stream, high, low) if newest_first else ("XRANGE", stream, low, high)
        entries = [RawEntry.of(raw) for raw in door.call(*ends, "COUNT", chunk)]
        if entries:
            yield entries
        if len(entries) < chunk:
            return
        if newest_first:
            high = f"({entries[-1].id}"
        else:
            low = str(entries[-1].id.next)
        average = sum(entry.size for entry in entries) // len(entries) + 1
        chunk = max(1, min(4 * chunk, most, _CHUNK_BYTES // average))


def _entries(door: Door, keys: Keys, query: RecordQuery, first: StreamId, most: int) -> Iterator[RawEntry]:
    earliest, latest = _span(door, keys, query)
    place = place_of(query.cursor)
    low, high = str(max(first, earliest)), latest
    if place is not None and query.newest_first:
        high = f"({place}" if latest == "+" or place <= StreamId.of(latest.encode()) else latest
    elif place is not None:
        low = str(max(first, earliest, place.next))
    span = Span(low, high, query.newest_first)
    chunk = min(query.limit + 1, _FIRST_CHUNK, most)
    for entries in raw_entries(door, keys.stream(query.kind), span, chunk=chunk, most=most):
        yield from entries


def _span(door: Door, keys: Keys, query: RecordQuery) -> tuple[StreamId, str]:
    """Return between which ids lies all that was recorded from ``since`` to ``until``.

    The server remembers how far the times of records ever were from the times in their ids; where it does
    not, anything may lie anywhere.
    """
    if query.since is None and query.until is None:
        return FIRST, "+"
    fields = f"{query.kind}:ahead", f"{query.kind}:behind"
    ahead, behind = door.call("HMGET", keys.meta, *fields)
    earliest, latest = FIRST, "+"
    if query.since is not None and ahead is not None:
        earliest = StreamId(min(max(int(query.since * 1000) - int(ahead) - 1, 0), 2**64 - 1), 0)
    if query.until is not None and behind is not None:
        milliseconds = int(query.until * 1000) + int(behind) + 1
        if milliseconds < 2**64:
            latest = f"{max(milliseconds, 0)}-{2**64 - 1}"
    return earliest, latest


def _decoded(query: RecordQuery, entry: RawEntry) -> Record | None:
    try:
        return record_of(query.kind, entry)
    except RecordDecodeError as error:
        _log.warning("%s entry %s is damaged and was left out: %s", query.kind, entry.id, error)
        return None
