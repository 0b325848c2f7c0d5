"""everything-is-an-actor: a tell is awaited, and waits at a full mailbox (256) only."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from actor_for_agents import Actor, ActorSystem

from benchmarks.floors import YIELDS_EVERY
from benchmarks.meter import Meter, expect, memory, pauses, resident

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from benchmarks.meter import Figures

LIBRARY = "everything-is-an-actor"


class Counter(Actor):  # type: ignore[misc]
    """Counts its messages and replies with the count."""

    def __init__(self) -> None:
        self.count = 0

    async def on_receive(self, message: Any) -> int:
        """Count."""
        del message
        self.count += 1
        return self.count


@asynccontextmanager
async def running() -> AsyncIterator[Any]:
    """Run a system."""
    system = ActorSystem("bench")
    try:
        yield system
    finally:
        await system.shutdown()


async def _spawn(system: Any, actors: int, first: int = 0, **options: Any) -> list[Any]:
    return [await system.spawn(Counter, f"actor-{first + number}", **options) for number in range(actors)]


async def tell_one(messages: int) -> Figures:
    """Tell to one actor, each tell awaited."""
    return await _tell(1, messages)


async def tell_hundred(messages: int) -> Figures:
    """Tell to a hundred actors in turn, each tell awaited."""
    return await _tell(100, messages)


async def tell_hundred_yielding(messages: int) -> Figures:
    """Tell to a hundred actors in turn, and yield every 256 as well."""
    return await _tell(100, messages, yields_every=YIELDS_EVERY)


async def _tell(actors: int, messages: int, *, yields_every: int | None = None) -> Figures:
    async with running() as system:
        refs = await _spawn(system, actors)
        await asyncio.sleep(0)
        with Meter() as meter:
            sent = 0
            for _ in range(messages // actors):
                for ref in refs:
                    await ref.tell(sent)
                    sent += 1
                    if yields_every is not None and sent % yields_every == 0:
                        await asyncio.sleep(0)
            replies = [await ref.ask(None, timeout=30.0) for ref in refs]
        expect(sum(replies) - actors, messages)
        return meter.rates(messages)


async def ask(messages: int) -> Figures:
    """Ask one question at a time, with a timeout."""
    async with running() as system:
        (ref,) = await _spawn(system, 1)
        with Meter() as meter:
            for _ in range(messages):
                reply = await ref.ask(None, timeout=5.0)
        expect(reply, messages)
        return meter.rates(messages)


async def spawn(actors: int) -> Figures:
    """Spawn actors, each with its task waiting for a first message."""
    async with running() as system:
        with Meter() as meter:
            refs = await _spawn(system, actors)
            await asyncio.sleep(0)
        expect(len(refs), actors)
        return meter.rates(actors)


async def idle(actors: int) -> Figures:
    """Weigh idle actors."""
    async with running() as system:
        first = await _spawn(system, 100)
        await asyncio.sleep(0)
        before = resident()
        refs = await _spawn(system, actors, first=len(first))
        await asyncio.sleep(0)
        return memory(before, len(refs))


async def pause(messages: int) -> Figures:
    """Time the turns of a loop with a hundred busy actors."""
    async with running() as system:
        refs = await _spawn(system, 100, mailbox_size=messages)
        for number in range(messages):
            await refs[number % 100].tell(number)
        done = asyncio.gather(*(ref.ask(None, timeout=60.0) for ref in refs))
        figures = await pauses(done.done)
        expect(sum(await done) - len(refs), messages)
        return figures


MEASURES: Mapping[str, object] = {
    function.__name__: function
    for function in (tell_one, tell_hundred, tell_hundred_yielding, ask, spawn, idle, pause)
}
