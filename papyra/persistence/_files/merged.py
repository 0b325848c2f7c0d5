"""The records of several writers in one order: by time, each writer's in its own order."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from papyra.persistence._files.chain import SHIFT, ChainIndex, Link
from papyra.persistence._files.columns import Columns, Row
from papyra.persistence.models import RecordKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.persistence._files.folder import Folder

_NUMBERS = 1 << 23


class _Key(NamedTuple):
    """What a record is ordered by: no earlier time than that of the one before it in its family."""

    time: float
    family: str
    file: int
    offset: int


class _Order:
    """The keys of one kind, in order, and how far each family has come."""

    def __init__(self) -> None:
        self.times = array("d")
        self.highest: dict[str, float] = {}


class MergedIndex(ChainIndex):
    """A chain for each family, merged; only what comes after the oldest of the new ones is sorted again."""

    def __init__(self, find: Callable[[], Folder]) -> None:
        self._merges: dict[RecordKind, _Order] = {}
        super().__init__(find)

    def _forget(self) -> None:
        super()._forget()
        self._merges = {kind: _Order() for kind in RecordKind}

    def _number_of(self, name: str, at: int) -> int:
        return at if "/" in name else _NUMBERS + crc32(name.encode()) % _NUMBERS

    def _take(self, kind: RecordKind, links: list[Link]) -> bool:
        wanted = [link for link in links if link.index.kinds[kind]]
        if any(link not in wanted for link in self._orders[kind]):
            self.kinds[kind], self._merges[kind] = Columns(), _Order()
            for link in wanted:
                link.taken[kind] = 0
        order, columns = self._merges[kind], self.kinds[kind]
        columns.is_merged = True
        if any(link.has_grown(kind) and link is not self._last(wanted, link) for link in self._orders[kind]):
            return False
        new = [row for link in wanted for row in self._new_rows(kind, link, order)]
        if new:
            start = bisect_left(order.times, min(key.time for key, _ in new))
            old = [
                (_Key(time, *self._place_of(row)), row)
                for time, row in zip(order.times[start:], columns.cut(start), strict=True)
            ]
            del order.times[start:]
            for key, row in sorted(old + new):
                order.times.append(key.time)
                columns.add_row(row)
        self._orders[kind] = wanted
        return True

    def _last(self, links: list[Link], link: Link) -> Link:
        return [other for other in links if other.family == link.family][-1]

    def _new_rows(self, kind: RecordKind, link: Link, order: _Order) -> list[tuple[_Key, Row]]:
        columns, rows = link.index.kinds[kind], []
        for at in range(link.taken[kind], len(columns)):
            time = max(order.highest.get(link.family, columns.timestamps[at]), columns.timestamps[at])
            order.highest[link.family] = time
            offset = (link.number << SHIFT) + columns.offsets[at]
            row = Row(offset, columns.lengths[at], columns.timestamps[at], columns.checksums[at])
            rows.append((_Key(time, *self._place_of(row)), row))
        link.taken[kind] = len(columns)
        return rows

    def _place_of(self, row: Row) -> tuple[str, int, int]:
        number, offset = divmod(row.offset, 1 << SHIFT)
        link = self._numbers[number]
        return link.family, link.place, offset
