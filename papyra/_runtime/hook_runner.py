"""Tell observers what happened: in order, after the fact, in one guarded task that no actor waits for."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING

from papyra._runtime.calls import is_fatal
from papyra.hooks import SystemHooks

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

MAX_QUEUED = 10_000
SLICE_SECONDS = 0.001
SLOW_SECONDS = 0.1
GIVE_UP_SECONDS = 10.0

_METHODS = tuple(name for name in vars(SystemHooks) if name.startswith("on_"))


class HookRunner:
    """Calls the methods that ``hooks`` has; what raises, hangs or is slow is logged and counted."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, hooks: object, on_dead_letter: Callable[..., object] | None
    ) -> None:
        self.failed = 0
        self.slow = 0
        self.dropped = 0
        self._loop = loop
        self._calls: dict[str, list[Callable[..., object]]] = {}
        for name in _METHODS:
            method = getattr(hooks, name, None)
            if callable(method):
                self._calls[name] = [method]
        if on_dead_letter is not None:
            self._calls.setdefault("on_dead_letter", []).append(on_dead_letter)
        self._queue: deque[tuple[Callable[..., object], object]] = deque()
        self._task: asyncio.Task[None] | None = None

    def wants(self, name: str) -> bool:
        """Whether anybody observes ``name``."""
        return name in self._calls

    def post(self, name: str, fact: object) -> None:
        """Queue ``fact`` for every observer of ``name``; returns at once."""
        for call in self._calls.get(name, ()):
            if len(self._queue) >= MAX_QUEUED:
                self.dropped += 1
                if self.dropped == 1:
                    _log.error("hooks are too slow: %d facts wait, further ones are dropped", MAX_QUEUED)
                return
            self._queue.append((call, fact))
        if self._queue and (self._task is None or self._task.done()):
            self._task = self._loop.create_task(self._run(), name="papyra hooks", context=Context())

    async def drain(self, deadline: float) -> int:
        """Wait until all was told, or until ``deadline`` of the loop's clock; returns how much was not."""
        task = self._task
        if task is not None:
            await asyncio.wait((task,), timeout=max(0.0, deadline - self._loop.time()))
            if not task.done():
                task.cancel()
        left = len(self._queue)
        self._queue.clear()
        return left

    async def _run(self) -> None:
        slice_end = self._loop.time() + SLICE_SECONDS
        while self._queue:
            call, fact = self._queue.popleft()
            await self._tell(call, fact)
            if self._loop.time() > slice_end:
                await asyncio.sleep(0)
                slice_end = self._loop.time() + SLICE_SECONDS

    async def _tell(self, call: Callable[..., object], fact: object) -> None:
        started = self._loop.time()
        try:
            result = call(fact)
            if inspect.isawaitable(result):
                async with asyncio.timeout(GIVE_UP_SECONDS):
                    await result
        except BaseException as error:  # firewall: an observer never harms what it observes
            if is_fatal(error):
                raise
            self.failed += 1
            _log.exception("the hook %r failed", call)
        took = self._loop.time() - started
        if took > SLOW_SECONDS:
            self.slow += 1
            _log.warning("the hook %r took %.3f s", call, took)
