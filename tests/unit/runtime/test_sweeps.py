"""Somebody cancels every task, as the end of `asyncio.run` does: nothing is lost, what can go on does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from papyra import ActorStopped, ActorSystem, StopReason
from tests.unit.runtime.actors import Hold, Lifecycle, Store, Worker, stopped, task_ended

if TYPE_CHECKING:
    from papyra.events import ActorEvent


def sweep() -> None:
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task():
            task.cancel()


@pytest.mark.parametrize("moment", ["before it ran", "while it writes", "while it waits to try again"])
async def test_r6_records_are_written_after_a_sweep(store: Store, moment: str) -> None:
    async with ActorSystem(persistence=store, audit_interval=None) as system:
        await system.flush()
        if moment == "while it writes":
            store.gate.clear()
        elif moment == "while it waits to try again":
            store.script.extend([OSError("full")] * 3)
        ref = system.spawn(Worker)
        if moment != "before it ran":
            appends = store.appends
            while store.appends == appends:  # noqa: ASYNC110  # nothing says when
                await asyncio.sleep(0)
        sweep()
        store.gate.set()
        await system.stop(ref)
        assert await system.flush(5)
        assert store.types()[2:] == ["ActorStarted", "ActorStopped"]
        assert not system.is_degraded
    assert store.types()[-1] == "SystemStopped"


async def test_r6_a_flush_that_waits_survives_the_cancelling_of_the_writing_task(store: Store) -> None:
    async with ActorSystem(persistence=store, audit_interval=None) as system:
        store.gate.clear()
        system.spawn(Worker)
        flushing = asyncio.create_task(system.flush())
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {flushing}:
            if task is not asyncio.current_task():
                task.cancel()
        await asyncio.sleep(0)
        store.gate.set()
        async with asyncio.timeout(5):
            assert await flushing


async def test_r6_what_a_sweep_interrupts_at_the_end_is_done_by_the_next_close(store: Store) -> None:
    system = ActorSystem(persistence=store, audit_interval=None)
    await system.start()
    ref, hold = system.spawn(Worker), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    closing = asyncio.create_task(system.aclose())
    await asyncio.sleep(0)
    sweep()
    await asyncio.wait((closing,))
    await system.aclose()
    assert store.types().count("SystemStopped") == 1
    assert store.types()[-1] == "SystemStopped"
    assert system.accounting().is_balanced


async def test_r6_a_shutdown_that_is_swept_away_begins_anew_for_those_who_wait(store: Store) -> None:
    system = ActorSystem(persistence=store, audit_interval=None)
    await system.start()
    ref, hold = system.spawn(Worker), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    closing = asyncio.create_task(system.aclose())
    await asyncio.sleep(0)
    for task in asyncio.all_tasks():
        if task.get_name() == "papyra shutdown":
            task.cancel()
    await asyncio.sleep(0)
    hold.release.set()
    async with asyncio.timeout(5):
        await closing
    assert store.types()[-1] == "SystemStopped"


@pytest.mark.parametrize("cls", [Worker, Lifecycle])
async def test_r1_an_actor_whose_task_is_cancelled_before_it_runs_ends_with_its_messages(
    system: ActorSystem, store: Store, cls: type[Worker]
) -> None:
    ref = system.spawn(cls) if cls is Worker else system.spawn(cls, [])
    ref.tell("never seen")
    asked = asyncio.create_task(ref.ask("never seen either", timeout=None))
    for task in asyncio.all_tasks():
        if task.get_name() == ref.path:
            task.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(ActorStopped):
            await asked
    assert (await stopped(system, ref)).reason is StopReason.KILLED
    assert not ref.is_alive()
    await system.flush()
    assert sum(letter.reason in {"queued_at_stop", "target_stopped"} for letter in store.dead_letters) == 2


async def test_r4_hooks_go_on_after_a_sweep(store: Store) -> None:
    heard: list[ActorEvent] = []

    class Listening:
        async def on_event(self, event: ActorEvent) -> None:
            await asyncio.sleep(0)
            heard.append(event)

    async with ActorSystem(persistence=store, hooks=Listening(), audit_interval=None) as system:
        system.spawn(Worker, name="interrupted")
        sweep()
        await asyncio.sleep(0)
        later = system.spawn(Worker, name="later")
    assert [event.path for event in heard].count(later.path) == 2


async def test_r5_idle_actors_give_up_their_tasks_after_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("papyra._runtime.linger.LINGER_SECONDS", 0.001)
    async with ActorSystem(audit_interval=None) as system:
        await system.spawn(Worker, name="swept").ask(1)
        sweep()
        await system.spawn(Worker, name="idle").ask(1)
        await task_ended("/idle")
