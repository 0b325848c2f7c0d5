"""Which letters of a storm are kept in full, and how many were only counted. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

MAX_GROUPS = 10_000
MAX_IN_FULL_ALTOGETHER = 100_000


class Group(NamedTuple):
    """Letters that count as alike; an empty path stands for all the targets beyond the first ten thousand."""

    target: str
    target_path: str
    reason: str


@dataclass(slots=True)
class _Tally:
    in_full: int = 0
    suppressed: int = 0
    first: float = 0.0
    last: float = 0.0


@dataclass(frozen=True, slots=True)
class Suppressed:
    """How many letters of one group were counted without being kept, and when."""

    group: Group
    count: int
    first: float
    last: float

    def to_payload(self) -> dict[str, object]:
        """Return what ``DeadLettersSuppressed`` carries."""
        return {
            "target_path": self.group.target_path,
            "reason": self.group.reason,
            "count": self.count,
            "first": self.first,
            "last": self.last,
        }


class StormGuard:
    """Admits the first ``in_full`` letters of each group until `close_window`, and counts the others."""

    def __init__(self, in_full: int) -> None:
        self._in_full = in_full
        self._admitted = 0
        self._tallies: dict[Group, _Tally] = {}

    def admit(self, group: Group, now: float, *, never: bool = False) -> bool:
        """Count one letter; whether it is to be kept in full, which one is ``never``."""
        tally = self._tallies.get(group)
        if tally is None:
            if len(self._tallies) >= MAX_GROUPS:
                group = Group("", "", group.reason)
            tally = self._tallies.setdefault(group, _Tally())
        if not never and tally.in_full < self._in_full and self._admitted < MAX_IN_FULL_ALTOGETHER:
            tally.in_full += 1
            self._admitted += 1
            return True
        if not tally.suppressed:
            tally.first = now
        tally.suppressed += 1
        tally.last = now
        return False

    def close_window(self) -> list[Suppressed]:
        """End the window and return what was only counted in it."""
        counted = [
            Suppressed(group, tally.suppressed, tally.first, tally.last)
            for group, tally in self._tallies.items()
            if tally.suppressed
        ]
        self._tallies.clear()
        self._admitted = 0
        return counted
