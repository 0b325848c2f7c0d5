"""The fixtures beside `actor_system`, used as a project's tests use them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from papyra.actor import Actor
from papyra.exceptions import StoreUnavailableError
from papyra.persistence.models import LossNote, PersistedEvent, PersistenceRecoveryConfig
from papyra.persistence.retention import RetentionPolicy
from papyra.ref import Terminated
from papyra.supervision import Strategy, SupervisionPolicy
from papyra.testing.faultybackend import FaultyBackend

if TYPE_CHECKING:
    from papyra.persistence.backends.memory import InMemoryPersistence
    from papyra.persistence.models import Record
    from papyra.system import ActorSystem
    from papyra.testing.clock import ManualClock
    from papyra.testing.history import History
    from papyra.testing.probe import Probe

RESTART = SupervisionPolicy(Strategy.RESTART)


class Desk(Actor):
    async def receive(self, message: object) -> object:
        if message == "fail":
            raise ValueError("no stock")
        return message


async def test_the_probe_lives_in_the_system_and_is_not_busy(actor_system: ActorSystem, probe: Probe) -> None:
    ref = actor_system.spawn(Desk)
    await probe.watch(ref)
    probe.ref.tell("never expected")
    await actor_system.stop(ref)
    assert await probe.expect(str) == "never expected"
    assert (await probe.expect(Terminated)).ref == ref
    assert probe.ref.path == "/probe"
    assert actor_system.ref_for_name("probe") == probe.ref


async def test_without_a_clock_the_system_goes_by_the_machines(actor_system: ActorSystem) -> None:
    before = actor_system.now()
    async with asyncio.timeout(5):
        while actor_system.now() <= before:  # noqa: ASYNC110  # time has no event
            await asyncio.sleep(0)


async def test_the_clock_is_the_systems_and_the_one_of_the_memory_backend(
    actor_system: ActorSystem,
    clock: ManualClock,
    manual_clock: ManualClock,
    memory_backend: InMemoryPersistence,
    history: History,
) -> None:
    assert clock is manual_clock
    assert memory_backend.events == ()
    begun = actor_system.now()
    clock.advance(3600)
    assert actor_system.now() == begun + 3600
    actor_system.spawn(Desk)
    assert (await history.events("ActorStarted"))[0].timestamp == begun + 3600


@pytest.mark.dead_letters(["handler_failed", "target_stopped"])
async def test_the_history_is_flushed_as_lists_and_as_answers(
    actor_system: ActorSystem, history: History
) -> None:
    ref, other = actor_system.spawn(Desk, name="desk", policy=RESTART), actor_system.spawn(Desk, name="other")
    ref.tell("fail")
    await ref.ask("after it")
    await actor_system.stop(other)
    other.tell("late")
    report = actor_system.audit()
    assert [event.event_type for event in await history.events()] == [
        "SystemStarted",
        "StartupChecked",
        "ActorStarted",
        "ActorStarted",
        "ActorCrashed",
        "ActorRestarted",
        "ActorStopped",
    ]
    assert [event.actor_path for event in await history.events("ActorStarted")] == ["/desk", "/other"]
    assert [event.event_type for event in await history.events(actor="/other")] == [
        "ActorStarted",
        "ActorStopped",
    ]
    assert [letter.payload for letter in await history.letters()] != []
    assert [letter.target_path for letter in await history.letters("target_stopped")] == ["/other"]
    assert await history.letters(actor="/nobody") == []
    assert [audit.total_actors for audit in await history.audits()] == [report.total_actors]
    (life,) = (await history.timeline("/desk")).lives
    assert [crash.error.text for crash in life.crashes] == ["no stock"]
    started = (await history.events("ActorStarted"))[-1].timestamp
    assert [actor.path for actor in (await history.running_at()).actors] == ["/desk"]
    assert [actor.path for actor in (await history.running_at(started)).actors] == ["/desk", "/other"]
    assert [run.is_balanced for run in await history.accounting()] == [True]
    assert await history.letters_by_reason() == {"handler_failed": 1, "target_stopped": 1}


async def test_more_records_than_a_page_are_all_there(actor_system: ActorSystem, history: History) -> None:
    for _ in range(1_200):
        actor_system.spawn(Desk)
    assert len(await history.events("ActorStarted")) == 1_200


async def test_appends_fail_as_often_as_told_and_nothing_is_lost(
    actor_system: ActorSystem, history: History, faults: FaultyBackend
) -> None:
    faults.fail_appends(2, StoreUnavailableError("down"))
    before = faults.appends
    ref = actor_system.spawn(Desk)
    assert await ref.ask(1) == 1
    assert len(await history.events("ActorStarted")) == 1
    assert faults.appends == before + 3


async def test_appends_fail_until_they_are_healed(
    actor_system: ActorSystem, history: History, faults: FaultyBackend
) -> None:
    faults.fail_appends(None)
    assert await actor_system.spawn(Desk).ask(1) == 1
    assert not await actor_system.flush(0.01)
    assert actor_system.is_degraded
    faults.heal()
    assert len(await history.events("ActorStarted")) == 1
    assert not actor_system.is_degraded


async def test_appends_wait_while_they_are_held(
    actor_system: ActorSystem, history: History, faults: FaultyBackend
) -> None:
    faults.hold()
    assert await actor_system.spawn(Desk).ask(1) == 1
    assert not await actor_system.flush(0.01)
    faults.release()
    assert len(await history.events("ActorStarted")) == 1


async def test_what_is_poison_is_refused_and_the_rest_is_stored(
    actor_system: ActorSystem, history: History, faults: FaultyBackend
) -> None:
    def is_poison(record: Record) -> bool:
        return isinstance(record, PersistedEvent) and record.actor_path == "/bad"

    faults.poison(is_poison)
    for name in ("good", "bad", "better"):
        actor_system.spawn(Desk, name=name)
    assert [event.actor_path for event in await history.events("ActorStarted")] == ["/good", "/better"]
    (note,) = [
        note
        for event in await history.events("RecordsLost")
        if (note := LossNote.from_payload(event.payload)) is not None
    ]
    assert note.first == note.last == 4
    assert [note.kind for note in (await history.running_at()).gaps] == ["event"]


async def test_a_backend_with_faults_passes_on_everything_else(memory_backend: InMemoryPersistence) -> None:
    faulty = FaultyBackend(memory_backend)
    promised = replace(memory_backend.capabilities, takes_ready_events=False)
    assert (faulty.name, faulty.capabilities) == ("memory", promised)
    assert faulty.retention == memory_backend.retention
    assert faulty.metrics is memory_backend.metrics
    assert not (await faulty.scan()).has_anomalies
    assert (await faulty.recover(PersistenceRecoveryConfig())).backend == "memory"
    assert (await faulty.compact(RetentionPolicy(max_records=1), dry_run=True)).dry_run
    assert (await faulty.stats()).total_bytes == 0
    with pytest.raises(ValueError, match="1 or more"):
        faulty.fail_appends(0)
    await faulty.aclose()
    assert memory_backend.closed
