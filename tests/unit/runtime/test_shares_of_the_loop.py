"""What one actor may take of the loop at a time, and what is said of how long messages wait."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING

import pytest

from papyra import Actor, ActorSystem, AskTimeout, MailboxPolicy
from papyra.testing import ManualClock
from tests.unit.runtime.actors import RESUME, Hold, Store, Worker, quiet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from papyra import ActorRef

SLOW = 0.002


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def system(clock: ManualClock) -> AsyncIterator[ActorSystem]:
    async with ActorSystem(persistence=Store(), clock=clock, audit_interval=None) as system:
        yield system
    assert system.accounting().is_balanced


class Spender(Actor):
    """Takes as many seconds for a message as it says, and lets nobody else run meanwhile."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock

    def receive(self, message: float) -> float:
        self.clock.advance(message)
        return message


async def turns_until_handled(system: ActorSystem, count: int) -> int:
    turns = 0
    while system.accounting().handled < count:
        await asyncio.sleep(0)
        turns += 1
    return turns


async def test_r4_slow_handlers_leave_the_loop_its_turn_after_each_message(
    system: ActorSystem, clock: ManualClock
) -> None:
    ref = system.spawn(Spender, clock)
    for _ in range(50):
        ref.tell(SLOW)
    assert await turns_until_handled(system, 50) >= 50


async def test_r4_quick_messages_hide_no_slow_one(system: ActorSystem, clock: ManualClock) -> None:
    ref = system.spawn(Spender, clock)
    for _ in range(20):
        ref.tell(0.0)
    for _ in range(80):
        ref.tell(SLOW)
    assert await turns_until_handled(system, 100) >= 80


async def longest_hold(system: ActorSystem, clock: ManualClock) -> float:
    """Return how many seconds passed at most without a turn of the loop, until nothing is pending."""
    longest = 0.0
    while system.accounting().pending:
        began = clock.monotonic()
        await asyncio.sleep(0)
        longest = max(longest, clock.monotonic() - began)
    return longest


class Passer(Spender):
    """Hands on what it spent the time for, puts it aside, or fails with it."""

    def __init__(self, clock: ManualClock, way: str, target: ActorRef) -> None:
        super().__init__(clock)
        self.way = way
        self.target = target

    def receive(self, message: float) -> float:
        self.clock.advance(message)
        match self.way:
            case "forward":
                self.context.forward(self.target)
            case "stash":
                self.context.stash()
            case "fail":
                raise RuntimeError(self.way)
            case _:
                pass
        return message


@pytest.mark.parametrize("way", ["handle", "forward", "fail"])
@pytest.mark.parametrize("record_handled", [False, True])
async def test_r4_an_actor_takes_a_millisecond_and_what_one_handler_takes(
    clock: ManualClock, way: str, *, record_handled: bool
) -> None:
    async with ActorSystem(
        persistence=Store(), clock=clock, audit_interval=None, record_handled=record_handled
    ) as system:
        target = system.spawn(Worker, mailbox_capacity=None)
        ref = system.spawn(Passer, clock, way, target, mailbox_capacity=None, policy=RESUME)
        for _ in range(100):
            for seconds in (0.0, 0.0004, 0.0, 0.003):
                ref.tell(seconds)
        assert await longest_hold(system, clock) <= 0.001 + 0.003


async def test_r4_an_actor_that_puts_all_aside_leaves_the_loop_its_turns(
    system: ActorSystem, clock: ManualClock
) -> None:
    ref = system.spawn(Passer, clock, "stash", None, mailbox_capacity=None)
    for _ in range(2_000):
        ref.tell(0.0001)
    turns, end = 0, clock.monotonic() + 2_000 * 0.0001 - 1e-6
    while clock.monotonic() < end:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 150
    await system.stop(ref)


@pytest.mark.parametrize("record_handled", [False, True])
async def test_since_when_a_message_is_handled_is_true_after_quick_ones(
    clock: ManualClock, *, record_handled: bool
) -> None:
    class Both(Spender):
        async def receive(self, message: float | Hold) -> None:  # type: ignore[override]
            if isinstance(message, Hold):
                message.begun.set()
                await message.release.wait()
            else:
                self.clock.advance(message)

    async with ActorSystem(
        persistence=Store(), clock=clock, audit_interval=None, record_handled=record_handled
    ) as system:
        ref, hold = system.spawn(Both, clock), Hold()
        for _ in range(7):
            ref.tell(0.0001)
        ref.tell(hold)
        await hold.begun.wait()
        asking = asyncio.create_task(ref.ask(0.0, timeout=0.001))
        await asyncio.sleep(0)
        clock.advance(0.001)
        with pytest.raises(AskTimeout, match=r"handling one message for 0\.001 s"):
            await asking
        hold.release.set()


