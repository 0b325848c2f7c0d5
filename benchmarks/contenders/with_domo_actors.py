"""domo-actors: a call of a method is a message; one that is not awaited is a tell."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from domo_actors import Actor, Definition, LocalStage, Protocol
from domo_actors.actors.address import Uuid7Address

from benchmarks.floors import YIELDS_EVERY
from benchmarks.meter import Meter, expect, memory, pauses, resident

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from benchmarks.meter import Figures

LIBRARY = "domo-actors"


class Counter(Actor):  # type: ignore[misc]
    """Counts its messages and replies with the count."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    async def add(self, message: Any) -> int:
        """Count."""
        del message
        self.count += 1
        return self.count


class CounterProtocol(Protocol):  # type: ignore[misc]
    """Says what an actor is made of; its own instantiator."""

    def type(self) -> str:
        """Return the name."""
        return "Counter"

    def instantiator(self) -> CounterProtocol:
        """Return what makes actors."""
        return self

    def instantiate(self, definition: Definition) -> Counter:
        """Make one."""
        del definition
        return Counter()


@asynccontextmanager
async def running() -> AsyncIterator[Any]:
    """Run a stage."""
    local = LocalStage()
    try:
        yield local
    finally:
        await local.close()


def _create(local: Any, actors: int) -> list[Any]:
    protocol = CounterProtocol()
    return [local.actor_for(protocol, Definition("Counter", Uuid7Address(), ())) for _ in range(actors)]


async def tell_one(messages: int) -> Figures:
    """Tell to one actor; the producer yields every 256."""
    return await _tell(1, messages)


async def tell_hundred(messages: int) -> Figures:
    """Tell to a hundred actors in turn; the producer yields every 256."""
    return await _tell(100, messages)


async def _tell(actors: int, messages: int) -> Figures:
    async with running() as local:
        proxies = _create(local, actors)
        await asyncio.sleep(0)
        with Meter() as meter:
            sent = 0
            for _ in range(messages // actors):
                for proxy in proxies:
                    proxy.add(sent)
                    sent += 1
                    if sent % YIELDS_EVERY == 0:
                        await asyncio.sleep(0)
            counts = [await proxy.add(None) for proxy in proxies]
        expect(sum(counts) - actors, messages)
        return meter.rates(messages)


async def ask(messages: int) -> Figures:
    """Ask one question at a time, with asyncio's wait_for, since the library has no timeout."""
    async with running() as local:
        (proxy,) = _create(local, 1)
        with Meter() as meter:
            for _ in range(messages):
                reply = await asyncio.wait_for(proxy.add(None), 5.0)
        expect(reply, messages)
        return meter.rates(messages)


async def spawn(actors: int) -> Figures:
    """Create actors."""
    async with running() as local:
        with Meter() as meter:
            proxies = _create(local, actors)
            await asyncio.sleep(0)
        expect(len(proxies), actors)
        return meter.rates(actors)


async def idle(actors: int) -> Figures:
    """Weigh idle actors."""
    async with running() as local:
        first = _create(local, 100)
        await asyncio.sleep(0)
        before = resident()
        proxies = _create(local, actors)
        await asyncio.sleep(0)
        expect(len(first), 100)
        return memory(before, len(proxies))


async def pause(messages: int) -> Figures:
    """Time the turns of a loop with a hundred busy actors."""
    async with running() as local:
        proxies = _create(local, 100)
        await asyncio.sleep(0)
        for number in range(messages - 100):
            proxies[number % 100].add(number)
        done = asyncio.gather(*(asyncio.ensure_future(proxy.add(None)) for proxy in proxies))
        figures = await pauses(done.done)
        expect(sum(await done), messages // 100 * 100)
        return figures


MEASURES: Mapping[str, object] = {
    function.__name__: function for function in (tell_one, tell_hundred, ask, spawn, idle, pause)
}
