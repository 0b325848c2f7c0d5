"""The thread that writes for a store: group commit, a bounded queue, one wake-up of each loop per batch."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from papyra.exceptions import BackendClosedError, PersistenceError, StoreFailedError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")
Value = TypeVar("Value")
Outcome = tuple[object, BaseException | None]

_log = logging.getLogger(__name__)

MAX_BATCH_BYTES = 1024 * 1024
MAX_BATCH_ITEMS = 10_000
MAX_QUEUE_BYTES = 16 * 1024 * 1024


@dataclass(slots=True, eq=False)
class _Request:
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[object]
    size: int
    item: object = None
    job: Callable[[], object] | None = None


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
    ) -> None:
        self._name = name
        self._write = write
        self._on_failure = on_failure
        self._max_queue_bytes = max_queue_bytes
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._queue: deque[_Request] = deque()
        self._queued_bytes = 0
        self._waiting: dict[_Request, None] = {}  # for room, in order; who is cancelled leaves at once
        self._thread: threading.Thread | None = None
        self._closing = False
        self._pid = os.getpid()

    @property
    def queued_bytes(self) -> int:
        """What was submitted and not yet taken."""
        return self._queued_bytes

    def submit(self, item: Item, size: int) -> Coroutine[object, object, Result]:
        """Queue ``item``, once less than ``max_queue_bytes`` are, and return its result once written."""
        return self._done(size, item, None)  # type: ignore[return-value]  # write() promises one Result per Item

    def run(self, job: Callable[[], Value]) -> Coroutine[object, object, Value]:
        """Run ``job`` in the thread, after everything submitted so far, and return what it returns."""
        return self._done(0, None, job)  # type: ignore[return-value]  # the job's own value

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
                self._queue.extend(self._waiting)
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

    def _check_process(self) -> None:
        # Before the lock is touched: in a child it may have been copied in its locked state.
        if self._pid != os.getpid():
            raise BackendClosedError(f"{self._name} was opened before a fork; open it anew in this process")

    async def _done(self, size: int, item: object, job: Callable[[], object] | None) -> object:
        self._check_process()
        loop = asyncio.get_running_loop()
        request = _Request(loop, loop.create_future(), size, item, job)
        with self._lock:
            if self._closing:
                raise BackendClosedError(f"{self._name} was closed")
            if self._thread is None:
                self._thread = self._started_thread()
            if self._queued_bytes >= self._max_queue_bytes:
                self._waiting[request] = None
            else:
                self._enqueue(request)
        try:
            return await request.future
        except asyncio.CancelledError:
            with self._lock:
                self._waiting.pop(request, None)
            raise

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

    def _work(self) -> None:
        while True:
            with self._lock:
                while not self._queue:
                    if self._closing:
                        return
                    self._changed.wait()
                batch = self._take()
                while self._waiting and self._queued_bytes < self._max_queue_bytes:
                    request = next(iter(self._waiting))
                    del self._waiting[request]
                    self._enqueue(request)
            _deliver(batch, self._run_job(batch[0]) if batch[0].job else self._run_batch(batch))

    def _take(self) -> list[_Request]:
        first = self._queue.popleft()
        batch, size = [first], first.size
        while first.job is None and self._queue and len(batch) < MAX_BATCH_ITEMS:
            following = self._queue[0]
            if following.job is not None or size + following.size > MAX_BATCH_BYTES:
                break
            size += following.size
            batch.append(self._queue.popleft())
        self._queued_bytes -= size
        return batch

    def _run_batch(self, batch: list[_Request]) -> list[Outcome]:
        items: list[Item] = [request.item for request in batch]  # type: ignore[misc]  # submit() took an Item
        try:
            results = self._write(items)
            if len(results) != len(items):
                raise RuntimeError(f"{len(results)} results for {len(items)} items")  # noqa: TRY301  # see below
        except PersistenceError as error:
            return [(None, error)] * len(batch)
        except BaseException as error:  # noqa: BLE001  # firewall: no fault may end the thread unseen
            return [(None, self._fail(error))] * len(batch)
        return [(result, None) for result in results]

    def _run_job(self, request: _Request) -> list[Outcome]:
        assert request.job is not None  # noqa: S101  # _work() asked
        try:
            return [(request.job(), None)]
        except StopIteration as error:  # no future can hold one
            return [(None, self._fail(error))]
        except BaseException as error:  # noqa: BLE001  # a job's error belongs to its caller
            return [(None, error)]

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


def _deliver(batch: list[_Request], outcomes: list[Outcome]) -> None:
    settled = list(zip(batch, outcomes, strict=True))
    for loop in {request.loop for request in batch}:
        with contextlib.suppress(RuntimeError):  # that loop has ended, and its waiters with it
            loop.call_soon_threadsafe(_settle, loop, settled)


def _settle(loop: asyncio.AbstractEventLoop, settled: list[tuple[_Request, Outcome]]) -> None:
    for request, (result, error) in settled:
        if request.loop is not loop or request.future.done():
            continue
        if error is None:
            request.future.set_result(result)
        else:
            request.future.set_exception(error)


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
