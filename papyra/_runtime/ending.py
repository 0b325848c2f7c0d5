"""Waiting for the end of actors, without ever waiting for oneself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from papyra._runtime.calls import running_task
from papyra._runtime.mailbox import CURRENT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from papyra._runtime.cell import Cell


class EndWaits:
    """Knows which actors wait, in a message of theirs, for the end of which others."""

    def __init__(self) -> None:
        self._awaited: dict[Cell, Cell] = {}

    async def wait(self, cells: Iterable[Cell]) -> None:
        """Wait for the end of ``cells``, but for those that cannot end before the calling actor does."""
        caller = calling_cell()
        for cell in cells:
            ended = cell.ended()
            if ended is None:
                continue
            if caller is None:
                await ended
            elif not self._would_wait_for(caller, cell):
                self._awaited[caller] = cell
                try:
                    await ended
                finally:
                    del self._awaited[caller]

    def _would_wait_for(self, caller: Cell, target: Cell) -> bool:
        """Whether ``target`` ends only after a message of ``caller``: it is above it, or waits for it."""
        above = set(_upwards(caller))
        seen: set[Cell] = set()
        unseen = [target]
        while unseen:
            cell = unseen.pop()
            if cell in above:
                return True
            if cell not in seen:
                seen.add(cell)
                unseen += [awaited for waiter, awaited in self._awaited.items() if cell in _upwards(waiter)]
        return False


def calling_cell() -> Cell | None:
    """Return the cell whose own task is running now: inside a message or a lifecycle method of it."""
    current = CURRENT.get()
    if current is None:
        return None
    cell: Cell = current.target  # type: ignore[assignment]  # only cells have tasks
    return cell if getattr(cell, "task", None) is running_task() else None


def _upwards(cell: Cell) -> list[Cell]:
    line = [cell]
    while line[-1].parent is not None:
        line.append(line[-1].parent)
    return line
