"""The way into an incarnation: check the store, then say that the system runs. A refusal writes nothing."""

from __future__ import annotations

import asyncio
import platform
from dataclasses import replace
from typing import TYPE_CHECKING

from papyra import __version__
from papyra._runtime.records import system_record
from papyra.exceptions import PersistenceError, PersistenceStartupError, StoreLockedError
from papyra.node import this_node
from papyra.persistence.models import EventType
from papyra.persistence.startup import (
    DEFAULT_TIMEOUT_SECONDS,
    StartupReport,
    StartupVerdict,
)

if TYPE_CHECKING:
    from papyra._runtime.options import Options
    from papyra._runtime.recorder import Recorder
    from papyra.persistence.backend import PersistenceBackend


async def announce(
    backend: PersistenceBackend, recorder: Recorder, report: StartupReport, options: Options
) -> None:
    """Make the incarnation's first records, the first of them durable.

    A store that another host has locked refuses in every mode; one that does not take the record for
    another reason is tolerated where no proof was asked for: records wait in memory until it does.
    """
    node, versions = this_node().to_dict(), {"papyra": __version__, "python": platform.python_version()}
    payload = {"node": node, "versions": versions, "settings_digest": options.digest()}
    # A fixed time: should a try that timed out land after all, a second one is the same record.
    started = replace(
        system_record(options.system_id, EventType.SYSTEM_STARTED, payload), timestamp=options.clock.now()
    )
    timeout = options.startup.timeout_seconds
    try:
        async with asyncio.timeout(DEFAULT_TIMEOUT_SECONDS if timeout is None else timeout):
            await recorder.append_now([started])
    except (PersistenceError, TimeoutError) as error:
        if isinstance(error, StoreLockedError) or not options.startup.mode.never_refuses:
            reason = str(error) or "the store did not take the first record in time"
            unproven = replace(report, verdict=StartupVerdict.UNPROVEN, reason=reason)
            raise _refusal(unproven, backend) from error
        recorder.emit(started)
    recorder.emit(system_record(options.system_id, EventType.STARTUP_CHECKED, _findings(report)))


def require_start(report: StartupReport, backend: PersistenceBackend) -> None:
    """Raise `PersistenceStartupError` unless the system may start."""
    if not report.may_start:
        raise _refusal(report, backend)


def _refusal(report: StartupReport, backend: PersistenceBackend) -> PersistenceStartupError:
    scan = report.rescan or report.scan
    found = ", ".join(f"{count} {type_.value}" for type_, count in scan.counts.items()) if scan else ""
    said = report.reason or found or (f"{len(scan.anomalies)} anomalies" if scan else "no reason given")
    return PersistenceStartupError(
        f"the {backend.name} store is {report.verdict.value} in mode {report.config.mode.value}: {said}; "
        "no actor was started and nothing written",
        report=report,
    )


def _findings(report: StartupReport) -> dict[str, object]:
    scan = report.scan
    return {
        "verdict": report.verdict.value,
        "mode": report.config.mode.value,
        "depth": report.config.depth.value,
        "anomalies": 0 if scan is None else sum(scan.counts.values()) or len(scan.anomalies),
        "checked_records": 0 if scan is None else scan.checked_records,
        "quarantined_bytes": 0 if report.recovery is None else report.recovery.quarantined_bytes,
        "reason": report.reason,
    }
