"""Messages the runtime itself understands, and the words around a message: its end, its deadline."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

AttrPath = tuple[str, ...]
R = TypeVar("R")


class Request(Generic[R]):
    """Base of a message whose reply is an ``R``: what `papyra.ref.ActorRef.ask` of it returns."""

    __slots__ = ()


class MailboxPolicy(StrEnum):
    """What becomes of a message that finds the mailbox full; each one that is lost is a letter OVERFLOW.

    ``BACKPRESSURE``: it is taken, up to once more the capacity, and who awaits the tell waits for room; more
    than that is refused with `papyra.exceptions.MailboxFull` at the await. ``DROP_NEW`` and ``DROP_OLDEST``
    lose a message and tell nobody but an asker. ``FAIL`` raises at the call.
    """

    BACKPRESSURE = "backpressure"
    DROP_NEW = "drop_new"
    DROP_OLDEST = "drop_oldest"
    FAIL = "fail"


class Timeout(Enum):
    """Stands for a timeout that the system decides."""

    SYSTEM = "the system's own"


SYSTEM_TIMEOUT: Final = Timeout.SYSTEM


class Current(Enum):
    """Stands for the message that is being handled."""

    MESSAGE = "the current one"


CURRENT_MESSAGE: Final = Current.MESSAGE


class Stored(Enum):
    """Stands for the message as it is in the letter."""

    MESSAGE = "as stored"


AS_STORED: Final = Stored.MESSAGE


@dataclass(frozen=True, slots=True)
class Redelivery:
    """What was sent, or would be. ``letter_id`` is incarnation, kind and number of the letter."""

    letter_id: str
    target_path: str
    message_type: str
    message_id: str
    attempts: int
    is_dry_run: bool = False


class DeadLetterReason(StrEnum):
    """Why a message was not handled to its end.

    ``QUEUED_AT_STOP`` waited when its actor stopped, ``TARGET_STOPPED`` came later; ``SHUTDOWN`` stands for
    both when the system closes. ``LATE_REPLY`` holds the request whose reply nobody waited for any more.
    """

    TARGET_STOPPED = "target_stopped"
    TARGET_UNKNOWN = "target_unknown"
    QUEUED_AT_STOP = "queued_at_stop"
    OVERFLOW = "overflow"
    HANDLER_FAILED = "handler_failed"
    EXPIRED = "expired"
    LATE_REPLY = "late_reply"
    UNHANDLED = "unhandled"
    UNDECODABLE = "undecodable"
    NODE_LOST = "node_lost"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class ProxyCall:
    """Call a public method of the actor."""

    attr_path: AttrPath
    args: tuple[object, ...] = ()
    kwargs: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class ProxyGetAttr:
    """Read a public attribute of the actor."""

    attr_path: AttrPath


@dataclass(frozen=True, slots=True)
class ProxySetAttr:
    """Set a public attribute of the actor."""

    attr_path: AttrPath
    value: object


@dataclass(frozen=True, slots=True)
class ReceiveTimeout:
    """Nothing came for as long as `papyra.context.ActorContext.set_receive_timeout` said."""


@dataclass(frozen=True, slots=True)
class PipeFailed:
    """What was given to `papyra.context.ActorContext.pipe_to_self` raised."""

    error: BaseException
