"""History in this process's memory: bounded, encoded like everywhere, gone with the process."""

from __future__ import annotations

import asyncio
import math
import threading
from itertools import count, repeat
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
from papyra.persistence.retention import AgeWalk, RetentionPolicy, first_fitting, first_kept

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from papyra.persistence.entries import Entry
    from papyra.persistence.quarantined import QuarantineEntry, QuarantinePage

DEFAULT_RETENTION = RetentionPolicy(max_records=10_000)

_TURN_LINES = 200
_TURN_TIMES = 5_000
_TRIM_EVERY = 1_000
_MAX_DIGITS = 18


class _Line(msgspec.Struct, frozen=True, gc=False):
    position: int
    incarnation: str
    seq: int
    timestamp: float
    body: bytes

    @property
    def size(self) -> int:
        return len(self.body) + 1

    def decode(self) -> Record:
        record = codec.decode_record(self.body)
        assert record is not None  # noqa: S101  # only known kinds are appended
        return record


class _Stream:
    """What is here of one incarnation, by number; what retention took, up to ``dropped_to``, was here."""

    def __init__(self) -> None:
        self.lines: dict[int, _Line] = {}
        self.last = 0
        self.dropped_to = 0


class _Kind:
    """The lines of one kind, oldest first, without gaps in their positions, and where each identity is."""

    def __init__(self, first: int = 0) -> None:
        self.lines: list[_Line] = []
        self.bytes = 0
        self._streams: dict[str, _Stream] = {}
        self._next = first
        self._due = _TRIM_EVERY
        self._ages = AgeWalk()

    def emptied(self) -> _Kind:
        """Return an empty one whose positions go on, so that cursors stay good."""
        return _Kind(self._next)

    @property
    def is_due(self) -> bool:
        """Whether so much came that retention should be made physical."""
        return self._next >= self._due

    def add(self, entry: Entry) -> list[tuple[int, RecordConflictError]]:
        """Take what is new; returns the conflicts, by place in ``entry``."""
        stream = self._streams.setdefault(entry.incarnation, _Stream())
        if entry.seq > stream.last:  # as a rule
            self._extend(stream, entry)
            return []
        conflicts = []
        for place, single in enumerate(entry.singles()):
            known = stream.lines.get(single.seq)
            if known is None and single.seq > stream.dropped_to:
                self._extend(stream, single)
            elif known is not None and known.body != single.line[:-1]:
                conflicts.append((place, RecordConflictError(f"{single.id} is stored with other bytes")))
        return conflicts

    def _extend(self, stream: _Stream, entry: Entry) -> None:
        bodies = entry.line.splitlines()
        seqs = range(entry.seq, entry.seq + len(bodies))
        lines = list(map(_Line, count(self._next), repeat(entry.incarnation), seqs, entry.timestamps, bodies))
        self.lines += lines
        self._next += len(lines)
        self.bytes += len(entry.line)
        stream.lines.update(zip(seqs, lines, strict=True))
        stream.last = max(stream.last, entry.last_seq)

    def kept_span(self, policy: RetentionPolicy, now: float) -> tuple[int, int]:
        """Return the positions from the oldest line to keep up to, not including, the next to come."""
        lines, fitting = self.lines, first_fitting(self.lines, policy)
        first = self._ages.first_kept(
            len(lines), lambda at: lines[at].timestamp, fitting, policy.max_age_seconds, now
        )
        return self._next - len(lines) + first, self._next

    def between(self, low: int, high: int) -> list[_Line]:
        """Return the lines at these positions that are still here."""
        base = self._next - len(self.lines)
        return self.lines[max(low - base, 0) : max(high - base, 0)]

    def trim(self, going: int) -> None:
        """Drop so many, and be due again after a while."""
        self.drop(going)
        self._due = self._next + _TRIM_EVERY

    def drop(self, going: int) -> None:
        dropped = self.lines[:going]
        del self.lines[:going]
        self._ages.forget(going)
        for line in dropped:
            stream = self._streams[line.incarnation]
            self.bytes -= line.size
            stream.dropped_to = max(line.seq, stream.dropped_to)
            del stream.lines[line.seq]


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
            position = 0
            for entry in entries:
                kind = self._kinds[entry.origin.kind]
                refused += [(position + place, conflict) for place, conflict in kind.add(entry)]
                position += entry.count
                if kind.is_due:
                    low, high = self._kept_span(kind, entry.origin.kind)
                    kind.trim(len(kind.lines) - (high - low))
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

    async def quarantined(self, folder: str | None = None) -> AsyncIterator[QuarantineEntry]:
        """Yield nothing: nothing is ever taken out."""
        del folder
        entries: tuple[QuarantineEntry, ...] = ()
        for entry in entries:
            yield entry

    async def read_quarantined(
        self, entry: QuarantineEntry, folder: str | None = None
    ) -> AsyncIterator[QuarantinePage]:
        """Yield nothing."""
        del entry, folder
        pages: tuple[QuarantinePage, ...] = ()
        for page in pages:
            yield page

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
