"""What the folds answer with; plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from papyra.persistence.models import LossNote, PersistedDeadLetter


class LifeState(StrEnum):
    """What an actor that had not stopped was doing; ``crashed``: what was decided is not on record."""

    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as it was recorded."""

    type: str = ""
    text: str = ""
    traceback: str = ""


class PastMessage(NamedTuple):
    """A message that an actor had before it failed."""

    message_id: str
    message_type: str


@dataclass(frozen=True, slots=True)
class HandledMessage:
    """A message that was handled, where the system recorded that."""

    timestamp: float
    message_id: str
    message_type: str = ""
    seconds: float | None = None
    cause_id: str = ""
    root_id: str = ""


@dataclass(frozen=True, slots=True)
class Crash:
    """One failure ``during`` some method: with which message, what was decided, the n-th restart of m.

    ``message`` is a redacted excerpt, ``recent`` the messages before it, oldest first; ``scope``, if it is
    not this actor alone, says which siblings restarted with it.
    """

    timestamp: float
    error: Failure
    during: str = ""
    message_id: str = ""
    message_type: str = ""
    decision: str = ""
    restart: int | None = None
    limit: int | None = None
    message: str = ""
    recent: tuple[PastMessage, ...] = ()
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Restart:
    """A new instance took over the mailbox; ``sibling`` is the path of whose failure it was, if another's."""

    timestamp: float
    reason: str = ""
    restart: int | None = None
    limit: int | None = None
    sibling: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """Why an actor stopped; ``is_inferred``: it has no stop on record, but its process or system ended."""

    timestamp: float
    incarnation: str
    reason: str
    text: str = ""
    error: Failure | None = None
    message_id: str = ""
    decision: str = ""
    restart: int | None = None
    limit: int | None = None
    is_inferred: bool = False


class ActorKey(NamedTuple):
    """Whom an answer is about; with an incarnation for generated names: the next one reuses them."""

    system_id: str
    path: str
    incarnation: str = ""

    def __str__(self) -> str:
        return f"{self.system_id}{self.path}" if self.path.startswith("/") else self.path


@dataclass(frozen=True, slots=True)
class RunningActor:
    """One actor that ran; ``since`` is ``None`` where its start is not on record."""

    system_id: str
    incarnation: str
    path: str
    type: str
    state: LifeState
    since: float | None

    @property
    def parent(self) -> str:
        """The path of the parent, empty at the top."""
        return self.path.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class UnknownSpan:
    """A process was lost: whether its actors still ran in between cannot be known."""

    incarnation: str
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class RunningAt:
    """The tree at one time, parents before children, and the limits of that answer.

    Actors that began before ``unknown_before`` and showed no event since are not listed.
    ``unknown_between`` are lost processes that may have run then, ``gaps`` lost events that may hide a
    start or a stop.
    """

    at: float
    actors: tuple[RunningActor, ...]
    unknown_before: float | None = None
    unknown_between: tuple[UnknownSpan, ...] = ()
    gaps: tuple[LossNote, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing that could change the answer."""
        return self.unknown_before is None and not self.unknown_between and not self.gaps


@dataclass(frozen=True, slots=True)
class Life:
    """One actor from start to stop within one incarnation; ``started`` may not be on record.

    ``messages`` are the last ones it handled, oldest first, if its system recorded them.
    """

    incarnation: str
    type: str = ""
    parent: str = ""
    started: float | None = None
    crashes: tuple[Crash, ...] = ()
    restarts: tuple[Restart, ...] = ()
    stop: Stop | None = None
    letters: tuple[PersistedDeadLetter, ...] = ()
    messages: tuple[HandledMessage, ...] = ()


@dataclass(frozen=True, slots=True)
class Timeline:
    """Every life of one path, oldest first; ``letters`` are those that fell into none of them.

    What happened before ``unknown_before`` is not on record, or not all of it; ``gaps`` are lost events that
    may have been this actor's.
    """

    system_id: str
    path: str
    lives: tuple[Life, ...] = ()
    letters: tuple[PersistedDeadLetter, ...] = ()
    unknown_before: float | None = None
    gaps: tuple[LossNote, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether nothing is known to be missing."""
        return self.unknown_before is None and not self.gaps


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """What became of the messages one incarnation accepted, as of ``timestamp``.

    ``lost_with_node`` is what a killed process had accepted and not settled at its last audit.
    """

    system_id: str
    incarnation: str
    timestamp: float
    accepted: int = 0
    handled: int = 0
    failed: int = 0
    dead: int = 0
    expired: int = 0
    pending: int = 0
    records_dropped: int = 0
    is_final: bool = False
    lost_with_node: int = 0

    @property
    def settled(self) -> int:
        """How many are accounted for without being pending."""
        return self.handled + self.failed + self.dead + self.expired

    @property
    def is_balanced(self) -> bool:
        """Whether every accepted message is counted exactly once."""
        return self.accepted == self.settled + self.pending
