"""When things are due: one heap and one timer for all of a system, on the loop's time or a test's."""

from __future__ import annotations

import heapq
from contextvars import Context
from itertools import count
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle
    from collections.abc import Callable

    from papyra.clock import Clock

_SLACK = 64


@runtime_checkable
class SteppedClock(Protocol):
    """A clock that moves by itself never: it calls what subscribed whenever somebody has moved it."""

    def subscribe(self, function: Callable[[], None]) -> None:
        """Have ``function`` called after each step."""
        ...


class Alarm(msgspec.Struct, eq=False):
    """Something that is due. A Struct, because each ask has one and this is the fastest class there is."""

    scheduler: Scheduler
    when: float
    function: Callable[..., object] | None
    args: tuple[object, ...]

    def cancel(self) -> None:
        """Let it not happen, if it has not."""
        if self.function is not None:
            self.function, self.args = None, ()
            self.scheduler.note_cancelled()


class Scheduler:
    """Calls functions when they are due, earliest first, in a context of their own.

    A cancelled one leaves its place in the heap empty, so that nothing of it is kept; places go in bulk.
    """

    def __init__(self, loop: AbstractEventLoop, clock: Clock) -> None:
        self._loop = loop
        self._heap: list[tuple[float, int, Alarm]] = []
        self._numbers = count()
        self._cancelled = 0
        self._timer: TimerHandle | None = None
        self._due = 0.0
        self._is_closed = False
        self._is_stepped = isinstance(clock, SteppedClock)
        self.time: Callable[[], float] = clock.monotonic if self._is_stepped else loop.time
        """Seconds that only grow; what `call_at` counts in."""
        if isinstance(clock, SteppedClock):
            clock.subscribe(self._sweep)

    def call_later(self, seconds: float, function: Callable[..., object], *args: object) -> Alarm:
        """Call ``function`` in ``seconds``; ``cancel`` the result if it is not wanted any more."""
        return self.call_at(self.time() + seconds, function, *args)

    def call_at(self, when: float, function: Callable[..., object], *args: object) -> Alarm:
        """Call ``function`` at ``when`` of `time`."""
        alarm = Alarm(self, when, function, args)
        heapq.heappush(self._heap, (when, next(self._numbers), alarm))
        if not self._is_stepped and (self._timer is None or when < self._due):
            self._schedule(when)
        return alarm

    def note_cancelled(self) -> None:
        """Count an empty place, and clear them away once they are the most."""
        self._cancelled += 1
        if self._cancelled * 2 > len(self._heap) + _SLACK:
            self._heap = [place for place in self._heap if place[2].function is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def close(self) -> None:
        """Call nothing any more."""
        self._is_closed = True
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        if not self._is_closed:
            self._timer = self._loop.call_at(due, self._sweep, context=Context())

    def _sweep(self) -> None:
        self._timer = None
        now = self.time()
        while self._heap and (self._heap[0][0] <= now or self._heap[0][2].function is None):
            _, _, alarm = heapq.heappop(self._heap)
            function, args = alarm.function, alarm.args
            if function is None:
                self._cancelled -= 1
                continue
            alarm.function, alarm.args = None, ()
            Context().run(function, *args)
        if self._heap and not self._is_stepped:
            self._schedule(self._heap[0][0])
