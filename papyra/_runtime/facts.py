"""What befell an actor, as the runtime hands it on: failures and ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from papyra._runtime.texts import error_texts
from papyra.payloads import message_name

if TYPE_CHECKING:
    from papyra._runtime.mailbox import Envelope
    from papyra.events import StopReason
    from papyra.supervision import Verdict


@dataclass(frozen=True, slots=True)
class Origin:
    """The message that led to something, by its numbers; 0 where there was none."""

    id: int = 0
    cause: int = 0
    root: int = 0

    @classmethod
    def of(cls, envelope: Envelope | None) -> Origin:
        """Take the numbers of ``envelope``, and nothing that keeps its message alive."""
        return NOWHERE if envelope is None else cls(envelope.id, envelope.cause, envelope.root)


NOWHERE = Origin()


class Failure:
    """An error that supervision has to act on; ``during`` says in which of the actor's methods."""

    __slots__ = ("during", "error", "message_type", "origin", "text", "traceback")

    def __init__(self, error: BaseException, during: str, envelope: Envelope | None) -> None:
        self.error = error
        self.during = during
        self.origin = Origin.of(envelope)
        self.message_type = "" if envelope is None or during != "receive" else message_name(envelope.message)
        self.text, self.traceback = error_texts(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Why an actor stops; fixed when that is decided, recorded when it has happened."""

    reason: StopReason
    text: str = ""
    error: str = ""
    verdict: Verdict | None = None
    origin: Origin = NOWHERE
