"""Where the work is done: in a thread that writes and a thread that reads, with a connection each."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from papyra.exceptions import BackendClosedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from papyra.persistence._redis.connecting import Door

Value = TypeVar("Value")


class ReadingPlace:
    """The thread that reads; it begins with its first use, and a forked child has none."""

    def __init__(self, name: str, door: Door) -> None:
        self._name = name
        self._door = door
        self._executor: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._is_closed = False
        self._pid = os.getpid()

    async def read(self, work: Callable[[], Value]) -> Value:
        """Run ``work`` in the thread."""
        return await asyncio.wrap_future(self.submit(work))

    def submit(self, work: Callable[[], Value]) -> Future[Value]:
        """Have ``work`` run in the thread."""
        return self._opened().submit(work)

    async def aclose(self) -> None:
        """End the thread after what it has begun."""
        with self._lock:
            self._is_closed = True
            executor, self._executor = self._executor, None
        if executor is None or self._pid != os.getpid():
            return
        closing = executor.submit(self._door.close)
        executor.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(closing))

    def _opened(self) -> ThreadPoolExecutor:
        if self._pid != os.getpid():
            raise BackendClosedError(
                "the redis backend was opened before a fork; open it anew in this process"
            )
        with self._lock:
            if self._is_closed:
                raise BackendClosedError("the redis backend was closed")
            if self._executor is None:
                self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"{self._name} reader")
            return self._executor
