"""A backend whose answers a test writes down beforehand."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, TypeVar

from papyra.persistence.backend import Capabilities
from papyra.persistence.metrics import PersistenceMetrics
from papyra.persistence.models import (
    CompactionReport,
    PersistenceAnomaly,
    PersistenceAnomalyType,
    PersistenceRecoveryConfig,
    PersistenceRecoveryReport,
    PersistenceScanReport,
    Record,
    RecordKind,
    ScanDepth,
    StoreStats,
)
from papyra.persistence.query import Page, Progress, ProgressCallback, RecordQuery
from papyra.persistence.retention import UNLIMITED, RetentionPolicy
from papyra.persistence.state import WORKING, StoreState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Answer = PersistenceScanReport | Exception
T = TypeVar("T")
SOME_PROGRESS = Progress(records=7, bytes=700, total_bytes=1000)


def report(*types: PersistenceAnomalyType, depth: ScanDepth = ScanDepth.FULL) -> PersistenceScanReport:
    """Return a scan report with one anomaly of each of ``types``."""
    anomalies = tuple(
        PersistenceAnomaly(type_, "log.ndjson", "as the test says", offset=100 * index, length=10)
        for index, type_ in enumerate(types)
    )
    counts = {type_: types.count(type_) for type_ in types}
    return PersistenceScanReport(
        "scripted", anomalies, depth=depth, checked_records=9, checked_bytes=2104, counts=counts
    )


@dataclass
class ScriptedBackend:
    """Answers scans in turn (the last answer again and again) and notes what it was asked to do."""

    name: ClassVar[str] = "scripted"
    capabilities: ClassVar[Capabilities] = Capabilities(
        is_durable=True, is_shared=False, can_tear=True, can_be_damaged=True
    )

    scans: Sequence[Answer] = (report(),)
    recovery: PersistenceRecoveryReport | Exception | None = None
    compaction: CompactionReport | Exception = field(
        default_factory=lambda: CompactionReport("scripted", 9, 9, 900, 900)
    )
    records: Sequence[Record] = ()
    stats_answer: StoreStats | Exception = field(
        default_factory=lambda: StoreStats(backend="scripted", kinds={}, total_bytes=0)
    )
    hangs: bool = False
    works_on: Callable[[], None] | None = None
    done: list[object] = field(default_factory=list)
    metrics: PersistenceMetrics = field(default_factory=PersistenceMetrics)
    state: StoreState = WORKING
    retention: RetentionPolicy = UNLIMITED
    closed: bool = False

    async def append(self, records: Sequence[Record]) -> None:
        self.done.append(("append", tuple(records)))

    async def read(self, query: RecordQuery) -> Page[Record]:
        found = [record for record in self.records if query.matches(record)]
        if query.newest_first:
            found.reverse()
        start = int(query.cursor or 0)
        page = found[start : start + query.limit]
        return Page(page, str(start + query.limit) if start + query.limit < len(found) else None)

    async def scan(
        self, depth: ScanDepth = ScanDepth.FULL, *, progress: ProgressCallback | None = None
    ) -> PersistenceScanReport:
        self.done.append(("scan", depth))
        await self._take_time(progress)
        asked = sum(1 for what in self.done if isinstance(what, tuple) and what[0] == "scan")
        return _give(self.scans[min(asked, len(self.scans)) - 1])

    async def recover(
        self,
        config: PersistenceRecoveryConfig | None = None,
        *,
        depth: ScanDepth = ScanDepth.FULL,
        progress: ProgressCallback | None = None,
    ) -> PersistenceRecoveryReport:
        self.done.append(("recover", config, depth))
        await self._take_time(progress)
        return _give(self.recovery or PersistenceRecoveryReport("scripted", report()))

    async def compact(
        self,
        policy: RetentionPolicy | None = None,
        *,
        dry_run: bool = False,
        progress: ProgressCallback | None = None,
    ) -> CompactionReport:
        self.done.append(("compact", policy, dry_run))
        await self._take_time(progress)
        return _give(self.compaction)

    async def stats(self) -> StoreStats:
        return _give(self.stats_answer)

    async def counts(self) -> dict[RecordKind, int]:
        return dict.fromkeys(RecordKind, 0)

    async def aclose(self) -> None:
        self.closed = True

    async def _take_time(self, progress: ProgressCallback | None) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.works_on is not None:
            self.works_on()
        if progress is not None:
            progress(SOME_PROGRESS)


def _give(answer: T | Exception) -> T:
    if isinstance(answer, Exception):
        raise answer
    return answer
