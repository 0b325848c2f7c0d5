"""When things are due: one heap and one timer for all of a system, on the loop's time or a test's."""

from __future__ import annotations

import heapq
from asyncio import BaseEventLoop
from contextvars import Context
from itertools import count
from math import inf, isnan
from typing import TYPE_CHECKING

import msgspec

from papyra.clock import SYSTEM_CLOCK, SteppedClock

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Handle
    from collections.abc import Callable

    from papyra.clock import Clock

SLICE_SECONDS = 0.001
_SLACK = 64


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

    A cancelled one leaves its place in the heap empty, so that nothing of it is kept; places go in bulk. What
    one raises is the loop's to report, or `advance`'s to raise; the others are called all the same. Many that
    are due at once leave the loop its turns.
    """

    def __init__(self, loop: AbstractEventLoop, clock: Clock) -> None:
        self._loop = loop
        self._heap: list[tuple[float, int, Alarm]] = []
        self._numbers = count()
        self._cancelled = 0
        self._timer: Handle | None = None
        self._due = 0.0
        self._is_closed = False
        self._steps = clock if isinstance(clock, SteppedClock) else None
        self.time: Callable[[], float] = _time_of(loop) if self._steps is None else clock.monotonic
        """Seconds that only grow; what `call_at` counts in."""
        if self._steps is not None:
            self._steps.subscribe(self._sweep)

    def call_later(self, seconds: float, function: Callable[..., object], *args: object) -> Alarm:
        """Call ``function`` in ``seconds``; ``cancel`` the result if it is not wanted any more."""
        if isnan(seconds):
            raise ValueError("nan is no time to wait: it would compare with no other")
        return self.call_at(self.time() + seconds, function, *args)

    def call_at(self, when: float, function: Callable[..., object], *args: object) -> Alarm:
        """Call ``function`` at ``when`` of `time`."""
        alarm = Alarm(self, when, function, args)
        heapq.heappush(self._heap, (when, next(self._numbers), alarm))
        if self._timer is None or when < self._due:
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
        self._unschedule()
        if self._steps is not None:
            self._steps.unsubscribe(self._sweep)

    def _schedule(self, due: float) -> None:
        self._unschedule()
        if self._is_closed:
            return
        if due <= self.time():
            self._due = -inf
            self._timer = self._loop.call_soon(self._sweep, context=Context())
        elif self._steps is None:
            self._due = due
            self._timer = self._loop.call_at(due, self._sweep, context=Context())

    def _unschedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        self._unschedule()
        now, most = self.time(), len(self._heap)  # what is added meanwhile has its turn later
        slice_end = inf if self._steps is not None else self._loop.time() + SLICE_SECONDS
        try:
            while most and self._heap and self._loop.time() < slice_end:
                when, _, alarm = self._heap[0]
                if when > now and alarm.function is not None:
                    break
                heapq.heappop(self._heap)
                most -= 1
                self._ring(alarm)
        finally:
            if self._heap:
                self._schedule(self._heap[0][0])

    def _ring(self, alarm: Alarm) -> None:
        function, args = alarm.function, alarm.args
        if function is None:
            self._cancelled -= 1
            return
        alarm.function, alarm.args = None, ()
        Context().run(function, *args)


def _time_of(loop: AbstractEventLoop) -> Callable[[], float]:
    """Return what ``loop.time`` asks, if it is asyncio's own: half the cost of something often wanted."""
    is_plain = getattr(loop.time, "__func__", None) is BaseEventLoop.time
    return SYSTEM_CLOCK.monotonic if is_plain else loop.time
