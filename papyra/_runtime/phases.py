"""Where an actor is in its life, and what its children ask of it meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import Future

    from papyra._runtime.facts import Failure
    from papyra.ref import ActorRef
    from papyra.supervision import SupervisorDecision


class Phase(Enum):
    """Where an actor is in its life. Messages are handled in `RUNNING` only."""

    STARTING = "starting"
    RUNNING = "running"
    SUSPENDED = "suspended"
    RESTARTING = "restarting"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ChildFailed:
    """Asks a parent what to do about a child."""

    child: ActorRef
    error: BaseException
    answer: Future[SupervisorDecision | None]


@dataclass(frozen=True, slots=True)
class Escalated:
    """Hands a child's failure to its parent."""

    child_path: str
    failure: Failure
