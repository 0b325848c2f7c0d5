"""The records of one kind as columns of numbers, in store order: a million of them in thirty megabytes."""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from papyra.persistence import codec
from papyra.persistence.models import KindStats, RecordKind
from papyra.persistence.retention import AgeWalk, Removable, Removal, RetentionPolicy, first_staying

if TYPE_CHECKING:
    from collections.abc import Sequence

    from papyra.persistence._files.lines import Piece

_KINDS = {kind.value: kind for kind in RecordKind}


class Row(NamedTuple):
    """One record."""

    offset: int
    length: int
    timestamp: float
    checksum: int


class Columns:
    """Where the records are and what retention asks of them."""

    def __init__(self) -> None:
        self.offsets = array("Q")
        self.lengths = array("I")
        self.timestamps = array("d")
        self.checksums = array("I")
        self._starts = array("Q")
        self._bytes = 0
        self._oldest = float("inf")
        self._newest = float("-inf")
        self._ages = AgeWalk()
        self.is_merged = False
        """Whether offsets are not in order, because the files were merged by time."""

    def __len__(self) -> int:
        return len(self.offsets)

    def add(self, piece: Piece, timestamp: float) -> None:
        self.add_row(Row(piece.offset, len(piece.text), timestamp, checksum_of(piece.text)))

    def extend(self, other: Columns, start: int, base: int) -> None:
        """Take in what ``other`` has from ``start`` on, with its offsets counted from ``base``."""
        before = other._starts[start] if start < len(other) else other._bytes
        self.offsets.extend(offset + base for offset in other.offsets[start:])
        self.lengths.extend(other.lengths[start:])
        self.timestamps.extend(other.timestamps[start:])
        self.checksums.extend(other.checksums[start:])
        self._starts.extend(begin - before + self._bytes for begin in other._starts[start:])
        self._bytes += other._bytes - before
        self._oldest = min(self._oldest, other._oldest)
        self._newest = max(self._newest, other._newest)

    def in_order(self, order: Sequence[int]) -> Columns:
        """Return the same rows in another order."""
        rows = Columns()
        for at in order:
            row = Row(self.offsets[at], self.lengths[at], self.timestamps[at], self.checksums[at])
            rows.add_row(row)
        return rows

    def add_row(self, row: Row) -> None:
        """Add what is known of one record."""
        self.offsets.append(row.offset)
        self.lengths.append(row.length)
        self.timestamps.append(row.timestamp)
        self.checksums.append(row.checksum)
        self._starts.append(self._bytes)
        self._bytes += row.length + 1
        self._oldest = min(self._oldest, row.timestamp)
        self._newest = max(self._newest, row.timestamp)

    def cut(self, count: int) -> list[Row]:
        """Take away and return the rows from ``count`` on."""
        taken = [
            Row(*row)
            for row in zip(
                *(column[count:] for column in (self.offsets, self.lengths, self.timestamps, self.checksums)),
                strict=True,
            )
        ]
        if taken:
            self._bytes = self._starts[count]
        for column in (self.offsets, self.lengths, self.timestamps, self.checksums, self._starts):
            del column[count:]
        self._ages.cut(count)
        return taken

    def place_of(self, offset: int) -> int:
        """Return where the record of this offset is or, in the order of offsets, would be."""
        at = bisect_left(self.offsets, offset)
        if self.is_merged and not (at < len(self) and self.offsets[at] == offset):
            try:
                return self.offsets.index(offset)
            except ValueError:
                return len(self)
        return at

    def forget_first(self, count: int) -> None:
        """Let go of the oldest ``count``."""
        if not count:
            return
        begin = self._starts[count] if count < len(self) else self._bytes
        for column in (self.offsets, self.lengths, self.timestamps, self.checksums):
            del column[:count]
        self._starts = array("Q", (start - begin for start in self._starts[count:]))
        self._bytes -= begin
        self._ages.forget(count)
        self._oldest = min(self.timestamps, default=float("inf"))
        self._newest = max(self.timestamps, default=float("-inf"))

    def first_kept(self, policy: RetentionPolicy, now: float) -> int:
        """Return what `retention.first_kept` says, without walking over what fits or what it saw before."""
        return self._ages.first_kept(
            len(self), self.timestamps.__getitem__, self._first_fitting(policy), policy.max_age_seconds, now
        )

    def _first_fitting(self, policy: RetentionPolicy) -> int:
        first = 0 if policy.max_records is None else max(len(self) - policy.max_records, 0)
        if policy.max_total_bytes is not None:
            first = max(first, bisect_left(self._starts, self._bytes - policy.max_total_bytes))
        return first

    def first_staying(self, policy: RetentionPolicy, removal: Removal) -> tuple[int, int]:
        """Return what `retention.first_staying` says: where to cut, and how many were held back."""
        first_fitting = self._first_fitting(policy)
        return first_staying(self.timestamps, first_fitting, policy.max_age_seconds, removal)

    def removable(self, policy: RetentionPolicy, removal: Removal) -> Removable:
        """Return how much could go now."""
        first, _ = self.first_staying(policy, removal)
        size = self._starts[first] if first < len(self) else self._bytes
        return Removable(first, size, len(self), self._bytes)

    def stats(self) -> KindStats:
        if not self.offsets:
            return KindStats()
        return KindStats(records=len(self), bytes=self._bytes, oldest=self._oldest, newest=self._newest)


def merged_order(times: Sequence[float], families: Sequence[str]) -> list[int]:
    """Return the places of records in the order of their times, each family in its own order."""
    highest: dict[str, float] = {}
    keys = []
    for at, (time, family) in enumerate(zip(times, families, strict=True)):
        highest[family] = max(highest.get(family, time), time)
        keys.append((highest[family], family, at))
    return [at for _, _, at in sorted(keys)]


def checksum_of(text: bytes) -> int:
    """Return the number that tells this line from others: its own checksum, or one made here for legacy."""
    if text.startswith(codec.FRAME_HEAD):
        return int(codec.checksum_of(text), 16)
    return zlib.crc32(text)


def is_intact(text: bytes, checksum: int) -> bool:
    """Whether ``text`` is still the line that gave ``checksum``."""
    if text.startswith(codec.FRAME_HEAD):
        is_sound = codec.is_framed(text) and codec.has_sound_checksum(text)
        return is_sound and int(codec.checksum_of(text), 16) == checksum
    return zlib.crc32(text) == checksum


def kind_and_time(piece: Piece) -> tuple[RecordKind, float] | None:
    """Return these of a sound record, ``None`` for a kind that only a newer version knows."""
    kind = None if piece.head is None else _KINDS.get(piece.head.kind)
    return None if piece.head is None or kind is None else (kind, piece.head.timestamp)
