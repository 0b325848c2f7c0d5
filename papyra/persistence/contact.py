"""What a store does about a server that comes and goes: a small state machine. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

FIRST_SECONDS = 0.1
MOST_SECONDS = 5.0
LOOK_SECONDS = 60.0
"""How often a store whose server answers looks for what dead processes left."""

_CATCHING_UP = 2
"""So many bytes are replayed for each byte that comes meanwhile: so there is an end to it."""
_MOST_DOUBLINGS = 32


class Mode(StrEnum):
    """``away``: records are kept beside the store. ``replaying``: too, behind those that are being sent."""

    CONNECTED = "connected"
    AWAY = "away"
    REPLAYING = "replaying"


def pause_before_retry(failures: int, draw: float) -> float:
    """Return the seconds to wait after so many failures in a row; ``draw`` is from [0, 1): full jitter.

    So a thousand processes that lost one server at once do not come back at once.
    """
    return draw * min(MOST_SECONDS, FIRST_SECONDS * math.ldexp(1.0, min(failures, _MOST_DOUBLINGS)))


@dataclass(frozen=True, slots=True)
class Contact:
    """How it stands, when something is due by itself, how many bytes are owed before the next batch."""

    mode: Mode = Mode.CONNECTED
    due: float = -math.inf
    """By the monotonic clock; at first at once, for something may have been left."""
    failures: int = 0
    owed: int = 0

    def lost(self, now: float, draw: float, took: float) -> Contact:
        """Note that the server does not answer, which took so many seconds to see.

        As many are left to others before it is asked again.
        """
        failures = self.failures + 1
        pause = pause_before_retry(failures, draw) + min(took, MOST_SECONDS)
        return Contact(Mode.AWAY, now + pause, failures)

    def kept(self, size: int) -> Contact:
        """Note that so many bytes were put beside the store."""
        return replace(self, owed=self.owed + _CATCHING_UP * size) if self.mode is Mode.REPLAYING else self

    def answered(self, size: int) -> Contact:
        """Note that the server took so many bytes of what waits, and that there is more."""
        return Contact(Mode.REPLAYING, -math.inf, owed=max(self.owed - size, 0))

    def settled(self, now: float) -> Contact:
        """Note that nothing waits: records go straight to the server."""
        return Contact(Mode.CONNECTED, now + LOOK_SECONDS)
