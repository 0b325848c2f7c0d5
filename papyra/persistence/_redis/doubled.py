"""Which entries repeat an identity that stands before them: others put them there; reads leave them out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from papyra.persistence._redis.bounds import look
from papyra.persistence._redis.entries import FIRST, StreamId
from papyra.persistence._redis.walking import walk
from papyra.persistence.integrity import HistoryCheck, Placement

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from papyra.persistence._redis.connecting import Door
    from papyra.persistence._redis.keys import Keys
    from papyra.persistence._redis.walking import Column
    from papyra.persistence.models import RecordKind

_DOUBLED = frozenset({Placement.DUPLICATE, Placement.CONFLICT})


class Doubles:
    """Finds them among the entries of one kind, from the oldest on."""

    def __init__(self, kind: RecordKind) -> None:
        self._kind = kind.value
        self._history = HistoryCheck()
        self.ids: set[StreamId] = set()
        self.entries = 0
        self.end = FIRST

    def add(self, columns: Iterable[Column]) -> None:
        """Take these in."""
        for column in columns:
            self.entries += 1
            self.end = column.id.next
            if column.incarnation and column.seq:
                stream, checksum = (column.incarnation, self._kind), int(column.checksum, 16) & 0xFFFFFFFF
                if self._history.place(stream, column.seq, checksum) in _DOUBLED:
                    self.ids.add(column.id)


class Doubled:
    """Knows them of one kind: by what a count noted or, where nobody counted since, by looking for itself."""

    def __init__(self, door: Door, keys: Keys, kind: RecordKind) -> None:
        self._door = door
        self._keys = keys
        self._kind = kind
        self._epoch = 0
        self._seen: Doubles | None = None

    def ids(self) -> AbstractSet[StreamId]:
        """Return which are there now; costs nothing where only papyra ever wrote."""
        counted = look(self._door, self._keys, self._kind)
        if counted.is_sound:
            self._seen = None
            return counted.doubled
        seen = self._seen
        if seen is None or self._epoch != counted.epoch or seen.entries > counted.length:
            seen = Doubles(self._kind)
        for columns in walk(self._door, self._keys.stream(self._kind), seen.end):
            seen.add(columns)
        self._seen, self._epoch = seen, counted.epoch
        return seen.ids
