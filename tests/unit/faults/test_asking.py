"""An asker always hears something, once, and whatever becomes of it the actor goes on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from papyra import Actor, ActorStopped, ActorSystem, AskTimeout
from papyra.messages import DeadLetterReason
from tests.unit.runtime.actors import RESTART, STOP, Boom, Hold, Parent, Worker, quiet, stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra import ActorRef


class Phases:
    """An actor of one place, with an ask that has come as far as a test wants."""

    def __init__(self, system: ActorSystem) -> None:
        self.ref = system.spawn(Worker, policy=RESTART, mailbox_capacity=1)
        self.first, self.asked = Hold(), Hold()

    async def ask(self, phase: str) -> asyncio.Task[Any]:
        if phase != "in its handler":
            self.ref.tell(self.first)
            await self.first.begun.wait()
        if phase == "waiting for room":
            self.ref.tell("full")
        asking = asyncio.create_task(self.ref.ask(self.asked, timeout=None))
        if phase == "in its handler":
            await self.asked.begun.wait()
        else:
            await asyncio.sleep(0)
        return asking


PHASES = ["waiting for room", "queued", "in its handler"]


@pytest.mark.parametrize("phase", PHASES)
async def test_line_7_an_asker_that_is_cancelled_harms_nobody_in_any_phase(
    system: ActorSystem, phase: str
) -> None:
    there = Phases(system)
    asking = await there.ask(phase)
    asking.cancel("the client has gone")
    with pytest.raises(asyncio.CancelledError):
        await asking
    there.first.release.set()
    there.asked.release.set()
    await quiet(system)
    assert await there.ref.ask("alive") == "alive"
    accounting = system.accounting()
    assert accounting.failed == 0
    assert accounting.accepted == accounting.handled + accounting.expired + accounting.dead


@pytest.mark.parametrize("end", ["stop", "kill", "close"])
@pytest.mark.parametrize("phase", PHASES)
async def test_line_7_an_asker_hears_of_the_end_whatever_phase_it_was_in(phase: str, end: str) -> None:
    async with ActorSystem(shutdown_timeout=0.05) as system:
        there = Phases(system)
        asking = await there.ask(phase)
        ending: asyncio.Task[object] | None = None
        if end == "stop":
            ending = asyncio.create_task(system.stop(there.ref))
        elif end == "close":
            ending = asyncio.create_task(system.aclose())
        elif end == "kill":
            (task,) = (task for task in asyncio.all_tasks() if task.get_name() == there.ref.path)
            task.cancel()
        await asyncio.sleep(0)
        if phase == "in its handler":
            there.asked.release.set()
        result = (await asyncio.wait_for(asyncio.gather(asking, return_exceptions=True), 5))[0]
        assert isinstance(result, ActorStopped) or result == "released"
        if phase != "in its handler":
            assert isinstance(result, ActorStopped)
        there.first.release.set()
        there.asked.release.set()
        await (system.stop(there.ref) if ending is None else ending)
        await stopped(system, there.ref)
        assert system.accounting().is_balanced
        assert system.accounting().pending == 0


async def test_line_7_a_reply_and_its_timeout_in_one_turn_make_one_outcome(system: ActorSystem) -> None:
    ref = system.spawn(Worker)
    outcomes: list[str] = []

    async def ask() -> None:
        try:
            outcomes.append(await ref.ask("x", timeout=0))
        except AskTimeout:
            outcomes.append("timeout")

    for _ in range(50):
        await ask()
    await quiet(system)
    assert len(outcomes) == 50
    accounting = system.accounting()
    assert accounting.accepted == 50
    assert accounting.handled + accounting.expired == 50
    letters = system.dead_letters.counts
    late = letters[DeadLetterReason.LATE_REPLY] + letters[DeadLetterReason.EXPIRED]
    assert late == outcomes.count("timeout")


async def test_line_7_a_reply_that_comes_as_the_asker_is_cancelled_is_a_letter_or_a_reply(
    system: ActorSystem,
) -> None:
    ref, hold = system.spawn(Worker), Hold()
    asking = asyncio.create_task(ref.ask(hold, timeout=None))
    await hold.begun.wait()
    hold.release.set()
    await quiet(system)  # the reply is there, the asker has not run yet
    asking.cancel()
    await asyncio.wait([asking])
    assert system.accounting().handled == 1
    assert system.accounting().is_balanced
    assert await ref.ask("alive") == "alive"


async def test_line_7_an_asker_that_stops_while_it_waits_leaves_the_asked_alone(system: ActorSystem) -> None:
    asked, asker, hold = system.spawn(Worker), system.spawn(Parent), Hold()
    asker.tell(("ask", asked, hold))
    await hold.begun.wait()
    (task,) = (task for task in asyncio.all_tasks() if task.get_name() == asker.path)
    task.cancel()
    await stopped(system, asker)
    hold.release.set()
    assert await asked.ask("alive") == "alive"
    assert system.dead_letters.counts[DeadLetterReason.LATE_REPLY] == 1


async def test_line_7_a_thousand_askers_of_a_dying_actor_all_hear_once(system: ActorSystem) -> None:
    ref, hold = system.spawn(Worker, policy=STOP), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    asks = [asyncio.create_task(ref.ask(Boom() if number == 500 else number)) for number in range(1_000)]
    await asyncio.sleep(0)
    hold.release.set()
    results = await asyncio.wait_for(asyncio.gather(*asks, return_exceptions=True), 10)
    assert results[:500] == list(range(500))
    assert isinstance(results[500], ValueError)
    assert {type(result) for result in results[501:]} == {ActorStopped}
    accounting = system.accounting()
    assert (accounting.handled, accounting.failed, accounting.dead) == (501, 1, 499)


async def test_line_8_an_actor_cannot_ask_itself_by_any_way_without_hearing_so(system: ActorSystem) -> None:
    ways: list[Callable[[Actor], ActorRef]] = [
        lambda actor: actor.context.self_ref,
        lambda actor: actor.context.system.ref_for(actor.context.self_ref.path),
        lambda actor: actor.context.system.ref_for(str(actor.context.self_ref.address)),
    ]

    class Selfish(Actor):
        async def receive(self, message: int) -> object:
            return await ways[message](self).ask(message, timeout=None)

    ref = system.spawn(Selfish, policy=RESTART)
    for number in range(len(ways)):
        with pytest.raises(Exception, match="itself"):
            await asyncio.wait_for(ref.ask(number), 5)


@pytest.mark.parametrize("phase", PHASES)
async def test_a9_the_deadline_holds_wherever_the_ask_waits(system: ActorSystem, phase: str) -> None:
    there = Phases(system)
    if phase != "in its handler":
        there.ref.tell(there.first)
        await there.first.begun.wait()
    if phase == "waiting for room":
        there.ref.tell("full")
    with pytest.raises(AskTimeout) as raised:
        await there.ref.ask(there.asked, timeout=0.2)
    assert there.ref.path in str(raised.value)
    assert "Hold" in str(raised.value)
    there.first.release.set()
    there.asked.release.set()
    await quiet(system)
    assert await there.ref.ask("alive") == "alive"
