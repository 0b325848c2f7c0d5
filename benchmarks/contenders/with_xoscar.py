"""xoscar with one pool in this process; a tell is awaited, and what it returns is not."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import xoscar

from benchmarks.meter import Meter, expect, memory, resident

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from benchmarks.meter import Figures

LIBRARY = "xoscar"


class Counter(xoscar.Actor):  # type: ignore[misc]
    """Counts its messages and replies with the count."""

    def __init__(self) -> None:
        self.count = 0

    async def add(self, message: Any) -> int:
        """Count."""
        del message
        self.count += 1
        return self.count


@asynccontextmanager
async def pool() -> AsyncIterator[str]:
    """Run a pool of no further process."""
    running = await xoscar.create_actor_pool("test://127.0.0.1", n_process=0)
    async with running:
        yield running.external_address


async def _create(actors: int, address: str) -> list[Any]:
    return [await xoscar.create_actor(Counter, address=address) for _ in range(actors)]


async def tell_one(messages: int) -> Figures:
    """Tell to one actor."""
    return await _tell(1, messages)


async def tell_hundred(messages: int) -> Figures:
    """Tell to a hundred actors in turn."""
    return await _tell(100, messages)


async def _tell(actors: int, messages: int) -> Figures:
    async with pool() as address:
        refs = await _create(actors, address)
        with Meter() as meter:
            for number in range(messages // actors):
                for ref in refs:
                    await ref.add.tell(number)
            counts = [await ref.add(None) for ref in refs]
        expect(sum(counts) - actors, messages)
        return meter.rates(messages)


async def ask(messages: int) -> Figures:
    """Ask one question at a time, with the library's wait_for."""
    async with pool() as address:
        (ref,) = await _create(1, address)
        with Meter() as meter:
            for _ in range(messages):
                reply = await xoscar.wait_for(ref.add(None), 5.0)
        expect(reply, messages)
        return meter.rates(messages)


async def spawn(actors: int) -> Figures:
    """Create actors."""
    async with pool() as address:
        with Meter() as meter:
            refs = await _create(actors, address)
        expect(len(refs), actors)
        return meter.rates(actors)


async def idle(actors: int) -> Figures:
    """Weigh idle actors."""
    async with pool() as address:
        first = await _create(100, address)
        before = resident()
        refs = await _create(actors, address)
        expect(len(first), 100)
        return memory(before, len(refs))


MEASURES: Mapping[str, object] = {
    function.__name__: function for function in (tell_one, tell_hundred, ask, spawn, idle)
}
