"""History in this process's memory: bounded, encoded like everywhere, gone with the process."""

from __future__ import annotations

import asyncio
import math
import threading
from typing import TYPE_CHECKING, ClassVar, cast

import msgspec

from papyra.clock import SYSTEM_CLOCK, Clock
from papyra.exceptions import InvalidQueryError, RecordConflictError
from papyra.persistence import codec
from papyra.persistence.backend import Capabilities
from papyra.persistence.base import BasePersistence, Refused
from papyra.persistence.models import (
    CompactionReport,
    KindStats,
    PersistedAudit,
    PersistedDeadLetter,
    PersistedEvent,
    PersistenceRecoveryConfig,
    PersistenceRecoveryReport,
    PersistenceScanReport,
    Record,
    RecordKind,
    ScanDepth,
    StoreStats,
)
from papyra.persistence.query import Page, ProgressCallback, RecordQuery
from papyra.persistence.retention import RetentionPolicy, first_kept

if TYPE_CHECKING:
    from papyra.persistence.entries import Entry

DEFAULT_RETENTION = RetentionPolicy(max_records=10_000)

_TURN_LINES = 200
_TURN_TIMES = 5_000
_TRIM_EVERY = 1_000
_MAX_DIGITS = 18


class _Line(msgspec.Struct, frozen=True, gc=False):
    position: int
    key: tuple[str, int]
    timestamp: float
    size: int
    body: bytes

    def decode(self) -> Record:
        record = codec.decode_record(self.body)
        assert record is not None  # noqa: S101  # only known kinds are appended
        return record


class _Kind:
    """The lines of one kind, oldest first, without gaps in their positions, and where each identity is."""

    def __init__(self, first: int = 0) -> None:
        self.lines: list[_Line] = []
        self.bytes = 0
        self._by_key: dict[tuple[str, int], _Line] = {}
        self._dropped_to: dict[str, int] = {}
        self._next = first

    def emptied(self) -> _Kind:
        """Return an empty one whose positions go on, so that cursors stay good."""
        return _Kind(self._next)

    @property
    def is_due(self) -> bool:
        """Whether so much came that retention should be made physical."""
        return self._next % _TRIM_EVERY == 0

    def add(self, entry: Entry) -> RecordConflictError | None:
        incarnation, seq = key = entry.incarnation, entry.seq
        body = entry.line[:-1]
        known = self._by_key.get(key)
        if known is not None:
            return (
                None if known.body == body else RecordConflictError(f"{entry.id} is stored with other bytes")
            )
        if seq <= self._dropped_to.get(incarnation, 0):  # retention had it already
            return None
        line = _Line(self._next, key, entry.origin.timestamp, len(entry.line), body)
        self._next += 1
        self.lines.append(line)
        self.bytes += line.size
        self._by_key[key] = line
        return None

    def kept_span(self, policy: RetentionPolicy, now: float) -> tuple[int, int]:
        """Return the positions from the oldest line to keep up to, not including, the next to come."""
        return self._next - len(self.lines) + first_kept(self.lines, policy, now=now), self._next

    def between(self, low: int, high: int) -> list[_Line]:
        """Return the lines at these positions that are still here."""
        base = self._next - len(self.lines)
        return self.lines[max(low - base, 0) : max(high - base, 0)]

    def drop(self, count: int) -> None:
        dropped = self.lines[:count]
        del self.lines[:count]
        for line in dropped:
            incarnation, seq = line.key
            self.bytes -= line.size
            self._dropped_to[incarnation] = max(seq, self._dropped_to.get(incarnation, 0))
            del self._by_key[line.key]


