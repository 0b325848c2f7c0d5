"""A tick is a message like any other in the accounting, and none is handled that nobody wants any more."""

from __future__ import annotations

import asyncio
import gc
import inspect
import weakref
from typing import TYPE_CHECKING

import pytest

from papyra import Actor, ActorSystem, Strategy, SupervisionPolicy
from papyra.events import ActorRestarted
from papyra.messages import DeadLetterReason
from papyra.supervision import MessageFate
from tests.unit.runtime.actors import RESTART, STOP, Boom, Hold, Store, Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.context import ActorContext
    from papyra.testing import ManualClock


class Doer(Worker):
    """Does with its context what a message says; puts ticks aside while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.puts_aside = False

    async def handle(self, message: object) -> object:
        if callable(message):
            result = message(self.context)
            return await result if inspect.isawaitable(result) else result
        if message == "put aside":
            self.puts_aside = True
            return None
        if message == "take up":
            self.puts_aside = False
            self.context.unstash_all()
            return None
        if message == "tick" and self.puts_aside:
            self.context.stash()
            return None
        if message == "raise":
            raise ValueError("a tick that fails")
        return await super().handle(message)


def every_second(context: ActorContext) -> None:
    context.timers.start_periodic("k", "tick", every=1)


def cancel(context: ActorContext) -> object:
    return context.timers.cancel("k")


async def test_r1_a_tick_is_accepted_and_handled(system: ActorSystem, clock: ManualClock) -> None:
    ref = system.spawn(Doer)
    await ref.ask(every_second)
    for _ in range(3):
        clock.advance(1)
        await clock.settle()
    assert system.accounting().accepted == system.accounting().handled == 4


async def test_r1_a_tick_that_fails_is_a_failure_with_its_letter(
    system: ActorSystem, clock: ManualClock, store: Store
) -> None:
    ref = system.spawn(Doer, policy=STOP)
    await ref.ask(lambda context: context.timers.start_once("k", "raise", after=1))
    clock.advance(1)
    await clock.settle()
    assert system.accounting().failed == 1
    await system.flush()
    (letter,) = store.letters("handler_failed")
    assert letter.deadline is None
    assert letter.payload["data"] == "raise"  # type: ignore[index]


async def test_r1_a_tick_is_not_tried_again_its_timer_has_ended(
    system: ActorSystem, clock: ManualClock
) -> None:
    policy = SupervisionPolicy(Strategy.RESTART, failed_message=MessageFate.RETRY)
    ref = system.spawn(Doer, policy=policy)
    await ref.ask(lambda context: context.timers.start_once("k", "raise", after=1))
    clock.advance(1)
    await system.wait_for_event(ActorRestarted)
    await clock.settle()
    assert system.accounting().failed == 1
    assert system.dead_letters.counts[DeadLetterReason.HANDLER_FAILED] == 1
    assert ref.is_alive()


@pytest.mark.parametrize("end", ["cancel", "replace", "restart", "stop"])
async def test_no_tick_that_was_put_aside_is_handled_after_its_timer(
    system: ActorSystem, clock: ManualClock, end: str
) -> None:
    ref = system.spawn(Doer, policy=RESTART)
    await ref.ask(every_second)
    await ref.ask("put aside")
    for _ in range(3):
        clock.advance(1)
        await clock.settle()
    assert system.accounting().pending == 3
    if end == "cancel":
        await ref.ask(cancel)
    elif end == "replace":
        await ref.ask(lambda context: context.timers.start_once("k", "other", after=100))
    elif end == "restart":
        ref.tell(Boom())
        await system.wait_for_event(ActorRestarted)
    else:
        await system.stop(ref)
        assert system.dead_letters.total == 0
        return
    assert system.accounting().pending == 0
    await ref.ask("take up")
    assert await ref.ask("seen") == []


async def test_while_one_is_set_aside_the_next_may_come(system: ActorSystem, clock: ManualClock) -> None:
    ref = system.spawn(Doer)
    await ref.ask(every_second)
    await ref.ask("put aside")
    for _ in range(3):
        clock.advance(1)
        await clock.settle()
    await ref.ask("take up")
    assert await ref.ask("seen") == ["tick"] * 3


async def test_the_room_of_a_cancelled_tick_is_the_next_senders(
    system: ActorSystem, clock: ManualClock
) -> None:
    ref = system.spawn(Doer, mailbox_capacity=1)
    await ref.ask(lambda context: context.timers.start_once("k", "tick", after=1))
    begun, release = asyncio.Event(), asyncio.Event()

    async def hold_then_cancel(context: ActorContext) -> None:
        begun.set()
        await release.wait()
        context.timers.cancel("k")

    ref.tell(hold_then_cancel)
    await begun.wait()
    clock.advance(1)
    sending = asyncio.create_task(ref.send("waited"))
    await clock.settle()
    assert not sending.done()
    release.set()
    async with asyncio.timeout(5):
        await sending
    assert await ref.ask("seen") == ["waited"]


@pytest.mark.parametrize("every", [5e-324, 1e-12, 1e-9])
async def test_r4_a_period_too_short_to_be_told_from_none_stops_nobody(every: float) -> None:
    async with ActorSystem(persistence=Store(), audit_interval=None) as system:
        ref = system.spawn(Doer)
        await ref.ask(lambda context: context.timers.start_periodic("k", "tick", every=every))
        async with asyncio.timeout(5):
            while len(await ref.ask("seen")) < 3:  # noqa: ASYNC110  # real time passes
                await asyncio.sleep(0)
        assert await system.spawn(Worker).ask("others live", timeout=5) == "others live"


@pytest.mark.parametrize("every", [5e-324, 1e-12])
async def test_r4_nor_on_a_tests_clock(system: ActorSystem, clock: ManualClock, every: float) -> None:
    ref = system.spawn(Doer)
    clock.advance(1_000_000)
    await ref.ask(lambda context: context.timers.start_periodic("k", "tick", every=every))
    clock.advance(1)
    assert len(await ref.ask("seen")) < 5
    await ref.ask(cancel)


async def test_r5_a_timer_that_is_over_keeps_no_message(system: ActorSystem, clock: ManualClock) -> None:
    class Big:
        pass

    class Forgetful(Actor):
        async def receive(self, message: object) -> None:
            if callable(message):
                message(self.context)
            del message

    def starting() -> tuple[weakref.ref[Big], Callable[[ActorContext], None]]:
        kept = [Big()]
        return weakref.ref(kept[0]), lambda context: context.timers.start_once("k", kept.pop(), after=1)

    ref = system.spawn(Forgetful)
    alive, start = starting()
    await ref.ask(start)
    clock.advance(1)
    await clock.settle()
    await clock.settle()
    gc.collect()
    assert alive() is None


async def test_r5_many_queued_ticks_are_taken_back_at_once(system: ActorSystem, clock: ManualClock) -> None:
    ref, hold = system.spawn(Doer, mailbox_capacity=None), Hold()

    def start(context: ActorContext) -> None:
        for key in range(50_000):
            context.timers.start_once(key, "tick", after=1)

    await ref.ask(start)
    ref.tell(hold)
    for number in range(5_000):
        ref.tell(number)
    await hold.begun.wait()
    clock.advance(1)
    assert system.accounting().pending == 55_001
    loop = asyncio.get_running_loop()
    began = loop.time()
    stopping = asyncio.create_task(system.stop(ref))
    await asyncio.sleep(0)
    assert loop.time() - began < 2.0  # one pass; one for each would be a quarter of a billion steps
    hold.release.set()
    await stopping
    assert system.dead_letters.total == 5_000


async def test_a_timer_belongs_to_the_loops_thread(system: ActorSystem) -> None:
    ref = system.spawn(Doer)

    async def start(context: ActorContext) -> str:
        timers = context.timers
        with pytest.raises(RuntimeError, match="event loop's thread"):
            await asyncio.to_thread(timers.start_once, "k", "tick", after=1)
        with pytest.raises(RuntimeError, match="event loop's thread"):
            await asyncio.to_thread(lambda: context.timers)
        return "refused"

    assert await ref.ask(start) == "refused"
