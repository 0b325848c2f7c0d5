"""What few actors have beside a mailbox: timers, work that pipes to them, a limit to their idling."""

from __future__ import annotations

import asyncio
import inspect
from functools import partial
from typing import TYPE_CHECKING, Any

from papyra._runtime.facts import Origin
from papyra._runtime.mailbox import CURRENT
from papyra._runtime.timers import ActorTimers
from papyra.messages import PipeFailed, ReceiveTimeout

if TYPE_CHECKING:
    from asyncio import Future
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
        self._pipes: set[Pipe] | None = None
        self.timers = ActorTimers(owner)
        self.undelivered: list[object] = []
        self._watch()

    def let_go(self) -> None:
        """Cancel timers, pipes and the receive timeout: they were the instance's."""
        self.timers.cancel_all()
        self._receive_timeout = None
        pipes, self._pipes = self._pipes, None
        for pipe in pipes or ():
            pipe.cancel()

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
        now = owner.site.time()
        if self._has_passed(self._passivate, now):
            self._stop()
            return
        if self._has_passed(self._receive_timeout, now):
            owner.notify(ReceiveTimeout(), Origin(), owner)
            return
        self._watch()

    def _has_passed(self, limit: float | None, now: float) -> bool:
        # Calculated as when the alarm was set: rounded otherwise, it could be due for ever and never pass.
        return limit is not None and now >= self._idle_since + limit

    def pipe(
        self,
        awaitable: Awaitable[Any],
        on_result: Callable[[Any], object] | None,
        on_error: Callable[[BaseException], object] | None,
    ) -> None:
        """Have the outcome of ``awaitable`` come as a message."""
        if not inspect.isawaitable(awaitable):
            raise TypeError(f"only what can be awaited can be piped, not {awaitable!r:.100}")
        work = asyncio.ensure_future(awaitable, loop=self._owner.site.loop)
        pipe = Pipe(work, Origin.of(CURRENT.get()), on_result, on_error, is_ours=work is not awaitable)
        if self._pipes is None:
            self._pipes = set()
        self._pipes.add(pipe)
        work.add_done_callback(partial(self._has_come, pipe))

    def _has_come(self, pipe: Pipe, _: Future[Any]) -> None:
        if self._pipes is not None and pipe in self._pipes:
            self._pipes.discard(pipe)
            self._owner.notify(pipe.message(), pipe.origin, self._owner)


class Pipe:
    """Work whose outcome is wanted. ``is_ours``: nobody else holds it, so that it may be cancelled."""

    __slots__ = ("_is_ours", "_on_error", "_on_result", "_work", "origin")

    def __init__(
        self,
        work: Future[Any],
        origin: Origin,
        on_result: Callable[[Any], object] | None,
        on_error: Callable[[BaseException], object] | None,
        *,
        is_ours: bool,
    ) -> None:
        self._work = work
        self.origin = origin
        self._on_result = on_result
        self._on_error = on_error
        self._is_ours = is_ours

    def cancel(self) -> None:
        """Want the outcome no more."""
        if self._is_ours:
            self._work.cancel()

    def message(self) -> object:
        """Return what the outcome is as a message."""
        work = self._work
        error = (
            asyncio.CancelledError("the piped work was cancelled") if work.cancelled() else work.exception()
        )
        if error is not None:
            return PipeFailed(error) if self._on_error is None else self._on_error(error)
        return work.result() if self._on_result is None else self._on_result(work.result())
