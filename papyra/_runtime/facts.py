"""What befell an actor, as the runtime hands it on: failures and ends."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from papyra._runtime.texts import error_texts
from papyra.payloads import message_name

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Sequence

    from papyra._runtime.groups import Group
    from papyra._runtime.mailbox import Envelope
    from papyra.events import StopReason
    from papyra.supervision import Verdict


@dataclass(frozen=True, slots=True)
class Origin:
    """The message that led to something, by its numbers (see `Envelope`); 0 where there was none."""

    id: int = 0
    cause: int | str = 0
    root: int | str = 0

    @classmethod
    def of(cls, envelope: Envelope | None) -> Origin:
        """Take the numbers of ``envelope``, and nothing that keeps its message alive."""
        return NOWHERE if envelope is None else cls(envelope.id, envelope.cause, envelope.root)


NOWHERE = Origin()

Passed = tuple[int, type, *tuple[object, ...]]
Trail = deque[Passed] | tuple[bytes, *tuple[type, ...]]
"""Numbers and classes of an actor's last messages: while it has a task, and, smaller, while it idles."""


OWN_STOP = "stop_self"
"""During which a failure is none: a permanent actor has stopped itself, and begins anew."""


class Failure:
    """An error that supervision has to act on; ``during`` says in which of the actor's methods."""

    __slots__ = (
        "during",
        "error",
        "has_message",
        "message",
        "message_type",
        "origin",
        "recent",
        "text",
        "traceback",
    )

    def __init__(
        self,
        error: BaseException,
        during: str,
        envelope: Envelope | None,
        recent: Sequence[Handled] = (),
    ) -> None:
        self.error = error
        self.during = during
        self.recent = recent
        self.origin = Origin.of(envelope)
        self.has_message = envelope is not None and during == "receive"
        self.message = envelope.message if envelope is not None and self.has_message else None
        self.message_type = message_name(self.message) if self.has_message else ""
        self.text, self.traceback = error_texts(error)


class Handled(NamedTuple):
    """A message as it is remembered for crash reports: by number and class."""

    id: int
    type: type


class Restart(NamedTuple):
    """Why an actor restarts; ``sibling`` is the path of the one it does so with, if it has not failed itself.

    ``stopped`` is to be told once the old instance has ended; then ``group`` says when to go on.
    """

    failure: Failure
    verdict: Verdict
    sibling: str = ""
    group: Group | None = None
    stopped: Future[None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Why an actor stops; fixed when that is decided, recorded when it has happened."""

    reason: StopReason
    text: str = ""
    error: str = ""
    verdict: Verdict | None = None
    origin: Origin = NOWHERE
