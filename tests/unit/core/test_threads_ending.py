from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import BackendClosedError, StoreFailedError, StoreUnavailableError
from papyra.persistence.threads import WriterThread, run_sync
from tests.unit.core.medium import Medium, entered, writing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class TestClosing:
    async def test_what_was_queued_is_written_then_the_last_job_runs_then_nothing_is_taken(self) -> None:
        medium = Medium()
        medium.gate.clear()
        seen: list[list[int]] = []
        writer: WriterThread[int, int] = WriterThread("closing", medium.write)
        tasks = [asyncio.ensure_future(writer.put(item, 1)) for item in range(20)]
        await entered(medium)
        closing = asyncio.create_task(writer.aclose(lambda: seen.append(medium.written)))
        await asyncio.sleep(0)
        with pytest.raises(BackendClosedError):
            await writer.put(99, 1)
        with pytest.raises(BackendClosedError):
            await writer.run(lambda: None)
        medium.gate.set()
        await closing
        assert await asyncio.gather(*tasks) == [item * 10 for item in range(20)]
        assert seen == [list(range(20))]
        assert "closing" not in {thread.name for thread in threading.enumerate()}
        await writer.aclose(lambda: seen.append([]))
        assert len(seen) == 1

    async def test_who_waits_for_room_is_written_too(self) -> None:
        medium = Medium()
        medium.gate.clear()
        writer: WriterThread[int, int] = WriterThread("full", medium.write, max_queue_bytes=5)
        tasks = [asyncio.ensure_future(writer.put(item, 5)) for item in range(6)]
        await entered(medium)
        await asyncio.sleep(0)
        closing = asyncio.create_task(writer.aclose(lambda: None))
        await asyncio.sleep(0)
        medium.gate.set()
        await closing
        assert await asyncio.gather(*tasks) == [item * 10 for item in range(6)]
        assert medium.written == list(range(6))

    async def test_an_unused_one_closes_without_a_thread(self) -> None:
        before = threading.active_count()
        closed: list[int] = []
        await WriterThread("unused", Medium().write).aclose(lambda: closed.append(threading.active_count()))
        assert closed == [before]

    async def test_an_error_of_the_last_job_reaches_whoever_closes(self) -> None:
        def last() -> None:
            raise StoreFailedError("the last sync failed")

        writer: WriterThread[int, int] = WriterThread("last", Medium().write)
        await writer.put(1, 1)
        with pytest.raises(StoreFailedError, match="last sync"):
            await writer.aclose(last)

    async def test_closing_that_is_cancelled_still_ends(self) -> None:
        medium = Medium()
        medium.gate.clear()
        done = threading.Event()
        writer: WriterThread[int, int] = WriterThread("cancelled", medium.write)
        task = asyncio.ensure_future(writer.put(1, 1))
        await entered(medium)
        closing = asyncio.create_task(writer.aclose(done.set))
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        medium.gate.set()
        assert await task == 10
        assert await asyncio.to_thread(done.wait, 10)


async def test_without_a_thread_to_start_the_caller_is_told_and_a_later_call_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    medium = Medium()
    async with writing(medium) as writer:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            with pytest.raises(StoreUnavailableError, match="thread"):
                await writer.put(1, 1)
        assert await writer.put(2, 1) == 20
    assert medium.written == [2]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
async def awaited(use: Callable[[], Awaitable[object]]) -> None:
    await use()


async def test_a_forked_child_is_refused_even_while_the_parents_thread_is_busy() -> None:
    medium = Medium()
    async with writing(medium) as writer:
        await writer.put(1, 1)

        def child() -> int:
            for use in (lambda: writer.put(2, 1), lambda: writer.run(lambda: None)):
                try:
                    asyncio.run(awaited(use))
                except BackendClosedError:
                    continue
                return 1
            asyncio.run(writer.aclose(lambda: os._exit(2)))
            return 0

        pid = await asyncio.to_thread(_fork, child)
        assert await asyncio.to_thread(_exit_code, pid) == 0
        assert await writer.put(3, 1) == 30
    assert medium.written == [1, 3]


def _fork(child: Callable[[], int]) -> int:
    pid = os.fork()
    if pid == 0:
        code = 9
        try:
            code = child()
        finally:
            os._exit(code)
    return pid


def _exit_code(pid: int) -> int:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return -9


async def test_waiting_synchronously_inside_a_loop_is_refused() -> None:
    async def value() -> int:
        return 5

    with pytest.raises(RuntimeError, match="await"):
        run_sync(value())
    assert await asyncio.to_thread(run_sync, value()) == 5