async def test_the_seconds_of_a_handled_message_are_its_own(clock: ManualClock) -> None:
    store = Store()
    async with ActorSystem(
        persistence=store, clock=clock, audit_interval=None, record_handled=True
    ) as system:
        ref = system.spawn(Passer, clock, "handle", None)
        aside = system.spawn(Passer, clock, "stash", None)
        for seconds in (0.0002, 0.0003):
            ref.tell(seconds)
        await quiet(system)
        clock.advance(60)
        ref.tell(0.0004)
        ref.tell("late", ttl=0)
        ref.tell(0.0005)
        await quiet(system)
        aside.tell(0.5)
        await asyncio.sleep(0)
        await system.flush()
        taken = [
            event.payload["seconds"]  # type: ignore[index]
            for event in await store.list_events()
            if event.actor_path == ref.path and event.event_type == "MessageHandled"
        ]
        assert taken == pytest.approx([0.0002, 0.0003, 0.0004, 0.0005], abs=2e-6)
        await system.stop(aside)


async def test_r4_many_messages_that_have_expired_leave_the_loop_its_turns(
    system: ActorSystem, clock: ManualClock
) -> None:
    ref = system.spawn(Worker, mailbox_capacity=None)
    hold = Hold()
    ref.tell(hold)
    await hold.begun.wait()
    for number in range(5_000):
        ref.tell(number, ttl=1)
    clock.advance(2)
    hold.release.set()
    turns = 0
    while system.accounting().expired < 5_000:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 5_000 / 256


@pytest.mark.parametrize("policy", list(MailboxPolicy))
async def test_an_asker_in_vain_is_told_how_long_the_oldest_message_waits(
    system: ActorSystem, clock: ManualClock, policy: MailboxPolicy
) -> None:
    ref = system.spawn(Worker, mailbox_policy=policy)
    assert await ref.ask("x") == "x"
    hold = Hold()
    ref.tell(hold)
    await hold.begun.wait()
    clock.advance(3)
    ref.tell("oldest")
    clock.advance(5)
    asking = asyncio.create_task(ref.ask("in vain", timeout=1))
    await asyncio.sleep(0)
    clock.advance(1)
    with pytest.raises(AskTimeout, match=r"handling one message for 9 s; 2 wait .* oldest since 6 s"):
        await asking
    hold.release.set()


class Switch(Actor):
    """Hands a message on, and then says who sent it."""

    def __init__(self, target: ActorRef) -> None:
        self.target = target
        self.said: list[object] = []

    async def receive(self, _: object) -> None:
        self.context.forward(self.target)
        sender = self.context.sender
        self.said.append((self.context.message_id != "", sender and sender.path))


async def test_who_sent_a_message_is_known_after_it_was_handed_on_at_the_first_instant_of_a_clock(
    system: ActorSystem, clock: ManualClock
) -> None:
    assert clock.monotonic() == 0
    switch = Switch(system.spawn(Worker))

    class Asker(Actor):
        async def receive(self, ref: ActorRef) -> object:
            return await ref.ask("x")

    asker = system.spawn(Asker, name="asker")
    assert await asker.ask(system.spawn(lambda: switch)) == "x"
    assert switch.said == [(True, "/asker")]


class Namer(Worker):
    async def handle(self, message: object) -> object:
        return await super().handle(message) if isinstance(message, Hold) else self.context.message_id


async def test_r1_a_sender_that_gave_up_has_taken_no_number(system: ActorSystem) -> None:
    ref, hold = system.spawn(Namer, mailbox_capacity=1), Hold()
    before = int((await ref.ask("?")).rsplit("-", 1)[1])
    ref.tell(hold)
    await hold.begun.wait()
    await ref.send("fits")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await ref.send("never")
    hold.release.set()
    assert int((await ref.ask("?")).rsplit("-", 1)[1]) == before + 3
    assert system.accounting().accepted == before + 3


async def test_r5_an_actor_with_nothing_to_do_keeps_neither_message_nor_reply(system: ActorSystem) -> None:
    class Thing:
        pass

    class Giver(Actor):
        async def receive(self, _: object) -> object:
            return Thing()

    ref = system.spawn(Giver)
    message = Thing()
    reply = await ref.ask(message)
    alive = [weakref.ref(message), weakref.ref(reply)]
    await asyncio.sleep(0)
    del message, reply
    gc.collect()
    assert [each() for each in alive] == [None, None]


class Odd:
    """Can be awaited, and is no coroutine."""

    def __await__(self) -> object:
        return iter(())


@pytest.mark.parametrize(
    ("result", "reply"),
    [(None, None), (0, 0), ("s", "s"), ([1], [1]), (object, object), (Odd(), None)],
)
async def test_a_plain_method_may_return_anything_and_what_can_be_awaited_is(
    system: ActorSystem, result: object, reply: object
) -> None:
    class Plain(Actor):
        def receive(self, _: object) -> object:
            return result

    assert await system.spawn(Plain).ask("?") == reply
