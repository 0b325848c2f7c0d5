from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from papyra.exceptions import StoreFailedError, StoreFullError
from papyra.persistence.threads import MAX_BATCH_BYTES, MAX_BATCH_ITEMS, WriterThread, run_sync
from papyra.testing import ManualClock
from tests.unit.core.medium import Medium, entered, until, writing

if TYPE_CHECKING:
    from collections.abc import Sequence


async def test_each_caller_gets_the_result_of_its_own_item() -> None:
    medium = Medium()
    async with writing(medium) as writer:
        assert await asyncio.gather(*(writer.put(item, 1) for item in range(100))) == [
            item * 10 for item in range(100)
        ]
    assert medium.written == list(range(100))


async def test_what_queues_up_during_a_write_is_one_batch() -> None:
    medium = Medium()
    medium.gate.clear()
    async with writing(medium) as writer:
        first = asyncio.ensure_future(writer.put(0, 1))
        await entered(medium)
        others = [asyncio.ensure_future(writer.put(item, 1)) for item in range(1, 50)]
        await until(lambda: writer.queued_bytes == 49)
        medium.gate.set()
        await asyncio.gather(first, *others)
    assert medium.batches == [[0], list(range(1, 50))]


@pytest.mark.parametrize(("write_takes", "sizes"), [(1.0, [1, 32, 32]), (5.0, [1, 64])])
async def test_half_of_many_is_left_for_the_next_batch_if_callers_take_longer_than_the_write(
    write_takes: float, sizes: list[int]
) -> None:
    medium, clock = Medium(), ManualClock()
    readings = clock.monotonic
    seen: list[float] = []

    def write(items: list[int]) -> list[int]:
        clock.advance(write_takes)
        return medium.write(items)

    def monotonic() -> float:
        seen.append(readings())
        return seen[-1]

    clock.monotonic = monotonic  # type: ignore[method-assign]
    writer: WriterThread[int, int] = WriterThread("halves", write, clock=clock)
    await writer.put(0, 1)
    await until(lambda: len(seen) % 2 == 1)  # it reads the clock before and after each write and each wait
    clock.advance(3.0)
    await asyncio.gather(*[writer.put(item, 1) for item in range(64)])
    await writer.aclose(lambda: None)
    assert [len(batch) for batch in medium.batches] == sizes
    assert medium.written == [0, *range(64)]


