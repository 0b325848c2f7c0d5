from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import pytest

from papyra.exceptions import (
    BackendClosedError,
    ConfigurationError,
    ForeignStoreError,
    NewerFormatError,
    PersistenceError,
    RecoveryError,
    StoreFailedError,
    StoreFullError,
    StoreLockedError,
    StoreUnavailableError,
)
from papyra.persistence.models import (
    PersistenceAnomalyType,
    PersistenceRecoveryConfig,
    PersistenceRecoveryMode,
    PersistenceScanReport,
    ScanDepth,
)
from papyra.persistence.startup import (
    DEFAULT_STARTUP,
    PersistenceStartupConfig,
    PersistenceStartupMode,
    StartupReport,
    StartupVerdict,
    run_startup_check,
)
from tests.unit.startup.scripted import SOME_PROGRESS, ScriptedBackend, report

if TYPE_CHECKING:
    from papyra.persistence.query import Progress

TORN, BAD, NEWER = (
    PersistenceAnomalyType.TORN_TAIL,
    PersistenceAnomalyType.BAD_CHECKSUM,
    PersistenceAnomalyType.NEWER_FORMAT,
)
IGNORE, SCAN_ONLY, RECOVER, FAIL = PersistenceStartupMode
CLEAN, TORN_FOUND, DAMAGED = report(), report(TORN), report(BAD, TORN)

MATRIX = [
    (IGNORE, CLEAN, None, "tolerated"),
    (IGNORE, DAMAGED, None, "tolerated"),
    (SCAN_ONLY, CLEAN, None, "healthy"),
    (SCAN_ONLY, TORN_FOUND, None, "tolerated"),
    (SCAN_ONLY, DAMAGED, None, "tolerated"),
    (RECOVER, CLEAN, None, "healthy"),
    (RECOVER, DAMAGED, CLEAN, "recovered"),
    (RECOVER, DAMAGED, TORN_FOUND, "unrecovered"),
    (FAIL, CLEAN, None, "healthy"),
    (FAIL, TORN_FOUND, None, "refused"),
    (FAIL, DAMAGED, None, "refused"),
]


def config(mode: PersistenceStartupMode, **more: Any) -> PersistenceStartupConfig:
    return PersistenceStartupConfig(mode, **more)


def what_was_done(backend: ScriptedBackend) -> list[str]:
    return [what[0] for what in backend.done if isinstance(what, tuple)]


@pytest.mark.parametrize(("mode", "first", "second", "verdict"), MATRIX)
async def test_a_mode_and_a_finding_have_one_verdict(
    mode: PersistenceStartupMode,
    first: PersistenceScanReport,
    second: PersistenceScanReport | None,
    verdict: str,
) -> None:
    backend = ScriptedBackend(scans=[first] if second is None else [first, second])
    checked = await run_startup_check(backend, config(mode))
    assert checked.verdict == verdict
    assert checked.may_start is (verdict in {"healthy", "tolerated", "recovered"})


@pytest.mark.parametrize("mode", [IGNORE, SCAN_ONLY, FAIL])
async def test_c4_only_recover_recovers(mode: PersistenceStartupMode) -> None:
    backend = ScriptedBackend(scans=[DAMAGED])
    await run_startup_check(backend, config(mode, recovery=DEFAULT_STARTUP.recovery))
    assert "recover" not in what_was_done(backend)


async def test_ignore_does_not_scan() -> None:
    backend = ScriptedBackend(scans=[StoreUnavailableError("down")])
    checked = await run_startup_check(backend, config(IGNORE))
    assert (checked.verdict, backend.done) == (StartupVerdict.TOLERATED, [])


async def test_c5_recover_without_a_recovery_config_repairs() -> None:
    backend = ScriptedBackend(scans=[DAMAGED, CLEAN])
    await run_startup_check(backend, config(RECOVER))
    repair = PersistenceRecoveryConfig(PersistenceRecoveryMode.REPAIR)
    assert backend.done[1] == ("recover", repair, ScanDepth.TAIL)


