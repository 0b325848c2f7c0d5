"""What the machine does at best: the bare loops that every figure stands beside. Each prints its own rate."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from benchmarks.meter import Meter, expect, memory, pauses, resident

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.meter import Figures

BUDGET = 64
YIELDS_EVERY = 256


def start_of_python(*, rounds: int = 9) -> float:
    """Start the interpreter and end it; return the median of seconds."""
    seconds = median_start([sys.executable, "-c", "pass"], rounds=rounds)
    print(f"floor: python -c pass: {seconds * 1000:.0f} ms")
    return seconds


def median_start(command: list[str], *, rounds: int) -> float:
    """Run ``command`` to its end ``rounds`` times; return the median of seconds."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - began)
    return sorted(taken)[rounds // 2]


class BareActor:
    """A deque, a task that drains it and a Future the task waits on: no name, no supervision, no record."""

    def __init__(self) -> None:
        self.count = 0
        self._queue: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.task = asyncio.get_running_loop().create_task(self._drain())

    def tell(self, message: object) -> None:
        """Queue ``message`` and wake the task, if it waits."""
        self._queue.append(message)
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            waiter.set_result(None)

    async def receive(self, message: Any) -> None:
        """Count."""
        del message
        self.count += 1

    async def _drain(self) -> None:
        queue, receive, loop = self._queue, self.receive, asyncio.get_running_loop()
        while True:
            budget = BUDGET
            while queue and budget:
                budget -= 1
                await receive(queue.popleft())
            if queue:
                await asyncio.sleep(0)
            else:
                self._waiter = loop.create_future()
                await self._waiter


class BareReplier(BareActor):
    """One whose messages are the Futures of those who ask."""

    async def receive(self, message: Any) -> None:
        """Reply with the count."""
        self.count += 1
        message.set_result(self.count)


async def tell_one(messages: int) -> Figures:
    """Tell to one bare actor."""
    return await _tell([BareActor()], messages)


async def tell_hundred(messages: int) -> Figures:
    """Tell to a hundred bare actors in turn."""
    return await _tell([BareActor() for _ in range(100)], messages)


async def _tell(actors: list[BareActor], messages: int) -> Figures:
    await asyncio.sleep(0)
    each, many = messages // len(actors), len(actors)
    with Meter() as meter:
        sent = 0
        for _ in range(each):
            for actor in actors:
                actor.tell(sent)
                sent += 1
                if sent % YIELDS_EVERY == 0:
                    await asyncio.sleep(0)
        while any(actor.count < each for actor in actors):  # noqa: ASYNC110  # an event would cost each turn
            await asyncio.sleep(0)
    expect(sum(actor.count for actor in actors), messages)
    return _said(f"tell to {many} bare actor{'s' * (many > 1)}", meter.rates(messages), "messages/s")


async def ask(messages: int) -> Figures:
    """Ask one bare actor, one question at a time, with no timeout."""
    actor, loop = BareReplier(), asyncio.get_running_loop()
    await asyncio.sleep(0)
    with Meter() as meter:
        for _ in range(messages):
            reply = loop.create_future()
            actor.tell(reply)
            await reply
    expect(actor.count, messages)
    return _said("ask a bare actor", meter.rates(messages), "replies/s")


async def spawn(actors: int) -> Figures:
    """Make bare actors, each with its task waiting for a first message."""
    with Meter() as meter:
        made = [BareActor() for _ in range(actors)]
        await asyncio.sleep(0)
    expect(len(made), actors)
    return _said("make bare actors", meter.rates(actors), "actors/s")


async def start_and_stop(actors: int) -> Figures:
    """Make bare actors and end them."""
    with Meter() as meter:
        made = [BareActor() for _ in range(actors)]
        await asyncio.sleep(0)
        for actor in made:
            actor.task.cancel()
        await asyncio.wait([actor.task for actor in made])
    return _said("start and stop bare actors", {"cpu": meter.cpu, "wall": meter.wall}, "s")


async def idle(actors: int) -> Figures:
    """Weigh idle bare actors."""
    await asyncio.sleep(0)
    before = resident()
    made = [BareActor() for _ in range(actors)]
    await asyncio.sleep(0)
    figures = memory(before, len(made))
    return _said("idle bare actor", figures, "bytes")


async def pause(messages: int) -> Figures:
    """Time the turns of a loop with a hundred busy bare actors."""
    actors = [BareActor() for _ in range(100)]
    await asyncio.sleep(0)
    for number in range(messages):
        actors[number % 100].tell(number)
    figures = await pauses(lambda: all(actor.count == messages // 100 for actor in actors))
    return _said("longest pause beside 100 bare actors", figures, "ms")


def _said(what: str, figures: Figures, unit: str) -> Figures:
    print(f"floor: {what}: {next(iter(figures.values())):,.4g} {unit}", file=sys.stderr)
    return figures


MEASURES: Mapping[str, object] = {
    function.__name__: function
    for function in (tell_one, tell_hundred, ask, spawn, start_and_stop, idle, pause)
}
