"""What a writer thread does by itself between batches, and how it waits."""

from __future__ import annotations

import asyncio
import math

from papyra.persistence.threads import WriterThread
from papyra.testing.clock import ManualClock
from tests.unit.core.medium import Medium, until


class Turns:
    """A chore with so many turns left; due from ``begins`` on."""

    def __init__(self, medium: Medium, turns: int, begins: float = -math.inf) -> None:
        self.medium = medium
        self.turns = turns
        self.begins = begins
        self.seen: list[int] = []

    @property
    def due(self) -> float:
        return self.begins if self.turns else math.inf

    def run(self) -> None:
        self.turns -= 1
        self.seen.append(len(self.medium.written))


async def test_a_chore_that_is_always_due_lets_every_batch_in_between_its_turns() -> None:
    medium = Medium()
    chore = Turns(medium, turns=1_000_000)
    writer: WriterThread[int, int] = WriterThread("chores", medium.write)
    writer.tend(chore)
    async with asyncio.timeout(10):
        for item in range(5):
            assert await writer.submit(item, 1) == item * 10
        await writer.aclose(lambda: None)
    assert set(range(5)) <= set(chore.seen)
    assert chore.turns


async def test_a_chore_is_run_when_it_is_due_and_beside_upkeep() -> None:
    clock, medium = ManualClock(), Medium()
    chore, runs = Turns(medium, turns=3, begins=10), list[float]()
    writer: WriterThread[int, int] = WriterThread("chores", medium.write, clock=clock)
    writer.tend(chore)
    writer.every(30, lambda: runs.append(clock.monotonic()))
    await writer.submit(1, 1)
    assert chore.turns == 3
    clock.advance(10)
    await until(lambda: not chore.turns)
    assert runs == []
    clock.advance(20)
    await until(lambda: runs == [30])
    await writer.aclose(lambda: None)


async def test_a_pause_ends_after_its_time_or_at_once_when_the_thread_is_to_end() -> None:
    clock, medium = ManualClock(), Medium()
    writer: WriterThread[int, int] = WriterThread("pausing", medium.write, clock=clock)
    writer.tend(Turns(medium, turns=0))
    pausing = asyncio.ensure_future(writer.run(lambda: writer.pause(5)))

    def is_over() -> bool:
        clock.advance(1)
        return pausing.done()

    await until(is_over)
    assert await pausing is True
    pausing = asyncio.ensure_future(writer.run(lambda: writer.pause(1e6)))
    await asyncio.sleep(0)
    waiting = writer.put(1, 1)
    async with asyncio.timeout(10):
        await writer.aclose(lambda: None)
    assert await pausing is False
    assert await waiting == 10
