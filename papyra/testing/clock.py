"""Time that moves when a test says so."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

START = 1_800_000_000.0


SETTLING_TURNS = 100
_MOST_TURNS = 100_000


class ManualClock:
    """A `papyra.clock.Clock` that stands still; thread-safe.

    A system that was given it takes all its timers from it: asks, timers of actors, backoff, the audit. They
    fire within `advance`, which then belongs to the system's thread.
    """

    def __init__(self, now: float = START) -> None:
        self._lock = threading.Lock()
        self._now = now
        self._monotonic = 0.0
        self._subscribed: list[Callable[[], None]] = []

    def subscribe(self, function: Callable[[], None]) -> None:
        """Have ``function`` called after each `advance`; for the runtime."""
        self._subscribed.append(function)

    def unsubscribe(self, function: Callable[[], None]) -> None:
        """Have it called no more."""
        self._subscribed.remove(function)

    async def settle(self) -> None:
        """Let the loop run until nothing is ready: what is due has happened then, and what follows from it.

        It does not wait for threads. On a loop that does not show what is ready, a hundred turns pass.
        """
        ready = getattr(asyncio.get_running_loop(), "_ready", None)
        for _ in range(SETTLING_TURNS if ready is None else _MOST_TURNS):
            await asyncio.sleep(0)
            if ready is not None and not ready:
                return
        if ready is not None:
            raise AssertionError(f"something keeps the loop busy: {_MOST_TURNS} turns and no end")

    def now(self) -> float:
        """UTC epoch seconds, where the test has put them."""
        with self._lock:
            return round(self._now, 6)

    def monotonic(self) -> float:
        """Seconds that were advanced so far."""
        with self._lock:
            return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        if seconds < 0:
            raise ValueError(f"time does not pass backwards: {seconds}; set_wall() sets the wall clock back")
        with self._lock:
            self._now += seconds
            self._monotonic += seconds
        for function in tuple(self._subscribed):
            function()

    def set_wall(self, now: float) -> None:
        """Set the wall clock alone, as an administrator or NTP does; it may go back."""
        with self._lock:
            self._now = now
