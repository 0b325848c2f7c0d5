"""What few actors have beside a mailbox: timers, work that pipes to them, a limit to their idling."""

from __future__ import annotations

import asyncio
import inspect
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from papyra._runtime.calls import attempt
from papyra._runtime.facts import Origin
from papyra._runtime.mailbox import CURRENT
from papyra._runtime.timers import ActorTimers
from papyra.messages import PipeFailed, ReceiveTimeout

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Awaitable, Callable

    from papyra._runtime.receiver import Receiver
    from papyra._runtime.scheduling import Alarm


class Belongings:
    """Made when the first of them is wanted. ``let_go`` ends all that belongs to one instance.

    Idling is timed from when the actor last had nothing to do; an alarm that comes while it is at work, or
    too early because it was at work meanwhile, is set anew. So no message costs anything.
    """

    __slots__ = (
        "_alarm",
        "_idle_since",
        "_owner",
        "_passivate",
        "_pipes",
        "_receive_timeout",
        "_stop",
        "timers",
        "undelivered",
    )

    def __init__(
        self, owner: Receiver, stop: Callable[[], None], passivate_after: float | None = None
    ) -> None:
        self._owner = owner
        self._stop = stop
        self._passivate = passivate_after
        self._receive_timeout: float | None = None
        self._alarm: Alarm | None = None
        self._idle_since = owner.site.time()
        self._pipes: set[Task[None]] | None = None
        self.timers = ActorTimers(owner)
        self.undelivered: list[object] = []
        self._watch()

    def let_go(self) -> None:
        """Cancel timers, pipes and the receive timeout: they were the instance's."""
        self.timers.cancel_all()
        self._receive_timeout = None
        for task in self._pipes or ():
            task.cancel()
        self._pipes = None

    def close(self) -> None:
        """Do so for good."""
        self.let_go()
        self._passivate = None
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def set_receive_timeout(self, seconds: float | None) -> None:
        """Send `ReceiveTimeout` whenever the actor has idled for so long; ``None``: not any more."""
        if seconds is not None and not seconds > 0:
            raise ValueError(f"a receive timeout is above 0 seconds, or None, not {seconds!r:.50}")
        self._receive_timeout = seconds
        self.begin_idling()

    def begin_idling(self) -> None:
        """Note that nothing is to do."""
        self._idle_since = self._owner.site.time()
        self._watch()

    def _watch(self) -> None:
        limits = [limit for limit in (self._receive_timeout, self._passivate) if limit is not None]
        if not limits:
            return
        due = self._idle_since + min(limits)
        if self._alarm is not None:
            if self._alarm.function is not None and self._alarm.when <= due:
                return  # it comes first, and looks again
            self._alarm.cancel()
        self._alarm = self._owner.site.scheduler.call_at(due, self._look)

    def _look(self) -> None:
        self._alarm = None
        owner = self._owner
        if owner.is_busy or owner.closed is not None:
            return  # it watches again once it idles
        idled = owner.site.time() - self._idle_since
        if self._passivate is not None and idled >= self._passivate:
            self._stop()
            return
        if self._receive_timeout is not None and idled >= self._receive_timeout:
            owner.notify(ReceiveTimeout(), Origin(), owner)
            return
        self._watch()

    def pipe(
        self,
        awaitable: Awaitable[Any],
        on_result: Callable[[Any], object] | None,
        on_error: Callable[[BaseException], object] | None,
    ) -> None:
        """Have the outcome of ``awaitable`` come as a message."""
        if not inspect.isawaitable(awaitable):
            raise TypeError(f"only what can be awaited can be piped, not {awaitable!r:.100}")
        task = self._owner.site.loop.create_task(
            self._piped(awaitable, on_result, on_error),
            name=f"{self._owner.path} pipe",
            context=copy_context(),
        )
        if self._pipes is None:
            self._pipes = set()
        self._pipes.add(task)
        task.add_done_callback(partial(_forget, self._pipes))

    async def _piped(
        self,
        awaitable: Awaitable[Any],
        on_result: Callable[[Any], object] | None,
        on_error: Callable[[BaseException], object] | None,
    ) -> None:
        origin = Origin.of(CURRENT.get())
        result, error = await attempt(lambda: awaitable)
        if error is None:
            message = result if on_result is None else on_result(result)
        else:
            message = PipeFailed(error) if on_error is None else on_error(error)
        self._owner.notify(message, origin, self._owner)


def _forget(tasks: set[Task[None]], task: Task[None]) -> None:
    tasks.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        asyncio.get_running_loop().call_exception_handler(
            {"message": "what makes a message of a piped outcome failed", "exception": error, "task": task}
        )
