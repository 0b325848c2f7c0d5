"""Records that a full queue let go, until the store itself says which."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from papyra.exceptions import RecordDroppedError
from papyra.persistence.models import EventType, LossNote, PersistedEvent
from papyra.persistence.ready import ReadyRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from papyra.exceptions import PersistenceError
    from papyra.persistence.entries import Entry

CAUSE = "queue overflow"

_NEVER_DROPPED = frozenset({EventType.RECORDS_DROPPED, EventType.RECORDS_LOST})


class Drops:
    """Counts what was dropped, and keeps the ranges of what had an identity, by stream.

    A record without one is only counted: it gets its number when it is written, so that it leaves no gap.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ranges: dict[tuple[str, str], list[tuple[int, int]]] = {}
        self._systems: dict[tuple[str, str], str] = {}
        self.count = 0

    def let_go(self, entries: Sequence[Entry]) -> list[tuple[int, PersistenceError]] | None:
        """Take note of ``entries``, and return what their caller is told.

        ``None`` where one of them explains a gap: dropping that would make an unexplained one.
        """
        if any(_explains(entry) for entry in entries):
            return None
        count = sum(entry.count for entry in entries)
        with self._lock:
            self.count += count
            for entry in entries:
                if entry.seq:
                    self._add(entry)
        error = RecordDroppedError(
            "the store's queue was full and overflow is 'drop_oldest': what had waited longest was let go"
        )
        return [(position, error) for position in range(count)]

    def _add(self, entry: Entry) -> None:
        stream = entry.incarnation, entry.kind
        ranges = self._ranges.setdefault(stream, [])
        if stream not in self._systems:
            self._systems[stream] = entry.record.system_id
        first, last = entry.seq, entry.seq + entry.count - 1
        if ranges and ranges[-1][1] + 1 == first:
            first = ranges.pop()[0]
        ranges.append((first, last))

    @property
    def is_empty(self) -> bool:
        """Whether everything dropped is noted."""
        return not self._ranges

    def take(self, now: float) -> list[PersistedEvent]:
        """Return one event for each range, to be stored; `put_back` what was not."""
        with self._lock:
            taken, self._ranges = self._ranges, {}
        return [
            PersistedEvent(
                self._systems[stream],
                "",
                EventType.RECORDS_DROPPED.value,
                LossNote(*stream, first, last, CAUSE).to_payload(),
                now,
            )
            for stream, ranges in taken.items()
            for first, last in ranges
        ]

    def put_back(self, events: Sequence[PersistedEvent]) -> None:
        """Keep them for the next time, before what was dropped since."""
        notes = [note for event in events if (note := LossNote.from_payload(event.payload)) is not None]
        with self._lock:
            newer, self._ranges = self._ranges, {}
            for incarnation, kind, first, last, _ in notes:
                self._ranges.setdefault((incarnation, kind), []).append((first, last))
            for stream, ranges in newer.items():
                self._ranges.setdefault(stream, []).extend(ranges)


def _explains(entry: Entry) -> bool:
    """Whether a gap elsewhere is explained by ``entry``, or by an event in its run."""
    if isinstance(entry.origin, ReadyRun):
        return any(b'"event_type":"%b"' % word.value.encode() in entry.line for word in _NEVER_DROPPED)
    return getattr(entry.origin, "event_type", "") in _NEVER_DROPPED
