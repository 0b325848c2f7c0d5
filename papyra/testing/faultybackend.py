"""A backend over another one, which fails, hangs or refuses records when a test says so."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from papyra.exceptions import AppendError, InvalidRecordError, PersistenceError, StoreUnavailableError
from papyra.persistence.backend import Capabilities
from papyra.persistence.models import ScanDepth

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from papyra.persistence.backend import PersistenceBackend
    from papyra.persistence.metrics import PersistenceMetrics
    from papyra.persistence.models import (
        CompactionReport,
        PersistenceRecoveryConfig,
        PersistenceRecoveryReport,
        PersistenceScanReport,
        Record,
        StoreStats,
    )
    from papyra.persistence.query import Page, ProgressCallback, RecordQuery
    from papyra.persistence.retention import RetentionPolicy
    from papyra.persistence.state import StoreState


@dataclass(slots=True)
class _Outage:
    error: BaseException
    times: int | None


class FaultyBackend:
    """Passes everything on to ``inner``, appends as far as the faults that were told let it.

    An append that fails has stored nothing and may be tried again; one that is held waits.
    """

    name: ClassVar[str] = "faulty"
    capabilities: ClassVar[Capabilities] = Capabilities(
        is_durable=False, is_shared=False, can_tear=False, can_be_damaged=False
    )

    def __init__(self, inner: PersistenceBackend) -> None:
        promised = replace(inner.capabilities, takes_ready_events=False)  # a predicate looks at records
        vars(self).update(name=inner.name, capabilities=promised)
        self.inner = inner
        self.appends = 0
        self._outages: list[_Outage] = []
        self._is_poison: Callable[[Record], bool] | None = None
        self._gate = asyncio.Event()
        self._gate.set()

    def fail_appends(self, times: int | None = 1, error: BaseException | None = None) -> None:
        """Let the next ``times`` appends raise ``error``; ``None``: every one until `heal`."""
        if times is not None and times < 1:
            raise ValueError(f"times must be 1 or more, or None for every append, not {times}")
        self._outages.append(
            _Outage(error or StoreUnavailableError("the test says the store is down"), times)
        )

    def hold(self) -> None:
        """Let appends wait until `release`."""
        self._gate.clear()

    def release(self) -> None:
        """Let appends go on."""
        self._gate.set()

    def poison(self, predicate: Callable[[Record], bool]) -> None:
        """Refuse for good each record that ``predicate`` is true of, and store the others of its batch."""
        self._is_poison = predicate

    def heal(self) -> None:
        """Forget every fault, and let what is held go on."""
        self._outages.clear()
        self._is_poison = None
        self._gate.set()

    async def append(self, records: Sequence[Record]) -> None:
        self.appends += 1
        await self._gate.wait()
        self._fail_if_told()
        is_poison = self._is_poison
        if is_poison is None:
            await self.inner.append(records)
            return
        positions = [position for position, record in enumerate(records) if is_poison(record)]
        refused: dict[int, PersistenceError] = {
            position: InvalidRecordError("the test says this record is poison") for position in positions
        }
        sound = [position for position in range(len(records)) if position not in refused]
        try:
            await self.inner.append([records[position] for position in sound])
        except AppendError as error:
            refused.update((sound[position], why) for position, why in error.refused)
        if refused:
            raise AppendError(sorted(refused.items()))

    def _fail_if_told(self) -> None:
        if not self._outages:
            return
        outage = self._outages[0]
        if outage.times is not None:
            outage.times -= 1
            if not outage.times:
                del self._outages[0]
        raise outage.error

    @property
    def retention(self) -> RetentionPolicy:
        return self.inner.retention

    @property
    def metrics(self) -> PersistenceMetrics:
        return self.inner.metrics

    @property
    def state(self) -> StoreState:
        return self.inner.state

    async def read(self, query: RecordQuery) -> Page[Record]:
        return await self.inner.read(query)

    async def scan(
        self, depth: ScanDepth = ScanDepth.FULL, *, progress: ProgressCallback | None = None
    ) -> PersistenceScanReport:
        return await self.inner.scan(depth, progress=progress)

    async def recover(
        self,
        config: PersistenceRecoveryConfig | None = None,
        *,
        depth: ScanDepth = ScanDepth.FULL,
        progress: ProgressCallback | None = None,
    ) -> PersistenceRecoveryReport:
        return await self.inner.recover(config, depth=depth, progress=progress)

    async def compact(
        self,
        policy: RetentionPolicy | None = None,
        *,
        dry_run: bool = False,
        progress: ProgressCallback | None = None,
    ) -> CompactionReport:
        return await self.inner.compact(policy, dry_run=dry_run, progress=progress)

    async def stats(self) -> StoreStats:
        return await self.inner.stats()

    async def aclose(self) -> None:
        await self.inner.aclose()
