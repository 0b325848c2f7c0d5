"""The thread that writes for a store: group commit, a bounded queue, one wake-up of each loop per batch."""

from __future__ import annotations

import asyncio
import atexit
import logging
import math
import os
import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakSet

from papyra.clock import SYSTEM_CLOCK, Clock
from papyra.exceptions import (
    BackendClosedError,
    PersistenceError,
    StoreBusyError,
    StoreFailedError,
    StoreUnavailableError,
)
from papyra.persistence.chores import Chore, Chores, Interval
from papyra.persistence.waiting import Failure, Outcome, Overflow, Request, deliver

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")
Value = TypeVar("Value")

_log = logging.getLogger(__name__)

MAX_BATCH_BYTES = 1024 * 1024
MAX_BATCH_ITEMS = 10_000
MAX_QUEUE_BYTES = 16 * 1024 * 1024
EXIT_SECONDS = 5.0
"""How long the end of the interpreter waits for what is queued and was not closed."""

_LEAST_DIVIDED = 32


class WriterThread(Generic[Item, Result]):
    """Runs ``write`` over whatever has queued up, and jobs in between, all in one thread of its own.

    ``write`` gets the items of one batch in order and returns one result, or `Failure`, for each; a
    `PersistenceError` it raises reaches every waiter of the batch. The thread starts with the first use.
    ``on_failure`` hears of an error that is not a `PersistenceError`: a fault of ours, after which the store
    should call itself failed. A caller that is cancelled stops waiting; its item may still be written. A
    forked child can do nothing with it, not even close it: thread, files and locks are the parent's.
    ``let_go`` is asked, in the thread of a caller and under the lock, for the result of an item that is to be
    dropped; ``None`` keeps it.
    """

    def __init__(  # noqa: PLR0913  # each has a default that does
        self,
        name: str,
        write: Callable[[list[Item]], Sequence[Result | Failure]],
        *,
        on_failure: Callable[[BaseException], None] | None = None,
        max_queue_bytes: int = MAX_QUEUE_BYTES,
        overflow: Overflow = Overflow.WAIT,
        let_go: Callable[[Item], Result | None] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._name = name
        self._write = write
        self._on_failure = on_failure
        self._max_queue_bytes = max_queue_bytes
        self._overflow = overflow
        self._let_go = let_go
        self._clock = clock
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._idle = threading.Condition(self._lock)
        self._queue: deque[Request] = deque()
        self._queued_bytes = 0
        self._queued_jobs = 0
        self._last_took = 0.0
        self._waiting: dict[Request, None] = {}  # for room, in order; who is cancelled leaves at once
        self._at_work: list[Request] = []
        self._chores = Chores(name, clock, self._look_at_clock)
        self._thread: threading.Thread | None = None
        self._closing = False
        self._pid = os.getpid()
        _alive.add(self)

    @property
    def name(self) -> str:
        """What the thread is called."""
        return self._name

    @property
    def queued_bytes(self) -> int:
        """What was submitted and not yet taken."""
        return self._queued_bytes

    @property
    def is_closing(self) -> bool:
        """Whether `aclose` was called: a long job of nobody's should end."""
        return self._closing

    def unacknowledged(self) -> list[Item]:
        """Return what was accepted, or waits for room, and is neither written nor refused yet."""
        if self._pid != os.getpid():
            return []
        with self._lock:
            return [each.item for each in (*self._at_work, *self._queue, *self._waiting) if each.job is None]

    def every(self, seconds: float, job: Callable[[], None]) -> None:
        """Run ``job`` in the thread, between batches, so long after the thread began and after each run.

        Only before the first use; not any more once `aclose` was called. Its errors are logged and no more.
        """
        self._chores.add(Interval(seconds, job, self._clock))

    def tend(self, chore: Chore) -> None:
        """Run ``chore`` in the thread, between batches, whenever it is due; the same holds for it."""
        self._chores.add(chore)

    def hurry(self) -> None:
        """Have the job of `every` run now, once more."""
        if self._pid == os.getpid():
            with self._lock:
                self._chores.hurry()
                self._changed.notify()

    def pause(self, seconds: float) -> bool:
        """Wait in the thread, which does nothing else meanwhile; false, and at once, when it is to end."""
        until = self._clock.monotonic() + seconds
        with self._lock:
            while not self._closing and (left := until - self._clock.monotonic()) > 0:
                self._changed.wait(left)
            return not self._closing

    def _look_at_clock(self) -> None:
        if self._pid == os.getpid():
            with self._lock:
                self._changed.notify()

    def drain(self, seconds: float) -> None:
        """Block until all that was accepted is written, at most so long, before the process ends."""
        if self._pid == os.getpid() and self._thread is not None:
            with self._lock:
                self._idle.wait_for(lambda: not (self._at_work or self._queue or self._waiting), seconds)
            self._tell_what_is_left("the process ends")

    def put(self, item: Item, size: int) -> asyncio.Future[Result]:
        """Queue ``item``, once less than ``max_queue_bytes`` are; its result comes once it is written.

        Where there is no room, `Overflow` decides.
        """
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
        request = Request(loop, loop.create_future(), 0, job=last)
        with self._lock:
            if self._closing:
                return
            self._closing = True
            self._changed.notify()
            if self._thread is not None:
                for waiting in self._waiting:
                    self._enqueue(waiting)
                self._waiting.clear()
                self._enqueue(request)
        self._chores.end()
        if self._thread is None:
            last()
            return
        try:
            await asyncio.shield(request.future)
        except asyncio.CancelledError:
            self._tell_what_is_left("nobody waits for its end any more")
            raise
        finally:
            if request.future.done():
                self._thread.join()

    def _tell_what_is_left(self, why: str) -> None:
        if left := self.unacknowledged():
            _log.error("%s: %s, and %d items are not written", self._name, why, len(left))

    def _enter(self, size: int, item: object, job: Callable[[], object] | None) -> asyncio.Future[Any]:
        # Before the lock is touched: in a forked child it may have been copied in its locked state.
        if self._pid != os.getpid():
            raise BackendClosedError(f"{self._name} was opened before a fork; open it anew in this process")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        request = Request(loop, future, size, item, job)
        with self._lock:
            if self._closing:
                raise BackendClosedError(f"{self._name} was closed")
            if self._thread is None:
                self._thread = self._started_thread()
            if self._queued_bytes < self._max_queue_bytes:
                self._enqueue(request)
                return future
            dropped = [] if job is not None else self._make_room()
            if self._queued_bytes < self._max_queue_bytes:
                self._enqueue(request)
            else:
                self._waiting[request] = None
                future.add_done_callback(partial(self._leave, request))
        deliver([gone for gone, _ in dropped], [result for _, result in dropped])
        return future

    def _make_room(self) -> list[tuple[Request, Outcome]]:
        """Drop what `Overflow` says, and let in who waits: jobs, and items where none may be dropped."""
        if self._overflow is Overflow.RAISE:
            raise StoreBusyError(
                f"{self._name}: {self._queued_bytes} bytes wait to be written, {self._max_queue_bytes} may, "
                "and overflow is 'raise': nothing was stored; try again later, allow a larger "
                "max_queue_bytes, or wait with overflow='wait'"
            )
        dropped: list[tuple[Request, Outcome]] = []
        if self._let_go is None or self._overflow is not Overflow.DROP_OLDEST:
            return dropped
        kept: list[Request] = []
        while self._queue and self._queued_bytes >= self._max_queue_bytes:
            oldest = self._queue.popleft()
            result = None if oldest.job is not None else self._let_go(oldest.item)
            if result is None:
                kept.append(oldest)
            else:
                self._queued_bytes -= oldest.size
                dropped.append((oldest, result))
        self._queue.extendleft(reversed(kept))
        self._let_in()
        return dropped

    def _let_in(self) -> None:
        while self._waiting and self._queued_bytes < self._max_queue_bytes:
            request = next(iter(self._waiting))
            del self._waiting[request]
            self._enqueue(request)

    def _leave(self, request: Request, future: asyncio.Future[Any]) -> None:
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

    def _enqueue(self, request: Request) -> None:
        if not self._queue:  # else the thread is at work, or was woken for what stands there
            self._changed.notify()
        self._queue.append(request)
        self._queued_bytes += request.size
        if request.job is not None:
            self._queued_jobs += 1

    def _work(self) -> None:
        self._chores.begin()
        chore: Chore | None = None
        while True:
            with self._lock:
                waited = self._wait()
                had_chore = chore is not None  # which may be due again at once: then a batch comes before
                chore = None if had_chore and self._queue else self._due_chore()
                if chore is None and not self._queue:
                    return
                share = 2 if waited > self._last_took else 1
                batch = self._at_work = [] if chore is not None else self._take(share)
                self._let_in()
            if chore is not None:
                self._chores.run(chore)
                continue
            began = self._clock.monotonic()
            outcomes = self._run_job(batch[0]) if batch[0].job else self._run_batch(batch)
            self._last_took = self._clock.monotonic() - began
            self._at_work = []
            deliver(batch, outcomes)

    def _wait(self) -> float:
        """Return once there is something to do or nothing ever will be; and how many seconds that took."""
        if self._queue:
            return 0.0
        self._idle.notify_all()
        began = self._clock.monotonic()
        while not self._queue and not self._closing and self._due_chore() is None:
            left = self._chores.seconds_left()
            self._changed.wait(None if left == math.inf else min(left, threading.TIMEOUT_MAX))
        return self._clock.monotonic() - began

    def _due_chore(self) -> Chore | None:
        return None if self._closing else self._chores.find_due()

    def _take(self, share: int) -> list[Request]:
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

    def _run_batch(self, batch: list[Request]) -> Sequence[Outcome]:
        items: list[Item] = [request.item for request in batch]
        try:
            results = self._write(items)
            if len(results) != len(items):
                raise RuntimeError(f"{len(results)} results for {len(items)} items")  # noqa: TRY301  # see below
        except PersistenceError as error:
            return [Failure(error)] * len(batch)
        except BaseException as error:  # noqa: BLE001  # firewall: no fault may end the thread unseen
            return [Failure(self._fail(error))] * len(batch)
        return results

    def _run_job(self, request: Request) -> list[Outcome]:
        assert request.job is not None  # noqa: S101  # _work() asked
        try:
            return [request.job()]
        except StopIteration as error:  # no future can hold one
            return [Failure(self._fail(error))]
        except BaseException as error:  # noqa: BLE001  # a job's error belongs to its caller
            return [Failure(error)]

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


_alive: WeakSet[WriterThread[Any, Any]] = WeakSet()


@atexit.register
def _drain_all() -> None:
    """Give what is queued a last moment when the interpreter ends; with it end the threads, in mid-write."""
    deadline = SYSTEM_CLOCK.monotonic() + EXIT_SECONDS
    for writer in list(_alive):
        writer.drain(max(0.0, deadline - SYSTEM_CLOCK.monotonic()))


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
