"""What comes later: timers, timeouts of idling, piped work. All of it on a clock that the test turns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from papyra import Actor, ActorSystem, AskTimeout, PipeFailed, ReceiveTimeout, StopReason
from papyra.events import ActorRestarted, ActorStopped
from papyra.exceptions import ConfigurationError
from tests.unit.runtime.actors import RESTART, Boom, Hold, Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.context import ActorContext
    from papyra.testing import ManualClock


class Doer(Worker):
    """Does with its context what a message says."""

    async def handle(self, message: object) -> object:
        if callable(message):
            return message(self.context)
        return await super().handle(message)


def doing(act: Callable[[ActorContext], object]) -> Callable[[ActorContext], object]:
    return act


class TestTimers:
    async def test_a_message_comes_once_when_it_is_due(self, system: ActorSystem, clock: ManualClock) -> None:
        ref = system.spawn(Doer)
        await ref.ask(doing(lambda context: context.timers.start_once("k", "tick", after=5)))
        clock.advance(4.9)
        assert await ref.ask("seen") == []
        clock.advance(0.1)
        assert await ref.ask("seen") == ["tick"]
        clock.advance(100)
        assert await ref.ask("seen") == ["tick"]

    async def test_periodic_messages_come_until_they_are_cancelled(
        self, system: ActorSystem, clock: ManualClock
    ) -> None:
        ref = system.spawn(Doer)
        await ref.ask(doing(lambda context: context.timers.start_periodic("k", "tick", every=2, first=0)))
        for _ in range(3):
            clock.advance(2)
            await ref.ask("seen")
        assert await ref.ask("seen") == ["tick"] * 3
        assert await ref.ask(doing(lambda context: context.timers.cancel("k"))) is True
        assert await ref.ask(doing(lambda context: context.timers.cancel("k"))) is False
        clock.advance(10)
        assert await ref.ask("seen") == ["tick"] * 3

    async def test_ticks_do_not_pile_up_and_what_was_missed_is_not_made_up_for(
        self, system: ActorSystem, clock: ManualClock
    ) -> None:
        ref, hold = system.spawn(Doer), Hold()
        await ref.ask(doing(lambda context: context.timers.start_periodic("k", "tick", every=1)))
        ref.tell(hold)
        await hold.begun.wait()
        for _ in range(50):
            clock.advance(1)
        clock.advance(1_000_000)
        hold.release.set()
        assert await ref.ask("seen") == ["tick"]
        clock.advance(1)
        assert await ref.ask("seen") == ["tick"] * 2

    @pytest.mark.parametrize("act", ["cancel", "replace", "cancel_all"])
    async def test_no_queued_tick_is_handled_after_its_timer_was_cancelled_or_replaced(
        self, system: ActorSystem, clock: ManualClock, act: str
    ) -> None:
        ref, hold = system.spawn(Doer), Hold()
        await ref.ask(doing(lambda context: context.timers.start_once("k", "stale", after=1)))
        ref.tell(hold)
        await hold.begun.wait()
        acts: dict[str, Callable[[ActorContext], object]] = {
            "cancel": lambda context: context.timers.cancel("k"),
            "cancel_all": lambda context: context.timers.cancel_all(),
            "replace": lambda context: context.timers.start_once("k", "new", after=1),
        }
        ref.tell(acts[act])
        clock.advance(1)
        pending = system.accounting().pending
        hold.release.set()
        assert await ref.ask("seen") == ([] if pending == 3 else None)
        clock.advance(1)
        assert await ref.ask("seen") == (["new"] if act == "replace" else [])

    async def test_is_active_until_the_message_is_handled(
        self, system: ActorSystem, clock: ManualClock
    ) -> None:
        ref = system.spawn(Doer)
        keys = doing(lambda context: context.timers.keys())
        await ref.ask(doing(lambda context: context.timers.start_once("k", "tick", after=1)))
        assert await ref.ask(keys) == ("k",)
        clock.advance(1)
        assert await ref.ask(keys) == ()
        assert await ref.ask(doing(lambda context: context.timers.is_active("k"))) is False

    async def test_a_restart_and_a_stop_end_them(self, system: ActorSystem, clock: ManualClock) -> None:
        ref = system.spawn(Doer, policy=RESTART)
        await ref.ask(doing(lambda context: context.timers.start_periodic("k", "tick", every=1)))
        ref.tell(Boom())
        await system.wait_for_event(ActorRestarted)
        clock.advance(5)
        assert await ref.ask("seen") == []
        await ref.ask(doing(lambda context: context.timers.start_periodic("k", "tick", every=1)))
        await system.stop(ref)
        letters = system.dead_letters.total
        clock.advance(5)
        await clock.settle()
        assert system.dead_letters.total == letters

    async def test_those_of_on_start_live_and_those_of_on_stop_die(
        self, system: ActorSystem, clock: ManualClock
    ) -> None:
        class Starter(Worker):
            async def on_start(self) -> None:
                self.context.timers.start_once("start", "from on_start", after=1)

            async def on_stop(self) -> None:
                self.context.timers.start_once("stop", "from on_stop", after=1)

        ref = system.spawn(Starter, policy=RESTART)
        await ref.ask(1)
        ref.tell(Boom())
        await system.wait_for_event(ActorRestarted)
        clock.advance(1)
        assert await ref.ask("seen") == ["from on_start"]
        await system.stop(ref)
        clock.advance(1)
        assert system.dead_letters.total == 1

    async def test_a_full_mailbox_keeps_no_tick_away(self, system: ActorSystem, clock: ManualClock) -> None:
        ref, hold = system.spawn(Doer, mailbox_capacity=1, mailbox_policy="drop_oldest"), Hold()
        await ref.ask(doing(lambda context: context.timers.start_once("k", "tick", after=1)))
        ref.tell(hold)
        await hold.begun.wait()
        ref.tell("fills it")
        clock.advance(1)
        hold.release.set()
        await ref.send("end")
        assert await ref.ask("seen") == ["fills it", "tick", "end"]

    @pytest.mark.parametrize("every", [0, -1, float("nan"), float("inf")])
    async def test_what_is_no_period_is_refused(self, system: ActorSystem, every: float) -> None:
        with pytest.raises(ValueError, match="every must be above 0"):
            await system.spawn(Doer).ask(
                doing(lambda context: context.timers.start_periodic("k", "tick", every=every))
            )

    async def test_a_message_of_a_timer_has_its_cause(self, system: ActorSystem, clock: ManualClock) -> None:
        seen: list[tuple[str, str]] = []

        class Knowing(Actor):
            async def receive(self, message: object) -> str:
                if message == "tick":
                    seen.append((self.context.cause_id, self.context.root_id))
                else:
                    self.context.timers.start_once("k", "tick", after=1)
                return self.context.message_id

        ref = system.spawn(Knowing)
        begun_by = await ref.ask("begin")
        clock.advance(1)
        await clock.settle()
        assert seen == [(begun_by, begun_by)]

    async def test_a_hundred_thousand_timers_need_one_timer_of_the_loop(
        self, system: ActorSystem, clock: ManualClock
    ) -> None:
        ref = system.spawn(Doer, mailbox_capacity=None)

        def start(context: ActorContext) -> None:
            for key in range(100_000):
                context.timers.start_once(key, key, after=1 + key % 7)

        await ref.ask(start)
        await ref.ask(doing(lambda context: context.timers.cancel_all()))
        clock.advance(10)
        assert await ref.ask("seen") == []


class TestIdling:
    async def test_a_receive_timeout_comes_each_time_nothing_came_for_so_long(
        self, system: ActorSystem, clock: ManualClock
    ) -> None:
        ref = system.spawn(Doer)
        await ref.ask(doing(lambda context: context.set_receive_timeout(10)))
        await clock.settle()
        clock.advance(9)
        await ref.ask("busy")
        await clock.settle()
        clock.advance(9)
        await clock.settle()
        assert await ref.ask("seen") == ["busy"]
        await clock.settle()
        for _ in range(2):
            clock.advance(10)
            await clock.settle()
        await ref.ask(doing(lambda context: context.set_receive_timeout(None)))
        clock.advance(100)
        assert await ref.ask("seen") == ["busy", ReceiveTimeout(), ReceiveTimeout()]

    async def test_a_busy_actor_does_not_idle(self, system: ActorSystem, clock: ManualClock) -> None:
        ref, hold = system.spawn(Doer), Hold()
        await ref.ask(doing(lambda context: context.set_receive_timeout(1)))
        ref.tell(hold)
        await hold.begun.wait()
        clock.advance(100)
        hold.release.set()
        assert await ref.ask("seen") == []

    async def test_a_restart_forgets_it(self, system: ActorSystem, clock: ManualClock) -> None:
        ref = system.spawn(Doer, policy=RESTART)
        await ref.ask(doing(lambda context: context.set_receive_timeout(1)))
        ref.tell(Boom())
        await system.wait_for_event(ActorRestarted)
        await clock.settle()
        clock.advance(5)
        assert await ref.ask("seen") == []

    async def test_an_actor_is_passivated_after_idling(self, system: ActorSystem, clock: ManualClock) -> None:
        ref = system.spawn(Worker, passivate_after=60, name="idler")
        never = system.spawn(Worker, passivate_after=60)
        clock.advance(59)
        await ref.ask(1)
        await clock.settle()
        clock.advance(59)
        await clock.settle()
        assert ref.is_alive()
        assert not never.is_alive()
        clock.advance(1)
        await clock.settle()
        stops = [event for event in system.events() if isinstance(event, ActorStopped)]
        assert [stop.reason for stop in stops] == [StopReason.PASSIVATED] * 2
        assert system.spawn(Worker, name="idler").is_alive()

    @pytest.mark.parametrize("seconds", [0, -1, float("nan")])
    async def test_what_is_no_time_to_idle_is_refused(self, system: ActorSystem, seconds: float) -> None:
        with pytest.raises(ConfigurationError, match="passivate_after"):
            system.spawn(Worker, passivate_after=seconds)
        with pytest.raises(ValueError, match="receive timeout"):
            await system.spawn(Doer).ask(doing(lambda context: context.set_receive_timeout(seconds)))


async def fail(error: BaseException) -> None:
    raise error


class TestPipes:
    async def test_the_outcome_comes_as_a_message_and_the_mailbox_goes_on(
        self, system: ActorSystem, clock: ManualClock
    ) -> None:
        ref, gate = system.spawn(Doer), asyncio.Event()

        async def work() -> str:
            await gate.wait()
            return "done"

        await ref.ask(doing(lambda context: context.pipe_to_self(work())))
        assert await ref.ask(1) == 1
        gate.set()
        await clock.settle()
        assert await ref.ask("seen") == [1, "done"]

    async def test_a_result_or_an_error_is_made_into_what_is_wanted(
        self, system: ActorSystem, clock: ManualClock
    ) -> None:
        ref, error = system.spawn(Doer), ValueError("no")

        def pipe(context: ActorContext) -> None:
            context.pipe_to_self(asyncio.sleep(0, 21), on_result=lambda n: 2 * n)
            context.pipe_to_self(fail(error), on_error=lambda e: f"failed: {e}")
            context.pipe_to_self(fail(error))
            context.pipe_to_self(fail(asyncio.CancelledError()))

        await ref.ask(pipe)
        await clock.settle()
        seen = await ref.ask("seen")
        assert seen[0:2] == ["failed: no", PipeFailed(error)] or 42 in seen
        assert {str(message) for message in seen} >= {"42", "failed: no", str(PipeFailed(error))}
        assert len(seen) == 4

    @pytest.mark.parametrize("end", ["stop", "restart"])
    async def test_its_work_ends_with_the_instance_and_nothing_comes(
        self, system: ActorSystem, clock: ManualClock, end: str
    ) -> None:
        ref, cancelled = system.spawn(Doer, policy=RESTART), asyncio.Event()

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        await ref.ask(doing(lambda context: context.pipe_to_self(work())))
        await clock.settle()
        if end == "stop":
            await system.stop(ref)
        else:
            ref.tell(Boom())
        await asyncio.wait_for(cancelled.wait(), 5)
        await clock.settle()
        assert system.dead_letters.total == (end == "restart")

    async def test_what_cannot_be_awaited_cannot_be_piped(self, system: ActorSystem) -> None:
        with pytest.raises(TypeError, match="only what can be awaited"):
            await system.spawn(Doer).ask(doing(lambda context: context.pipe_to_self(1)))  # type: ignore[arg-type]


async def test_an_ask_times_out_on_the_systems_clock(system: ActorSystem, clock: ManualClock) -> None:
    ref, hold = system.spawn(Worker), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    asking = asyncio.create_task(ref.ask(1, timeout=30))
    await clock.settle()
    clock.advance(29)
    await clock.settle()
    assert not asking.done()
    clock.advance(1)
    with pytest.raises(AskTimeout, match="within 30 s"):
        await asking
    hold.release.set()
