"""Waiting for the end of actors, without ever waiting for oneself."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from papyra._runtime.calls import running_task
from papyra._runtime.circles import hearing, is_below
from papyra._runtime.mailbox import CURRENT

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Iterable

    from papyra._runtime.cell import Cell
    from papyra._runtime.mailbox import Envelope


class EndWaits:
    """Knows which actors wait, in a message of theirs, for the end of which others."""

    def __init__(self) -> None:
        self._waiters: dict[Cell, set[Cell]] = {}

    async def wait(self, cells: Iterable[Cell]) -> None:
        """Wait for the end of ``cells``, but for those that cannot end before the calling actor does.

        Nor, if it handles a message, before that is handled: they wait for its reply.
        """
        caller = calling_cell()
        for cell in cells:
            ended = cell.ended()
            if ended is None:
                continue
            if caller is None:
                await ended
            elif cell not in self._held_up_by(caller):
                waiters = self._waiters.setdefault(cell, set())
                waiters.add(caller)
                try:
                    with hearing(caller, partial(_wait_no_more, cell, ended)):
                        await ended
                finally:
                    waiters.discard(caller)
                    if not waiters:
                        self._waiters.pop(cell, None)

    def _held_up_by(self, caller: Cell) -> set[Cell]:
        """Return who ends only after a message of ``caller``: it, those above it, and who waits for any."""
        held_up: set[Cell] = set()
        unseen = [caller]
        while unseen:
            cell: Cell | None = unseen.pop()
            while cell is not None and cell not in held_up:
                held_up.add(cell)
                unseen += self._waiters.get(cell, ())
                cell = cell.parent
        return held_up


def _wait_no_more(cell: Cell, ended: Future[None], asker: Cell, _: Envelope) -> None:
    if (asker is cell or is_below(asker, cell)) and not ended.done():
        ended.set_result(None)


def calling_cell() -> Cell | None:
    """Return the cell whose own task is running now: inside a message or a lifecycle method of it."""
    current = CURRENT.get()
    if current is None:
        return None
    cell: Cell = current.target  # type: ignore[assignment]  # only cells have tasks
    return cell if getattr(cell, "task", None) is running_task() else None
