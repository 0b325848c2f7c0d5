"""Which identities a writer knows to be stored, so that an append may be repeated without doubt."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from papyra.clock import minted_at
from papyra.persistence.integrity import HistoryCheck, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.persistence.models import RecordId

MAX_REMEMBERED = 1_000_000
"""Records per stream; what is older is looked up in the file."""

_CLOCK_GRAIN_SECONDS = 0.1  # a file's time of change is coarser than an incarnation's


class Standing(Enum):
    """Whether a record still has to be written."""

    NEW = "new"
    STORED = "stored"
    CONFLICTING = "conflicting"


class KnownIdentities:
    """Four bytes for each record this writer wrote; the file is read only when something older is asked for.

    An incarnation minted after the file last changed, as this writer found it, cannot be in it.
    """

    def __init__(self, read: Callable[[], HistoryCheck], *, changed_at: float) -> None:
        self._read = read
        self._changed_at = changed_at
        self._history = HistoryCheck()
        self._has_read = changed_at == 0
        self._fresh: set[str] = set()
        self._floors: dict[Stream, int] = {}

    def call_fresh(self, incarnation: str) -> None:
        """Learn that ``incarnation`` was minted by this writer itself."""
        self._fresh.add(incarnation)

    def standing(self, identity: RecordId, checksum: str) -> Standing:
        """Judge a record by its identity and the checksum of its bytes."""
        incarnation, kind, seq = identity
        if not self._has_read and not self._is_fresh(incarnation):
            self._read_file()
        if seq > self._history.last_seq(incarnation, kind):
            return Standing.NEW
        if seq < self._floors.get((incarnation, kind), 0):
            self._read_file()
        stored = self._history.checksum(incarnation, kind, seq)
        if stored is None:
            return Standing.NEW
        return Standing.STORED if stored == checksum else Standing.CONFLICTING

    def _is_fresh(self, incarnation: str) -> bool:
        if incarnation not in self._fresh:
            minted = minted_at(incarnation)
            if minted is None or minted < self._changed_at + _CLOCK_GRAIN_SECONDS:
                return False
            self._fresh.add(incarnation)
        return True

    def _read_file(self) -> None:
        self._history = self._read()
        self._floors = {}
        self._has_read = True

    def add(self, identity: RecordId, checksum: int) -> None:
        """Remember what was written."""
        incarnation, kind, seq = identity
        self._history.place((incarnation, kind), seq, checksum)
        if seq % MAX_REMEMBERED == 0:
            floor = seq - MAX_REMEMBERED
            self._history.forget_before((incarnation, kind), floor)
            self._floors[incarnation, kind] = floor
