"""What a writer thread does by itself between batches."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Protocol

from papyra.clock import Clock, SteppedClock

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)


class Chore(Protocol):
    """Work of a store's own; both are asked in its thread."""

    @property
    def due(self) -> float:
        """When it is to run, by the monotonic clock; infinity: not by itself."""
        ...

    def run(self) -> None:
        """Do a part of it that is short enough for others to wait for, and move `due`."""
        ...


class Interval:
    """A chore so long after the beginning and after each run."""

    def __init__(self, seconds: float, job: Callable[[], None], clock: Clock) -> None:
        self._seconds = seconds
        self._job = job
        self._clock = clock
        self.due = math.inf

    def postpone(self) -> None:
        """Begin to count."""
        self.due = self._clock.monotonic() + self._seconds

    def run(self) -> None:
        """Do all of it, and begin to count."""
        self.postpone()
        self._job()


class Chores:
    """The chores of one thread; ``wake`` has it look again, because the clock was moved."""

    def __init__(self, name: str, clock: Clock, wake: Callable[[], None]) -> None:
        self._name = name
        self._clock = clock
        self._wake = wake
        self._chores: list[Chore] = []

    def add(self, chore: Chore) -> None:
        """Run ``chore`` too; of two that are due, the one that was added first."""
        if not self._chores and isinstance(self._clock, SteppedClock):
            self._clock.subscribe(self._wake)
        self._chores.append(chore)

    def begin(self) -> None:
        """Let intervals begin: the thread has."""
        for chore in self._chores:
            if isinstance(chore, Interval):
                chore.postpone()

    def hurry(self) -> None:
        """Let intervals be over."""
        for chore in self._chores:
            if isinstance(chore, Interval):
                chore.due = self._clock.monotonic()

    def find_due(self) -> Chore | None:
        """Return one that is due."""
        now = self._clock.monotonic() if self._chores else 0.0
        return next((chore for chore in self._chores if chore.due <= now), None)

    def seconds_left(self) -> float:
        """Return how long none will be due."""
        due = min((chore.due for chore in self._chores), default=math.inf)
        return due if due == math.inf else max(due - self._clock.monotonic(), 0.0)

    def run(self, chore: Chore) -> None:
        """Run ``chore``, whatever becomes of it."""
        try:
            chore.run()
        except BaseException:  # noqa: BLE001  # firewall: nobody waits for it
            _log.exception("%s: its upkeep failed", self._name)

    def end(self) -> None:
        """Run none of them any more."""
        if self._chores and isinstance(self._clock, SteppedClock):
            self._clock.unsubscribe(self._wake)
