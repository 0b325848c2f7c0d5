"""Receive timeout and passivation: what counts as idle, and that nothing is lost to it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from papyra import Actor, ActorStopped, ActorSystem, ReceiveTimeout, StopReason
from papyra.events import ActorStopped as Stopped
from tests.unit.runtime.actors import STOP, Hold, Parent, Store, stopped, task_ended

if TYPE_CHECKING:
    from papyra import ActorRef
    from papyra.testing import ManualClock


class Idler(Actor):
    """Puts aside what it is told to, and does with itself what a message says."""

    def __init__(self) -> None:
        self.timeouts = 0

    async def receive(self, message: object) -> object:
        match message:
            case "put aside":
                self.context.stash()
            case "take up":
                self.context.unstash_all()
            case ReceiveTimeout():
                self.timeouts += 1
            case Hold():
                message.begun.set()
                await message.release.wait()
            case float(seconds):
                self.context.set_receive_timeout(seconds)
            case "pipe":
                self.context.pipe_to_self(asyncio.Event().wait())
            case "timeouts":
                return self.timeouts
            case _:
                pass
        return message


class Timed(Actor):
    """Sends itself something after as many seconds as it is told."""

    async def receive(self, message: object) -> None:
        if isinstance(message, float):
            self.context.timers.start_once("later", "it is later", after=message)


async def pass_by(clock: ManualClock, seconds: float) -> None:
    clock.advance(seconds)
    await clock.settle()


def reasons(system: ActorSystem) -> list[StopReason | None]:
    return [event.reason for event in system.events() if isinstance(event, Stopped)]


async def test_r1_messages_set_aside_keep_an_actor_from_being_passivated(
    system: ActorSystem, clock: ManualClock
) -> None:
    ref = system.spawn(Idler, passivate_after=10)
    ref.tell("put aside")
    await clock.settle()
    for _ in range(5):
        await pass_by(clock, 10)
    assert ref.is_alive()
    assert system.accounting().pending == 1
    await ref.ask(Hold(release=_open()))
    assert system.dead_letters.total == 0
    await system.stop(ref)


def _open() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def test_r4_a_parent_is_not_passivated_away_from_its_children(
    system: ActorSystem, clock: ManualClock
) -> None:
    parent = system.spawn(Parent, passivate_after=10)
    child: ActorRef = await parent.ask(("spawn", STOP))
    hold = Hold()
    child.tell(hold)
    child.tell("queued")
    await hold.begun.wait()
    for _ in range(3):
        await pass_by(clock, 10)
    assert (parent.is_alive(), child.is_alive()) == (True, True)
    hold.release.set()
    await clock.settle()
    await system.stop(child)
    await pass_by(clock, 10)
    await pass_by(clock, 10)
    assert not parent.is_alive()
    assert reasons(system) == [StopReason.REQUESTED, StopReason.PASSIVATED]
    assert system.dead_letters.total == 0


async def test_piped_work_keeps_an_actor_from_being_passivated(
    system: ActorSystem, clock: ManualClock
) -> None:
    ref = system.spawn(Idler, passivate_after=10)
    await ref.ask("pipe")
    await clock.settle()
    await pass_by(clock, 100)
    assert ref.is_alive()


async def test_a_timer_that_is_set_keeps_no_actor_from_being_passivated_and_its_message_does(
    system: ActorSystem, clock: ManualClock
) -> None:
    ref = system.spawn(Timed, passivate_after=10)
    await ref.ask(8.0)
    await clock.settle()
    for _ in range(2):
        await pass_by(clock, 8)
        assert ref.is_alive()
    await ref.ask(100.0)
    await clock.settle()
    await pass_by(clock, 10)
    assert reasons(system) == [StopReason.PASSIVATED]
    await pass_by(clock, 100)
    assert system.dead_letters.total == 0


async def test_both_limits_hold_for_one_actor(system: ActorSystem, clock: ManualClock) -> None:
    ref = system.spawn(Idler, passivate_after=25)
    await ref.ask(10.0)
    await clock.settle()
    for _ in range(10):
        await pass_by(clock, 10)
    assert ref.is_alive()  # each timeout is a message, and so it does not idle for 25 s
    assert await ref.ask("timeouts") == 10
    await ref.ask(60.0)
    await clock.settle()
    await pass_by(clock, 25)
    assert reasons(system) == [StopReason.PASSIVATED]


async def test_an_actor_that_waits_with_messages_set_aside_is_told_of_its_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("papyra._runtime.linger.LINGER_SECONDS", 0.005)
    async with ActorSystem(persistence=Store(), audit_interval=None) as system:
        told = asyncio.Event()

        class Waiting(Idler):
            async def receive(self, message: object) -> object:
                if isinstance(message, ReceiveTimeout):
                    told.set()
                return await super().receive(message)

        ref = system.spawn(Waiting)
        await ref.ask(0.05)  # ten looks of the linger long
        ref.tell("put aside")
        async with asyncio.timeout(5):
            await told.wait()
        await ref.ask("take up")
        await system.stop(ref)


async def test_an_alarm_that_comes_just_as_the_task_is_given_up_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("papyra._runtime.linger.LINGER_SECONDS", 0.05)
    async with ActorSystem(persistence=Store(), audit_interval=None) as system:
        ref = system.spawn(Idler, passivate_after=0.12)
        await ref.ask("hello")
        await asyncio.sleep(0.07)  # the first look of the linger is over, the second ends the task at 0.1
        time.sleep(0.1)  # both are due in one turn of the loop then
        assert (await stopped(system, ref)).reason is StopReason.PASSIVATED


async def test_r5_an_actor_with_limits_gives_its_task_up_and_is_timed_all_the_same(
    monkeypatch: pytest.MonkeyPatch, system: ActorSystem, clock: ManualClock
) -> None:
    monkeypatch.setattr("papyra._runtime.linger.LINGER_SECONDS", 0.001)
    ref = system.spawn(Idler, passivate_after=60, name="idle")
    await ref.ask(30.0)
    await task_ended("/idle")
    await pass_by(clock, 30)
    assert await ref.ask("timeouts") == 1
    await ref.ask(1_000.0)
    await clock.settle()
    await pass_by(clock, 60)
    assert reasons(system) == [StopReason.PASSIVATED]


async def test_r5_very_many_limits_need_one_timer_of_the_loop() -> None:
    async with ActorSystem(persistence=Store(), audit_interval=None, max_events=10) as system:
        loop = asyncio.get_running_loop()
        call_at, timers = loop.call_at, 0

        def counted(*args: object, **kwargs: object) -> object:
            nonlocal timers
            timers += 1
            return call_at(*args, **kwargs)  # type: ignore[arg-type]

        loop.call_at = counted  # type: ignore[method-assign,assignment]
        try:
            refs = [system.spawn(Idler, passivate_after=1_000) for _ in range(20_000)]
        finally:
            loop.call_at = call_at  # type: ignore[method-assign]
        assert timers < 10
        await system.stop_all()
        assert not refs[0].is_alive()


async def test_a_context_that_outlived_its_actor_says_so(system: ActorSystem) -> None:
    ref = system.spawn(Idler)
    kept: list[Actor] = []

    class Leaking(Idler):
        async def on_start(self) -> None:
            kept.append(self)

    ref = system.spawn(Leaking)
    await ref.ask("hello")
    await system.stop(ref)
    context = kept[0].context
    with pytest.raises(ActorStopped):
        context.timers.start_once("k", "too late", after=1)
    with pytest.raises(ActorStopped):
        context.set_receive_timeout(1)
