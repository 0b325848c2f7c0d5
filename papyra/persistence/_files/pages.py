"""Pages out of an index, and cursors that find their record again after the file was rewritten."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from papyra.exceptions import InvalidQueryError, PersistenceError, RecordDecodeError
from papyra.persistence import codec
from papyra.persistence.query import Page

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from papyra.persistence._files.columns import Columns
    from papyra.persistence.integrity import HistoryCheck
    from papyra.persistence.models import Record, RecordKind
    from papyra.persistence.query import RecordQuery
    from papyra.persistence.retention import RetentionPolicy


class Index(Protocol):
    """Where the records of a store are, and what they were when they were read."""

    @property
    def kinds(self) -> Mapping[RecordKind, Columns]: ...
    @property
    def history(self) -> HistoryCheck: ...
    def line(self, kind: RecordKind, at: int, *, is_forward: bool = True) -> bytes | None: ...


class _Cursor(NamedTuple):
    """The last record given: where it stood, what it was, and the checksum of the one that follows it."""

    offset: int
    checksum: int
    following: int
    seq: int
    incarnation: str

    def __str__(self) -> str:
        return f"{self.offset}.{self.checksum:x}.{self.following:x}.{self.seq}.{self.incarnation}"

    @classmethod
    def parse(cls, raw: str) -> _Cursor:
        try:
            offset, checksum, following, seq, incarnation = raw.split(".", 4)
            return cls(int(offset), int(checksum, 16), int(following, 16), int(seq), incarnation)
        except ValueError as error:
            raise InvalidQueryError(f"not a cursor of a file store: {raw[:100]!r}") from error


def read_page(index: Index, query: RecordQuery, policy: RetentionPolicy, now: float) -> Page[Record]:
    """Return the records that ``query`` asks for, of those that retention keeps."""
    first = index.kinds[query.kind].first_kept(policy.for_kind(query.kind), now)
    found: list[Record] = []
    last = -1
    for at, record in _matches(index, query, first):
        if len(found) == query.limit:
            return Page(tuple(found), str(_cursor_at(index, query, last, found[-1])))
        found.append(record)
        last = at
    return Page(tuple(found), None)


def _matches(index: Index, query: RecordQuery, first: int) -> Iterator[tuple[int, Record]]:
    columns = index.kinds[query.kind]
    for at in _positions(index, query, first):
        timestamp = columns.timestamps[at]
        if query.since is not None and timestamp < query.since:
            continue
        if query.until is not None and timestamp >= query.until:
            continue
        line = index.line(query.kind, at, is_forward=not query.newest_first)
        record = None if line is None else _decode(line)
        if record is not None and query.matches(record):
            yield at, record


def _decode(line: bytes) -> Record | None:
    try:
        return codec.decode_record(line) if line.startswith(codec.FRAME_HEAD) else codec.decode_legacy(line)
    except RecordDecodeError:  # it was one when it was indexed: damage since, which a scan reports
        return None


def _positions(index: Index, query: RecordQuery, first: int) -> range:
    count = len(index.kinds[query.kind])
    if query.newest_first:
        start = count if query.cursor is None else _find(index, query, _Cursor.parse(query.cursor))
        return range(start - 1, first - 1, -1)
    start = -1 if query.cursor is None else _find(index, query, _Cursor.parse(query.cursor))
    return range(max(start + 1, first), count)


def _cursor_at(index: Index, query: RecordQuery, at: int, record: Record) -> _Cursor:
    columns = index.kinds[query.kind]
    following = at - 1 if query.newest_first else at + 1
    return _Cursor(
        columns.offsets[at],
        columns.checksums[at],
        columns.checksums[following],
        record.seq,
        record.incarnation,
    )


def _find(index: Index, query: RecordQuery, cursor: _Cursor) -> int:
    """Return where the cursor's record stands now; before all others where retention took it away."""
    columns = index.kinds[query.kind]
    at = columns.place_of(cursor.offset)
    if at < len(columns) and (columns.offsets[at], columns.checksums[at]) == (cursor.offset, cursor.checksum):
        return at
    moved = [
        at for at in _same_checksum(index, query.kind, cursor) if _is_record(index, query.kind, at, cursor)
    ]
    if len(moved) == 1 and _is_followed_as_before(index, query, moved[0], cursor):
        return moved[0]
    if not moved and _went_by_retention(index, query.kind, cursor):
        return 0 if query.newest_first else -1
    raise PersistenceError(
        "the store was rewritten and the place of this page is lost: begin again without cursor"
    )


def _same_checksum(index: Index, kind: RecordKind, cursor: _Cursor) -> Iterator[int]:
    checksums = index.kinds[kind].checksums
    at = -1
    while True:
        try:
            at = checksums.index(cursor.checksum, at + 1)
        except ValueError:
            return
        yield at


def _is_record(index: Index, kind: RecordKind, at: int, cursor: _Cursor) -> bool:
    line = index.line(kind, at)
    record = None if line is None else _decode(line)
    return record is not None and (record.incarnation, record.seq) == (cursor.incarnation, cursor.seq)


def _is_followed_as_before(index: Index, query: RecordQuery, at: int, cursor: _Cursor) -> bool:
    columns = index.kinds[query.kind]
    if query.newest_first:
        return at == 0 or columns.checksums[at - 1] == cursor.following
    return at + 1 < len(columns) and columns.checksums[at + 1] == cursor.following


def _went_by_retention(index: Index, kind: RecordKind, cursor: _Cursor) -> bool:
    if not cursor.seq or index.history.is_noted(cursor.incarnation, kind, cursor.seq):
        return False
    first = index.history.first_seq(cursor.incarnation, kind)
    return first == 0 or cursor.seq < first
