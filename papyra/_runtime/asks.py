"""Deadlines of asks: one heap and one timer for all of them."""

from __future__ import annotations

import heapq
from contextvars import Context
from typing import TYPE_CHECKING

from papyra.exceptions import AskTimeout
from papyra.payloads import message_name

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle

    from papyra._runtime.mailbox import Envelope

_SLACK = 64


class AskDeadlines:
    """Fails each ask that is not answered in time.

    An answered one leaves its place in the heap empty, so that nothing of it is kept; places go in bulk.
    """

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._open: dict[int, Envelope] = {}
        self._heap: list[tuple[float, int]] = []
        self._timer: TimerHandle | None = None
        self._due = 0.0

    def add(self, envelope: Envelope, deadline: float) -> None:
        """Watch over ``envelope`` until `close` is called for it."""
        envelope.deadline = deadline
        self._open[envelope.id] = envelope
        heap = self._heap
        heapq.heappush(heap, (deadline, envelope.id))
        if len(heap) > 2 * len(self._open) + _SLACK:
            heap[:] = [place for place in heap if place[1] in self._open]
            heapq.heapify(heap)
        if self._timer is None or deadline < self._due:
            self._schedule(deadline)

    def fail(self, envelope: Envelope) -> None:
        """Tell the asker, if there is one that was not told yet, that its time is over."""
        if envelope.reply is not None and not envelope.reply.done():
            envelope.reply.set_exception(_timeout_of(envelope, self._loop.time()))

    def close(self, envelope: Envelope) -> None:
        """Forget an ask that is over, however it ended."""
        del self._open[envelope.id]

    def stop(self) -> None:
        """Let the timer go; deadlines do not pass any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_at(due, self._sweep, context=Context())

    def _sweep(self) -> None:
        self._timer = None
        heap, now = self._heap, self._loop.time()
        while heap and (heap[0][0] <= now or heap[0][1] not in self._open):
            _, number = heapq.heappop(heap)
            envelope = self._open.get(number)
            if envelope is not None:
                self.fail(envelope)
        if heap:
            self._schedule(heap[0][0])


def _timeout_of(envelope: Envelope, now: float) -> AskTimeout:
    target, waited = envelope.target, now - envelope.at
    return AskTimeout(
        f"no reply to {message_name(envelope.message)} from {target.path} ({target.actor_type}) "
        f"within {waited:.3g} s: {target.condition(now)}"
    )
