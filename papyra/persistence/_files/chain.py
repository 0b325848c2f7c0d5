"""The records of many files as if they were one: a `FileIndex` for each, and columns over all of them."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from papyra.persistence._files.columns import Columns
from papyra.persistence._files.index import FileIndex
from papyra.persistence._files.ledger import Ledger
from papyra.persistence._files.segments import parse_name
from papyra.persistence.models import RecordKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.persistence._files.folder import Folder
    from papyra.persistence._files.scan import Place
    from papyra.persistence.integrity import HistoryCheck

SHIFT = 40
_FIRST_NUMBER = 1 << 12  # those below are of the files of a published set
_TWIN = 1 << 22
_KINDS = 4
_TRIES = 20


def _rank(kind: str) -> int:
    kinds = [known.value for known in RecordKind]
    return kinds.index(kind) if kind in kinds else len(kinds)


class Link:
    """One file of the chain, and how much of it the columns have taken in."""

    def __init__(self, place: Place, number: int, at: int, ledger: Ledger) -> None:
        self.number = number
        segment = parse_name(place.path.name)
        self.family = "" if segment is None else segment.family
        self.place = at if segment is None else segment.number
        self.index = FileIndex(lambda: place, ledger)
        self.index.refresh()
        self._generation = self.index.generation
        self.taken = dict.fromkeys(RecordKind, 0)

    def has_grown(self, kind: RecordKind) -> bool:
        return len(self.index.kinds[kind]) > self.taken[kind]

    def goes_on(self) -> bool:
        """Take in what was added; whether all that was there before still is."""
        self.index.refresh()
        return self.index.generation == self._generation


class ChainIndex:
    """Belongs to one reader thread; `refresh` it before each use. Offsets carry the number of their file."""

    def __init__(self, find: Callable[[], Folder]) -> None:
        self._find = find
        self._links: dict[str, Link] = {}
        self._forget()

    def _forget(self) -> None:
        self.close()
        self._links = {}
        self._numbers: dict[int, Link] = {}
        self._orders: dict[RecordKind, list[Link]] = {kind: [] for kind in RecordKind}
        self._ledger = Ledger(is_set=True)
        self.kinds = {kind: Columns() for kind in RecordKind}
        self.is_doubtful = False
        """Whether a record was not there any more: the next `refresh` reads everything anew."""

    @property
    def history(self) -> HistoryCheck:
        return self._ledger.history

    @property
    def size(self) -> int:
        return sum(link.index.size for link in self._links.values())

    def refresh(self) -> None:
        """Take in what was added, and let go of what retention took; anything else is read anew."""
        for _ in range(_TRIES):
            if not self.is_doubtful and self._go_on():
                return
            self._forget()

    def _go_on(self) -> bool:
        folder = self._find()
        listing = folder.listing()
        names = [*map(str, listing.legacy), *(str(segment.name) for segment in listing.segments)]
        for name in [name for name in self._links if name not in names]:
            link = self._links.pop(name)
            link.index.close()
            del self._numbers[link.number]
        for at, name in enumerate(names):
            if name not in self._links:
                self._add(folder.place_of(name), name, at)
            elif not self._links[name].goes_on():
                return False
        return all(self._take(kind, [self._links[name] for name in names]) for kind in RecordKind)

    def _add(self, place: Place, name: str, at: int) -> None:
        number = self._number_of(name, at)
        while number in self._numbers:
            number += _TWIN
        self._links[name] = self._numbers[number] = Link(place, number, at, self._ledger)

    def _number_of(self, name: str, at: int) -> int:
        """Return the number that offsets in a file carry: the higher, the later in its family."""
        segment = parse_name(name)
        return at if segment is None else _FIRST_NUMBER + segment.number * _KINDS + _rank(segment.kind)

    def _take(self, kind: RecordKind, links: list[Link]) -> bool:
        """Bring the columns of one kind up to ``links``; false where more than the ends differ."""
        wanted = [link for link in links if link.index.kinds[kind]]
        had = self._orders[kind]
        gone = had.index(wanted[0]) if wanted and wanted[0] in had else len(had)
        stay = had[gone:]
        if wanted[: len(stay)] != stay or any(link.has_grown(kind) for link in stay[:-1]):
            return False
        self.kinds[kind].forget_first(sum(link.taken[kind] for link in had[:gone]))
        for link in wanted[max(len(stay) - 1, 0) :]:
            columns = link.index.kinds[kind]
            self.kinds[kind].extend(columns, link.taken[kind], link.number << SHIFT)
            link.taken[kind] = len(columns)
        self._orders[kind] = wanted
        return True

    def line(self, kind: RecordKind, at: int, *, is_forward: bool = True) -> bytes | None:
        """Return the line of the record ``at`` this place; ``None`` where its bytes changed since."""
        number, offset = divmod(self.kinds[kind].offsets[at], 1 << SHIFT)
        index = self._numbers[number].index
        line = index.line(kind, bisect_left(index.kinds[kind].offsets, offset), is_forward=is_forward)
        self.is_doubtful = self.is_doubtful or line is None
        return line

    def close(self) -> None:
        """Let go of the files."""
        for link in self._links.values():
            link.index.close()
