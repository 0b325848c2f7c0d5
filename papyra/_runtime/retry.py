"""How long to wait before the next try. Pure: the caller brings the chance."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Doubles from first to last; chance takes up to half off, so that many clients do not meet."""

    first_seconds: float = 0.05
    last_seconds: float = 5.0

    def delay(self, failures: int, chance: float) -> float:
        """Return the pause after the ``failures``-th failure in a row (from 1); ``chance`` lies in [0, 1)."""
        doublings = min(failures - 1, 60)  # beyond, the float would not fit
        return min(self.first_seconds * 2.0**doublings, self.last_seconds) * (1 - chance / 2)


DEFAULT_BACKOFF = Backoff()
