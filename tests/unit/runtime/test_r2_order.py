"""R2: order is kept per sender and receiver, and an actor does one thing at a time, without exception."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from papyra import Actor, SupervisorDecision
from tests.unit.runtime.actors import ESCALATE, RESTART, Boom, Parent, Worker, quiet

if TYPE_CHECKING:
    from papyra import ActorRef, ActorSystem


class Sender(Actor):
    async def receive(self, message: tuple[ActorRef, str, int]) -> None:
        target, name, count = message
        for number in range(count):
            delivery = target.tell((name, number))
            if number % 3 == 0:
                await delivery
            if number % 7 == 0:
                await asyncio.sleep(0)


async def test_r2_each_senders_order_is_kept_plain_or_awaited_full_or_not(system: ActorSystem) -> None:
    target = system.spawn(Worker, mailbox_capacity=16)
    senders = [system.spawn(Sender) for _ in range(5)]
    for number, sender in enumerate(senders):
        sender.tell((target, f"sender{number}", 12))
    await quiet(system)
    seen = await target.ask("seen")
    for number in range(5):
        assert [count for name, count in seen if name == f"sender{number}"] == list(range(12))


async def test_r2_tells_and_asks_of_one_sender_share_one_order(system: ActorSystem) -> None:
    target = system.spawn(Worker)
    asks = []
    for number in range(10):
        if number % 2:
            asks.append(asyncio.ensure_future(target.ask(number)))
            await asyncio.sleep(0)
        else:
            target.tell(number)
    await asyncio.gather(*asks)
    assert await target.ask("seen") == list(range(10))


async def test_r2_order_survives_restarts(system: ActorSystem) -> None:
    handled: list[object] = []

    class Logging(Worker):
        async def handle(self, message: object) -> object:
            handled.append(message)
            return await super().handle(message)

    ref = system.spawn(Logging, policy=RESTART)
    messages = [1, 2, Boom(), 3, Boom(), 4, 5, Boom(), 6]
    for message in messages:
        ref.tell(message)
    await ref.ask("last")
    assert handled == [*messages, "last"]


async def test_r2_nothing_an_actor_does_overlaps_its_handler(  # noqa: C901
    system: ActorSystem,
) -> None:
    running: list[str] = []

    class Strict(Parent):
        async def _alone(self, what: str) -> None:
            assert running == []
            running.append(what)
            for _ in range(3):
                await asyncio.sleep(0)
            running.remove(what)

        async def on_start(self) -> None:
            await self._alone("on_start")

        async def on_stop(self) -> None:
            await self._alone("on_stop")

        async def on_child_failure(
            self, child_ref: ActorRef, exc: BaseException
        ) -> SupervisorDecision | None:
            del child_ref
            await self._alone("on_child_failure")
            return SupervisorDecision.ESCALATE if isinstance(exc, KeyError) else None

        async def handle(self, message: object) -> object:
            await self._alone("receive")
            return await super().handle(message)

    parent = system.spawn(Strict, policy=RESTART)
    for error in (ValueError("child"), KeyError("escalates")):
        child = await parent.ask(("spawn", RESTART))
        for number in range(5):
            parent.tell(number)
        child.tell(Boom(error))
        for number in range(5):
            parent.tell(number)
    await quiet(system)
    await parent.ask("still one at a time")
    assert running == []


async def test_r2_an_escalation_waits_for_the_parents_message(system: ActorSystem) -> None:
    parent = system.spawn(Worker, policy=RESTART)

    class Hatching(Worker):
        async def handle(self, message: object) -> object:
            if message == "hatch":
                child = self.context.spawn_child(Worker, policy=ESCALATE)
                child.tell(Boom())
                for _ in range(20):
                    await asyncio.sleep(0)
                self.seen.append("unharmed")
                return list(self.seen)
            return await super().handle(message)

    hatching = system.spawn(Hatching, policy=RESTART)
    assert await hatching.ask("hatch") == ["unharmed"]
    assert await hatching.ask("seen") == []
    assert parent.is_alive()


async def test_r2_a_busy_actor_lets_the_loop_run(system: ActorSystem) -> None:
    ref = system.spawn(Worker, mailbox_capacity=None)
    for number in range(2_000):
        ref.tell(number)
    turns = 0
    while system.accounting().pending:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 2_000 // 256


async def test_r2_many_busy_actors_share_what_is_done_before_the_loop_runs(system: ActorSystem) -> None:
    refs = [system.spawn(Worker) for _ in range(100)]
    for ref in refs:
        for number in range(200):
            ref.tell(number)
    turns = 0
    while system.accounting().pending:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 200 // 16
