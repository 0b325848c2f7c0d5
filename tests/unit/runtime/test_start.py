"""A start checks the store first; a refusal runs nothing and writes nothing."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from papyra import Actor, ActorSystem, PersistenceStartupError
from papyra.exceptions import ConfigurationError, StoreFailedError, StoreLockedError, StoreUnavailableError
from papyra.persistence.models import (
    PersistenceAnomaly,
    PersistenceAnomalyType,
    PersistenceRecoveryConfig,
    PersistenceRecoveryMode,
    PersistenceRecoveryReport,
    PersistenceScanReport,
    ScanDepth,
)
from papyra.persistence.startup import (
    PersistenceStartupConfig,
    PersistenceStartupMode,
    StartupReport,
    StartupVerdict,
)
from tests.unit.runtime.actors import Store, Worker

if TYPE_CHECKING:
    from papyra.persistence.query import ProgressCallback

Mode = PersistenceStartupMode
GARBAGE = PersistenceAnomaly(PersistenceAnomalyType.GARBAGE, "log.ndjson", "line 3")


class Damaged(Store):
    """A store with one damaged line, which a recovery may or may not mend."""

    def __init__(self, *, mends: bool = True, scan_error: Exception | None = None) -> None:
        super().__init__()
        self.mends = mends
        self.scan_error = scan_error
        self.is_mended = False
        self.recovered_with: PersistenceRecoveryConfig | None = None

    async def scan(
        self, depth: ScanDepth = ScanDepth.FULL, *, progress: ProgressCallback | None = None
    ) -> PersistenceScanReport:
        del progress
        if self.scan_error is not None:
            raise self.scan_error
        found = () if self.is_mended else (GARBAGE,)
        counts = {} if self.is_mended else {GARBAGE.type: 1}
        return PersistenceScanReport("damaged", found, depth=depth, counts=counts)

    async def recover(
        self,
        config: PersistenceRecoveryConfig | None = None,
        *,
        depth: ScanDepth = ScanDepth.FULL,
        progress: ProgressCallback | None = None,
    ) -> PersistenceRecoveryReport:
        del progress
        self.recovered_with = config
        scan = await self.scan(depth)
        self.is_mended = self.mends
        return PersistenceRecoveryReport("damaged", scan)


async def start(store: Store, mode: Mode | None) -> ActorSystem:
    config = None if mode is None else PersistenceStartupConfig(mode, timeout_seconds=0.05)
    system = ActorSystem(persistence=store, persistence_startup=config)
    await system.start()
    return system


async def refused(store: Store, mode: Mode | None) -> PersistenceStartupError:
    with pytest.raises(PersistenceStartupError) as raised:
        await start(store, mode)
    assert (store.events, store.audits, store.dead_letters) == ((), (), ())
    return raised.value


async def test_the_first_two_events_are_the_start_and_the_check(store: Store, system: ActorSystem) -> None:
    await system.flush()
    started, checked = store.events
    assert (started.seq, started.event_type, started.incarnation) == (1, "SystemStarted", system.incarnation)
    assert isinstance(started.payload, dict)
    assert started.payload["node"]["pid"] == os.getpid()
    assert set(started.payload["versions"]) == {"papyra", "python"}
    assert started.payload["settings_digest"]
    assert (checked.seq, checked.event_type) == (2, "StartupChecked")
    assert checked.payload["verdict"] == "healthy"  # type: ignore[index]
    assert checked.payload["mode"] == "recover"  # type: ignore[index]


async def test_the_first_record_is_durable_before_any_actor_runs() -> None:
    store = Store()
    store.gate.clear()
    system = ActorSystem(persistence=store)
    starting = asyncio.create_task(system.start())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not starting.done()
    assert not system.is_running
    store.gate.set()
    await starting
    assert store.types()[:1] == ["SystemStarted"]
    await system.aclose()


async def test_without_a_config_damage_is_repaired() -> None:
    store = Damaged()
    system = await start(store, None)
    assert store.recovered_with == PersistenceRecoveryConfig(PersistenceRecoveryMode.REPAIR)
    await system.flush()
    assert store.events[1].payload["verdict"] == "recovered"  # type: ignore[index]
    await system.aclose()


async def test_persistence_recovery_completes_a_bare_recover() -> None:
    store = Damaged()
    recovery = PersistenceRecoveryConfig(PersistenceRecoveryMode.QUARANTINE, "/elsewhere")
    async with ActorSystem(
        persistence=store,
        persistence_startup=PersistenceStartupConfig(Mode.RECOVER),
        persistence_recovery=recovery,
    ):
        assert store.recovered_with == recovery


@pytest.mark.parametrize(
    ("store", "mode", "verdict"),
    [
        (Damaged(), Mode.FAIL_ON_ANOMALY, StartupVerdict.REFUSED),
        (Damaged(mends=False), Mode.RECOVER, StartupVerdict.UNRECOVERED),
        (Damaged(scan_error=StoreUnavailableError("down")), Mode.RECOVER, StartupVerdict.UNPROVEN),
        (Damaged(scan_error=StoreFailedError("bad medium")), Mode.RECOVER, StartupVerdict.REFUSED),
    ],
)
async def test_d4_a_refusal_starts_and_writes_nothing(
    store: Store, mode: Mode, verdict: StartupVerdict
) -> None:
    error = await refused(store, mode)
    assert isinstance(error, RuntimeError)
    assert isinstance(error.report, StartupReport)
    assert error.report.verdict is verdict
    assert verdict.value in str(error)


async def test_d4_after_a_refusal_no_actor_can_be_spawned() -> None:
    started: list[str] = []

    class Eager(Actor):
        async def on_start(self) -> None:
            started.append("on_start")

    store = Damaged()
    system = ActorSystem(
        persistence=store, persistence_startup=PersistenceStartupConfig(Mode.FAIL_ON_ANOMALY)
    )
    with pytest.raises(PersistenceStartupError):
        async with system:
            system.spawn(Eager)
    assert started == []
    assert store.events == ()
    assert store.closed


async def test_a_refused_system_starts_once_the_store_is_mended() -> None:
    store = Damaged()
    system = ActorSystem(
        persistence=store, persistence_startup=PersistenceStartupConfig(Mode.FAIL_ON_ANOMALY)
    )
    with pytest.raises(PersistenceStartupError):
        await system.start()
    store.is_mended = True
    await system.start()
    assert await system.spawn(Worker).ask(1) == 1
    await system.aclose()


@pytest.mark.parametrize("mode", list(Mode))
async def test_a_store_that_another_host_holds_refuses_in_every_mode(mode: Mode) -> None:
    error = await refused(Store(always=StoreLockedError("held by pid 1 on here")), mode)
    assert "held by pid 1" in str(error)
    assert isinstance(error.report, StartupReport)
    assert error.report.verdict is StartupVerdict.UNPROVEN


@pytest.mark.parametrize("mode", [Mode.IGNORE, Mode.SCAN_ONLY])
async def test_a_store_that_is_down_lets_a_lenient_system_start_degraded(mode: Mode) -> None:
    store = Store(StoreUnavailableError("down"))
    system = await start(store, mode)
    ref = system.spawn(Worker)
    assert await ref.ask(1) == 1
    assert await system.flush(5)
    assert store.types() == ["SystemStarted", "StartupChecked", "ActorStarted"]
    assert [event.seq for event in store.events] == [1, 2, 3]
    await system.aclose()


@pytest.mark.parametrize("mode", [Mode.RECOVER, Mode.FAIL_ON_ANOMALY])
async def test_a_store_that_does_not_take_the_first_record_refuses_a_strict_system(mode: Mode) -> None:
    assert "no space" in str(await refused(Store(always=StoreUnavailableError("no space")), mode))
    hanging = Store()
    hanging.gate.clear()
    assert "in time" in str(await refused(hanging, mode))


@pytest.mark.parametrize(
    "options",
    [
        {"ask_timeout": 0},
        {"shutdown_timeout": -1},
        {"audit_interval": 0},
        {"max_events": 0},
        {"letters_per_minute": 0},
        {"max_queued_records": 0},
        {"redact": "password"},
        {"messages": [object]},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        ActorSystem(**options)  # type: ignore[arg-type]


async def test_the_time_of_records_is_the_clocks_and_another_time_function_may_be_given() -> None:
    store = Store()
    async with ActorSystem(persistence=store, time_fn=lambda: 1_234.5) as system:
        assert system.now() == 1_234.5
        system.spawn(Worker)
    assert store.events[0].timestamp == 1_234.5
    assert system.events()[0].timestamp == pytest.approx(1_234.5)
