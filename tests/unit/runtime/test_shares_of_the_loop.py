"""What one actor may take of the loop at a time, and what is said of how long messages wait."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING

import pytest

from papyra import Actor, ActorSystem, AskTimeout, MailboxPolicy
from papyra.testing import ManualClock
from tests.unit.runtime.actors import Hold, Store, Worker

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


async def test_r4_quick_messages_hide_at_most_eight_slow_ones(
    system: ActorSystem, clock: ManualClock
) -> None:
    ref = system.spawn(Spender, clock)
    for _ in range(20):
        ref.tell(0.0)
    for _ in range(80):
        ref.tell(SLOW)
    assert await turns_until_handled(system, 100) >= 80 - 8


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
