"""The newest events in memory, and those who wait for the next."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from papyra._runtime.records import started_event
from papyra.events import ActorEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.persistence.ready import ReadyEvent


class EventLog:
    """Keeps ``capacity`` events; each has an index that counts from the incarnation's first."""

    def __init__(self, capacity: int) -> None:
        self._events: deque[ActorEvent | ReadyEvent] = deque(maxlen=capacity)
        self._waiting: list[asyncio.Future[None]] = []
        self.count = 0

    def add(self, event: ActorEvent | ReadyEvent) -> None:
        """Append ``event`` (a start as it is recorded) and wake those who wait."""
        self._events.append(event)
        self.count += 1
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def since(self, index: int) -> tuple[ActorEvent, ...]:
        """Return the kept events from ``index`` on, oldest first."""
        newest = islice(reversed(self._events), max(0, self.count - index))
        seen = [event if isinstance(event, ActorEvent) else started_event(event) for event in newest]
        return tuple(reversed(seen))

    async def wait_for(
        self, predicate: Callable[[ActorEvent], bool], timeout: float | None, start_index: int
    ) -> ActorEvent:
        """Return the first event from ``start_index`` on that matches; raises `TimeoutError`."""
        index = max(start_index, 0)
        async with asyncio.timeout(timeout):
            while True:
                for event in self.since(index):
                    if predicate(event):
                        return event
                index = max(index, self.count)
                changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiting.append(changed)
                try:
                    await changed
                finally:
                    if changed in self._waiting:  # not if an event came in the same moment
                        self._waiting.remove(changed)
