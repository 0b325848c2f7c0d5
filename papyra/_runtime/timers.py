"""An actor's timers: messages to itself, later. They end with the instance that started them."""

from __future__ import annotations

from math import inf, isfinite, nextafter
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
    """One key's timer. ``tick`` is its message, from when it was sent to when its turn has come."""

    __slots__ = ("alarm", "due", "every", "message", "origin", "tick")

    def __init__(self, message: object, every: float | None) -> None:
        self.message = message
        self.every = every
        self.origin = Origin.of(CURRENT.get())
        self.alarm: Alarm | None = None
        self.due = 0.0
        self.tick: Tick | None = None

    @property
    def is_active(self) -> bool:
        """Whether a message of it is still to come."""
        return self.alarm is not None or self.tick is not None


class ActorTimers:
    """By key. A tick that is queued is taken back with its timer, so that none comes after `cancel`."""

    __slots__ = ("_crowded", "_owner", "_timers")

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
        """End the timer; whether it was active."""
        timer = self._timers.pop(key, None)
        if timer is None:
            return False
        was_active = timer.is_active
        if timer.alarm is not None:
            timer.alarm.cancel()
        self._owner.take_back(timer)
        return was_active

    def cancel_all(self) -> None:
        """End every timer."""
        timers, self._timers = self._timers, {}
        for timer in timers.values():
            if timer.alarm is not None:
                timer.alarm.cancel()
        if timers:
            self._owner.take_back(None)

    def is_active(self, key: Hashable) -> bool:
        """Whether the timer will send its message, or the message waits still."""
        timer = self._timers.get(key)
        return timer is not None and timer.is_active

    def keys(self) -> tuple[Hashable, ...]:
        """Return the keys of what is active."""
        return tuple(key for key, timer in self._timers.items() if timer.is_active)

    def _start(self, key: Hashable, timer: Timer, seconds: float) -> None:
        self._owner.site.check_thread()
        self.cancel(key)
        if len(self._timers) >= self._crowded:
            self._timers = {old: kept for old, kept in self._timers.items() if kept.is_active}
            self._crowded = max(_FEW, 2 * len(self._timers))
        self._timers[key] = timer
        timer.due = self._owner.site.time() + seconds
        timer.alarm = self._owner.site.scheduler.call_at(timer.due, self._ring, timer)

    def _ring(self, timer: Timer) -> None:
        timer.alarm = None
        owner, message = self._owner, timer.message
        if timer.every is None:
            timer.message = None  # it is over, and keeps nothing alive
        if timer.tick is None:  # else the actor is behind, and one more would be of no use
            timer.tick = owner.tick(message, timer.origin, timer)
        if timer.every is not None and owner.closed is None:
            now = owner.site.time()
            late = max(now - timer.due, 0.0)
            timer.due = max(timer.due + late - late % timer.every + timer.every, nextafter(now, inf))
            timer.alarm = owner.site.scheduler.call_at(timer.due, self._ring, timer)


def _seconds(name: str, value: float, *, least: float | None = None) -> float:
    is_enough = value > 0 if least is None else value >= least
    if not (isfinite(value) and is_enough):
        raise ValueError(
            f"{name} must be {'above 0' if least is None else f'{least:g} or more'}, not {value!r:.50}"
        )
    return float(value)
