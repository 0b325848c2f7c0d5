"""An actor's timers: messages to itself, later. They end with the instance that started them."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from papyra._runtime.facts import Origin
from papyra._runtime.mailbox import CURRENT

if TYPE_CHECKING:
    from collections.abc import Hashable

    from papyra._runtime.mailbox import Tick
    from papyra._runtime.receiver import Receiver
    from papyra._runtime.scheduling import Alarm


_FEW = 64


class Timer:
    """One key's timer. ``tick`` is the message it sent last."""

    __slots__ = ("alarm", "due", "every", "message", "origin", "tick")

    def __init__(self, message: object, every: float | None) -> None:
        self.message = message
        self.every = every
        self.origin = Origin.of(CURRENT.get())
        self.alarm: Alarm | None = None
        self.due = 0.0
        self.tick: Tick | None = None

    @property
    def is_queued(self) -> bool:
        """Whether the turn of its last message has not come yet."""
        return self.tick is not None and not self.tick.is_taken

    @property
    def is_active(self) -> bool:
        """Whether a message of it is still to come."""
        return self.alarm is not None or self.is_queued


class ActorTimers:
    """By key. A tick that is queued is taken back with its timer, so that none comes after `cancel`."""

    def __init__(self, owner: Receiver) -> None:
        self._owner = owner
        self._timers: dict[Hashable, Timer] = {}
        self._crowded = _FEW

    def start_once(self, key: Hashable, message: object, *, after: float) -> None:
        """Send ``message`` once."""
        self._start(key, Timer(message, None), _seconds("after", after, least=0.0))

    def start_periodic(
        self, key: Hashable, message: object, *, every: float, first: float | None = None
    ) -> None:
        """Send ``message`` again and again."""
        every = _seconds("every", every)
        self._start(
            key, Timer(message, every), every if first is None else _seconds("first", first, least=0.0)
        )

    def cancel(self, key: Hashable) -> bool:
        """End the timer; whether there was one."""
        timer = self._timers.pop(key, None)
        if timer is None:
            return False
        if timer.alarm is not None:
            timer.alarm.cancel()
        if timer.tick is not None:
            self._owner.take_back(timer.tick)
        return True

    def cancel_all(self) -> None:
        """End every timer."""
        for key in tuple(self._timers):
            self.cancel(key)

    def is_active(self, key: Hashable) -> bool:
        """Whether the timer will send its message, or the message waits still."""
        timer = self._timers.get(key)
        return timer is not None and timer.is_active

    def keys(self) -> tuple[Hashable, ...]:
        """Return the keys of what is active."""
        return tuple(key for key, timer in self._timers.items() if timer.is_active)

    def _start(self, key: Hashable, timer: Timer, seconds: float) -> None:
        self.cancel(key)
        if len(self._timers) >= self._crowded:
            self._timers = {old: kept for old, kept in self._timers.items() if kept.is_active}
            self._crowded = max(_FEW, 2 * len(self._timers))
        self._timers[key] = timer
        timer.due = self._owner.site.time() + seconds
        timer.alarm = self._owner.site.scheduler.call_at(timer.due, self._ring, timer)

    def _ring(self, timer: Timer) -> None:
        timer.alarm = None
        owner = self._owner
        if not timer.is_queued:  # else the actor is behind, and one more would be of no use
            timer.tick = owner.tick(timer.message, timer.origin)
        if timer.every is not None and owner.closed is None:
            now = owner.site.time()
            missed = max(int((now - timer.due) / timer.every), 0)
            timer.due += (missed + 1) * timer.every
            timer.alarm = owner.site.scheduler.call_at(timer.due, self._ring, timer)


def _seconds(name: str, value: float, *, least: float | None = None) -> float:
    is_enough = value > 0 if least is None else value >= least
    if not (isfinite(value) and is_enough):
        raise ValueError(
            f"{name} must be {'above 0' if least is None else f'{least:g} or more'}, not {value!r:.50}"
        )
    return float(value)
