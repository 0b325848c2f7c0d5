"""Mailboxes: what each policy does to sender and message, sending that waits, the stash, idleness, age."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from papyra import Actor, ActorStopped, AskTimeout, MailboxFull, StopReason, Terminated
from papyra.exceptions import StashFull
from papyra.messages import DeadLetterReason, MailboxPolicy, ReceiveTimeout
from papyra.testing import Probe
from tests.unit.runtime.actors import RESTART, STOP, Boom, Hold, Parent, Worker, quiet, stopped

if TYPE_CHECKING:
    from papyra import ActorRef, ActorSystem
    from papyra.testing import ManualClock


async def held(
    system: ActorSystem, capacity: int, policy: MailboxPolicy = MailboxPolicy.BACKPRESSURE
) -> tuple[ActorRef, Hold]:
    """Return an actor that handles one message until it is released."""
    ref, hold = system.spawn(Worker, mailbox_capacity=capacity, mailbox_policy=policy), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    return ref, hold


def letters(system: ActorSystem, reason: DeadLetterReason) -> list[object]:
    return [letter.message for letter in system.dead_letters.messages if letter.reason is reason]


async def test_line_6_drop_new_never_hurts_the_sender_and_keeps_the_oldest(system: ActorSystem) -> None:
    ref, hold = await held(system, 2, MailboxPolicy.DROP_NEW)
    for number in range(5):
        await ref.tell(number)
    assert letters(system, DeadLetterReason.OVERFLOW) == [2, 3, 4]
    hold.release.set()
    await quiet(system)
    assert await ref.ask("seen") == [0, 1]


async def test_line_6_drop_oldest_never_hurts_the_sender_and_keeps_the_newest(system: ActorSystem) -> None:
    ref, hold = await held(system, 2, MailboxPolicy.DROP_OLDEST)
    for number in range(5):
        await ref.tell(number)
    assert letters(system, DeadLetterReason.OVERFLOW) == [0, 1, 2]
    hold.release.set()
    await quiet(system)
    assert await ref.ask("seen") == [3, 4]


async def test_line_7_an_ask_that_is_dropped_hears_so_at_once(system: ActorSystem) -> None:
    ref, hold = await held(system, 1, MailboxPolicy.DROP_OLDEST)
    asking = asyncio.create_task(ref.ask("dropped", timeout=None))
    await asyncio.sleep(0)
    ref.tell("newer")
    with pytest.raises(MailboxFull):
        await asyncio.wait_for(asking, 5)
    hold.release.set()
    full, other = await held(system, 1, MailboxPolicy.DROP_NEW)
    full.tell("full")
    with pytest.raises(MailboxFull):
        await full.ask("dropped", timeout=None)
    other.release.set()
    await quiet(system)


async def test_line_6_only_fail_raises_at_the_call_and_makes_its_letter_too(system: ActorSystem) -> None:
    ref, hold = await held(system, 1, MailboxPolicy.FAIL)
    ref.tell("full")
    with pytest.raises(MailboxFull):
        ref.tell("refused")
    assert letters(system, DeadLetterReason.OVERFLOW) == ["refused"]
    hold.release.set()
    await system.stop(ref)
    delivery = ref.tell("late")
    assert isinstance(delivery.error, ActorStopped)


@pytest.mark.parametrize("policy", MailboxPolicy)
async def test_line_6_no_policy_keeps_a_notice_out(system: ActorSystem, policy: MailboxPolicy) -> None:
    class Watcher(Parent):
        async def handle(self, message: object) -> object:
            return await super().handle(message)

    target = system.spawn(Worker)
    ref, hold = system.spawn(Watcher, mailbox_capacity=1, mailbox_policy=policy), Hold()
    await ref.ask(("watch", target))
    ref.tell(hold)
    await hold.begun.wait()
    ref.tell("full")
    await system.stop(target)
    hold.release.set()
    await quiet(system)
    seen = await ref.ask("seen")
    assert [type(message) for message in seen] == [str, Terminated]


@pytest.mark.parametrize("policy", MailboxPolicy)
async def test_line_6_a_million_messages_to_a_stuck_actor_never_grow_its_mailbox(
    system: ActorSystem, policy: MailboxPolicy
) -> None:
    ref, hold = await held(system, 8, policy)
    for number in range(2_000):
        try:
            ref.tell(number)
        except MailboxFull:
            assert policy is MailboxPolicy.FAIL
        assert system.actor_info(ref).mailbox_depth <= 16
    accounting = system.accounting()
    assert accounting.is_balanced
    assert accounting.pending <= 17
    hold.release.set()


async def test_sending_waits_however_long_and_in_order(system: ActorSystem) -> None:
    ref, hold = await held(system, 1)
    sends = [asyncio.create_task(ref.send(number)) for number in range(50)]
    for _ in range(5):
        await asyncio.sleep(0)
    hold.release.set()
    await asyncio.wait_for(asyncio.gather(*sends), 5)
    assert await ref.ask("seen") == list(range(50))
    assert system.accounting().dead == 0


async def test_a_sender_that_is_cancelled_while_it_waits_has_sent_nothing(system: ActorSystem) -> None:
    ref, hold = await held(system, 1)
    ref.tell("full")
    before = system.accounting().accepted
    sending = asyncio.create_task(ref.send("withdrawn"))
    after = asyncio.create_task(ref.send("after"))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    hold.release.set()
    await asyncio.wait_for(after, 5)
    assert await ref.ask("seen") == ["full", "after"]
    assert system.accounting().accepted == before + 2
    assert system.dead_letters.total == 0


async def test_a_sender_that_waits_hears_that_the_actor_stopped_first(system: ActorSystem) -> None:
    ref, hold = await held(system, 1)
    ref.tell("full")
    sending = asyncio.create_task(ref.send("never"))
    await asyncio.sleep(0)
    stopping = asyncio.create_task(system.stop(ref))
    with pytest.raises(ActorStopped):
        await asyncio.wait_for(sending, 5)
    hold.release.set()
    await stopping
    with pytest.raises(ActorStopped):
        await ref.send("late")


class Stashing(Worker):
    """Puts numbers aside until told ``open``; fails on ``boom``."""

    def __init__(self) -> None:
        super().__init__()
        self.is_open = False

    async def handle(self, message: object) -> object:
        if message == "open":
            self.is_open = True
            self.context.unstash_all()
            return None
        if message == "close":
            self.is_open = False
            return None
        if isinstance(message, int) and not self.is_open:
            self.context.stash()
            return "of no account"
        return await super().handle(message)


async def test_line_3_what_is_put_aside_comes_back_in_front_and_in_order(system: ActorSystem) -> None:
    ref = system.spawn(Stashing)
    for message in (1, 2, "open", 3):
        ref.tell(message)
    assert await ref.ask("seen") == [1, 2, 3]
    assert system.accounting().handled == 5


async def test_line_3_an_asker_waits_for_what_is_put_aside_and_its_deadline_holds(
    system: ActorSystem,
) -> None:
    ref = system.spawn(Stashing)
    with pytest.raises(AskTimeout):
        await ref.ask(1, timeout=0.01)
    asking = asyncio.create_task(ref.ask(2, timeout=None))
    await asyncio.sleep(0)
    await ref.ask("alive")
    assert not asking.done()
    assert system.accounting().pending >= 1
    ref.tell("open")
    assert await asyncio.wait_for(asking, 5) == 2
    assert system.accounting().expired + system.dead_letters.counts[DeadLetterReason.LATE_REPLY] == 1


async def test_line_3_a_restart_returns_the_stash_to_the_front(system: ActorSystem) -> None:
    seen: list[object] = []

    class Keeping(Stashing):
        async def handle(self, message: object) -> object:
            if not isinstance(message, int) or self.is_open:
                seen.append(message)
            return await super().handle(message)

    ref = system.spawn(Keeping, policy=RESTART)
    for message in (1, 2, Boom(ValueError("x")), 3, "open"):
        ref.tell(message)
    await quiet(system)
    assert [message for message in seen if isinstance(message, int)] == [1, 2, 3]
    assert system.accounting().failed == 1


@pytest.mark.parametrize("end", ["stop", "crash", "close"])
async def test_line_3_a_stash_at_the_end_is_letters_in_order(system: ActorSystem, end: str) -> None:
    ref = system.spawn(Stashing, policy=STOP)
    asking = asyncio.create_task(ref.ask(0, timeout=None))
    await asyncio.sleep(0)
    for message in (1, 2):
        ref.tell(message)
    await ref.ask("alive")
    if end == "crash":
        ref.tell(Boom())
        await stopped(system, ref)
    else:
        await (system.stop(ref) if end == "stop" else system.aclose())
    with pytest.raises(ActorStopped):
        await asyncio.wait_for(asking, 5)
    reasons = {DeadLetterReason.QUEUED_AT_STOP, DeadLetterReason.SHUTDOWN}
    kept = [letter.message for letter in system.dead_letters.messages if letter.reason in reasons]
    assert kept == [0, 1, 2]


async def test_line_3_a_stash_has_the_bound_of_its_mailbox(system: ActorSystem) -> None:
    ref = system.spawn(Stashing, policy=RESTART, mailbox_capacity=4)
    for number in range(4):
        await ref.ask("alive")
        ref.tell(number)
    await ref.ask("alive")
    with pytest.raises(StashFull):
        await ref.ask(4, timeout=5)
    await quiet_but_for(system, 4)
    assert system.accounting().failed == 1


async def quiet_but_for(system: ActorSystem, pending: int) -> None:
    async with asyncio.timeout(5):
        while system.accounting().pending != pending:  # noqa: ASYNC110  # nothing says when
            await asyncio.sleep(0)


async def test_line_3_a_message_that_is_put_aside_and_fails_is_a_failure_once(system: ActorSystem) -> None:
    class Both(Actor):
        async def receive(self, message: object) -> object:
            if message == "both":
                self.context.stash()
                raise ValueError("and yet")
            self.context.unstash_all()
            return message

    ref = system.spawn(Both, policy=RESTART)
    ref.tell("both")
    assert await ref.ask("alive", timeout=5) == "alive"
    await quiet(system)
    accounting = system.accounting()
    assert (accounting.accepted, accounting.handled, accounting.failed) == (2, 1, 1)


async def test_putting_aside_twice_or_between_messages_is_refused_or_nothing(system: ActorSystem) -> None:
    class Odd(Actor):
        def __init__(self) -> None:
            self.aside = 0

        async def receive(self, message: object) -> object:
            if message == "count":
                return self.aside
            if not self.aside:
                self.aside += 1
                self.context.stash()
                self.context.stash()
            return message

    ref = system.spawn(Odd, policy=RESTART)
    ref.tell("twice")
    await ref.ask("count", timeout=5)
    await system.stop(ref)
    accounting = system.accounting()
    assert accounting.is_balanced
    assert accounting.accepted == 2


class Idle(Worker):
    async def handle(self, message: object) -> object:
        if isinstance(message, tuple) and message[0] == "idle":
            self.context.set_receive_timeout(message[1])
            return None
        return await super().handle(message)


async def test_a_receive_timeout_comes_once_each_time_nothing_came_for_so_long(
    timed: ActorSystem, clock: ManualClock
) -> None:
    ref = timed.spawn(Idle)
    await ref.ask(("idle", 10.0))
    clock.advance(9)
    await clock.settle()
    await ref.ask("something", timeout=None)
    clock.advance(9)
    await clock.settle()
    assert ReceiveTimeout not in {type(message) for message in await ref.ask("seen", timeout=None)}
    for _ in range(3):
        clock.advance(11)
        await clock.settle()
    seen = await ref.ask("seen", timeout=None)
    assert [type(message) for message in seen].count(ReceiveTimeout) in {1, 3}
    await ref.ask(("idle", None))
    clock.advance(100)
    await clock.settle()
    assert len(await ref.ask("seen", timeout=None)) == len(seen)


async def test_an_actor_is_passivated_after_idling_and_not_before(
    timed: ActorSystem, clock: ManualClock
) -> None:
    probe = Probe(timed)
    ref = timed.spawn(Worker, passivate_after=60.0)
    await probe.watch(ref)
    for _ in range(5):
        clock.advance(59)
        await ref.ask("here", timeout=None)
    hold = Hold()
    ref.tell(hold)
    await hold.begun.wait()
    clock.advance(600)
    await clock.settle()
    assert ref.is_alive(), "a long message is no idling"
    hold.release.set()
    await clock.settle()
    clock.advance(61)
    notice = await probe.expect(Terminated)
    assert notice.reason is StopReason.PASSIVATED
    assert (await stopped(timed, ref)).reason is StopReason.PASSIVATED


async def test_a_message_past_its_time_to_live_is_a_letter_and_is_not_handled(
    timed: ActorSystem, clock: ManualClock
) -> None:
    ref, hold = timed.spawn(Worker), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    ref.tell("old", ttl=1.0)
    ref.tell("young", ttl=60.0)
    clock.advance(2)
    hold.release.set()
    assert await ref.ask("seen", timeout=None) == ["young"]
    assert letters(timed, DeadLetterReason.EXPIRED) == ["old"]
    assert timed.accounting().expired == 1
