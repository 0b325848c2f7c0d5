"""The startup check: scan, act as configured, prove it; the one function that every start calls."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from papyra.clock import SYSTEM_CLOCK
from papyra.exceptions import (
    BackendClosedError,
    ForeignStoreError,
    NewerFormatError,
    PersistenceError,
    RecoveryError,
    StoreFailedError,
)
from papyra.persistence.models import PersistenceAnomalyType
from papyra.persistence.verdict import (
    DEFAULT_STARTUP,
    PersistenceStartupConfig,
    PersistenceStartupMode,
    StartupReport,
    StartupVerdict,
)

if TYPE_CHECKING:
    from papyra.persistence.backend import PersistenceBackend
    from papyra.persistence.models import PersistenceScanReport
    from papyra.persistence.query import Progress, ProgressCallback

__all__ = [
    "DEFAULT_STARTUP",
    "DEFAULT_TIMEOUT_SECONDS",
    "PersistenceStartupConfig",
    "PersistenceStartupMode",
    "StartupReport",
    "StartupVerdict",
    "run_startup_check",
]

DEFAULT_TIMEOUT_SECONDS = 30.0
GRACE_SECONDS = 1.0
"""How long a thread has to notice that the time is up, before it is left behind."""


async def run_startup_check(
    backend: PersistenceBackend,
    config: PersistenceStartupConfig,
    *,
    is_host: bool = True,
    progress: ProgressCallback | None = None,
) -> StartupReport:
    """Scan, act as ``config`` says, and prove any recovery with a second scan of the same depth.

    Never raises for what the store does: a check that was not finished within ``timeout_seconds``, a store
    that is unreachable or locked by another is `StartupVerdict.UNPROVEN`. A process that hosts no system
    (``is_host`` false) never recovers: where it should, it tolerates crash traces and refuses damage.
    """
    if config.mode is PersistenceStartupMode.IGNORE:
        return StartupReport(StartupVerdict.TOLERATED, config)
    check = _Check(backend, config, is_host=is_host, progress=progress)
    try:
        return await check.run()
    except BackendClosedError:  # what the caller did, not the store
        raise
    except (PersistenceError, TimeoutError) as error:
        return replace(
            check.report, verdict=_verdict_of(error, config.mode), reason=str(error) or check.no_answer
        )


def _verdict_of(error: BaseException, mode: PersistenceStartupMode) -> StartupVerdict:
    match error:
        case StoreFailedError() | NewerFormatError() | ForeignStoreError() if not mode.never_refuses:
            return StartupVerdict.REFUSED
        case RecoveryError():
            return StartupVerdict.UNRECOVERED
        case _:
            return StartupVerdict.UNPROVEN


class _Check:
    """One run, which keeps its evidence so far for the case that it cannot be finished."""

    def __init__(
        self,
        backend: PersistenceBackend,
        config: PersistenceStartupConfig,
        *,
        is_host: bool,
        progress: ProgressCallback | None,
    ) -> None:
        self._backend = backend
        self._config = config
        self._is_host = is_host
        self._progress = progress
        self._timeout = DEFAULT_TIMEOUT_SECONDS if config.timeout_seconds is None else config.timeout_seconds
        self._deadline = SYSTEM_CLOCK.monotonic() + self._timeout
        self.report = StartupReport(StartupVerdict.UNPROVEN, config)

    @property
    def no_answer(self) -> str:
        return f"the store did not answer within {self._timeout:g} s"

    async def run(self) -> StartupReport:
        limit = None if math.isinf(self._timeout) else self._timeout + GRACE_SECONDS
        async with asyncio.timeout(limit):  # for a thread that hangs; the callback ends one that works
            scan = await self._backend.scan(self._config.depth, progress=self._watch)
            self.report = replace(self.report, scan=scan)
            if not scan.has_anomalies:
                return replace(self.report, verdict=StartupVerdict.HEALTHY)
            match self._config.mode:
                case PersistenceStartupMode.SCAN_ONLY | PersistenceStartupMode.IGNORE:
                    return replace(self.report, verdict=StartupVerdict.TOLERATED)
                case PersistenceStartupMode.FAIL_ON_ANOMALY:
                    return replace(self.report, verdict=StartupVerdict.REFUSED)
                case PersistenceStartupMode.RECOVER:
                    return await self._recover(scan)

    async def _recover(self, scan: PersistenceScanReport) -> StartupReport:
        if any(anomaly.type is PersistenceAnomalyType.NEWER_FORMAT for anomaly in scan.anomalies):
            reason = "a newer version wrote this store; this one neither reads nor repairs it"
            return replace(self.report, verdict=StartupVerdict.REFUSED, reason=reason)
        if not self._is_host:
            return self._judge_as_bystander(scan)
        recovery = self._config.recovery or DEFAULT_STARTUP.recovery
        done = await self._backend.recover(recovery, depth=self._config.depth, progress=self._watch)
        self.report = replace(self.report, recovery=done)
        rescan = await self._backend.scan(self._config.depth, progress=self._watch)
        verdict = StartupVerdict.UNRECOVERED if rescan.has_anomalies else StartupVerdict.RECOVERED
        return replace(self.report, verdict=verdict, rescan=rescan)

    def _judge_as_bystander(self, scan: PersistenceScanReport) -> StartupReport:
        if not scan.has_damage:
            return replace(self.report, verdict=StartupVerdict.TOLERATED)
        reason = "damage is repaired by the process that hosts the system, not by this one"
        return replace(self.report, verdict=StartupVerdict.REFUSED, reason=reason)

    def _watch(self, progress: Progress) -> None:
        if SYSTEM_CLOCK.monotonic() > self._deadline:
            done = f"{progress.records} records were checked"
            raise TimeoutError(f"the startup check did not finish in {self._timeout:g} s ({done})")
        if self._progress is not None:
            self._progress(progress)