async def test_a_batch_is_bounded_by_bytes_and_one_item_may_be_larger() -> None:
    medium = Medium()
    medium.gate.clear()
    sizes = [MAX_BATCH_BYTES // 2, MAX_BATCH_BYTES // 2, 1, 3 * MAX_BATCH_BYTES, 1]
    async with writing(medium, max_queue_bytes=10 * MAX_BATCH_BYTES) as writer:
        first = asyncio.ensure_future(writer.put(99, 1))
        await entered(medium)
        tasks = [asyncio.ensure_future(writer.put(item, size)) for item, size in enumerate(sizes)]
        await until(lambda: writer.queued_bytes == sum(sizes))
        medium.gate.set()
        await asyncio.gather(first, *tasks)
    assert medium.batches == [[99], [0, 1], [2], [3], [4]]


async def test_a_batch_is_bounded_by_count() -> None:
    medium = Medium()
    medium.gate.clear()
    async with writing(medium) as writer:
        first = asyncio.ensure_future(writer.put(-1, 0))
        await entered(medium)
        tasks = [asyncio.ensure_future(writer.put(item, 0)) for item in range(MAX_BATCH_ITEMS + 5)]
        await asyncio.sleep(0)
        medium.gate.set()
        await asyncio.gather(first, *tasks)
    assert [len(batch) for batch in medium.batches] == [1, MAX_BATCH_ITEMS, 5]


async def test_a_full_queue_makes_callers_wait_and_drops_nothing() -> None:
    medium = Medium()
    medium.gate.clear()
    async with writing(medium, max_queue_bytes=100) as writer:
        first = asyncio.ensure_future(writer.put(0, 1))
        await entered(medium)
        tasks = [asyncio.ensure_future(writer.put(item, 30)) for item in range(1, 41)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert writer.queued_bytes == 120, "the one that crosses the limit is the last"
        medium.gate.set()
        await asyncio.gather(first, *tasks)
    assert medium.written == list(range(41)), "in their order"


async def test_who_gives_up_waiting_for_room_takes_nobodys_place() -> None:
    medium = Medium()
    medium.gate.clear()
    async with writing(medium, max_queue_bytes=10) as writer:
        tasks = [asyncio.ensure_future(writer.put(item, 10)) for item in range(10)]
        await entered(medium)
        for _ in range(5):
            await asyncio.sleep(0)
        for task in tasks[2:7]:
            task.cancel()
        await asyncio.wait(tasks[2:7])
        medium.gate.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [outcome for outcome in outcomes if not isinstance(outcome, BaseException)] == [0, 10, 70, 80, 90]
    assert medium.written == [0, 1, 7, 8, 9]


async def test_a_job_waits_its_turn_behind_those_who_wait_for_room() -> None:
    medium = Medium()
    medium.gate.clear()
    async with writing(medium, max_queue_bytes=10) as writer:
        tasks = [asyncio.ensure_future(writer.put(item, 10)) for item in range(5)]
        await entered(medium)
        await asyncio.sleep(0)
        job = asyncio.create_task(writer.run(lambda: medium.written))
        await asyncio.sleep(0)
        medium.gate.set()
        assert await job == [0, 1, 2, 3, 4]
        await asyncio.gather(*tasks)


async def test_r5_callers_who_give_up_leave_nothing_behind_on_a_disk_that_hangs() -> None:
    medium = Medium()
    medium.gate.clear()
    async with writing(medium, max_queue_bytes=10) as writer:
        first = asyncio.ensure_future(writer.put(0, 10))
        await entered(medium)
        queued = asyncio.ensure_future(writer.put(1, 10))
        for item in range(2, 200):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(writer.put(item, 10), 0)
        assert writer.queued_bytes == 10
        medium.gate.set()
        await asyncio.gather(first, queued)
    assert medium.written == [0, 1]


async def test_an_error_of_the_store_reaches_every_caller_of_its_batch_and_no_other() -> None:
    medium = Medium()
    medium.gate.clear()
    medium.fault = StoreFullError("no room")
    async with writing(medium) as writer:
        tasks = [asyncio.ensure_future(writer.put(item, 1)) for item in range(3)]
        await entered(medium)
        later = [asyncio.ensure_future(writer.put(item, 1)) for item in range(3, 6)]
        await until(lambda: writer.queued_bytes > 2)
        medium.gate.set()
        outcomes = await asyncio.gather(*tasks, *later, return_exceptions=True)
    refused = [item for item, outcome in enumerate(outcomes) if isinstance(outcome, StoreFullError)]
    assert refused
    assert refused == list(range(len(refused)))
    assert medium.written == list(range(len(refused), 6))


@pytest.mark.parametrize("fault", [ZeroDivisionError("ours"), MemoryError(), SystemExit(3), StopIteration()])
async def test_r4_a_fault_of_ours_fails_its_batch_is_reported_and_the_thread_goes_on(
    fault: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    medium = Medium()
    medium.fault = fault
    reported: list[BaseException] = []
    async with writing(medium, reported.append) as writer:
        with pytest.raises(StoreFailedError, match=type(fault).__name__) as caught:
            await writer.put(1, 1)
        assert caught.value.__cause__ is fault
        assert await writer.put(2, 1) == 20
    assert reported == [fault]
    assert [record.levelno for record in caplog.records] == [logging.CRITICAL]


async def test_r4_a_report_that_fails_too_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: BaseException) -> None:
        raise RuntimeError("not even that")

    medium = Medium()
    medium.fault = ZeroDivisionError()
    async with writing(medium, fail) as writer:
        with pytest.raises(StoreFailedError):
            await writer.put(1, 1)
        assert await writer.put(2, 1) == 20
    assert "on_failure" in caplog.text


async def test_results_that_do_not_fit_the_items_leave_nobody_waiting() -> None:
    def write(items: list[int]) -> Sequence[int]:
        return items[:-1]

    writer: WriterThread[int, int] = WriterThread("short", write)
    with pytest.raises(StoreFailedError, match="results"):
        await writer.put(1, 1)
    await writer.aclose(lambda: None)


async def test_jobs_run_in_the_same_thread_in_their_turn() -> None:
    medium = Medium()
    medium.gate.clear()
    order: list[list[int]] = []

    def job_of_ours() -> int:
        order.append(medium.written)
        return threading.get_ident()

    async with writing(medium) as writer:
        first = asyncio.ensure_future(writer.put(0, 1))
        await entered(medium)
        before = asyncio.ensure_future(writer.put(1, 1))
        await asyncio.sleep(0)
        job = asyncio.create_task(writer.run(job_of_ours))
        await asyncio.sleep(0)
        after = asyncio.ensure_future(writer.put(2, 1))
        await asyncio.sleep(0)
        medium.gate.set()
        await asyncio.gather(first, before, after)
        assert await job != threading.get_ident()
    assert order == [[0, 1]]
    assert medium.batches == [[0], [1], [2]]


@pytest.mark.parametrize("error", [ValueError("mine"), TimeoutError(), StoreFullError("x"), KeyError(1)])
async def test_an_error_of_a_job_belongs_to_its_caller(error: Exception) -> None:
    def job() -> None:
        raise error

    medium = Medium()
    async with writing(medium) as writer:
        with pytest.raises(type(error)) as caught:
            await writer.run(job)
        assert caught.value is error
        assert await writer.put(1, 1) == 10


async def test_a_job_that_ends_like_an_iterator_leaves_nobody_waiting() -> None:
    async with writing(Medium()) as writer:
        with pytest.raises(StoreFailedError):
            await writer.run(lambda: next(iter(())))


async def test_a_cancelled_caller_stops_waiting_and_costs_the_others_nothing() -> None:
    medium = Medium()
    medium.gate.clear()
    async with writing(medium) as writer:
        tasks = [asyncio.ensure_future(writer.put(item, 1)) for item in range(6)]
        await entered(medium)
        for task in tasks[::2]:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        medium.gate.set()
        assert await asyncio.gather(*tasks[1::2]) == [10, 30, 50]
    assert medium.written == list(range(6)), "what was handed over is still written"


async def test_a_loop_that_ends_while_it_waits_costs_the_others_nothing() -> None:
    medium = Medium()
    medium.gate.clear()

    async def leave() -> None:
        task = asyncio.ensure_future(writer.put(1, 1))
        await asyncio.sleep(0)
        task.cancel()

    async with writing(medium) as writer:
        first = asyncio.ensure_future(writer.put(0, 1))
        await entered(medium)
        await asyncio.to_thread(run_sync, leave())
        last = asyncio.ensure_future(writer.put(2, 1))
        await asyncio.sleep(0)
        medium.gate.set()
        assert [await first, await last] == [0, 20]


async def test_loops_of_several_threads_get_their_results() -> None:
    medium = Medium()
    async with writing(medium) as writer:

        async def use(base: int) -> list[int]:
            return list(await asyncio.gather(*(writer.put(base + item, 1) for item in range(50))))

        results = await asyncio.gather(*(asyncio.to_thread(run_sync, use(base)) for base in (0, 100, 200)))
    assert results == [[(base + item) * 10 for item in range(50)] for base in (0, 100, 200)]


async def test_one_wake_up_of_the_loop_delivers_a_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    medium = Medium()
    medium.gate.clear()
    loop = asyncio.get_running_loop()
    woken: list[object] = []
    wake = loop.call_soon_threadsafe

    def count(*args: Any) -> object:
        woken.append(args)
        return wake(*args)

    async with writing(medium) as writer:
        first = asyncio.ensure_future(writer.put(0, 1))
        await entered(medium)
        tasks = [asyncio.ensure_future(writer.put(item, 1)) for item in range(1, 200)]
        await until(lambda: writer.queued_bytes == 199)
        monkeypatch.setattr(loop, "call_soon_threadsafe", count)
        medium.gate.set()
        await asyncio.gather(first, *tasks)
        monkeypatch.undo()
    assert len(woken) == 2
