"""The last messages of an actor, for crash reports: by number and class, which keep no message alive."""

from __future__ import annotations

from array import array
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from papyra._runtime.cell import Cell
    from papyra._runtime.facts import Passed

REMEMBERED = 8
"""So many messages, the newest, are in a crash report beside the one that failed."""


def open_trail(cell: Cell) -> deque[Passed]:
    """Return where messages are noted, oldest first."""
    trail = cell.trail
    if not isinstance(trail, deque):
        trail = cell.trail = deque(recalled(cell), maxlen=REMEMBERED)
    return trail


def recalled(cell: Cell) -> list[tuple[int, type]]:
    """Return the numbers and classes of the last messages, oldest first."""
    trail = cell.trail
    if trail is None:
        return []
    if isinstance(trail, deque):
        return [passed[:2] for passed in trail]
    numbers, *classes = trail
    return list(zip(array("q", numbers), classes, strict=True))


def put_by(cell: Cell) -> None:
    """Make the trail small, for a time without messages."""
    trail = cell.trail
    if isinstance(trail, deque):
        numbers = array("q", [passed[0] for passed in trail])
        cell.trail = (numbers.tobytes(), *(passed[1] for passed in trail)) if trail else None
