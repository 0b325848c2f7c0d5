"""One deadline over queueing and handling; whoever asks or stops asking never harms the actor."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import pytest

from papyra import Actor, ActorStopped, ActorSystem, AskTimeout, PapyraError
from papyra.messages import DeadLetterReason
from tests.unit.runtime.actors import RESTART, Boom, Hold, Parent, Store, Worker, quiet

if TYPE_CHECKING:
    from papyra import ActorRef


async def ask_in_vain(ref: ActorRef, message: object, timeout: float = 0.001) -> str:
    with pytest.raises(AskTimeout) as raised:
        await ref.ask(message, timeout=timeout)
    assert isinstance(raised.value, TimeoutError)
    return str(raised.value)


async def test_the_reply_is_what_the_handler_returns(system: ActorSystem) -> None:
    assert await system.spawn(Worker).ask("hello") == "hello"


async def test_the_exception_reaches_the_asker_and_supervision_acts_too(system: ActorSystem) -> None:
    ref, error = system.spawn(Worker, policy=RESTART), LookupError("nothing there")
    await ref.tell(1)
    with pytest.raises(LookupError) as raised:
        await ref.ask(Boom(error))
    assert raised.value is error
    assert await ref.ask("seen") == []
    assert system.actor_info(ref).restarts == 1


async def test_the_deadline_covers_queueing_and_the_text_tells_all(system: ActorSystem) -> None:
    ref, hold = system.spawn(Worker, name="stock"), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    ref.tell("before")
    text = await ask_in_vain(ref, "too late", 0.01)
    for part in (
        "str",
        "/stock",
        "Worker",
        "within 0.01",
        "2 wait in its mailbox",
        "the oldest since",
        "handling",
    ):
        assert part in text
    hold.release.set()
    assert await ref.ask("seen") == ["before"]
    assert system.accounting().expired == 1
    assert [letter.message for letter in system.dead_letters.messages] == ["too late"]
    assert system.dead_letters.counts[DeadLetterReason.EXPIRED] == 1


async def test_the_deadline_covers_waiting_for_room(system: ActorSystem) -> None:
    ref, hold = system.spawn(Worker, mailbox_capacity=1), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    ref.tell("fills the mailbox")
    await ask_in_vain(ref, "waits for room")
    hold.release.set()
    await quiet(system)


async def test_a_late_reply_is_a_letter_and_the_message_was_handled(
    system: ActorSystem, store: Store
) -> None:
    ref, hold = system.spawn(Worker), Hold()
    await ask_in_vain(ref, hold)
    hold.release.set()
    assert await ref.ask("alive") == "alive"
    assert system.accounting().late_replies == 1
    assert system.accounting().handled == 2
    await system.flush()
    (letter,) = store.letters("late_reply")
    assert letter.expects_reply
    assert letter.deadline is not None
    assert "stopped waiting" in letter.error


async def test_a_cancelled_asker_never_harms_the_actor(system: ActorSystem) -> None:
    ref, hold = system.spawn(Worker), Hold()
    asking = asyncio.create_task(ref.ask(hold))
    await hold.begun.wait()
    queued = asyncio.create_task(ref.ask("queued"))
    await asyncio.sleep(0)
    asking.cancel()
    queued.cancel()
    await asyncio.wait((asking, queued))
    hold.release.set()
    assert await ref.ask("seen") == ["queued"]
    assert system.accounting().late_replies == 2
    assert system.accounting().failed == 0


async def test_a_failure_after_the_asker_has_gone_is_one_failure(system: ActorSystem) -> None:
    ref, hold = system.spawn(Worker, policy=RESTART), Hold()

    class Late(Actor):
        async def receive(self, message: Hold) -> None:
            message.begun.set()
            await message.release.wait()
            raise ValueError("late")

    late = system.spawn(Late, policy=RESTART)
    await ask_in_vain(late, hold)
    hold.release.set()
    await quiet(system)
    assert system.accounting().failed == 1
    assert late.is_alive()
    assert ref.is_alive()


async def test_queued_asks_fail_at_once_when_the_actor_is_asked_to_stop(system: ActorSystem) -> None:
    ref, hold = system.spawn(Worker), Hold()
    first = asyncio.create_task(ref.ask(hold, timeout=None))
    await hold.begun.wait()
    queued = [asyncio.create_task(ref.ask(number, timeout=None)) for number in range(3)]
    await asyncio.sleep(0)
    stopping = asyncio.create_task(system.stop(ref))
    for task in queued:
        with pytest.raises(ActorStopped) as raised:
            await task
        assert raised.value.reason == "requested"
    assert not first.done()
    hold.release.set()
    assert await first == "released"
    await stopping


async def test_an_ask_of_the_message_that_ends_the_actor_gets_its_exception(system: ActorSystem) -> None:
    ref = system.spawn(Worker)
    with pytest.raises(ValueError, match="boom"):
        await ref.ask(Boom())
    assert not ref.is_alive()


async def test_a_message_that_stops_the_actor_is_answered(system: ActorSystem) -> None:
    ref = system.spawn(Worker)
    assert await ref.ask("stop") is None
    with pytest.raises(ActorStopped):
        await ref.ask("more")


async def test_an_actor_that_asks_itself_hears_so_at_once(system: ActorSystem) -> None:
    ref = system.spawn(Parent, policy=RESTART)
    with pytest.raises(PapyraError, match="asks itself"):
        await ref.ask(("ask", ref, "seen"), timeout=None)


async def test_a_task_that_an_actor_started_may_ask_it(system: ActorSystem) -> None:
    class Delegating(Actor):
        async def receive(self, message: object) -> object:
            if message == "delegate":
                self.task = asyncio.create_task(self.context.self_ref.ask("direct", timeout=5))
                return None
            return f"{message} of {self.context.sender}"

    ref = system.spawn(Delegating)
    await ref.ask("delegate")
    actors = [cell for cell in system.refs() if cell == ref]
    assert actors == [ref]
    await quiet(system)
    assert system.accounting().handled == 2


@pytest.mark.parametrize("error", [asyncio.CancelledError(), StopIteration(), StopAsyncIteration()])
async def test_an_asker_is_never_raised_what_would_look_like_its_own_end(
    system: ActorSystem, error: BaseException
) -> None:
    class Odd(Actor):
        def receive(self, message: object) -> None:
            del message
            raise error

    ref = system.spawn(Odd, policy=RESTART)
    with pytest.raises(Exception) as raised:  # noqa: PT011  # which one is told below
        await ref.ask("go")
    assert not isinstance(raised.value, (asyncio.CancelledError, StopIteration))
    assert ref.is_alive()


async def test_no_timeout_waits_for_ever_and_the_default_is_the_systems() -> None:
    async with ActorSystem(ask_timeout=0.01) as system:
        ref, hold = system.spawn(Worker), Hold()
        for_ever = asyncio.create_task(ref.ask(hold, timeout=None))
        await hold.begun.wait()
        with pytest.raises(AskTimeout):
            await ref.ask("default")
        assert not for_ever.done()
        hold.release.set()
        assert await for_ever == "released"


async def test_many_deadlines_pass_in_order_and_each_for_itself(system: ActorSystem) -> None:
    ref, hold = system.spawn(Worker), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    done: list[float] = []

    async def ask(timeout: float) -> None:
        await ask_in_vain(ref, timeout, timeout)
        done.append(timeout)

    await asyncio.gather(*(ask(timeout) for timeout in (0.03, 0.01, 0.02)))
    assert done == [0.01, 0.02, 0.03]
    hold.release.set()
    await quiet(system)
    assert system.accounting().expired == 3


async def test_r4_a_timeout_that_is_no_number_is_refused_and_spoils_no_other_deadline(
    system: ActorSystem,
) -> None:
    hold = Hold()
    with pytest.raises(ValueError, match="nan"):
        await system.spawn(Worker).ask(1, timeout=math.nan)
    assert system.accounting().accepted == 0
    with pytest.raises(AskTimeout):
        await system.spawn(Worker).ask(hold, timeout=0.2)
    hold.release.set()


async def test_sync_handlers_are_fine(system: ActorSystem) -> None:
    class Plain(Actor):
        def receive(self, message: int) -> int:
            return message + 1

    assert await system.spawn(Plain).ask(1) == 2