class InMemoryPersistence(BasePersistence):
    """Keeps 10,000 records of each kind by default, encoded: a later change to a payload changes nothing."""

    name: ClassVar[str] = "memory"
    capabilities: ClassVar[Capabilities] = Capabilities(
        is_durable=False, is_shared=False, can_tear=False, can_be_damaged=False, takes_ready_events=True
    )

    def __init__(
        self, retention_policy: RetentionPolicy | None = None, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        super().__init__(retention_policy or DEFAULT_RETENTION, clock=clock)
        self._lock = threading.Lock()
        self._kinds = {kind: _Kind() for kind in RecordKind}

    @property
    def events(self) -> tuple[PersistedEvent, ...]:
        """Every kept event, oldest first."""
        return cast("tuple[PersistedEvent, ...]", self._kept(RecordKind.EVENT))

    @property
    def audits(self) -> tuple[PersistedAudit, ...]:
        """Every kept audit, oldest first."""
        return cast("tuple[PersistedAudit, ...]", self._kept(RecordKind.AUDIT))

    @property
    def dead_letters(self) -> tuple[PersistedDeadLetter, ...]:
        """Every kept dead letter, oldest first."""
        return cast("tuple[PersistedDeadLetter, ...]", self._kept(RecordKind.DEAD_LETTER))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kinds = {kind: stored.emptied() for kind, stored in self._kinds.items()}

    def _kept(self, kind: RecordKind) -> tuple[Record, ...]:
        stored = self._kinds[kind]
        with self._lock:
            lines = stored.between(*self._kept_span(stored, kind))
        return tuple(line.decode() for line in lines)

    def _kept_span(self, stored: _Kind, kind: RecordKind) -> tuple[int, int]:
        return stored.kept_span(self._retention.for_kind(kind), self._clock.now())

    async def _append(self, entries: list[Entry]) -> Refused:
        refused: Refused = []
        with self._lock:
            self._writer_identity.encode(entries)
            for position, entry in enumerate(entries):
                kind = self._kinds[entry.origin.kind]
                conflict = kind.add(entry)
                if conflict is not None:
                    refused.append((position, conflict))
                elif kind.is_due:
                    low, high = self._kept_span(kind, entry.origin.kind)
                    kind.drop(len(kind.lines) - (high - low))
        return refused

    async def _read(self, query: RecordQuery) -> Page[Record]:
        stored = self._kinds[query.kind]
        with self._lock:
            low, high = self._kept_span(stored, query.kind)
        if query.cursor is not None:
            position = _position(query.cursor)
            low, high = (low, min(high, position)) if query.newest_first else (max(low, position + 1), high)
        found: list[Record] = []
        last = 0
        looked_to = min(low, high - 1) if query.newest_first else high - 1
        await asyncio.sleep(0)  # whoever asks in a loop must not hold up the loop
        while low < high:
            middle = max(low, high - _TURN_LINES) if query.newest_first else min(high, low + _TURN_LINES)
            with self._lock:
                lines = stored.between(middle, high) if query.newest_first else stored.between(low, middle)
            for line in reversed(lines) if query.newest_first else lines:
                record = line.decode()
                if not query.matches(record):
                    continue
                if len(found) == query.limit:
                    return Page(tuple(found), str(last), str(last))
                found.append(record)
                last = line.position
            low, high = (low, middle) if query.newest_first else (middle, high)
            await asyncio.sleep(0)
        return Page(tuple(found), None, query.cursor if looked_to < 0 else str(looked_to))

    async def _scan(self, depth: ScanDepth, progress: ProgressCallback | None) -> PersistenceScanReport:
        del progress  # nothing here takes long
        stats = await self._stats()
        return PersistenceScanReport(
            self.name,
            (),
            depth=depth,
            checked_records=sum(kind.records for kind in stats.kinds.values()),
            checked_bytes=stats.total_bytes,
        )

    async def _recover(
        self, config: PersistenceRecoveryConfig, depth: ScanDepth, progress: ProgressCallback | None
    ) -> PersistenceRecoveryReport:
        del config
        return PersistenceRecoveryReport(self.name, await self._scan(depth, progress))

    async def _compact(
        self, policy: RetentionPolicy, *, dry_run: bool, progress: ProgressCallback | None
    ) -> CompactionReport:
        del progress
        removed: dict[RecordKind, int] = {}
        times: list[float] = []
        now = self._clock.now()
        with self._lock:
            records = sum(len(stored.lines) for stored in self._kinds.values())
            size = sum(stored.bytes for stored in self._kinds.values())
            freed = 0
            for kind, stored in self._kinds.items():
                removed[kind] = first_kept(stored.lines, policy.for_kind(kind), now=now)
                going = stored.lines[: removed[kind]]
                times += [line.timestamp for line in going]
                freed += sum(line.size for line in going)
                if not dry_run:
                    stored.drop(len(going))
        return CompactionReport(
            self.name,
            records,
            records - sum(removed.values()),
            size,
            size - freed,
            dry_run=dry_run,
            removed=removed,
            oldest_removed=min(times, default=None),
            newest_removed=max(times, default=None),
        )

    async def _stats(self) -> StoreStats:
        with self._lock:
            lines = {kind: tuple(stored.lines) for kind, stored in self._kinds.items()}
        kinds = {kind: await _stats_of(stored) for kind, stored in lines.items()}
        return StoreStats(
            backend=self.name, kinds=kinds, total_bytes=sum(kind.bytes for kind in kinds.values())
        )

    async def _close(self) -> None:
        """Nothing to free: what was kept stays readable through the properties."""


def _position(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit()):
        raise InvalidQueryError(f"not a cursor of this store: {cursor!r:.100}")
    return int(cursor[:_MAX_DIGITS])


async def _stats_of(lines: tuple[_Line, ...]) -> KindStats:
    size, oldest, newest = 0, math.inf, -math.inf
    for start in range(0, len(lines), _TURN_TIMES):
        part = lines[start : start + _TURN_TIMES]
        size += sum(line.size for line in part)
        oldest = min(oldest, *(line.timestamp for line in part))
        newest = max(newest, *(line.timestamp for line in part))
        await asyncio.sleep(0)
    if not lines:
        return KindStats()
    return KindStats(records=len(lines), bytes=size, oldest=oldest, newest=newest)
