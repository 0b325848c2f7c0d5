"""Where an actor is in its life, and what its children ask of it meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import Future

    from papyra._runtime.facts import Failure, Origin
    from papyra._runtime.groups import Group
    from papyra.ref import ActorRef
    from papyra.supervision import SupervisorDecision


class Phase(Enum):
    """Where an actor is in its life. Messages are handled in `RUNNING` only."""

    STARTING = "starting"
    RUNNING = "running"
    SUSPENDED = "suspended"
    RESTARTING = "restarting"
    STOPPED = "stopped"


STARTING, RUNNING = Phase.STARTING, Phase.RUNNING
"""For each spawn: to look a member up in its class takes as long as to set a dozen attributes."""


@dataclass(frozen=True, slots=True)
class ChildFailed:
    """Asks a parent what to do about a child."""

    child: ActorRef
    error: BaseException
    answer: Future[SupervisorDecision | None]


@dataclass(frozen=True, slots=True)
class RestartWith:
    """Has a sibling restart as well; ``stopped`` is to be told once it has stopped, or never will."""

    sibling: str
    failure: Failure
    group: Group
    stopped: Future[None]


@dataclass(frozen=True, slots=True)
class StoppedItself:
    """Asks what follows when a permanent actor has stopped itself, and because of which message."""

    origin: Origin


@dataclass(frozen=True, slots=True)
class Escalated:
    """Hands a child's failure to its parent."""

    child_path: str
    failure: Failure


Command = ChildFailed | Escalated | RestartWith | StoppedItself
"""What goes before any message."""


def drop(command: Command) -> None:
    """Tell who waits that nothing will be done."""
    waiting: Future[Any] | None = None
    if isinstance(command, ChildFailed):
        waiting = command.answer
    elif isinstance(command, RestartWith):
        waiting = command.stopped
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
