"""What few actors have beside a mailbox: timers, work that pipes to them, a limit to their idling."""

from __future__ import annotations

import asyncio
import inspect
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from papyra._runtime.calls import outcome_of
from papyra._runtime.facts import Origin
from papyra._runtime.mailbox import CURRENT
from papyra._runtime.timers import ActorTimers
from papyra.messages import PipeFailed, ReceiveTimeout

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Awaitable, Callable

    from papyra._runtime.receiver import Receiver
    from papyra._runtime.scheduling import Alarm
    from papyra._runtime.site import Site


MOST_UNDELIVERED = 1_000


class Belongings:
    """Made when the first of them is wanted. ``let_go`` ends all that belongs to one instance.

    Idling is timed from when the actor last had nothing to do; an alarm that comes while it is at work, or
    too early because it was at work meanwhile, is set anew. So no message costs anything. Who has children,
    messages put aside or work that pipes to it is not passivated: all of that would be lost.
    """

    __slots__ = (
        "_alarm",
        "_idle_since",
        "_owner",
        "_passivate",
        "_passivate_since",
        "_pipes",
        "_receive_timeout",
        "_stop",
        "_timers",
        "undelivered",
    )

    def __init__(
        self, owner: Receiver, stop: Callable[[], bool], passivate_after: float | None = None
    ) -> None:
        self._owner = owner
        self._stop = stop
        self._passivate = passivate_after
        self._receive_timeout: float | None = None
        self._alarm: Alarm | None = None
        self._idle_since = self._passivate_since = owner.site.time()
        self._pipes: set[Pipe] | None = None
        self._timers: ActorTimers | None = None
        self.undelivered: list[object] | None = None
        self.watch()

    @property
    def timers(self) -> ActorTimers:
        """Its timers, from now on."""
        if self._timers is None:
            self._timers = ActorTimers(self._owner)
        return self._timers

    def let_go(self) -> None:
        """Cancel timers, pipes and the receive timeout: they were the instance's."""
        if self._timers is not None:
            self._timers.cancel_all()
        self._receive_timeout = None
        pipes, self._pipes = self._pipes, None
        for pipe in pipes or ():
            pipe.cancel(self._owner.site)

    def close(self) -> None:
        """Do so for good."""
        self.let_go()
        self._passivate = None
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def note_undelivered(self, message: object) -> None:
        """Keep ``message`` for `papyra.actor.Actor.on_undelivered`."""
        if self.undelivered is None:
            self.undelivered = []
        if len(self.undelivered) < MOST_UNDELIVERED:
            self.undelivered.append(message)

    def set_receive_timeout(self, seconds: float | None) -> None:
        """Send `ReceiveTimeout` whenever the actor has idled for so long; ``None``: not any more."""
        if seconds is not None and not seconds > 0:
            raise ValueError(f"a receive timeout is above 0 seconds, or None, not {seconds!r:.50}")
        self._receive_timeout = seconds
        self.begin_idling()

    def begin_idling(self) -> None:
        """Note that nothing is to do."""
        self._idle_since = self._passivate_since = self._owner.site.time()
        self.watch()

    def watch(self) -> None:
        """Look after the idling when its time is over; an alarm that is set already may do."""
        due = min(
            _end_of(self._receive_timeout, self._idle_since), _end_of(self._passivate, self._passivate_since)
        )
        if due == inf:
            return
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
        if now >= _end_of(self._passivate, self._passivate_since):
            if not self._pipes and self._stop():
                return
            self._passivate_since = now
        if now >= _end_of(self._receive_timeout, self._idle_since):
            owner.notify(ReceiveTimeout(), Origin(), owner)
            return
        self.watch()

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


def _end_of(seconds: float | None, since: float) -> float:
    return inf if seconds is None else since + seconds


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

    def cancel(self, site: Site) -> None:
        """Want the outcome no more; ``site`` holds the work until it has ended."""
        if self._is_ours:
            self._work.cancel()
            site.leaving.add(self._work)
            self._work.add_done_callback(partial(_forget, site.leaving))

    def message(self) -> object:
        """Return what the outcome is as a message."""
        work = self._work
        error = (
            asyncio.CancelledError("the piped work was cancelled") if work.cancelled() else work.exception()
        )
        if error is None:
            if self._on_result is None:
                return work.result()
            message, error = outcome_of(self._on_result, work.result())
            if error is None:
                return message
        if self._on_error is None:
            return PipeFailed(error)
        message, failure = outcome_of(self._on_error, error)
        return message if failure is None else PipeFailed(failure)


def _forget(leaving: set[Future[Any]], work: Future[Any]) -> None:
    leaving.discard(work)
    if not work.cancelled():
        work.exception()  # nobody wants it any more, and asyncio need not complain
