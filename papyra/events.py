"""Facts about actors' lives, as values."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class StopReason(StrEnum):
    """Why an actor stopped."""

    REQUESTED = "requested"
    COMPLETED = "completed"
    PARENT_STOPPED = "parent_stopped"
    SHUTDOWN = "shutdown"
    FAILED = "failed"
    RESTART_LIMIT = "restart_limit"
    ESCALATED = "escalated"
    START_FAILED = "start_failed"
    PASSIVATED = "passivated"
    NODE_LOST = "node_lost"
    KILLED = "killed"


@dataclass(frozen=True, slots=True)
class ActorEvent:
    """One fact. ``message_id`` is the message whose handling led to it, ``cause_id`` what led to that one."""

    address: Mapping[str, object]
    _: KW_ONLY
    path: str = ""
    actor_type: str = ""
    timestamp: float = 0.0
    message_id: str = ""
    cause_id: str = ""
    root_id: str = ""

    @property
    def payload(self) -> dict[str, object]:
        """What this type of event adds, plain and without what is empty."""
        found = ((name, getattr(self, name)) for name in _own_fields(type(self)))
        return {
            name: list(map(dict, value)) if isinstance(value, tuple) else value
            for name, value in found
            if value
        }


@dataclass(frozen=True, slots=True)
class ActorStarted(ActorEvent):
    """The actor's ``on_start`` has ended well; messages follow."""


@dataclass(frozen=True, slots=True)
class ActorRestarted(ActorEvent):
    """A new instance took over the mailbox; ``reason`` is the error, ``restart`` counts up to ``limit``.

    ``sibling`` is the path of the actor that failed, where it was not this one: they restart together.
    """

    reason: str = field(default="", kw_only=False)
    restart: int = 0
    limit: int = 0
    sibling: str = ""


@dataclass(frozen=True, slots=True)
class ActorCrashed(ActorEvent):
    """A handler or a lifecycle hook raised. ``decision`` says what followed, ``decided_by`` who said so.

    ``message`` is an excerpt of the one that was handled, at most 2 kB and redacted; ``recent`` are the last
    ones before it, oldest first, by ``message_id`` and ``message_type``; ``scope`` who restarts with it.
    """

    error: str = field(default="", kw_only=False)
    reason: str | None = field(default=None, kw_only=False)
    error_type: str = ""
    traceback: str = ""
    message_type: str = ""
    message: str = ""
    recent: tuple[Mapping[str, str], ...] = ()
    decision: str = ""
    decided_by: str = ""
    restart: int = 0
    limit: int = 0
    scope: str = ""


@dataclass(frozen=True, slots=True)
class ActorEscalated(ActorEvent):
    """A failure was handed to the parent, whose own failure it now is."""

    error: str = ""
    to: str = ""


@dataclass(frozen=True, slots=True)
class ActorStopped(ActorEvent):
    """The end of an actor; every actor that was spawned has exactly one."""

    reason: StopReason | None = field(default=None, kw_only=False)
    text: str = ""
    error: str = ""
    decision: str = ""
    restart: int = 0
    limit: int = 0
    on_stop_error: str = ""


def _own_fields(cls: type[ActorEvent]) -> tuple[str, ...]:
    return _OWN_FIELDS[cls] if cls in _OWN_FIELDS else _find_own_fields(cls)


def _find_own_fields(cls: type[ActorEvent]) -> tuple[str, ...]:
    common = {known.name for known in fields(ActorEvent)}
    return tuple(known.name for known in fields(cls) if known.name not in common)


_OWN_FIELDS = {
    cls: _find_own_fields(cls)
    for cls in (ActorStarted, ActorRestarted, ActorCrashed, ActorEscalated, ActorStopped)
}
