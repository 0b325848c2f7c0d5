"""Pages out of indexes, and cursors that find their record again after its file was rewritten."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from papyra.exceptions import InvalidQueryError, PlaceLostError, RecordDecodeError
from papyra.persistence import codec
from papyra.persistence._files.index import identity_of
from papyra.persistence._files.kept import first_kept
from papyra.persistence._files.merged import later
from papyra.persistence._files.segments import parse_name
from papyra.persistence.query import Page
from papyra.persistence.quickread import quick_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from papyra.persistence._files.chain import Chain
    from papyra.persistence._files.index import FileIndex, Spot
    from papyra.persistence._files.merged import Cut, KindSequence, Stretch
    from papyra.persistence.models import Record
    from papyra.persistence.query import RecordQuery
    from papyra.persistence.retention import RetentionPolicy

_LEAST = 64
_FOLLOWED, _PRECEDED = "n", "p"


class _Mark(NamedTuple):
    """A record: the file and place where it stood, what it was, and the checksum of the one beside it.

    ``beside`` begins with ``n`` for the next one of its chain, with ``p`` for the one before, which is the
    better witness where a page may end the history; ``p`` alone: there was none.
    """

    file: str
    offset: int
    checksum: int
    beside: str
    seq: int
    incarnation: str


def _parse(raw: str) -> list[_Mark]:
    """Read a cursor: the mark of the last record given, then of the one before it in every other chain.

    So a record that another writer stores late, with an earlier time, is neither skipped nor repeated.
    """
    try:
        marks = msgspec.json.decode(raw, type=list[_Mark])
        if marks and all(
            mark.beside[0] in {_FOLLOWED, _PRECEDED} and _neighbour(mark) >= 0 for mark in marks
        ):
            return marks
    except (msgspec.DecodeError, ValueError, IndexError) as error:
        raise InvalidQueryError(f"not a cursor of a file store: {raw[:100]!r}") from error
    raise InvalidQueryError(f"not a cursor of a file store: {raw[:100]!r}")


def _neighbour(mark: _Mark) -> int:
    return int(mark.beside[1:] or "0", 16)


def read_page(stored: KindSequence, query: RecordQuery, policy: RetentionPolicy, now: float) -> Page[Record]:
    """Return the records that ``query`` asks for, of those that retention keeps."""
    first, stop = first_kept(stored, policy.for_kind(query.kind), now), stored.end
    if query.cursor is not None:
        cut = _find_cut(stored, query, _parse(query.cursor))
        first, stop = (first, cut) if query.newest_first else (later(first, cut), stop)
    since = -inf if query.since is None else query.since
    until = inf if query.until is None else query.until
    stretches = stored.stretches(first, stop, since=since, until=until, is_backward=query.newest_first)
    return _page_of(stored, stretches, query, first)


def _page_of(
    stored: KindSequence, stretches: Iterable[Stretch], query: RecordQuery, first: Cut
) -> Page[Record]:
    found: list[Record] = []
    last: tuple[Stretch, int] | None = None
    limit, matches = query.limit, query.matches if query.has_filter else None
    for stretch in stretches:
        for some in _records(stretch.texts, limit + 1 - len(found)):
            places, records = some if matches is None else _matching(*some, matches)
            room = limit - len(found)
            found += records[:room]
            if room and records:
                last = stretch, places[min(room, len(places)) - 1]
            if len(records) > room and last is not None:
                given, at = last
                cursor = _cursor_at(stored, *given.spot(at), is_followed=not query.newest_first)
                return Page(tuple(found), cursor, cursor)
    end = (stored.first_after(first) if query.newest_first else None) or stored.last()
    if end is None:
        return Page(tuple(found), None, query.cursor)
    return Page(tuple(found), None, _cursor_at(stored, *end, is_followed=False))


def _records(texts: Sequence[bytes], wanted: int) -> Iterator[tuple[Sequence[int], Sequence[Record]]]:
    """Yield the records of ``texts`` and their places, read so many at a time as may be wanted."""
    low = 0
    while low < len(texts):
        lines = texts[low : low + wanted]
        places: Sequence[int] = range(low, low + len(lines))
        low, wanted = low + len(lines), max(wanted, _LEAST)
        records = quick_records(b"\n".join(lines), len(lines))
        if records is None:
            read = [(at, record) for at, line in zip(places, lines, strict=True) if (record := _decode(line))]
            places, records = [at for at, _ in read], [record for _, record in read]
        yield places, records


def _matching(
    places: Sequence[int], records: Sequence[Record], matches: Callable[[Record], bool]
) -> tuple[Sequence[int], Sequence[Record]]:
    pairs = [(at, record) for at, record in zip(places, records, strict=True) if matches(record)]
    return [at for at, _ in pairs], [record for _, record in pairs]


def _decode(line: bytes) -> Record | None:
    try:
        return codec.decode_record(line) if line.startswith(codec.FRAME_HEAD) else codec.decode_legacy(line)
    except RecordDecodeError:  # it was one when it was indexed: damage since, which a scan reports
        return None


def _cursor_at(stored: KindSequence, number: int, spot: Spot, *, is_followed: bool) -> str:
    place = stored.chains[number].place_of(spot)
    marks = [_mark(stored.chains[number], place, spot, is_followed=is_followed)]
    for at, before in enumerate(stored.cut_before(number, place)):
        if at != number and before:
            chain = stored.chains[at]
            marks.append(_mark(chain, before - 1, chain.spot(before - 1), is_followed=False))
    return msgspec.json.encode(marks).decode()


def _mark(chain: Chain, place: int, spot: Spot, *, is_followed: bool) -> _Mark:
    incarnation, seq = identity_of(spot.text)
    beside = _FOLLOWED if is_followed and place + 1 < len(chain) else _PRECEDED
    if beside == _FOLLOWED or place:
        beside += f"{chain.spot(place + 1 if beside == _FOLLOWED else place - 1).checksum:x}"
    return _Mark(spot.file.name, spot.offset, spot.checksum, beside, seq, incarnation)


def _find_cut(stored: KindSequence, query: RecordQuery, marks: Sequence[_Mark]) -> Cut:
    """Return the cut at which the query goes on; of a chain that came since, nothing was given yet."""
    is_beyond_oldest = parse_name(marks[0].file) is not None
    cut = [len(chain) if chain.is_oldest and is_beyond_oldest else 0 for chain in stored.chains]
    for at, mark in enumerate(marks):
        found = _find(stored, mark)
        if found is not None:
            number, place = found
            cut[number] = max(cut[number], place if query.newest_first and at == 0 else place + 1)
    return cut


def _find(stored: KindSequence, mark: _Mark) -> tuple[int, int] | None:
    """Return the chain and the place of the mark's record now, ``None`` where retention took it away."""
    for number, chain in enumerate(stored.chains):
        for file in chain.files:
            spot = file.at_offset(stored.kind, mark.offset) if file.name == mark.file else None
            if spot is not None and spot.checksum == mark.checksum:
                return number, chain.place_of(spot)
    moved = [
        (number, chain.place_of(spot))
        for number, chain in enumerate(stored.chains)
        for file in chain.files
        for spot in file.search(stored.kind, mark.checksum, mark.incarnation, mark.seq)
    ]
    if len(moved) == 1 and _stands_beside(stored.chains[moved[0][0]], moved[0][1], mark.beside):
        return moved[0]
    if not moved and _went_by_retention(stored, mark):
        return None
    raise PlaceLostError(
        "the store was rewritten and the place of this page is lost: begin again without cursor"
    )


def _stands_beside(chain: Chain, place: int, beside: str) -> bool:
    if beside[0] == _FOLLOWED:
        return place + 1 < len(chain) and f"n{chain.spot(place + 1).checksum:x}" == beside
    return place == 0 or f"p{chain.spot(place - 1).checksum:x}" == beside


def _went_by_retention(stored: KindSequence, mark: _Mark) -> bool:
    stream = (mark.incarnation, stored.kind.value)
    if not mark.seq or any(file.blocks.is_noted(*stream, mark.seq) for file in stored.files):
        return False
    if mark.beside[0] == _PRECEDED and any(_has_before(file, stored, mark) for file in stored.files):
        return False  # the one before it is still here: what took the record was no retention
    held = [file.blocks.numbers[stream] for file in stored.files if stream in file.blocks.numbers]
    first = min((numbers.first for numbers in held if numbers.first), default=0)
    return first == 0 or mark.seq < first


def _has_before(file: FileIndex, stored: KindSequence, mark: _Mark) -> bool:
    return file.has_checksum(stored.kind, _neighbour(mark))
