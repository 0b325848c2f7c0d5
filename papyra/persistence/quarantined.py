"""What lies in quarantine, as values, and whether it may go back into the store. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from papyra.persistence.models import RecordId

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from papyra.persistence.census import Census
    from papyra.persistence.models import Record

PREVIEW_BYTES = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineEntry:
    """Bytes that were taken out of a store: out of which, from where, why and when.

    ``is_intact``: they are what was taken out, by their checksum. ``position`` is where the store finds the
    entry again; ``None`` for a file that was set aside whole.
    """

    name: str
    reason: str
    store: str
    found_at: float | None
    offset: int | None
    length: int
    preview: bytes
    is_intact: bool
    position: int | None


class QuarantinePage(NamedTuple):
    """Records of an entry, each with its line, and bytes that are no record of a known kind."""

    records: tuple[tuple[Record, bytes], ...]
    rest: tuple[bytes, ...]


@runtime_checkable
class KeepsQuarantine(Protocol):
    """A store whose quarantine can be read. ``folder`` takes the place of its own."""

    def quarantined(self, folder: str | None = None) -> AsyncIterator[QuarantineEntry]:
        """Yield what lies in quarantine."""
        ...

    def read_quarantined(
        self, entry: QuarantineEntry, folder: str | None = None
    ) -> AsyncIterator[QuarantinePage]:
        """Yield what can be read in ``entry``."""
        ...


class Fate(StrEnum):
    """What restoring does about a record."""

    RESTORABLE = "restorable"
    """It is missing in the store and can go back."""
    PRESENT = "present"
    """The store has it."""
    CONFLICTING = "conflicting"
    """The store has another one under this identity, which stays."""
    RETIRED = "retired"
    """It is older than what retention has kept."""
    NAMELESS = "nameless"
    """It has no identity, so that nothing tells whether the store has it."""


class Judge:
    """Decides the fate of records, of what a store holds: its identities, and when each kind begins."""

    def __init__(self, census: Census, oldest: Mapping[str, float]) -> None:
        self._census = census
        self._oldest = oldest

    def fate(self, record: Record, checksum: int) -> Fate:
        """Decide about one record."""
        if not record.seq:
            return Fate.NAMELESS
        identity = RecordId(record.incarnation, record.kind.value, record.seq)
        there = self._census.checksum(identity)
        if there is not None:
            return Fate.PRESENT if there == checksum else Fate.CONFLICTING
        first = self._census.first_seq(identity)
        is_retired = record.seq < first if first else record.timestamp < self._oldest.get(identity.kind, 0.0)
        return Fate.RETIRED if is_retired else Fate.RESTORABLE

    def count_in(self, record: Record, checksum: int) -> None:
        """Take note of a record that goes back: a second one like it is present."""
        self._census.add(RecordId(record.incarnation, record.kind.value, record.seq), checksum)
