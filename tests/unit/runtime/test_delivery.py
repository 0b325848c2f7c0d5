"""What a tell promises at the call, and what awaiting it adds."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING

import pytest

from papyra import ActorStopped, MailboxFull
from papyra.messages import DeadLetterReason
from papyra.ref import TAKEN
from tests.unit.runtime.actors import Hold, Worker, quiet

if TYPE_CHECKING:
    from papyra import ActorRef, ActorSystem


async def held(system: ActorSystem, *, capacity: int | None) -> tuple[ActorRef, Hold]:
    ref, hold = system.spawn(Worker, mailbox_capacity=capacity), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    return ref, hold


async def test_a_tell_enqueues_during_the_call(system: ActorSystem) -> None:
    ref = system.spawn(Worker)
    assert ref.tell(1) is TAKEN
    assert system.actor_info(ref).mailbox_depth == 1
    assert system.accounting().accepted == 1


async def test_a_tell_with_room_is_awaited_without_giving_up_the_turn(system: ActorSystem) -> None:
    ref = system.spawn(Worker)
    await ref.tell(1)
    await ref.tell(2)
    assert system.actor_info(ref).mailbox_depth == 2


async def test_a_tell_nobody_awaits_never_warns(system: ActorSystem) -> None:
    ref, hold = await held(system, capacity=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(4):
            ref.tell(number)
        hold.release.set()
        await quiet(system)
        await system.stop(ref)
        ref.tell("late")
        await asyncio.sleep(0)


async def test_awaiting_beyond_the_capacity_waits_for_room(system: ActorSystem) -> None:
    ref, hold = await held(system, capacity=2)
    await ref.tell(1)
    await ref.tell(2)
    waiting = asyncio.ensure_future(ref.tell(3))
    await asyncio.sleep(0)
    assert not waiting.done()
    hold.release.set()
    await waiting
    assert await ref.ask("seen") == [1, 2, 3]


async def test_each_message_that_is_taken_out_makes_room_for_one(system: ActorSystem) -> None:
    ref, first = await held(system, capacity=2)
    second, third = Hold(), Hold()
    ref.tell(second)
    ref.tell(third)
    waiting = [asyncio.ensure_future(ref.tell(number)) for number in range(2)]
    first.release.set()
    await second.begun.wait()
    await waiting[0]
    assert not waiting[1].done()
    second.release.set()
    await third.begun.wait()
    await waiting[1]
    third.release.set()
    await quiet(system)
    assert await ref.ask("seen") == [0, 1]


async def test_more_waiting_than_the_capacity_is_refused_with_a_letter(system: ActorSystem) -> None:
    ref, hold = await held(system, capacity=2)
    deliveries = [ref.tell(number) for number in range(5)]
    assert [delivery.error is None for delivery in deliveries] == [True, True, True, True, False]
    with pytest.raises(MailboxFull, match="2 messages"):
        await deliveries[-1]
    with pytest.raises(MailboxFull):
        await ref.ask("no room either")
    assert system.dead_letters.counts[DeadLetterReason.OVERFLOW] == 2
    hold.release.set()
    await quiet(system)
    assert await ref.ask("seen") == [0, 1, 2, 3]
    assert system.accounting().is_balanced


async def test_a_sender_that_gives_up_waiting_has_sent_its_message(system: ActorSystem) -> None:
    ref, hold = await held(system, capacity=1)
    await ref.tell(1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await ref.tell(2)
    hold.release.set()
    await quiet(system)
    assert await ref.ask("seen") == [1, 2]


async def test_a_delivery_can_be_awaited_by_many(system: ActorSystem) -> None:
    ref, hold = await held(system, capacity=1)
    await ref.tell(1)
    delivery = ref.tell(2)
    tasks = [asyncio.ensure_future(delivery) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    hold.release.set()
    assert await asyncio.gather(*tasks[1:]) == [None, None]
    await delivery


async def test_a_dead_target_takes_a_letter_and_raises_only_when_awaited(system: ActorSystem) -> None:
    ref = system.spawn(Worker)
    await system.stop(ref)
    delivery = ref.tell("late")
    assert not ref.is_alive()
    with pytest.raises(ActorStopped) as raised:
        await delivery
    assert raised.value.reason == "requested"
    with pytest.raises(ActorStopped):
        await ref.ask("late too")
    letters = system.dead_letters.messages
    assert [(letter.message, letter.reason, letter.expects_reply) for letter in letters] == [
        ("late", DeadLetterReason.TARGET_STOPPED, False),
        ("late too", DeadLetterReason.TARGET_STOPPED, True),
    ]
    assert letters[0].target == ref


async def test_senders_that_wait_for_room_hear_that_the_actor_stopped(system: ActorSystem) -> None:
    ref, hold = await held(system, capacity=1)
    await ref.tell(1)
    waiting = asyncio.ensure_future(ref.tell(2))
    await asyncio.sleep(0)
    stopping = asyncio.create_task(system.stop(ref))
    with pytest.raises(ActorStopped):
        await waiting
    hold.release.set()
    await stopping
    assert system.dead_letters.counts[DeadLetterReason.QUEUED_AT_STOP] == 2
    assert system.accounting().is_balanced


async def test_no_capacity_means_no_bound(system: ActorSystem) -> None:
    ref, hold = await held(system, capacity=None)
    for number in range(5_000):
        assert ref.tell(number) is TAKEN
    hold.release.set()
    assert len(await ref.ask("seen")) == 5_000


@pytest.mark.parametrize("capacity", [0, -1])
async def test_a_capacity_below_one_is_refused(system: ActorSystem, capacity: int) -> None:
    with pytest.raises(ValueError, match="mailbox_capacity"):
        system.spawn(Worker, mailbox_capacity=capacity)
    assert system.refs() == ()
