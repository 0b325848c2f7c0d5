"""Pages out of indexes, and cursors that find their record again after its file was rewritten."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from papyra.exceptions import InvalidQueryError, PlaceLostError, RecordDecodeError
from papyra.persistence import codec
from papyra.persistence._files.index import identity_of
from papyra.persistence._files.kept import KindSequence
from papyra.persistence.query import Page

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from papyra.persistence._files.index import Chunk, FileIndex, Spot
    from papyra.persistence.models import Record
    from papyra.persistence.query import RecordQuery
    from papyra.persistence.retention import RetentionPolicy

_FOLLOWED, _PRECEDED = "n", "p"


class _Cursor(NamedTuple):
    """A record: where it stood, what it was, and the checksum of the one beside it.

    ``beside`` begins with ``n`` for the next one of its kind, with ``p`` for the one before, which is the
    better witness where a page may end the history; ``p`` alone: there was none.
    """

    offset: int
    checksum: int
    beside: str
    seq: int
    incarnation: str
    file: str

    def __str__(self) -> str:
        place = f"{self.offset}.{self.checksum:x}.{self.beside}.{self.seq}.{self.incarnation}"
        return f"{place}~{self.file}" if self.file else place

    @classmethod
    def parse(cls, raw: str) -> _Cursor:
        try:
            place, _, file = raw.partition("~")
            offset, checksum, beside, seq, incarnation = place.split(".", 4)
            side, neighbour = beside[0], int(beside[1:] or "0", 16)
            if side in {_FOLLOWED, _PRECEDED} and neighbour >= 0:
                return cls(int(offset), int(checksum, 16), beside, int(seq), incarnation, file)
        except (ValueError, IndexError) as error:
            raise InvalidQueryError(f"not a cursor of a file store: {raw[:100]!r}") from error
        raise InvalidQueryError(f"not a cursor of a file store: {raw[:100]!r}")


def read_page(
    files: Sequence[FileIndex], query: RecordQuery, policy: RetentionPolicy, now: float
) -> Page[Record]:
    """Return the records that ``query`` asks for, of those that retention keeps.

    ``files`` are in store order and refreshed.
    """
    stored = KindSequence(files, query.kind)
    first, stop = stored.first_kept(policy.for_kind(query.kind), now), len(stored)
    if query.cursor is not None:
        place = _find(stored, query, _Cursor.parse(query.cursor))
        first, stop = (first, place) if query.newest_first else (max(first, place + 1), stop)
    since = -inf if query.since is None else query.since
    until = inf if query.until is None else query.until
    chunks = stored.chunks(first, stop, since=since, until=until, is_backward=query.newest_first)
    end = min(first, len(stored) - 1) if query.newest_first else stop - 1
    return _page_of(stored, chunks, query, end)


def _page_of(stored: KindSequence, chunks: Iterable[Chunk], query: RecordQuery, end: int) -> Page[Record]:
    """Make a page of ``chunks``; ``end`` is the place up to which they look."""
    found: list[Record] = []
    last: tuple[Chunk, int] | None = None
    matches = query.matches if query.has_filter else None
    for chunk in chunks:
        count = len(chunk.lines)
        for at in range(count - 1, -1, -1) if query.newest_first else range(count):
            record = _decode(chunk.lines[at][1])
            if record is None or (matches is not None and not matches(record)):
                continue
            if len(found) == query.limit and last is not None:
                spot = last[0].spot(last[1])
                cursor = str(_cursor_at(stored, spot, is_followed=not query.newest_first))
                return Page(tuple(found), cursor, cursor)
            found.append(record)
            last = chunk, at
    if not 0 <= end < len(stored):
        return Page(tuple(found), None, query.cursor)
    return Page(tuple(found), None, str(_cursor_at(stored, stored.spot(end), is_followed=False)))


def _decode(line: bytes) -> Record | None:
    try:
        return codec.decode_record(line) if line.startswith(codec.FRAME_HEAD) else codec.decode_legacy(line)
    except RecordDecodeError:  # it was one when it was indexed: damage since, which a scan reports
        return None


def _cursor_at(stored: KindSequence, spot: Spot, *, is_followed: bool) -> _Cursor:
    incarnation, seq = identity_of(spot.text)
    place = stored.place_of(spot)
    beside = _FOLLOWED if is_followed else _PRECEDED
    if is_followed or place:
        beside += f"{stored.spot(place + 1 if is_followed else place - 1).checksum:x}"
    return _Cursor(spot.offset, spot.checksum, beside, seq, incarnation, spot.file.name)


def _find(stored: KindSequence, query: RecordQuery, cursor: _Cursor) -> int:
    """Return the place of the cursor's record now; before all others where retention took it away."""
    for file in stored.files:
        spot = file.at_offset(stored.kind, cursor.offset) if file.name == cursor.file else None
        if spot is not None and spot.checksum == cursor.checksum:
            return stored.place_of(spot)
    moved = [
        stored.place_of(spot)
        for file in stored.files
        if file.count(stored.kind)
        for spot in file.search(stored.kind, cursor.checksum, cursor.incarnation, cursor.seq)
    ]
    if len(moved) == 1 and _stands_beside(stored, moved[0], cursor.beside):
        return moved[0]
    if not moved and _went_by_retention(stored, cursor):
        return 0 if query.newest_first else -1
    raise PlaceLostError(
        "the store was rewritten and the place of this page is lost: begin again without cursor"
    )


def _stands_beside(stored: KindSequence, place: int, beside: str) -> bool:
    if beside[0] == _FOLLOWED:
        return place + 1 < len(stored) and f"n{stored.spot(place + 1).checksum:x}" == beside
    return place == 0 or f"p{stored.spot(place - 1).checksum:x}" == beside


def _went_by_retention(stored: KindSequence, cursor: _Cursor) -> bool:
    stream = (cursor.incarnation, stored.kind.value)
    if not cursor.seq or any(file.blocks.is_noted(*stream, cursor.seq) for file in stored.files):
        return False
    side, neighbour = cursor.beside[0], int(cursor.beside[1:] or "0", 16)
    if side == _PRECEDED and any(file.has_checksum(stored.kind, neighbour) for file in stored.files):
        return False  # the one before it is still here: what took the record was no retention
    held = [file.blocks.numbers[stream] for file in stored.files if stream in file.blocks.numbers]
    first = min((numbers.first for numbers in held if numbers.first), default=0)
    return first == 0 or cursor.seq < first
