"""One scheduler for all that is due later: it survives what it calls, and leaves the loop its turns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from papyra import ActorSystem, AskTimeout
from papyra._runtime.scheduling import SLICE_SECONDS, Scheduler
from papyra.clock import SYSTEM_CLOCK
from papyra.testing import ManualClock
from tests.unit.runtime.actors import Hold, Store, Worker, quiet

if TYPE_CHECKING:
    from collections.abc import Callable


def spend(seconds: float) -> Callable[[], None]:
    """Return what keeps the loop for so long."""
    loop = asyncio.get_running_loop()

    def act() -> None:
        until = loop.time() + seconds
        while loop.time() < until:
            pass

    return act


class TestOnTheLoopsTime:
    async def test_r4_one_that_raises_is_reported_and_the_others_are_called(self) -> None:
        loop, reported = asyncio.get_running_loop(), list[object]()
        loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
        scheduler, called = Scheduler(loop, SYSTEM_CLOCK), asyncio.Event()
        error = LookupError("broken")

        def fail() -> None:
            raise error

        scheduler.call_later(0, fail)
        scheduler.call_later(0, fail)
        scheduler.call_later(0.001, called.set)
        async with asyncio.timeout(5):
            await called.wait()
        assert reported == [error, error]

    async def test_they_are_called_in_order_and_equals_in_the_order_of_asking(self) -> None:
        scheduler, done = Scheduler(asyncio.get_running_loop(), SYSTEM_CLOCK), asyncio.Event()
        came: list[object] = []
        when = scheduler.time()
        for name, after in (("c", 0.002), ("a", 0.001), ("b", 0.001)):
            scheduler.call_at(when + after, came.append, name)
        scheduler.call_at(when + 0.003, done.set)
        async with asyncio.timeout(5):
            await done.wait()
        assert came == ["a", "b", "c"]

    async def test_many_that_are_due_at_once_leave_the_loop_its_turns(self) -> None:
        loop = asyncio.get_running_loop()
        scheduler, done = Scheduler(loop, SYSTEM_CLOCK), asyncio.Event()
        turns = 0
        for _ in range(20):
            scheduler.call_later(0, spend(SLICE_SECONDS))
        scheduler.call_later(0, done.set)
        while not done.is_set():
            await asyncio.sleep(0)
            turns += 1
        assert turns >= 20

    async def test_one_that_asks_for_itself_at_once_does_not_keep_the_loop(self) -> None:
        scheduler = Scheduler(asyncio.get_running_loop(), SYSTEM_CLOCK)
        calls = 0

        def again() -> None:
            nonlocal calls
            calls += 1
            scheduler.call_at(0.0, again)

        again()
        for _ in range(10):
            await asyncio.sleep(0)
        assert 2 < calls < 50
        scheduler.close()
        await asyncio.sleep(0)
        ended = calls
        await asyncio.sleep(0)
        assert calls == ended

    async def test_what_is_cancelled_is_not_called_not_even_by_another_that_is_due(self) -> None:
        scheduler, done = Scheduler(asyncio.get_running_loop(), SYSTEM_CLOCK), asyncio.Event()
        came: list[object] = []
        when = scheduler.time()
        first = scheduler.call_at(when, lambda: second.cancel())  # noqa: PLW0108  # there is no second yet
        second = scheduler.call_at(when, came.append, "second")
        scheduler.call_at(when, done.set)
        async with asyncio.timeout(5):
            await done.wait()
        first.cancel()
        assert came == []

    async def test_nan_is_no_time(self) -> None:
        with pytest.raises(ValueError, match="nan"):
            Scheduler(asyncio.get_running_loop(), SYSTEM_CLOCK).call_later(float("nan"), print)


class TestOnATestsClock:
    async def test_what_is_due_already_happens_without_a_step(self) -> None:
        clock = ManualClock()
        async with ActorSystem(clock=clock, audit_interval=None) as system:
            ref, hold = system.spawn(Worker), Hold()
            ref.tell(hold)
            await hold.begun.wait()
            with pytest.raises(AskTimeout):
                await ref.ask("at once", timeout=0)
            hold.release.set()
            await quiet(system)

    async def test_a_step_raises_what_an_alarm_raises_and_the_others_are_called_yet(self) -> None:
        clock, came = ManualClock(), list[int]()
        scheduler = Scheduler(asyncio.get_running_loop(), clock)

        def fail() -> None:
            raise LookupError("broken")

        scheduler.call_later(1, fail)
        scheduler.call_later(2, came.append, 2)
        with pytest.raises(LookupError):
            clock.advance(5)
        await clock.settle()
        assert came == [2]

    async def test_a_wall_clock_that_is_set_back_moves_no_deadline(self) -> None:
        clock, came = ManualClock(), list[int]()
        scheduler = Scheduler(asyncio.get_running_loop(), clock)
        scheduler.call_later(10, came.append, 1)
        clock.set_wall(0)
        clock.advance(9)
        clock.set_wall(10_000_000_000)
        assert came == []
        clock.advance(1)
        assert came == [1]

    async def test_a_closed_system_is_let_go(self) -> None:
        subscribed: list[object] = []

        class Counting(ManualClock):
            def subscribe(self, function: Callable[[], None]) -> None:
                subscribed.append(function)
                super().subscribe(function)

            def unsubscribe(self, function: Callable[[], None]) -> None:
                subscribed.remove(function)
                super().unsubscribe(function)

        clock = Counting()
        async with ActorSystem(clock=clock):
            assert len(subscribed) == 1
        assert subscribed == []
        clock.advance(1_000)

    async def test_it_settles_once_nothing_is_ready_however_long_the_chain(self) -> None:
        async def chain() -> int:
            for _ in range(5_000):
                await asyncio.sleep(0)
            return 5_000

        chained = asyncio.create_task(chain())
        await ManualClock().settle()
        assert chained.done()

    async def test_it_says_so_when_something_keeps_the_loop_busy(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("papyra.testing.clock._MOST_TURNS", 100)

        async def run_for_ever() -> None:
            while True:  # noqa: ASYNC110
                await asyncio.sleep(0)

        running = asyncio.create_task(run_for_ever())
        with pytest.raises(AssertionError, match="keeps the loop busy"):
            await ManualClock().settle()
        running.cancel()


async def test_a_drain_of_no_length_is_refused_before_anything_is_decided() -> None:
    async with ActorSystem(persistence=Store(), audit_interval=None) as system:
        ref = system.spawn(Worker)
        with pytest.raises(ValueError, match="nan"):
            await system.stop(ref, drain=True, timeout=float("nan"))
        assert await ref.ask("still here") == "still here"
