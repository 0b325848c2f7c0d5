"""Let the event loop have its turn while a thread of a store is long at work; it may still wait some 5 ms."""

from __future__ import annotations

import threading

from papyra.clock import pause, seconds_at_work

SHARE_SECONDS = 0.004
PAUSE_SECONDS = 0.0001
"""Longer than a thread takes to wake up, on a busy machine too: one that finds no pause has to wait on."""


class _Thread(threading.local):
    gave_way_at = 0.0


_this = _Thread()


def give_way() -> None:
    """Pause for a moment, once this thread has been at work for some milliseconds since it last did.

    Whoever waits for the interpreter asks for it once nobody let go of it for 5 ms. Each read of a file lets
    go of it and has it back before anybody is awake, and the 5 ms begin anew: a loop could wait for a second.
    """
    now = seconds_at_work()
    if now - _this.gave_way_at >= SHARE_SECONDS:
        _this.gave_way_at = now
        pause(PAUSE_SECONDS)
