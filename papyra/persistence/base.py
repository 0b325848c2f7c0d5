"""Every public method of a backend, written once over five primitives."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar, cast

from papyra.clock import SYSTEM_CLOCK, Clock
from papyra.exceptions import (
    AppendError,
    BackendClosedError,
    PersistenceError,
)
from papyra.persistence.entries import Entry, WriterIdentity, entries_of_ready
from papyra.persistence.following import POLL_SECONDS, follow
from papyra.persistence.metrics import PersistenceMetrics
from papyra.persistence.models import (
    CompactionReport,
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
    as_word,
)
from papyra.persistence.query import DEFAULT_LIMIT, Page, ProgressCallback, RecordQuery, check_limit
from papyra.persistence.retention import UNLIMITED, RetentionPolicy
from papyra.persistence.state import StateTracker, StoreState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence

    from papyra.persistence.backend import Capabilities
    from papyra.persistence.ready import ReadyEvent, ReadyRun

R = TypeVar("R", PersistedEvent, PersistedAudit, PersistedDeadLetter)
Refused = list[tuple[int, PersistenceError]]

_TURN_RECORDS = 100
_TURN_BYTES = 256 * 1024


class BasePersistence(ABC):
    """What every backend shares; a subclass brings the primitives ``_append`` … ``_close`` and ``_stats``."""

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "append" in vars(cls) and "capabilities" not in vars(cls) and hasattr(cls, "capabilities"):
            cls.capabilities = replace(cls.capabilities, takes_ready_events=False)  # its own looks at records

    def __init__(
        self, retention_policy: RetentionPolicy | None = None, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._retention = retention_policy or UNLIMITED
        self._metrics = PersistenceMetrics()
        self._clock = clock
        self._tracker = StateTracker(self.name, clock)
        self._writer_identity = WriterIdentity(clock)
        self._closed = False

    @property
    def retention(self) -> RetentionPolicy:
        """What reads show, and what `compact` makes physical when it is given no policy."""
        return self._retention

    @property
    def metrics(self) -> PersistenceMetrics:
        """Counters of this object."""
        return self._metrics

    @property
    def state(self) -> StoreState:
        """Whether appends of this object are stored now and, where they are not, since when and why."""
        return self._tracker.state

    @property
    def closed(self) -> bool:
        """Whether `aclose` was called."""
        return self._closed

    async def append(self, records: Sequence[Record]) -> None:
        """Store ``records`` in order; durable when it returns, idempotent by identity."""
        self._check_open()
        batch = cast("tuple[Record | ReadyEvent | ReadyRun, ...]", tuple(records))
        ready = entries_of_ready(batch)
        if ready is None:
            entries, positions, refused = await self._encode(batch)
        else:
            entries, positions, refused = ready, range(sum(entry.count for entry in ready)), []
        try:
            conflicts = await self._append(entries) if entries else []
        except PersistenceError as error:
            self._note(error)
            raise
        self._tracker.succeeded()
        refused += [(positions[index], error) for index, error in conflicts]
        written = sum(entry.count for entry in entries) - len(conflicts)
        self._metrics.add_written(written, sum(len(entry.line) for entry in entries))
        if refused:
            self._metrics.add("write_errors")
            raise AppendError(sorted(refused, key=lambda item: item[0]))

    async def _encode(
        self, records: Sequence[Record | ReadyEvent | ReadyRun]
    ) -> tuple[list[Entry], Sequence[int], Refused]:
        entries: list[Entry] = []
        positions: list[int] = []
        refused: Refused = []
        unseen = 0
        position = 0
        for number, record in enumerate(records, 1):
            try:
                entry = Entry.of(record)
            except PersistenceError as error:
                refused.append((position, error))
                position += 1
                continue
            entries.append(entry)
            positions += range(position, position + entry.count)
            position += entry.count
            unseen += entry.size
            if unseen > _TURN_BYTES or number % _TURN_RECORDS == 0:
                unseen = 0
                await asyncio.sleep(0)  # a large batch must not hold up its loop
        return entries, positions, refused

    def record_event(self, event: PersistedEvent) -> Coroutine[object, object, None]:
        """Store one event; returns when it is durable."""
        return self._append_one(event)

    def record_audit(self, audit: PersistedAudit) -> Coroutine[object, object, None]:
        """Store one audit; returns when it is durable."""
        return self._append_one(audit)

    def record_dead_letter(self, dead_letter: PersistedDeadLetter) -> Coroutine[object, object, None]:
        """Store one dead letter; returns when it is durable."""
        return self._append_one(dead_letter)

    async def _append_one(self, record: Record) -> None:
        self._check_open()  # `append` for one, several times as often: no batch, no positions
        try:
            entry = Entry.of(record)
            refused = await self._append([entry])
            if refused:
                raise refused[0][1]
        except PersistenceError as error:
            self._note(error)
            raise
        self._tracker.succeeded()
        self._metrics.add_written(1, len(entry.line))

    def _note(self, error: PersistenceError) -> None:
        self._metrics.add("write_errors")
        self._tracker.failed(error)

    async def read(self, query: RecordQuery) -> Page[Record]:
        """Return one page."""
        self._check_open()
        return await self._read(query)

    async def list_events(
        self, *, limit: int | None = None, since: float | None = None
    ) -> tuple[PersistedEvent, ...]:
        """Return the newest ``limit`` events, oldest first; without a limit all of them."""
        return await self._list(PersistedEvent, limit, since)

    async def list_audits(
        self, *, limit: int | None = None, since: float | None = None
    ) -> tuple[PersistedAudit, ...]:
        """Return the newest ``limit`` audits, oldest first; without a limit all of them."""
        return await self._list(PersistedAudit, limit, since)

    async def list_dead_letters(
        self, *, limit: int | None = None, since: float | None = None
    ) -> tuple[PersistedDeadLetter, ...]:
        """Return the newest ``limit`` dead letters, oldest first; without a limit all of them."""
        return await self._list(PersistedDeadLetter, limit, since)

    async def _list(self, cls: type[R], limit: int | None, since: float | None) -> tuple[R, ...]:
        if limit is not None:
            check_limit(limit, at_least=0)
        if limit == 0:
            self._check_open()
            return ()
        query = RecordQuery(kind=cls.kind, limit=min(limit or DEFAULT_LIMIT, DEFAULT_LIMIT), since=since)
        found = [record async for record in self.iterate(query, total=limit)]
        return cast("tuple[R, ...]", tuple(reversed(found)))

    async def iterate(self, query: RecordQuery, *, total: int | None = None) -> AsyncIterator[Record]:
        """Yield every record that ``query`` matches, page by page; ``total`` ends it early."""
        left = total
        while True:
            page = await self.read(query)
            for record in page.records:
                if left is not None:
                    if left == 0:
                        return
                    left -= 1
                yield record
            if page.cursor is None or left == 0:
                return
            query = replace(query, cursor=page.cursor)

    def follow(
        self, query: RecordQuery, *, poll_seconds: float = POLL_SECONDS, from_now: bool = True
    ) -> AsyncIterator[Record]:
        """Yield what ``query`` matches as it comes, oldest first and without end.

        It begins behind ``query.cursor``; without one at the end of what is stored, or at the beginning with
        ``from_now=False``. Looks every ``poll_seconds``. Nothing is repeated or skipped while others write,
        rotate, compact or repair; only what retention takes before it is looked at is not seen. Raises
        `PlaceLostError` where a repair left no place to go on from.
        """
        return follow(self, query, poll_seconds=poll_seconds, from_now=from_now)

    async def scan(
        self, depth: ScanDepth = ScanDepth.FULL, *, progress: ProgressCallback | None = None
    ) -> PersistenceScanReport:
        """Look for anomalies and change nothing."""
        self._check_open()
        depth = as_word(ScanDepth, "depth", depth)
        self._metrics.add("scans")
        try:
            report = await self._scan(depth, progress)
        except PersistenceError:
            self._metrics.add("scan_errors")
            raise
        self._metrics.add("anomalies_detected", sum(report.counts.values()) or len(report.anomalies))
        if self.state.is_ok:
            return report
        warning = f"this process finds it {self.state.condition}: {self.state.reason}"
        return replace(report, warnings=(*report.warnings, warning))

    async def recover(
        self,
        config: PersistenceRecoveryConfig | None = None,
        *,
        depth: ScanDepth = ScanDepth.FULL,
        progress: ProgressCallback | None = None,
    ) -> PersistenceRecoveryReport:
        """Act on what a scan finds; what it removes lies in quarantine first."""
        self._check_open()
        depth = as_word(ScanDepth, "depth", depth)
        self._metrics.add("recoveries")
        try:
            return await self._recover(config or PersistenceRecoveryConfig(), depth, progress)
        except PersistenceError:
            self._metrics.add("recovery_errors")
            raise

    async def compact(
        self,
        policy: RetentionPolicy | None = None,
        *,
        dry_run: bool = False,
        progress: ProgressCallback | None = None,
    ) -> CompactionReport:
        """Remove for good what ``policy`` (default: `retention`) no longer keeps."""
        self._check_open()
        self._metrics.add("compactions")
        try:
            report = await self._compact(policy or self._retention, dry_run=dry_run, progress=progress)
        except PersistenceError:
            self._metrics.add("compaction_errors")
            raise
        if not dry_run:
            self._metrics.add("records_removed", sum(report.removed.values()))
        return report

    async def stats(self) -> StoreStats:
        """Count records and bytes."""
        self._check_open()
        return await self._stats()

    async def counts(self) -> dict[RecordKind, int]:
        """Return how many records of each kind are stored."""
        stats = await self.stats()
        return {kind: stats.kinds[kind].records if kind in stats.kinds else 0 for kind in RecordKind}

    async def aclose(self) -> None:
        """Finish what was accepted and free everything. Idempotent."""
        if not self._closed:
            self._closed = True
            await self._close()

    async def close_within(self, seconds: float) -> int:
        """Do `aclose`, at most so long; returns how many records were accepted and are not acknowledged then.

        Their callers still wait, and what can be written still is, as long as the process lives.
        """
        try:
            async with asyncio.timeout(seconds):
                await self.aclose()
        except TimeoutError:
            return self._unacknowledged()
        return 0

    def _unacknowledged(self) -> int:
        """Return how many records were accepted and are neither stored nor refused."""
        return 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _check_open(self) -> None:
        if self._closed:
            raise BackendClosedError(f"the {self.name} backend was closed")

    @abstractmethod
    def _append(self, entries: list[Entry]) -> Awaitable[Refused]:
        """Store ``entries`` in order; returns the refused records by position, everything else is durable.

        Entries without a line get theirs from ``self._writer_identity.encode`` in the one ordered place.
        """

    @abstractmethod
    async def _read(self, query: RecordQuery) -> Page[Record]: ...

    @abstractmethod
    async def _scan(self, depth: ScanDepth, progress: ProgressCallback | None) -> PersistenceScanReport: ...

    @abstractmethod
    async def _recover(
        self, config: PersistenceRecoveryConfig, depth: ScanDepth, progress: ProgressCallback | None
    ) -> PersistenceRecoveryReport: ...

    @abstractmethod
    async def _compact(
        self, policy: RetentionPolicy, *, dry_run: bool, progress: ProgressCallback | None
    ) -> CompactionReport: ...

    @abstractmethod
    async def _stats(self) -> StoreStats: ...

    @abstractmethod
    async def _close(self) -> None: ...


PersistenceBackend = BasePersistence
"""The published name of the base class."""
