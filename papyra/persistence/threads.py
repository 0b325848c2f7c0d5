"""The thread that writes for a store: group commit, a bounded queue, one wake-up of each loop per batch."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable  # noqa: TC003  # msgspec reads it
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from papyra.clock import SYSTEM_CLOCK, Clock
from papyra.exceptions import BackendClosedError, PersistenceError, StoreFailedError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")
Value = TypeVar("Value")
Outcome = object
"""A result, or a `_Failure`."""

_log = logging.getLogger(__name__)

MAX_BATCH_BYTES = 1024 * 1024
MAX_BATCH_ITEMS = 10_000
MAX_QUEUE_BYTES = 16 * 1024 * 1024
_LEAST_DIVIDED = 32


class _Request(msgspec.Struct, eq=False):
    """A Struct, because one is made for each append and this is the fastest class there is."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    size: int
    item: Any = None
    job: Callable[[], object] | None = None


class _Failure(msgspec.Struct, eq=False):
    error: BaseException


class WriterThread(Generic[Item, Result]):
    """Runs ``write`` over whatever has queued up, and jobs in between, all in one thread of its own.

    ``write`` gets the items of one batch in order and returns one result for each; a `PersistenceError` it
    raises reaches every waiter of the batch. The thread starts with the first use. ``on_failure`` hears of an
    error that is not a `PersistenceError`: a fault of ours, after which the store should call itself failed.
    A caller that is cancelled stops waiting; its item may still be written. A forked child can do nothing
    with it, not even close it: thread, files and locks are the parent's.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[list[Item]], Sequence[Result]],
        *,
        on_failure: Callable[[BaseException], None] | None = None,
        max_queue_bytes: int = MAX_QUEUE_BYTES,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._name = name
        self._write = write
        self._on_failure = on_failure
        self._max_queue_bytes = max_queue_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._queue: deque[_Request] = deque()
        self._queued_bytes = 0
        self._queued_jobs = 0
        self._last_took = 0.0
        self._waiting: dict[_Request, None] = {}  # for room, in order; who is cancelled leaves at once
        self._thread: threading.Thread | None = None
        self._closing = False
        self._pid = os.getpid()

    @property
    def queued_bytes(self) -> int:
        """What was submitted and not yet taken."""
        return self._queued_bytes

    def put(self, item: Item, size: int) -> asyncio.Future[Result]:
        """Queue ``item``, once less than ``max_queue_bytes`` are; its result comes once it is written."""
        return self._enter(size, item, None)

    async def submit(self, item: Item, size: int) -> Result:
        """Do the same as a coroutine, which begins when it is awaited."""
        return await self.put(item, size)

    async def run(self, job: Callable[[], Value]) -> Value:
        """Run ``job`` in the thread, after everything submitted so far, and return what it returns."""
        result: Value = await self._enter(0, None, job)
        return result

    async def aclose(self, last: Callable[[], None]) -> None:
        """Write what was submitted, run ``last`` in the thread, and end it; nothing is taken any more."""
        if self._pid != os.getpid():
            return
        loop = asyncio.get_running_loop()
        request = _Request(loop, loop.create_future(), 0, job=last)
        with self._lock:
            if self._closing:
                return
            self._closing = True
            if self._thread is not None:
                for waiting in self._waiting:
                    self._enqueue(waiting)
                self._waiting.clear()
                self._enqueue(request)
        if self._thread is None:
            last()
            return
        try:
            await asyncio.shield(request.future)
        finally:
            if request.future.done():
                self._thread.join()

    def _enter(self, size: int, item: object, job: Callable[[], object] | None) -> asyncio.Future[Any]:
        # Before the lock is touched: in a forked child it may have been copied in its locked state.
        if self._pid != os.getpid():
            raise BackendClosedError(f"{self._name} was opened before a fork; open it anew in this process")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        request = _Request(loop, future, size, item, job)
        with self._lock:
            if self._closing:
                raise BackendClosedError(f"{self._name} was closed")
            if self._thread is None:
                self._thread = self._started_thread()
            if self._queued_bytes < self._max_queue_bytes:
                self._enqueue(request)
                return future
            self._waiting[request] = None
        future.add_done_callback(partial(self._leave, request))
        return future

    def _leave(self, request: _Request, future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            with self._lock:
                self._waiting.pop(request, None)

    def _started_thread(self) -> threading.Thread:
        thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the machine has no thread to give
            raise StoreUnavailableError(f"{self._name}: no thread to write with: {error}") from error
        return thread

    def _enqueue(self, request: _Request) -> None:
        if not self._queue:  # else the thread is at work, or was woken for what stands there
            self._changed.notify()
        self._queue.append(request)
        self._queued_bytes += request.size
        if request.job is not None:
            self._queued_jobs += 1

    def _work(self) -> None:
        while True:
            with self._lock:
                waited = self._wait()
                if not self._queue:
                    return
                batch = self._take(share=2 if waited > self._last_took else 1)
                while self._waiting and self._queued_bytes < self._max_queue_bytes:
                    request = next(iter(self._waiting))
                    del self._waiting[request]
                    self._enqueue(request)
            began = self._clock.monotonic()
            outcomes = self._run_job(batch[0]) if batch[0].job else self._run_batch(batch)
            self._last_took = self._clock.monotonic() - began
            _deliver(batch, outcomes)

    def _wait(self) -> float:
        """Return once there is something to do or nothing ever will be; and how many seconds that took."""
        if self._queue:
            return 0.0
        began = self._clock.monotonic()
        while not self._queue and not self._closing:
            self._changed.wait()
        return self._clock.monotonic() - began

    def _take(self, share: int) -> list[_Request]:
        """Take the next batch.

        Where callers took longer to come back than the last batch to be written, half of a large queue is
        left: from then on one half of the callers works while the other half's batch is written.
        """
        queue = self._queue
        most = MAX_BATCH_ITEMS if len(queue) < _LEAST_DIVIDED else min(MAX_BATCH_ITEMS, len(queue) // share)
        if not self._queued_jobs and self._queued_bytes <= MAX_BATCH_BYTES and len(queue) <= most:
            batch = list(queue)
            queue.clear()
            self._queued_bytes = 0
            return batch
        first = queue.popleft()
        if first.job is not None:
            self._queued_jobs -= 1
            return [first]
        batch, size = [first], first.size
        while queue and len(batch) < most:
            following = queue[0]
            if following.job is not None or size + following.size > MAX_BATCH_BYTES:
                break
            size += following.size
            batch.append(queue.popleft())
        self._queued_bytes -= size
        return batch

    def _run_batch(self, batch: list[_Request]) -> Sequence[Outcome]:
        items: list[Item] = [request.item for request in batch]
        try:
            results = self._write(items)
            if len(results) != len(items):
                raise RuntimeError(f"{len(results)} results for {len(items)} items")  # noqa: TRY301  # see below
        except PersistenceError as error:
            return [_Failure(error)] * len(batch)
        except BaseException as error:  # noqa: BLE001  # firewall: no fault may end the thread unseen
            return [_Failure(self._fail(error))] * len(batch)
        return results

    def _run_job(self, request: _Request) -> list[Outcome]:
        assert request.job is not None  # noqa: S101  # _work() asked
        try:
            return [request.job()]
        except StopIteration as error:  # no future can hold one
            return [_Failure(self._fail(error))]
        except BaseException as error:  # noqa: BLE001  # a job's error belongs to its caller
            return [_Failure(error)]

    def _fail(self, error: BaseException) -> StoreFailedError:
        _log.critical("%s: the writer met an unexpected error", self._name, exc_info=error)
        if self._on_failure is not None:
            try:
                self._on_failure(error)
            except BaseException:  # noqa: BLE001  # the same firewall
                _log.exception("%s: on_failure failed", self._name)
        failure = StoreFailedError(f"{self._name}: unexpected {type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure


def _deliver(batch: list[_Request], outcomes: Sequence[Outcome]) -> None:
    settled = list(zip(batch, outcomes, strict=True))
    loops = {request.loop for request in batch}
    for loop in loops:
        own = settled if len(loops) == 1 else [pair for pair in settled if pair[0].loop is loop]
        with contextlib.suppress(RuntimeError):  # that loop has ended, and its waiters with it
            loop.call_soon_threadsafe(_settle, own)


def _settle(settled: list[tuple[_Request, Outcome]]) -> None:
    for request, outcome in settled:
        future = request.future
        if future.done():
            continue
        if type(outcome) is _Failure:
            future.set_exception(outcome.error)
        else:
            future.set_result(outcome)


def run_sync(coroutine: Coroutine[object, object, Value]) -> Value:
    """Run a backend's coroutine from code without an event loop and return its result.

    Raises `RuntimeError` inside a running loop, where it would block everything: await it there.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    coroutine.close()
    raise RuntimeError("run_sync() inside a running event loop would block it; await the coroutine")
