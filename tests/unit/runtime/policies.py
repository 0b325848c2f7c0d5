"""Policies and actors that the tests of supervision share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from papyra import Strategy, SupervisionPolicy
from tests.unit.runtime.actors import Worker

if TYPE_CHECKING:
    from papyra import ActorSystem


def policy(strategy: Strategy = Strategy.RESTART, **options: Any) -> SupervisionPolicy:
    return SupervisionPolicy(strategy, **options)


def of(system: ActorSystem, kind: type) -> list[Any]:
    return [event for event in system.events() if isinstance(event, kind)]


class Noting(Worker):
    """Writes its life into a list."""

    def __init__(self, log: list[str], name: str) -> None:
        super().__init__()
        self.log = log
        self.name = name

    async def on_start(self) -> None:
        self.log.append(f"{self.name} starts")

    async def on_stop(self) -> None:
        self.log.append(f"{self.name} stops")

    async def on_restart(self, reason: BaseException, message: object | None) -> None:
        self.log.append(f"{self.name} restarts: {reason}, {type(message).__name__}")

    async def on_undelivered(self, messages: tuple[object, ...]) -> None:
        self.log.append(f"{self.name} leaves {list(messages)}")
