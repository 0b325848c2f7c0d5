"""A full queue: who waits, who is refused, what is let go; and that each item has one end."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import ConfigurationError, StoreBusyError, StoreFullError
from papyra.persistence.threads import WriterThread
from papyra.persistence.waiting import Overflow, check_queue
from papyra.testing import ManualClock
from tests.unit.core.medium import Medium, entered, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

DROPPED = -1


@asynccontextmanager
async def full(
    overflow: Overflow, let_go: Callable[[int], int | None] | None = None, room: int = 30
) -> AsyncIterator[tuple[Medium, WriterThread[int, int], list[asyncio.Future[int]]]]:
    """Give a writer at work on item 0, with items 1 to 3 of 10 bytes each in its full queue."""
    medium = Medium()
    medium.gate.clear()
    writer: WriterThread[int, int] = WriterThread(
        "full", medium.write, max_queue_bytes=room, overflow=overflow, let_go=let_go, clock=ManualClock()
    )
    first = writer.put(0, 1)
    await entered(medium)
    queued = [first, *(writer.put(item, 10) for item in (1, 2, 3))]
    try:
        yield medium, writer, queued
    finally:
        medium.gate.set()
        await writer.aclose(lambda: None)


async def test_raise_refuses_what_finds_no_room_and_says_what_to_do() -> None:
    async with full(Overflow.RAISE) as (medium, writer, queued):
        with pytest.raises(
            StoreBusyError, match=r"full: 30 bytes wait .* nothing was stored; try again later"
        ):
            await writer.put(4, 1)
        assert writer.queued_bytes == 30
        job = asyncio.ensure_future(writer.run(lambda: medium.written))
        await asyncio.sleep(0)
        medium.gate.set()
        assert await asyncio.gather(*queued) == [0, 10, 20, 30]
        assert await job == [0, 1, 2, 3], "a job is no item: it waits"
        assert await writer.put(5, 10) == 50
    assert medium.written == [0, 1, 2, 3, 5]


async def test_drop_oldest_lets_go_what_waited_longest_and_tells_its_caller() -> None:
    async with full(Overflow.DROP_OLDEST, lambda _: DROPPED) as (medium, writer, queued):
        more = [writer.put(item, 10) for item in (4, 5)]
        assert writer.queued_bytes == 30
        assert await asyncio.gather(*queued[1:3]) == [DROPPED, DROPPED], (
            "told at once, while the writer hangs"
        )
        medium.gate.set()
        assert await asyncio.gather(queued[0], queued[3], *more) == [0, 30, 40, 50]
    assert medium.written == [0, 3, 4, 5]


async def test_a_large_item_drives_out_as_many_as_it_takes_and_no_more() -> None:
    async with full(Overflow.DROP_OLDEST, lambda _: DROPPED) as (medium, writer, queued):
        large = writer.put(4, 1000)
        assert writer.queued_bytes == 1020
        last = writer.put(5, 1)
        assert writer.queued_bytes == 1, "the bound holds before an item is taken"
        assert await asyncio.gather(*queued[1:], large) == [DROPPED] * 4
        medium.gate.set()
        assert await last == 50
    assert medium.written == [0, 5]


async def test_jobs_and_what_may_not_go_stay_in_their_places() -> None:
    order: list[list[int]] = []
    medium = Medium()
    medium.gate.clear()
    writer: WriterThread[int, int] = WriterThread(
        "kept",
        medium.write,
        max_queue_bytes=20,
        overflow=Overflow.DROP_OLDEST,
        let_go=lambda item: None if item == 1 else DROPPED,
    )
    first = writer.put(0, 1)
    await entered(medium)
    kept = writer.put(1, 10)
    job = asyncio.ensure_future(writer.run(lambda: order.append(medium.written)))
    await asyncio.sleep(0)
    dropped = writer.put(2, 10)
    last = writer.put(3, 10)
    assert await dropped == DROPPED
    medium.gate.set()
    assert [await first, await kept, await last] == [0, 10, 30]
    await job
    await writer.aclose(lambda: None)
    assert order == [[0, 1]]
    assert medium.written == [0, 1, 3]


async def test_where_nothing_may_go_the_newcomer_waits() -> None:
    async with full(Overflow.DROP_OLDEST, lambda _: None) as (medium, writer, queued):
        waiting = writer.put(4, 10)
        assert writer.queued_bytes == 30
        assert sorted(writer.unacknowledged()) == [0, 1, 2, 3, 4]
        medium.gate.set()
        assert await asyncio.gather(*queued, waiting) == [0, 10, 20, 30, 40]


async def append(writer: WriterThread[int, int], item: int) -> int:
    return await writer.put(item, 10)


@pytest.mark.parametrize("overflow", list(Overflow))
@pytest.mark.parametrize("has_fault", [False, True])
async def test_every_item_ends_once_written_refused_or_dropped(
    overflow: Overflow, *, has_fault: bool
) -> None:
    async with full(overflow, lambda _: DROPPED) as (medium, writer, queued):
        if has_fault:
            medium.fault = StoreFullError("no room")
        tasks = [asyncio.create_task(append(writer, item)) for item in range(4, 40)]
        cancelled = asyncio.create_task(append(writer, 40))
        await asyncio.sleep(0)
        cancelled.cancel()
        medium.gate.set()
        outcomes = await asyncio.gather(*queued, *tasks, return_exceptions=True)
        assert writer.unacknowledged() == [] or writer.queued_bytes == 10
    written = [item for item, outcome in enumerate(outcomes) if outcome == item * 10]
    refused = [
        at for at, outcome in enumerate(outcomes) if isinstance(outcome, StoreFullError | StoreBusyError)
    ]
    dropped = [at for at, outcome in enumerate(outcomes) if outcome == DROPPED]
    assert sorted([*written, *refused, *dropped]) == list(range(40))
    assert [item for item in medium.written if item != 40] == written
    assert bool(dropped) is (overflow is Overflow.DROP_OLDEST)
    assert writer.queued_bytes == 0


async def test_closing_that_is_given_up_says_how_much_is_left(caplog: pytest.LogCaptureFixture) -> None:
    async with full(Overflow.WAIT) as (medium, writer, queued):
        closing = asyncio.ensure_future(writer.aclose(lambda: None))
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert writer.unacknowledged() == [0, 1, 2, 3]
        medium.gate.set()
        assert await asyncio.gather(*queued) == [0, 10, 20, 30], "and goes on"
    assert [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR] == [
        "full: nobody waits for its end any more, and 4 items are not written"
    ]


def test_modes_and_bounds_that_cannot_be_are_refused() -> None:
    assert check_queue("raise", 1, may_drop=False) is Overflow.RAISE
    assert check_queue("drop_oldest", 1, may_drop=True) is Overflow.DROP_OLDEST
    with pytest.raises(ConfigurationError, match="fsync='os' only"):
        check_queue("drop_oldest", 1, may_drop=False)
    with pytest.raises(ConfigurationError, match="one of wait, raise, drop_oldest"):
        check_queue("newest", 1, may_drop=True)
    for wrong in (0, -1, True, 1.5, "10"):
        with pytest.raises(ConfigurationError, match="max_queue_bytes"):
            check_queue("wait", wrong, may_drop=True)


AT_EXIT = """
import asyncio, os, sys, threading
from papyra.persistence import threads

