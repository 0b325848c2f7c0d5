"""History in the project's own database, through the ORM's connections but in threads of its own."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from django.db import connections

from django_papyra._sql import incarnations
from django_papyra._sql.compaction import Bounds, Compaction
from django_papyra._sql.kept import Keeper
from django_papyra._sql.places import InlinePlace, Place, ThreadPlace
from django_papyra._sql.reading import read_page
from django_papyra._sql.repair import Done, Repair
from django_papyra._sql.scanning import Findings, Scan
from django_papyra._sql.stats import measure
from django_papyra._sql.writing import Writing
from django_papyra.conf import WriterMode
from papyra.clock import SYSTEM_CLOCK, Clock
from papyra.exceptions import ConfigurationError, StoreUnavailableError
from papyra.persistence.backend import Capabilities
from papyra.persistence.base import BasePersistence, Refused
from papyra.persistence.models import (
    CompactionReport,
    KindStats,
    PersistenceRecoveryConfig,
    PersistenceRecoveryMode,
    PersistenceRecoveryReport,
    PersistenceScanReport,
    Record,
    RecordKind,
    ScanDepth,
    StoreStats,
)
from papyra.persistence.outage import MAX_SPILL_BYTES, OutageOptions
from papyra.persistence.query import Page, Progress, ProgressCallback, RecordQuery

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from django.db.models import Q

    from papyra.persistence.entries import Entry
    from papyra.persistence.retention import RetentionPolicy

DEFAULT_MAX_UNRESOLVED = 100_000


class DjangoPersistence(BasePersistence):
    """Keeps records in the tables of ``django_papyra`` in the database ``using``.

    ``writer="thread"`` writes in a thread with a durable connection of its own and never joins a caller's
    transaction; ``writer="inline"`` uses the caller's connection, so that a test's transaction sees what was
    recorded. Below what retention keeps, the newest ``max_unresolved`` open letters stay.

    While the database is away the thread keeps records in ``spill_dir``, up to ``spill_max_bytes`` of this
    process and then as ``spill_when_full`` says, and sends them once it is back. Without a folder an append
    fails after ``retry_seconds``. What an acknowledgement means then: `papyra.persistence.outage.Outage`.
    """

    name: ClassVar[str] = "django"
    capabilities: ClassVar[Capabilities] = Capabilities(
        is_durable=True, is_shared=True, can_tear=False, can_be_damaged=True
    )

    def __init__(  # noqa: PLR0913  # each has a default that does
        self,
        using: str = "default",
        writer: str = WriterMode.THREAD,
        retention_policy: RetentionPolicy | None = None,
        *,
        max_unresolved: int = DEFAULT_MAX_UNRESOLVED,
        spill_dir: str | os.PathLike[str] | None = None,
        spill_max_bytes: int = MAX_SPILL_BYTES,
        spill_when_full: str = "refuse",
        retry_seconds: float = 0.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(retention_policy, clock=clock)
        if using not in connections.settings:
            known = ", ".join(connections)
            raise ConfigurationError(f"there is no database {using!r}; DATABASES has: {known}")
        self._using = using
        self._max_unresolved = max_unresolved
        self._writing = Writing(using, self._writer_identity, clock)
        options = OutageOptions(spill_dir, spill_max_bytes, spill_when_full, retry_seconds).checked()
        self._place: Place
        match writer:
            case WriterMode.THREAD:
                self._place = ThreadPlace(
                    using,
                    self._writing,
                    self._writer_identity,
                    options=options,
                    tracker=self._tracker,
                    metrics=self._metrics,
                    clock=clock,
                )
                self._keeper: Keeper | None = Keeper(using, max_unresolved)
            case WriterMode.INLINE:
                self._place = InlinePlace(using, self._writing)
                self._keeper = None  # what it remembers would outlive a transaction that is rolled back
            case _:
                raise ConfigurationError(f"writer must be 'thread' or 'inline', not {writer!r}")

    @property
    def using(self) -> str:
        """The database alias."""
        return self._using

    async def beat(self, incarnation: str) -> None:
        """Say that the process of ``incarnation`` lives; 15 seconds without a beat mean that it is lost."""
        self._check_open()
        if self._place.is_away:  # a try more would only hold up what is to be kept beside the database
            raise StoreUnavailableError(f"database {self._using!r} is away: {self.state.reason}")
        await self._place.write(lambda: incarnations.beat(self._using, incarnation, self._clock.now()))

    async def _append(self, entries: list[Entry]) -> Refused:
        return await self._place.append(entries)

    async def _read(self, query: RecordQuery) -> Page[Record]:
        return await self._place.read(lambda: read_page(self._using, query, self._kept(query.kind)))

    def _kept(self, kind: RecordKind) -> Q:
        keeper = self._keeper or Keeper(self._using, self._max_unresolved)
        return keeper.kept(kind, self._retention, self._clock.now())

    async def _scan(self, depth: ScanDepth, progress: ProgressCallback | None) -> PersistenceScanReport:
        return (await self._find(depth, progress)).report(self.name, depth)

    async def _find(self, depth: ScanDepth, progress: ProgressCallback | None) -> Findings:
        is_abandoned = threading.Event()

        def tell(so_far: Progress) -> None:
            if is_abandoned.is_set():
                raise TimeoutError("nobody waits for this scan any more")
            if progress is not None:
                progress(so_far)

        try:
            return await self._place.read(lambda: Scan(self._using, self._clock, tell).run(depth))
        except asyncio.CancelledError:
            is_abandoned.set()
            raise

    async def _recover(
        self, config: PersistenceRecoveryConfig, depth: ScanDepth, progress: ProgressCallback | None
    ) -> PersistenceRecoveryReport:
        if config.mode is not PersistenceRecoveryMode.IGNORE:
            await self._place.catch_up()  # else what waits would be taken for missing
        found = await self._find(depth, progress)
        scan = found.report(self.name, depth)
        if config.mode is PersistenceRecoveryMode.IGNORE:
            return PersistenceRecoveryReport(self.name, scan, left=tuple(found.anomalies))
        done = Done()
        if found.has_work:
            repair = Repair(self._using, self._writing.inserter, self._writing.own, self._clock)
            try:
                for step in repair.steps(found):
                    done = done.plus(await self._place.write(step))
                done = await self._place.write(partial(repair.conclude, found, done, config, depth))
            finally:
                await self._place.write(repair.lease.give_back)
        return PersistenceRecoveryReport(
            self.name,
            scan,
            tuple(sorted(done.corrected | done.emptied)),
            tuple(sorted(done.emptied)),
            quarantined_bytes=done.quarantined_bytes,
            quarantine="table django_papyra_quarantinedrecord" if done.quarantined_bytes else "",
            losses=done.losses,
            left=tuple(found.unrepairable),
        )

    async def _compact(
        self, policy: RetentionPolicy, *, dry_run: bool, progress: ProgressCallback | None
    ) -> CompactionReport:
        work = Compaction(self._using, self._writing.inserter, self._writing.own, self._clock)
        plan = await self._place.read(lambda: work.plan(policy, self._max_unresolved))
        removed = {bounds.kind: bounds.goes for bounds in plan}
        if not dry_run:
            try:
                removed = {bounds.kind: await self._remove(work, bounds, progress) for bounds in plan}
            finally:
                await self._place.write(work.lease.give_back)
        before = [bounds.before for bounds in plan]
        return self._compacted(_sum(before), removed, dry_run=dry_run)

    async def _remove(self, work: Compaction, bounds: Bounds, progress: ProgressCallback | None) -> KindStats:
        removed: list[KindStats] = []
        start: int | None = 0 if bounds.goes.records else None
        while start is not None:
            place = start
            done = await self._place.write(partial(work.step, bounds, place))
            removed.append(done.removed)
            start = done.following
            if progress is not None:
                so_far = _sum(removed)
                progress(Progress(records=so_far.records, bytes=so_far.bytes, total_bytes=bounds.goes.bytes))
        return _sum(removed)

    def _compacted(
        self, before: KindStats, removed: dict[RecordKind, KindStats], *, dry_run: bool
    ) -> CompactionReport:
        gone = _sum(list(removed.values()))
        return CompactionReport(
            self.name,
            before.records,
            before.records - gone.records,
            before.bytes,
            before.bytes - gone.bytes,
            dry_run=dry_run,
            removed={kind: stats.records for kind, stats in removed.items()},
            oldest_removed=gone.oldest,
            newest_removed=gone.newest,
        )

    async def _stats(self) -> StoreStats:
        return self._place.add_to(await self._place.read(lambda: measure(self._using, self.name)))

    async def _close(self) -> None:
        await self._place.aclose()

    def _unacknowledged(self) -> int:
        return self._place.unacknowledged()


def _sum(parts: Sequence[KindStats]) -> KindStats:
    return KindStats(
        records=sum(part.records for part in parts),
        bytes=sum(part.bytes for part in parts),
        oldest=min((part.oldest for part in parts if part.oldest is not None), default=None),
        newest=max((part.newest for part in parts if part.newest is not None), default=None),
    )
