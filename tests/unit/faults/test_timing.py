"""Timers and pipes: nothing of the past is handled, nothing piles up, nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import warnings
import weakref
from typing import TYPE_CHECKING

import pytest

from papyra import ActorSystem
from papyra.messages import PipeFailed
from tests.unit.runtime.actors import RESTART, STOP, Boom, Hold, Worker, quiet

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra import ActorRef
    from papyra.context import ActorContext
    from papyra.testing import ManualClock


class Timed(Worker):
    """Does with its context what it is told."""

    async def handle(self, message: object) -> object:
        if callable(message):
            return message(self.context)
        return await super().handle(message)


def do(act: Callable[[ActorContext], object]) -> Callable[[ActorContext], object]:
    return act


async def seen(ref: ActorRef) -> list[object]:
    answer = await ref.ask("seen", timeout=None)
    assert isinstance(answer, list)
    return answer


async def test_a_tick_that_is_queued_when_its_timer_is_cancelled_is_not_handled(
    timed: ActorSystem, clock: ManualClock
) -> None:
    ref, hold = timed.spawn(Timed), Hold()
    await ref.ask(do(lambda context: context.timers.start_once("a", "tick", after=1.0)))
    await ref.ask(do(lambda context: context.timers.start_periodic("b", "tock", every=1.0)))
    ref.tell(hold)
    await hold.begun.wait()
    ref.tell(do(lambda context: context.timers.cancel_all()))
    clock.advance(1)
    await clock.settle()
    hold.release.set()
    await clock.settle()
    assert "tick" not in await seen(ref)
    assert "tock" not in await seen(ref)


async def test_a_tick_that_is_queued_when_its_key_starts_again_is_not_handled(
    timed: ActorSystem, clock: ManualClock
) -> None:
    ref, hold = timed.spawn(Timed), Hold()
    await ref.ask(do(lambda context: context.timers.start_once("a", "old", after=1.0)))
    ref.tell(hold)
    await hold.begun.wait()
    ref.tell(do(lambda context: context.timers.start_once("a", "new", after=1.0)))
    clock.advance(1)
    hold.release.set()
    await clock.settle()
    clock.advance(1)
    await clock.settle()
    assert await seen(ref) == ["new"]


async def test_a_tick_that_is_queued_at_a_restart_is_of_the_instance_before(
    timed: ActorSystem, clock: ManualClock
) -> None:
    handled: list[object] = []

    class Keeping(Timed):
        async def handle(self, message: object) -> object:
            if isinstance(message, str):
                handled.append(message)
            return await super().handle(message)

    ref, hold = timed.spawn(Keeping, policy=RESTART), Hold()
    await ref.ask(do(lambda context: context.timers.start_periodic("a", "tick", every=1.0)))
    ref.tell(hold)
    await hold.begun.wait()
    ref.tell(Boom())
    clock.advance(1)
    await clock.settle()
    hold.release.set()
    await clock.settle()
    clock.advance(10)
    await clock.settle()
    assert "tick" not in handled
    assert await ref.ask(do(lambda context: tuple(context.timers.keys())), timeout=None) == ()


async def test_ticks_of_a_slow_actor_do_not_pile_up_and_go_on_afterwards(
    timed: ActorSystem, clock: ManualClock
) -> None:
    ref, hold = timed.spawn(Timed), Hold()
    await ref.ask(do(lambda context: context.timers.start_periodic("a", "tick", every=1.0)))
    ref.tell(hold)
    await hold.begun.wait()
    for _ in range(100):
        clock.advance(1)
        await clock.settle()
    assert timed.actor_info(ref).mailbox_depth <= 1
    hold.release.set()
    await clock.settle()
    assert await seen(ref) == ["tick"]
    clock.advance(1)
    await clock.settle()
    assert await seen(ref) == ["tick", "tick"]


async def test_a_long_sleep_of_the_machine_is_one_tick_and_not_a_thousand(
    timed: ActorSystem, clock: ManualClock
) -> None:
    ref = timed.spawn(Timed)
    await ref.ask(do(lambda context: context.timers.start_periodic("a", "tick", every=1.0)))
    clock.advance(3600)
    await clock.settle()
    assert len(await seen(ref)) <= 2


async def test_a_timer_that_its_own_tick_starts_again_runs_on_and_one_that_it_cancels_ends(
    timed: ActorSystem, clock: ManualClock
) -> None:
    ticks: list[str] = []

    class Own(Timed):
        async def handle(self, message: object) -> object:
            if message == "tick":
                ticks.append("tick")
                if len(ticks) == 5:
                    assert self.context.timers.cancel("a") in {True, False}
                else:
                    self.context.timers.start_once("a", "tick", after=1.0)
                return None
            return await super().handle(message)

    ref = timed.spawn(Own)
    await ref.ask(do(lambda context: context.timers.start_once("a", "tick", after=1.0)))
    for _ in range(20):
        clock.advance(1)
        await clock.settle()
    assert len(ticks) == 5


@pytest.mark.parametrize("end", ["stop", "crash"])
async def test_r5_timers_and_pipes_of_a_stopped_actor_are_free(
    timed: ActorSystem, clock: ManualClock, end: str
) -> None:
    class Payload:
        pass

    kept: list[object] = [Payload()]
    alive = weakref.ref(kept[0])
    ref = timed.spawn(Timed, policy=STOP)
    await ref.ask(_starting(kept))
    if end == "stop":
        await timed.stop(ref)
    else:
        ref.tell(Boom())
        await clock.settle()
    await clock.settle()
    gc.collect()
    assert alive() is None
    clock.advance(10_000)
    await clock.settle()
    assert timed.dead_letters.total == (end == "crash")


def _starting(kept: list[object]) -> Callable[[ActorContext], None]:
    def start(context: ActorContext) -> None:
        payload = kept.pop()
        context.timers.start_periodic("p", payload, every=1.0)
        context.timers.start_once("o", payload, after=5_000.0)
        context.pipe_to_self(asyncio.sleep(5_000.0, payload))

    return start


async def test_what_a_pipe_brings_is_a_message_and_its_failure_too(system: ActorSystem) -> None:
    async def fail() -> None:
        raise LookupError("no such thing")

    ref = system.spawn(Timed)
    await ref.ask(do(lambda context: context.pipe_to_self(asyncio.sleep(0, "result"))))
    await ref.ask(do(lambda context: context.pipe_to_self(fail())))
    await ref.ask(do(lambda context: context.pipe_to_self(fail(), on_error=lambda error: f"{error}")))
    await ref.ask(do(lambda context: context.pipe_to_self(asyncio.sleep(0, 1), on_result=lambda n: n + 1)))
    for _ in range(20):
        await asyncio.sleep(0)
    came = await ref.ask("seen")
    assert {str(each) for each in came if not isinstance(each, PipeFailed)} == {
        "result",
        "no such thing",
        "2",
    }
    (failed,) = (each for each in came if isinstance(each, PipeFailed))
    assert isinstance(failed.error, LookupError)


async def test_a_pipe_whose_mapping_raises_is_seen_and_kills_nobody(system: ActorSystem) -> None:
    ref = system.spawn(Timed, policy=RESTART)
    await ref.ask(do(lambda context: context.pipe_to_self(asyncio.sleep(0, 1), on_result=lambda _: 1 / 0)))
    for _ in range(20):
        await asyncio.sleep(0)
    await quiet(system)
    assert await ref.ask("alive") == "alive"
    came = await ref.ask("seen")
    assert [type(each) for each in came if each != "alive"] in ([PipeFailed], [])


@pytest.mark.parametrize("end", ["stop", "restart", "close"])
async def test_a_pipe_that_is_cut_short_leaves_no_task_and_no_coroutine_behind(end: str) -> None:
    cancelled: list[str] = []

    async def work() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append("work")
            raise
        return "late"

    def pipe(context: ActorContext) -> None:
        context.pipe_to_self(work())

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = asyncio.all_tasks()
        async with ActorSystem(audit_interval=None) as system:
            ref = system.spawn(Timed, policy=RESTART)
            ref.tell(pipe)
            for _ in range(10):
                await asyncio.sleep(0)
            if end == "stop":
                await system.stop(ref)
            elif end == "restart":
                ref.tell(Boom())
                assert "late" not in await ref.ask("seen")
        await asyncio.sleep(0)
        gc.collect()
        assert asyncio.all_tasks() == before
    assert [str(each.message) for each in caught if "never awaited" in str(each.message)] == []
    assert cancelled == ["work"]


async def test_line_16_pipes_are_strongly_held(system: ActorSystem) -> None:
    ref = system.spawn(Timed)
    for number in range(50):
        await ref.ask(_piping(number))
        gc.collect(0)
    gc.collect()
    for _ in range(10):
        await asyncio.sleep(0)
    await quiet(system)
    assert sorted(await ref.ask("seen")) == list(range(50))


def _piping(number: int) -> Callable[[ActorContext], None]:
    async def result() -> int:
        for _ in range(3):
            await asyncio.sleep(0)
        return number

    return lambda context: context.pipe_to_self(result())
