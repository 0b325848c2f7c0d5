"""End the tasks of actors that have idled for a while; with the next message they get a new one."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from papyra._runtime.receiver import Receiver

LINGER_SECONDS = 1.0
_AT_ONCE = 512


class Linger:
    """Looks around each second while any actor has a task, and ends it if it idled since the last look."""

    def __init__(self, loop: asyncio.AbstractEventLoop, active: set[Receiver]) -> None:
        self._loop = loop
        self._active = active
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look around, if that has not begun."""
        if self._task is None:
            self._task = self._loop.create_task(self._run(), name="papyra idle actors", context=Context())

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        while self._active:
            await asyncio.sleep(LINGER_SECONDS)
            for number, receiver in enumerate(tuple(self._active), 1):
                _look_at(receiver)
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)
        self._task = None


def _look_at(receiver: Receiver) -> None:
    waiter = receiver.waiter
    if waiter is not None and waiter is receiver.parked:
        receiver.retiring = True
        receiver.wake()
    receiver.parked = waiter
