"""Time that moves when a test says so."""

from __future__ import annotations

import threading

START = 1_800_000_000.0


class ManualClock:
    """A `papyra.clock.Clock` that stands still; thread-safe."""

    def __init__(self, now: float = START) -> None:
        self._lock = threading.Lock()
        self._now = now
        self._monotonic = 0.0

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

    def set_wall(self, now: float) -> None:
        """Set the wall clock alone, as an administrator or NTP does; it may go back."""
        with self._lock:
            self._now = now
