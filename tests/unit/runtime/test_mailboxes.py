"""What a full mailbox does, by policy; the stash; messages that are not worth handling any more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from papyra import Actor, ActorStopped, ActorSystem, AskTimeout, MailboxFull, MailboxPolicy, Terminated
from papyra.events import ActorRestarted
from papyra.exceptions import ConfigurationError, StashFull
from papyra.messages import DeadLetterReason
from tests.unit.runtime.actors import RESTART, Boom, Hold, Worker

if TYPE_CHECKING:
    from papyra import ActorRef


async def busy(system: ActorSystem, policy: MailboxPolicy | str, capacity: int = 2) -> tuple[ActorRef, Hold]:
    """Return an actor that is held in its first message, its mailbox empty."""
    ref = system.spawn(Worker, mailbox_capacity=capacity, mailbox_policy=policy, name=f"busy-{policy}")
    hold = Hold()
    ref.tell(hold)
    await hold.begun.wait()
    return ref, hold


def overflowed(system: ActorSystem) -> list[object]:
    return [
        letter.message
        for letter in system.dead_letters.messages
        if letter.reason is DeadLetterReason.OVERFLOW
    ]


async def seen_by(ref: ActorRef, hold: Hold) -> list[object]:
    hold.release.set()
    await ref.send("the last")  # an ask might be lost itself
    seen: list[object] = await ref.ask("seen")
    assert seen.pop() == "the last"
    return seen


async def test_drop_new_makes_a_letter_of_what_comes_and_raises_nothing(system: ActorSystem) -> None:
    ref, hold = await busy(system, MailboxPolicy.DROP_NEW)
    for number in range(4):
        await ref.tell(number)
    assert overflowed(system) == [2, 3]
    assert await seen_by(ref, hold) == [0, 1]


async def test_drop_oldest_makes_a_letter_of_what_waited_longest(system: ActorSystem) -> None:
    ref, hold = await busy(system, "drop_oldest")
    for number in range(4):
        await ref.tell(number)
    assert overflowed(system) == [0, 1]
    hold.release.set()
    await system.stop(ref, drain=True)
    assert system.accounting().handled == 3


async def test_fail_raises_at_the_call_and_makes_a_letter(system: ActorSystem) -> None:
    ref, hold = await busy(system, MailboxPolicy.FAIL, capacity=1)
    ref.tell("fits")
    with pytest.raises(MailboxFull, match="/busy-fail has 1 messages"):
        ref.tell("does not")
    assert overflowed(system) == ["does not"]
    hold.release.set()


@pytest.mark.parametrize("policy", list(MailboxPolicy))
async def test_an_ask_that_is_lost_to_a_full_mailbox_is_told_at_once(
    system: ActorSystem, policy: MailboxPolicy
) -> None:
    ref, hold = await busy(system, policy, capacity=1)
    asks = [asyncio.create_task(ref.ask(number, timeout=None)) for number in range(3)]
    done, _ = await asyncio.wait(asks, return_when=asyncio.FIRST_COMPLETED, timeout=5)
    assert done
    assert {type(task.exception()) for task in done} == {MailboxFull}
    hold.release.set()
    results = await asyncio.gather(*asks, return_exceptions=True)
    kept = {
        MailboxPolicy.BACKPRESSURE: [0, 1],
        MailboxPolicy.DROP_NEW: [0],
        MailboxPolicy.DROP_OLDEST: [2],
        MailboxPolicy.FAIL: [0],
    }[policy]
    assert [result for result in results if isinstance(result, int)] == kept


@pytest.mark.parametrize("policy", list(MailboxPolicy))
async def test_the_runtimes_own_notices_always_fit_and_are_never_dropped(
    system: ActorSystem, policy: MailboxPolicy
) -> None:
    told: list[object] = []

    class Watcher(Worker):
        async def handle(self, message: object) -> object:
            if isinstance(message, Terminated):
                told.append(message)
                return None
            if message == "watch":
                await self.context.watch(other)
                return None
            return await super().handle(message)

    other, hold = system.spawn(Worker), Hold()
    ref = system.spawn(Watcher, mailbox_capacity=1, mailbox_policy=policy)
    await ref.ask("watch")
    ref.tell(hold)
    await hold.begun.wait()
    ref.tell(1)
    await system.stop(other)
    if policy is not MailboxPolicy.FAIL:
        ref.tell(2)
    hold.release.set()
    await system.stop(ref, drain=True)
    assert len(told) == 1


async def test_a_mailbox_policy_that_is_none_is_refused_with_those_there_are(system: ActorSystem) -> None:
    with pytest.raises(ConfigurationError, match="drop_oldest"):
        system.spawn(Worker, mailbox_policy="drop")


async def test_a_restarting_actor_keeps_the_bound_of_its_mailbox(system: ActorSystem) -> None:
    hold = Hold()

    class SlowToStart(Worker):
        async def on_start(self) -> None:
            if hold.begun.is_set():
                return
            hold.begun.set()
            await hold.release.wait()

    ref = system.spawn(SlowToStart, mailbox_capacity=2, mailbox_policy="drop_new", policy=RESTART)
    await hold.begun.wait()
    for number in range(5):
        ref.tell(number)
    assert overflowed(system) == [2, 3, 4]
    assert await seen_by(ref, hold) == [0, 1]


class TestSend:
    async def test_it_waits_for_room_however_many_wait_and_keeps_their_order(
        self, system: ActorSystem
    ) -> None:
        ref, hold = await busy(system, MailboxPolicy.BACKPRESSURE, capacity=1)
        sends = [asyncio.create_task(ref.send(number)) for number in range(20)]
        await asyncio.wait(sends, return_when=asyncio.FIRST_COMPLETED)
        assert sum(send.done() for send in sends) == 1
        hold.release.set()
        await asyncio.gather(*sends)
        assert await ref.ask("seen") == list(range(20))
        assert system.dead_letters.total == 0

    @pytest.mark.parametrize("policy", list(MailboxPolicy))
    async def test_no_policy_loses_what_waits_for_room(
        self, system: ActorSystem, policy: MailboxPolicy
    ) -> None:
        ref, hold = await busy(system, policy, capacity=1)
        await ref.send(1)
        waiting = asyncio.create_task(ref.send(2))
        await asyncio.sleep(0)
        hold.release.set()
        await waiting
        assert await ref.ask("seen") == [1, 2]
        assert overflowed(system) == []

    async def test_cancelled_while_it_waits_it_has_sent_nothing(self, system: ActorSystem) -> None:
        ref, hold = await busy(system, MailboxPolicy.BACKPRESSURE, capacity=1)
        await ref.send(1)
        accepted = system.accounting().accepted
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await ref.send(2)
        later = asyncio.create_task(ref.send(3))
        await asyncio.sleep(0)
        assert system.accounting().accepted == accepted
        hold.release.set()
        await later
        assert await ref.ask("seen") == [1, 3]

    @pytest.mark.parametrize("drain", [False, True])
    async def test_it_is_told_when_the_actor_stops_first(self, system: ActorSystem, *, drain: bool) -> None:
        ref, hold = await busy(system, MailboxPolicy.BACKPRESSURE, capacity=1)
        await ref.send(1)
        waiting = asyncio.create_task(ref.send(2))
        await asyncio.sleep(0)
        stopping = asyncio.create_task(system.stop(ref, drain=drain))
        hold.release.set()
        with pytest.raises(ActorStopped):
            await waiting
        await stopping
        assert 2 in [letter.message for letter in system.dead_letters.messages]
        with pytest.raises(ActorStopped):
            await ref.send(3)

    async def test_to_ones_own_full_mailbox_it_is_refused_and_does_not_wait_for_ever(
        self, system: ActorSystem
    ) -> None:
        class Selfish(Actor):
            async def receive(self, message: object) -> None:
                if message == "begin":
                    await self.context.self_ref.send(1)
                    await self.context.self_ref.send(2)

        with pytest.raises(Exception, match="would wait for ever"):
            await system.spawn(Selfish, mailbox_capacity=1).ask("begin")


class TestTimeToLive:
    async def test_a_message_whose_turn_comes_too_late_is_a_letter_and_counts_as_expired(
        self, system: ActorSystem
    ) -> None:
        ref, hold = await busy(system, MailboxPolicy.BACKPRESSURE, capacity=8)
        ref.tell("late", ttl=0)
        ref.tell("in time", ttl=60)
        await ref.send("late too", ttl=0)
        assert await seen_by(ref, hold) == ["in time"]
        assert system.accounting().expired == 2
        assert system.dead_letters.counts[DeadLetterReason.EXPIRED] == 2

    @pytest.mark.parametrize("ttl", [-1, float("nan")])
    async def test_what_is_no_time_to_live_is_refused(self, system: ActorSystem, ttl: float) -> None:
        with pytest.raises(ValueError, match="ttl"):
            system.spawn(Worker).tell(1, ttl=ttl)

    async def test_an_asker_whose_message_expired_is_told(self, system: ActorSystem) -> None:
        ref, hold = await busy(system, MailboxPolicy.BACKPRESSURE, capacity=8)
        asking = asyncio.create_task(ref.ask(1, timeout=0))
        await asyncio.sleep(0)
        hold.release.set()
        with pytest.raises(AskTimeout, match="/busy-backpressure"):
            await asking


class Gate(Worker):
    """Puts everything aside until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.is_open = False

    async def handle(self, message: object) -> object:
        if message == "open":
            self.is_open = True
            self.context.unstash_all()
            return None
        if isinstance(message, Boom) or message == "seen" or self.is_open:
            return await super().handle(message)
        self.context.stash()
        return "answers nobody"


