"""Actors that restart together: each waits, stopped, until all are; the oldest begins first."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import Future


class Group:
    """Those that wait. Once released nobody waits any more."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Future[None]]] = []
        self._is_released = False

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