@pytest.mark.parametrize("depth", ScanDepth)
async def test_recovery_and_rescan_have_the_depth_of_the_scan(depth: ScanDepth) -> None:
    backend = ScriptedBackend(scans=[DAMAGED, CLEAN])
    await run_startup_check(backend, config(RECOVER, depth=depth))
    assert backend.done[0] == ("scan", depth)
    assert backend.done[1] == ("recover", DEFAULT_STARTUP.recovery, depth)
    assert backend.done[2] == ("scan", depth)


async def test_the_report_carries_its_evidence() -> None:
    backend = ScriptedBackend(scans=[DAMAGED, TORN_FOUND])
    checked = await run_startup_check(backend, config(RECOVER))
    assert checked.scan is DAMAGED
    assert checked.rescan is TORN_FOUND
    assert checked.recovery is not None


@pytest.mark.parametrize("error", [StoreUnavailableError("down"), StoreLockedError("held by 4711 on desk")])
@pytest.mark.parametrize("mode", [SCAN_ONLY, RECOVER, FAIL])
async def test_a_store_that_does_not_answer_is_unproven_and_says_why(
    mode: PersistenceStartupMode, error: PersistenceError
) -> None:
    checked = await run_startup_check(ScriptedBackend(scans=[error]), config(mode))
    assert (checked.verdict, checked.reason) == (StartupVerdict.UNPROVEN, str(error))
    assert checked.may_start is (mode is SCAN_ONLY)


@pytest.mark.parametrize(
    "error", [StoreFailedError("EIO"), NewerFormatError("2"), ForeignStoreError("other")]
)
@pytest.mark.parametrize(
    ("mode", "verdict"), [(SCAN_ONLY, "unproven"), (RECOVER, "refused"), (FAIL, "refused")]
)
async def test_what_no_repair_can_help_is_refused_where_a_start_may_be_refused(
    mode: PersistenceStartupMode, verdict: str, error: PersistenceError
) -> None:
    checked = await run_startup_check(ScriptedBackend(scans=[error]), config(mode))
    assert checked.verdict == verdict
    assert checked.may_start is (mode is SCAN_ONLY)


async def test_a_newer_format_is_refused_and_never_touched() -> None:
    backend = ScriptedBackend(scans=[report(NEWER)])
    checked = await run_startup_check(backend, config(RECOVER))
    assert checked.verdict is StartupVerdict.REFUSED
    assert "newer version" in checked.reason
    assert what_was_done(backend) == ["scan"]


async def test_a_recovery_that_was_not_possible_leaves_the_store_unrecovered() -> None:
    backend = ScriptedBackend(scans=[DAMAGED], recovery=RecoveryError("quarantine is on another disk"))
    checked = await run_startup_check(backend, config(RECOVER))
    assert checked.verdict is StartupVerdict.UNRECOVERED
    assert checked.reason == "quarantine is on another disk"
    assert checked.scan is DAMAGED


async def test_a_full_disk_during_recovery_is_unproven_so_that_the_next_start_tries_again() -> None:
    backend = ScriptedBackend(scans=[DAMAGED], recovery=StoreFullError("no space left"))
    checked = await run_startup_check(backend, config(RECOVER))
    assert (checked.verdict, checked.may_start) == (StartupVerdict.UNPROVEN, False)


async def test_a_closed_backend_is_the_callers_mistake() -> None:
    backend = ScriptedBackend(scans=[BackendClosedError("closed")])
    with pytest.raises(BackendClosedError):
        await run_startup_check(backend, config(SCAN_ONLY))


async def test_a_scan_that_works_past_the_deadline_is_ended_in_its_thread_and_unproven() -> None:
    ended = []

    def until_told_to_stop(progress: Any) -> None:
        try:
            for _ in iter(int, 1):
                progress(SOME_PROGRESS)
        except TimeoutError as error:
            ended.append(error)
            raise

    class Slow(ScriptedBackend):
        async def scan(
            self, depth: ScanDepth = ScanDepth.FULL, *, progress: Any = None
        ) -> PersistenceScanReport:
            del depth
            await asyncio.get_running_loop().run_in_executor(None, until_told_to_stop, progress)
            return CLEAN

    checked = await run_startup_check(Slow(), config(RECOVER, timeout_seconds=0.05))
    assert checked.verdict is StartupVerdict.UNPROVEN
    assert checked.reason == "the startup check did not finish in 0.05 s (7 records were checked)"
    assert ended


