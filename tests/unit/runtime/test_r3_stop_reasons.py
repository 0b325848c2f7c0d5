"""R3: every stop has a typed reason, with all that led to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from papyra import ActorSystem, SupervisionPolicy
from papyra.events import ActorCrashed, ActorStopped, StopReason
from tests.unit.runtime.actors import (
    ESCALATE,
    RESTART,
    STOP,
    Boom,
    Hold,
    Lifecycle,
    Parent,
    Store,
    Worker,
    restarted,
    stopped,
)

if TYPE_CHECKING:
    import pytest

    from papyra.events import ActorEvent


async def test_r3_requested(system: ActorSystem) -> None:
    ref = system.spawn(Worker)
    await system.stop(ref)
    event = await stopped(system, ref)
    assert (event.reason, event.text) == (StopReason.REQUESTED, "it was asked to stop")


async def test_r3_requested_by_an_actor_names_the_message(system: ActorSystem, store: Store) -> None:
    class Boss(Worker):
        async def handle(self, message: object) -> object:
            if message == "stop it":
                await self.context.stop(victim)
            return message

    victim, boss = system.spawn(Worker), system.spawn(Boss)
    await boss.ask("stop it")
    event = await stopped(system, victim)
    assert event.message_id == f"{system.incarnation}-1"
    await system.flush()
    assert store.of("ActorStopped")[0].message_id == event.message_id


async def test_r3_completed(system: ActorSystem) -> None:
    ref = system.spawn(Worker)
    await ref.tell("stop")
    assert (await stopped(system, ref)).reason is StopReason.COMPLETED


async def test_r3_parent_stopped(system: ActorSystem) -> None:
    parent = system.spawn(Parent)
    child = await parent.ask(("spawn", STOP))
    await system.stop(parent)
    event = await stopped(system, child)
    assert (event.reason, event.text) == (StopReason.PARENT_STOPPED, "its parent stopped")


async def test_r3_shutdown_for_every_level() -> None:
    async with ActorSystem() as system:
        parent = system.spawn(Parent)
        child = await parent.ask(("spawn", STOP))
    events = [event for event in system.events() if isinstance(event, ActorStopped)]
    assert [(event.path, event.reason) for event in events] == [
        (child.path, StopReason.SHUTDOWN),
        (parent.path, StopReason.SHUTDOWN),
    ]


async def test_r3_failed_with_error_message_and_decision(system: ActorSystem, store: Store) -> None:
    ref = system.spawn(Worker, policy=STOP)
    ref.tell(Boom(LookupError("no such order")))
    event = await stopped(system, ref)
    assert event.payload == {
        "reason": StopReason.FAILED,
        "text": "receive failed",
        "error": "LookupError: no such order",
        "decision": "stop",
        "limit": 3,
    }
    assert event.message_id == event.root_id == f"{system.incarnation}-1"
    await system.flush()
    (stored,) = store.of("ActorStopped")
    assert stored.payload == dict(event.payload)
    assert stored.message_id == event.message_id


async def test_r3_restart_limit_with_n_of_m(system: ActorSystem) -> None:
    ref = system.spawn(Worker, policy=SupervisionPolicy(RESTART.strategy, max_restarts=1, within_seconds=30))
    ref.tell(Boom())
    ref.tell(Boom())
    event = await stopped(system, ref)
    assert (event.reason, event.restart, event.limit) == (StopReason.RESTART_LIMIT, 1, 1)
    assert event.text == "receive failed after 1 of 1 restarts in 30 s"
    assert event.error == "ValueError: boom"


async def test_r3_escalated(system: ActorSystem) -> None:
    ref = system.spawn(Worker, policy=ESCALATE)
    ref.tell(Boom())
    event = await stopped(system, ref)
    assert (event.reason, event.decision) == (StopReason.ESCALATED, "escalate")


async def test_r3_start_failed(system: ActorSystem) -> None:
    ref = system.spawn(StartsBadly)
    event = await stopped(system, ref)
    assert (event.reason, event.error) == (StopReason.START_FAILED, "RuntimeError: on_start failed")
    crash = next(event for event in system.events() if isinstance(event, ActorCrashed))
    assert (crash.reason, crash.error_type) == ("on_start", "builtins.RuntimeError")


async def test_r3_killed() -> None:
    async with ActorSystem(shutdown_timeout=0.05) as system:
        ref, hold = system.spawn(Worker), Hold()
        ref.tell(hold)
        await hold.begun.wait()
    event = next(event for event in system.events() if isinstance(event, ActorStopped))
    assert (event.reason, event.text) == (
        StopReason.KILLED,
        "it had not stopped when the deadline passed",
    )
    assert event.message_id == f"{system.incarnation}-1"


async def test_r3_an_actor_that_is_cancelled_from_outside_was_killed(system: ActorSystem) -> None:
    ref, hold = system.spawn(Worker, name="victim", policy=RESTART), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    (task,) = (task for task in asyncio.all_tasks() if task.get_name() == "/victim")
    task.cancel()
    event = await stopped(system, ref)
    assert (event.reason, event.text) == (StopReason.KILLED, "its task was cancelled from outside")
    await asyncio.wait((task,))
    assert task.cancelled()


async def test_r3_what_on_stop_raises_is_on_record(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    class StopsBadly(Worker):
        async def on_stop(self) -> None:
            raise OSError("disk gone")

    ref = system.spawn(StopsBadly)
    await ref.ask(1)
    await system.stop(ref)
    event = await stopped(system, ref)
    assert (event.reason, event.on_stop_error) == (StopReason.REQUESTED, "OSError: disk gone")
    assert "failed in on_stop" in caplog.text


async def test_r3_every_spawned_actor_has_exactly_one_end(system: ActorSystem) -> None:
    refs = [system.spawn(Worker) for _ in range(5)] + [system.spawn(StartsBadly)]
    refs[0].tell(Boom())
    refs[1].tell("stop")
    refs[1].tell(Boom())
    await asyncio.gather(*(system.stop(ref) for ref in refs), *(system.stop(ref) for ref in refs))
    ends: list[ActorEvent] = [event for event in system.events() if isinstance(event, ActorStopped)]
    assert sorted(event.path for event in ends) == sorted(ref.path for ref in refs)


async def test_r3_what_led_to_a_restart_is_logged_with_its_traceback(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    ref = system.spawn(Worker, name="desk", policy=RESTART)
    ref.tell(Boom(LookupError("no such order")))
    await restarted(system)
    (record,) = (each for each in caplog.records if each.exc_info)
    assert "local/desk failed in receive: LookupError: no such order" in record.getMessage()
    assert "restart 1 of 3" in record.getMessage()


async def test_r3_a_crash_report_has_the_traceback_from_the_actors_own_code_on(system: ActorSystem) -> None:
    system.spawn(Worker).tell(Boom())
    crash = await system.wait_for_event(ActorCrashed)
    assert isinstance(crash, ActorCrashed)
    assert "in handle" in crash.traceback
    assert "papyra/_runtime" not in crash.traceback
    assert crash.message_type == f"{Boom.__module__}.Boom"


class StartsBadly(Lifecycle):
    def __init__(self) -> None:
        super().__init__([], fails=["on_start"])
