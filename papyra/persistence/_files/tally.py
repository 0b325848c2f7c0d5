"""What a footer says of the records before it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from papyra.persistence.footers import Footer, encode_footer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from papyra.persistence.entries import Entry

FOOTER_ROOM = 640
"""How many bytes a footer takes, at most: two identities, a digest and seven numbers."""


Seal = Callable[[int, str], bytes]
"""Returns the footer of that many bytes with that SHA-256."""


class Tally:
    """Counts records as they come."""

    def __init__(self) -> None:
        self.records = 0
        self.oldest: float | None = None
        self.newest: float | None = None
        self.first: tuple[str, int] | None = None
        self.last: tuple[str, int] | None = None

    def add(self, incarnation: str, seq: int, timestamp: float) -> None:
        self.records += 1
        self.last = (incarnation, seq)
        if self.oldest is None or self.newest is None:
            self.first = self.last
            self.oldest = self.newest = timestamp
        elif timestamp < self.oldest:
            self.oldest = timestamp
        elif timestamp > self.newest:
            self.newest = timestamp

    def add_entries(self, entries: Sequence[Entry]) -> None:
        """Take in what was written together."""
        if not entries:
            return
        times = [entry.origin.timestamp for entry in entries]
        records = self.records + len(entries)
        for at in (times.index(min(times)), times.index(max(times))):
            self.add("", 0, times[at])
        if records == len(entries):
            self.first = (entries[0].incarnation, entries[0].seq)
        self.last = (entries[-1].incarnation, entries[-1].seq)
        self.records = records

    def footer(self, size: int, sha256: str, *, removed: int, sealed_at: float) -> bytes:
        """Return the footer line of ``size`` bytes that hold what was counted."""
        footer = Footer(
            records=self.records,
            removed=removed,
            bytes=size,
            oldest=self.oldest,
            newest=self.newest,
            first=self.first,
            last=self.last,
            sealed_at=sealed_at,
            sha256=sha256,
        )
        return encode_footer(footer)
