"""The last messages of an actor, for crash reports: numbers and classes, which keep no message alive."""

from __future__ import annotations

from array import array
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from papyra._runtime.cell import Cell

REMEMBERED = 8
"""So many messages, the newest, are in a crash report beside the one that failed."""


def remember(cell: Cell, passed: Sequence[tuple[int, type]]) -> None:
    """Note what was handled, oldest first."""
    trail = cell.trail
    if type(trail) is not deque:
        trail = cell.trail = deque(recalled(cell), maxlen=REMEMBERED)
    trail.extend(passed)


def recalled(cell: Cell) -> list[tuple[int, type]]:
    """Return the numbers and classes of the last messages, oldest first."""
    trail = cell.trail
    if trail is None:
        return []
    if isinstance(trail, deque):
        return list(trail)
    numbers, *classes = trail
    return list(zip(array("q", numbers), classes, strict=True))


def put_by(cell: Cell) -> None:
    """Make the trail small, for a time without messages."""
    trail = cell.trail
    if isinstance(trail, deque):
        numbers = array("q", (number for number, _ in trail))
        cell.trail = (numbers.tobytes(), *(cls for _, cls in trail)) if trail else None