threads.EXIT_SECONDS = float(sys.argv[1])
gate = threading.Event()

def write(items):
    gate.wait()
    os.write(1, b"".join(b"%d\\n" % item for item in items))
    return items

writer = threads.WriterThread("leaving", write)

async def main():
    for item in range(50):
        writer.put(item, 1)
    if sys.argv[2] == "open":
        gate.set()

asyncio.run(main())
"""


@pytest.mark.parametrize("gate", ["open", "shut"])
def test_an_interpreter_that_ends_writes_what_is_queued_or_says_what_is_not(gate: str) -> None:
    seconds = "30" if gate == "open" else "0.05"
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT, seconds, gate], capture_output=True, text=True, timeout=60, check=True
    )
    if gate == "open":
        assert done.stdout.split() == [str(item) for item in range(50)]
        assert done.stderr == ""
    else:
        assert done.stdout == ""
        assert "leaving: the process ends, and 50 items are not written" in done.stderr


class TestUpkeep:
    async def test_it_runs_so_long_after_the_beginning_and_after_each_run(self) -> None:
        clock, medium = ManualClock(), Medium()
        runs: list[float] = []
        writer: WriterThread[int, int] = WriterThread("upkeep", medium.write, clock=clock)
        writer.every(60, lambda: runs.append(clock.monotonic()))
        await writer.put(1, 1)
        clock.advance(59)
        await writer.put(2, 1)
        assert runs == []
        clock.advance(1)
        await until(lambda: runs == [60])
        clock.advance(59)
        await writer.put(3, 1)
        clock.advance(1)
        await until(lambda: runs == [60, 120])
        writer.hurry()
        await until(lambda: runs == [60, 120, 120])
        await writer.aclose(lambda: None)
        clock.advance(600)
        assert runs == [60, 120, 120]

    async def test_a_busy_queue_does_not_hold_it_up_nor_does_it_get_between_an_item_and_its_end(self) -> None:
        clock, medium = ManualClock(), Medium()
        seen: list[list[int]] = []
        writer: WriterThread[int, int] = WriterThread("upkeep", medium.write, clock=clock)
        writer.every(60, lambda: seen.append(medium.written))
        await writer.put(0, 1)
        medium.gate.clear()
        medium.entered.clear()
        first = writer.put(1, 1)
        await entered(medium)
        clock.advance(60)
        rest = [writer.put(item, 1) for item in (2, 3)]
        medium.gate.set()
        assert await asyncio.gather(first, *rest) == [10, 20, 30]
        assert seen == [[0, 1]]
        await writer.aclose(lambda: None)

    async def test_its_errors_are_logged_and_end_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        clock, medium = ManualClock(), Medium()

        def fail() -> None:
            raise SystemExit(3)

        writer: WriterThread[int, int] = WriterThread("upkeep", medium.write, clock=clock)
        writer.every(60, fail)
        await writer.put(0, 1)
        clock.advance(60)
        assert await writer.put(1, 1) == 10
        await writer.aclose(lambda: None)
        assert "its upkeep failed" in caplog.text

    async def test_without_a_first_use_there_is_none(self) -> None:
        clock = ManualClock()
        writer: WriterThread[int, int] = WriterThread("unused", Medium().write, clock=clock)
        writer.every(1, lambda: pytest.fail("nobody used it"))
        clock.advance(10)
        writer.hurry()
        await writer.aclose(lambda: None)

    async def test_one_that_is_always_due_again_starves_no_item(self) -> None:
        class Racing(ManualClock):
            reads = 0

            def monotonic(self) -> float:
                self.reads += 1
                return float(self.reads)

        medium = Medium()
        writer: WriterThread[int, int] = WriterThread("racing", medium.write, clock=Racing())
        ran: list[None] = []
        writer.every(0.5, lambda: ran.append(None))
        async with asyncio.timeout(10):
            assert await asyncio.gather(*(writer.put(item, 1) for item in range(5))) == [0, 10, 20, 30, 40]
            assert await writer.run(lambda: "a job") == "a job"
        assert ran
        await writer.aclose(lambda: None)
