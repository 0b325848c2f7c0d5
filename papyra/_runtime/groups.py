"""Actors that restart together: each waits, stopped, until all are; the oldest begins first."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import Future

    from papyra._runtime.mailbox import Envelope
    from papyra._runtime.tree import Branch


class Group:
    """Those that wait. Once released nobody waits any more.

    Nobody waits for a sibling that waits for a reply of one of them: it is left behind, and restarts later.
    """

    def __init__(self, parent: Branch | None) -> None:
        self._parent = parent
        self._waiting: list[tuple[int, Future[None]]] = []
        self._is_released = False
        self._askers: set[Branch] = set()
        self._awaited: tuple[Branch, Future[None]] | None = None

    def enter(self, number: int, go: Future[None]) -> None:
        """Have ``go`` set at the release; ``number`` says where in the order."""
        if self._is_released:
            go.set_result(None)
        else:
            self._waiting.append((number, go))

    def release(self) -> None:
        """Let all go on."""
        self._is_released = True
        waiting, self._waiting = self._waiting, []
        for _, go in sorted(waiting, key=lambda place: place[0]):
            if not go.done():
                go.set_result(None)

    def expect(self, sibling: Branch, stopped: Future[None]) -> None:
        """Note that ``stopped`` is what the others wait for; it is set at once if that were in vain."""
        self._awaited = sibling, stopped
        self._leave_behind()

    def hear(self, asker: Branch, envelope: Envelope) -> None:
        """Note that ``asker`` waits for a reply of one that waits."""
        del envelope
        sibling: Branch | None = asker
        while sibling is not None and sibling.parent is not self._parent:
            sibling = sibling.parent
        if sibling is not None:
            self._askers.add(sibling)
            self._leave_behind()

    def _leave_behind(self) -> None:
        if self._awaited is not None:
            sibling, stopped = self._awaited
            if sibling in self._askers and not stopped.done():
                stopped.set_result(None)
