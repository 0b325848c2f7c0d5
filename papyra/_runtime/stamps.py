"""The identities and times of one incarnation's records. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from papyra.persistence.models import RecordKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.persistence.ready import ReadyEvent

_LONG_AGO = -(2**62)
_EVENT = RecordKind.EVENT  # to look the member up takes longer than a stamp


class Stamps:
    """Gives out the identities and times of one incarnation: contiguous per kind, strictly increasing."""

    def __init__(self, incarnation: str, now: Callable[[], float]) -> None:
        self.incarnation = incarnation
        self.stepped_back = 0.0
        self._now = now
        self._last_seq = dict.fromkeys(RecordKind, 0)
        self._last_reading = -math.inf
        self._last_timestamp = -math.inf

    def peek(self, kind: RecordKind) -> int:
        """Return the number that the next record of ``kind`` has."""
        return self._last_seq[kind] + 1

    def take(self, kind: RecordKind) -> int:
        """Use that number up."""
        self._last_seq[kind] += 1
        return self._last_seq[kind]

    def give_back(self, kind: RecordKind, seq: int) -> bool:
        """Undo `take`, unless a later number was taken meanwhile."""
        if self._last_seq[kind] != seq:
            return False
        self._last_seq[kind] -= 1
        return True

    def stamp(self, event: ReadyEvent) -> None:
        """Give ``event`` identity and time."""
        event.timestamp = self.time()
        event.incarnation = self.incarnation
        event.seq = self._last_seq[_EVENT] = self._last_seq[_EVENT] + 1

    def peek_run(self, kind: RecordKind) -> tuple[int, int, int]:
        """Return the next number of ``kind``, and in microseconds the time of the last record, and now."""
        last = self._last_timestamp
        floor = int(last * 1e6 + 0.5) if math.isfinite(last) else _LONG_AGO
        return self.peek(kind), floor, int(self.time() * 1e6 + 0.5)

    def take_run(self, kind: RecordKind, count: int, last: int) -> None:
        """Use ``count`` numbers up, and every time up to ``last`` in microseconds."""
        self._last_seq[kind] += count
        self._last_timestamp = max(self._last_timestamp, last / 1e6)

    def time(self, given: float = 0.0) -> float:
        """Return ``given``, or now; while the clock lags behind the last time, a microsecond after that."""
        reading = self._now()
        if given:
            if self._last_timestamp < given <= reading:
                self._last_timestamp = given
            return given
        if reading < self._last_reading:
            self.stepped_back = max(self.stepped_back, self._last_reading - reading)
        self._last_reading = reading
        if reading <= self._last_timestamp:
            after = round(self._last_timestamp + 1e-6, 6)
            reading = (
                after if after > self._last_timestamp else math.nextafter(self._last_timestamp, math.inf)
            )
        self._last_timestamp = reading
        return reading
