"""Which identities a writer knows to be stored, so that an append may be repeated without doubt."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from papyra.clock import minted_at
from papyra.exceptions import PersistenceError, RecordConflictError
from papyra.persistence.integrity import HistoryCheck, Stream
from papyra.persistence.models import RecordId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from papyra.persistence.entries import Entry

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

    def standing(self, identity: RecordId, checksum: int) -> Standing:
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
        return Standing.STORED if int(stored, 16) == checksum else Standing.CONFLICTING

    def are_beyond(self, entries: Sequence[Entry]) -> bool:
        """Whether these are neighbours of one stream, with higher numbers than any that is stored of it."""
        incarnation, kind, seq = entries[0].incarnation, entries[0].kind, entries[0].seq
        if not (self._has_read or self._is_fresh(incarnation)) or seq <= self._history.last_seq(
            incarnation, kind
        ):
            return False
        for entry in entries:
            if entry.seq != seq or entry.kind != kind or entry.incarnation != incarnation:
                return False
            seq += entry.count
        return True

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

    def add(self, entries: Sequence[Entry]) -> None:
        """Remember what was written; whatever this writer numbered itself is in no file it has not read."""
        for run in runs_of(entries):
            incarnation, kind, first = run[0].incarnation, run[0].kind, run[0].seq
            if run[0].is_ours:
                self._fresh.add(incarnation)
            last = run[-1].last_seq
            checksums = (
                [entry.checksum for entry in run]
                if last - first < len(run)
                else [checksum for entry in run for checksum in entry.checksums]
            )
            self._history.extend((incarnation, kind), first, checksums)
            if last // MAX_REMEMBERED > (first - 1) // MAX_REMEMBERED:
                floor = last - MAX_REMEMBERED
                self._history.forget_before((incarnation, kind), floor)
                self._floors[incarnation, kind] = floor


def runs_of(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Yield the longest stretches of neighbouring numbers of one incarnation and kind."""
    start = 0
    for at in range(1, len(entries)):
        entry, before = entries[at], entries[at - 1]
        if (
            entry.seq != before.seq + before.count
            or entry.kind != before.kind
            or entry.incarnation != before.incarnation
            or entry.is_ours is not before.is_ours
        ):
            yield entries[start:at]
            start = at
    if entries:
        yield entries[start:]


def sift(
    entries: Sequence[Entry], known: KnownIdentities
) -> tuple[Sequence[Entry], dict[int, PersistenceError]]:
    """Return what is new of ``entries``, and what is refused, by position."""
    refused: dict[int, PersistenceError] = {}
    if all(entry.is_ours for entry in entries):  # their numbers were never given before
        return entries, refused
    if known.are_beyond(entries):  # a recorder's batch, as a rule
        return entries, refused
    fresh: dict[RecordId, Entry] = {}
    for position, entry in enumerate(one for each in entries for one in each.singles()):
        identity = RecordId(entry.incarnation, entry.kind, entry.seq)
        twin = fresh.get(identity)
        if entry.is_ours:
            standing = Standing.NEW
        else:
            standing = _compare(entry, twin) if twin else known.standing(identity, entry.checksum)
        if standing is Standing.NEW:
            fresh[identity] = entry
        elif standing is Standing.CONFLICTING:
            refused[position] = RecordConflictError(
                f"{entry.kind} {entry.seq} of {entry.incarnation} is stored already, with other bytes"
            )
    return tuple(fresh.values()), refused


def by_kind(entries: Sequence[Entry]) -> Iterable[tuple[str, list[Entry]]]:
    """Return the entries of each kind, in order."""
    parts: dict[str, list[Entry]] = {}
    for entry in entries:
        parts.setdefault(entry.kind, []).append(entry)
    return parts.items()


def _compare(entry: Entry, twin: Entry) -> Standing:
    return Standing.STORED if entry.line == twin.line else Standing.CONFLICTING
