"""End the tasks of actors that have idled for a while; with the next message they get a new one."""

from __future__ import annotations

from contextvars import Context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Handle

    from papyra._runtime.receiver import Receiver

LINGER_SECONDS = 1.0
_AT_ONCE = 512


class Linger:
    """Looks around each second while any actor has a task, and ends it if it idled since the last look.

    By timers, not in a task: nobody can cancel it by cancelling all tasks.
    """

    def __init__(self, loop: AbstractEventLoop, active: set[Receiver]) -> None:
        self._loop = loop
        self._active = active
        self._left: list[Receiver] = []
        self._next: Handle | None = None

    def start(self) -> None:
        """Begin to look around, if that has not begun."""
        if self._next is None:
            self._next = self._loop.call_later(LINGER_SECONDS, self._begin, context=Context())

    def stop(self) -> None:
        """Look no more."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _begin(self) -> None:
        self._left = list(self._active)
        self._look()

    def _look(self) -> None:
        for receiver in self._left[-_AT_ONCE:]:
            _look_at(receiver)
        del self._left[-_AT_ONCE:]
        self._next = self._loop.call_soon(self._look) if self._left else None
        if self._active:
            self.start()


def _look_at(receiver: Receiver) -> None:
    is_waiting, box = receiver.waiter is not None, receiver.box
    if is_waiting and receiver.parked and not (box is not None and box.stash):
        receiver.retiring = True
        receiver.wake()
    receiver.parked = is_waiting