async def test_a_scan_that_hangs_is_given_up_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("papyra.persistence.startup.GRACE_SECONDS", 0.0)
    checked = await run_startup_check(ScriptedBackend(hangs=True), config(FAIL, timeout_seconds=0.05))
    assert checked.verdict is StartupVerdict.UNPROVEN
    assert checked.reason == "the store did not answer within 0.05 s"


async def test_an_infinite_timeout_is_no_limit() -> None:
    checked = await run_startup_check(ScriptedBackend(), config(FAIL, timeout_seconds=math.inf))
    assert checked.verdict is StartupVerdict.HEALTHY


async def test_cancelling_the_check_is_not_a_verdict() -> None:
    task = asyncio.ensure_future(run_startup_check(ScriptedBackend(hangs=True), config(FAIL)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_progress_reaches_the_caller() -> None:
    seen: list[Progress] = []
    await run_startup_check(ScriptedBackend(scans=[DAMAGED, CLEAN]), config(RECOVER), progress=seen.append)
    assert seen == [SOME_PROGRESS] * 3


@pytest.mark.parametrize(
    ("mode", "found", "verdict"),
    [
        (RECOVER, CLEAN, "healthy"),
        (RECOVER, TORN_FOUND, "tolerated"),
        (RECOVER, DAMAGED, "refused"),
        (FAIL, TORN_FOUND, "refused"),
        (SCAN_ONLY, DAMAGED, "tolerated"),
    ],
)
async def test_a_process_that_hosts_nothing_never_recovers(
    mode: PersistenceStartupMode, found: PersistenceScanReport, verdict: str
) -> None:
    backend = ScriptedBackend(scans=[found])
    checked = await run_startup_check(backend, config(mode), is_host=False)
    assert checked.verdict == verdict
    assert what_was_done(backend) == ["scan"]


@pytest.mark.parametrize("mode", PersistenceStartupMode)
async def test_w5_a_mode_given_as_its_word_is_that_mode(mode: PersistenceStartupMode) -> None:
    given = PersistenceStartupConfig(mode.value)  # type: ignore[arg-type]  # what untyped callers do
    assert given == PersistenceStartupConfig(mode)
    assert given.mode is mode


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "fail_on_anomali"},
        {"mode": None},
        {"depth": "deep"},
        {"timeout_seconds": 0},
        {"timeout_seconds": -1},
        {"timeout_seconds": math.nan},
        {"timeout_seconds": "30"},
        {"recovery": "repair"},
    ],
)
def test_a_wrong_config_is_refused_where_it_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        PersistenceStartupConfig(**wrong)


@pytest.mark.parametrize("mode", [*PersistenceRecoveryMode, "rebuild"])
def test_w5_a_recovery_mode_given_as_its_word_is_that_mode(mode: str) -> None:
    given = PersistenceRecoveryConfig(str(mode))  # type: ignore[arg-type]  # what untyped callers do
    assert given.mode is PersistenceRecoveryMode(mode)


def test_a_wrong_recovery_mode_is_refused_where_it_is_made() -> None:
    with pytest.raises(
        ConfigurationError, match="'fix' is not a recovery mode; it is one of ignore, repair, "
    ):
        PersistenceRecoveryConfig("fix")  # type: ignore[arg-type]  # what untyped callers do


def test_a_wrong_mode_names_the_right_ones() -> None:
    with pytest.raises(ConfigurationError, match="'on' is not a startup mode; it is one of ignore, "):
        PersistenceStartupConfig("on")  # type: ignore[arg-type]  # what untyped callers do


@pytest.mark.parametrize("verdict", StartupVerdict)
@pytest.mark.parametrize("mode", PersistenceStartupMode)
def test_unproven_starts_only_where_no_proof_was_asked_for(
    verdict: StartupVerdict, mode: PersistenceStartupMode
) -> None:
    may = StartupReport(verdict, PersistenceStartupConfig(mode)).may_start
    if verdict is StartupVerdict.UNPROVEN:
        assert may is (mode in {IGNORE, SCAN_ONLY})
    else:
        assert may is (verdict in {"healthy", "tolerated", "recovered"})