class TestStash:
    async def test_what_is_put_aside_comes_back_in_front_in_order(self, system: ActorSystem) -> None:
        ref = system.spawn(Gate)
        for number in range(3):
            ref.tell(number)
        assert await ref.ask("seen") == []
        assert system.accounting().pending == 3
        ref.tell("open")
        ref.tell(3)
        assert await ref.ask("seen") == [0, 1, 2, 3]

    async def test_who_asked_waits_until_it_is_handled_after_all(self, system: ActorSystem) -> None:
        ref = system.spawn(Gate)
        asking = asyncio.create_task(ref.ask("question"))
        await asyncio.sleep(0)
        ref.tell("open")
        assert await asking == "question"

    async def test_it_has_the_bound_of_the_mailbox(self, system: ActorSystem) -> None:
        ref = system.spawn(Gate, mailbox_capacity=2, name="gate")
        await ref.tell(0)
        await ref.tell(1)
        with pytest.raises(StashFull, match="/gate has put 2 messages aside"):
            await ref.ask(2)
        assert system.accounting().failed == 1

    async def test_a_restart_returns_it_to_the_front(self, system: ActorSystem) -> None:
        ref = system.spawn(Gate, policy=RESTART)
        ref.tell(0)
        ref.tell(1)
        ref.tell(Boom())
        await system.wait_for_event(ActorRestarted)
        ref.tell("open")
        assert await ref.ask("seen") == [0, 1]

    async def test_a_stop_makes_letters_of_it(self, system: ActorSystem) -> None:
        ref = system.spawn(Gate)
        asking = asyncio.create_task(ref.ask("question"))
        ref.tell(1)
        assert await ref.ask("seen") == []
        await system.stop(ref)
        with pytest.raises(ActorStopped):
            await asking
        assert {letter.reason for letter in system.dead_letters.messages} == {DeadLetterReason.QUEUED_AT_STOP}
        assert system.dead_letters.total == 2

    async def test_a_handler_that_fails_after_it_has_failed_with_that_message(
        self, system: ActorSystem
    ) -> None:
        class Clumsy(Gate):
            async def handle(self, message: object) -> object:
                result = await super().handle(message)
                if message == "drop it" and not self.is_open:
                    raise ValueError("after putting it aside")
                return result

        ref = system.spawn(Clumsy, policy=RESTART)
        ref.tell("drop it")
        await system.wait_for_event(ActorRestarted)
        assert system.accounting().failed == 1
        ref.tell("open")
        assert await ref.ask("seen") == []

    async def test_without_a_message_at_hand_there_is_nothing_to_put_aside(self, system: ActorSystem) -> None:
        class Eager(Actor):
            async def on_start(self) -> None:
                self.context.stash()

        ref = system.spawn(Eager)
        with pytest.raises(ActorStopped):
            await ref.ask(1)
        letters = [event for event in system.events() if "no message to stash" in str(event)]
        assert letters
