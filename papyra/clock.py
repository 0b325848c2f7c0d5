"""The one reader of time, and the ids that are made of it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
INCARNATION_LENGTH = 26
_MAX_MILLISECONDS = 2**48 - 1


class Clock(Protocol):
    """Wall time for what is recorded, monotonic time for budgets and timeouts."""

    def now(self) -> float:
        """UTC epoch seconds, cut to microseconds; may step back when the machine's clock does."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow; comparable within one process only."""
        ...


@runtime_checkable
class SteppedClock(Protocol):
    """A clock that moves by itself never: it calls what subscribed whenever somebody has moved it."""

    def subscribe(self, function: Callable[[], None]) -> None:
        """Have ``function`` called after each step."""
        ...

    def unsubscribe(self, function: Callable[[], None]) -> None:
        """Have it called no more."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        """Read the wall clock."""
        return time.time_ns() // 1000 / 1e6  # a third of what round() takes

    monotonic = staticmethod(time.monotonic)
    """Read the clock that only grows; no call in between, for it is read for each message."""


SYSTEM_CLOCK = SystemClock()

seconds_at_work = time.thread_time
"""Read how long the calling thread has been at work: it stands still while that waits or sleeps."""

pause = time.sleep
"""Hold up the calling thread, and let others run: never the event loop's."""


def mint_incarnation(now: float) -> str:
    """Return a unique id of 26 Crockford base-32 letters, ordered by ``now`` to the millisecond (a ULID)."""
    milliseconds = min(max(int(now * 1000), 0), _MAX_MILLISECONDS)
    number = (milliseconds << 80) | int.from_bytes(os.urandom(10), "big")
    letters = []
    for _ in range(INCARNATION_LENGTH):
        letters.append(_CROCKFORD[number & 31])
        number >>= 5
    return "".join(reversed(letters))


def minted_at(incarnation: str) -> float | None:
    """Return the time inside an id from `mint_incarnation`, or ``None`` for an id of another form."""
    if len(incarnation) != INCARNATION_LENGTH:
        return None
    number = 0
    for letter in incarnation[:10]:
        value = _CROCKFORD.find(letter)
        if value < 0:
            return None
        number = (number << 5) | value
    return number / 1000
