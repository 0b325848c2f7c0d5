"""How actors are spoken to: references, what comes back of a tell, and the notices that carry references."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, overload

from papyra.messages import SYSTEM_TIMEOUT, DeadLetterReason, Timeout
from papyra.proxy import ActorProxy

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator, Mapping

    from typing_extensions import TypeVar  # a type checker has it, no installation needs it

    from papyra.address import ActorAddress
    from papyra.events import StopReason
    from papyra.exceptions import PapyraError
    from papyra.messages import Request

    M = TypeVar("M", contravariant=True, default=Any)  # noqa: PLC0105  # what error messages show
    R = TypeVar("R")
else:
    from typing import TypeVar

    M = TypeVar("M", contravariant=True)  # noqa: PLC0105  # as above


class Delivery:
    """What became of a tell. Awaiting it is optional: it waits for room in the mailbox, or raises `error`."""

    __slots__ = ()

    @property
    def error(self) -> PapyraError | None:
        """Why the message was refused; ``None`` for one that was taken."""
        return None

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Any, None, None]: ...
    else:
        __await__ = staticmethod(().__iter__)  # a method of ours would take longer than the rest


class Refusal(Delivery):
    """The message was not taken; its letter is recorded already."""

    __slots__ = ("_error",)

    def __init__(self, error: PapyraError) -> None:
        self._error = error

    @property
    def error(self) -> PapyraError:
        """Why the message was refused."""
        return self._error

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()
        raise self._error


TAKEN: Final = Delivery()


class _Endpoint(Protocol):
    """What a reference needs of the runtime."""

    @property
    def address(self) -> ActorAddress: ...
    @property
    def path(self) -> str: ...
    @property
    def name(self) -> str | None: ...
    @property
    def actor_type(self) -> str: ...
    @property
    def is_alive(self) -> bool: ...
    def tell(self, message: object) -> Delivery: ...
    def tell_marked(
        self, message: object, ttl: float | None, headers: Mapping[str, str] | None
    ) -> Delivery: ...
    def send(
        self, message: object, ttl: float | None, headers: Mapping[str, str] | None
    ) -> Coroutine[object, object, None]: ...
    def ask(
        self, message: object, timeout: float | Timeout | None, headers: Mapping[str, str] | None
    ) -> Coroutine[object, object, Any]: ...


class Recipient(Generic[M]):
    """What takes messages of type ``M``: the base of `papyra.actor.Actor`, known to references."""


class ActorRef(Generic[M]):
    """Speaks to one actor, across its restarts. Equal to every other reference to the same actor.

    ``ttl``: seconds after which the message is not worth handling any more: a letter EXPIRED. ``headers``
    travel with a message and on to whatever its handler sends; without any, those of the current message do.
    """

    __slots__ = ("__weakref__", "_endpoint")

    def __init__(self, endpoint: _Endpoint) -> None:
        self._endpoint = endpoint

    @property
    def address(self) -> ActorAddress:
        """The published form ``system:id``."""
        return self._endpoint.address

    @property
    def path(self) -> str:
        """Where the actor hangs in its tree."""
        return self._endpoint.path

    @property
    def name(self) -> str | None:
        """The name it was given, if any."""
        return self._endpoint.name

    @property
    def actor_type(self) -> str:
        """The stored name of the actor's class."""
        return self._endpoint.actor_type

    def is_alive(self) -> bool:
        """Whether the actor takes messages."""
        return self._endpoint.is_alive

    def tell(
        self, message: M, *, ttl: float | None = None, headers: Mapping[str, str] | None = None
    ) -> Delivery:
        """Put ``message`` into the mailbox, now. Await the result to wait for room.

        Raises nothing here, but `MailboxFull` under `papyra.messages.MailboxPolicy.FAIL`.
        """
        if ttl is None and headers is None:
            return self._endpoint.tell(message)
        return self._endpoint.tell_marked(message, ttl, headers)

    def send(
        self, message: M, *, ttl: float | None = None, headers: Mapping[str, str] | None = None
    ) -> Coroutine[object, object, None]:
        """Wait for room in the mailbox, however long, then put ``message`` there.

        Raises `ActorStopped` if the actor stops first. Cancelled, it has sent nothing.
        """
        return self._endpoint.send(message, ttl, headers)

    @overload
    def ask(
        self,
        message: Request[R],
        *,
        timeout: float | Timeout | None = ...,
        headers: Mapping[str, str] | None = ...,
    ) -> Coroutine[object, object, R]: ...
    @overload
    def ask(
        self, message: M, *, timeout: float | Timeout | None = ..., headers: Mapping[str, str] | None = ...
    ) -> Coroutine[object, object, Any]: ...
    def ask(
        self,
        message: Any,
        *,
        timeout: float | Timeout | None = SYSTEM_TIMEOUT,
        headers: Mapping[str, str] | None = None,
    ) -> Coroutine[object, object, Any]:
        """Send ``message`` and return the handler's result, or raise what it raised.

        One deadline covers queueing and handling: `AskTimeout`. ``None`` waits for ever. The reply to a
        `papyra.messages.Request` of ``R`` is an ``R``.
        """
        return self._endpoint.ask(message, timeout, headers)

    def proxy(self, *, timeout: float | Timeout | None = SYSTEM_TIMEOUT) -> ActorProxy:
        """Return an object whose method calls are asks."""
        to_any: ActorRef[Any] = self
        return ActorProxy(to_any, timeout=timeout)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorRef) and endpoint_of(other) is self._endpoint

    def __hash__(self) -> int:
        return hash(id(self._endpoint))

    def __repr__(self) -> str:
        return f"<ActorRef {self.address} {self.path}>"


def endpoint_of(ref: ActorRef) -> _Endpoint:
    """Return what ``ref`` speaks to; for the runtime."""
    return ref._endpoint  # noqa: SLF001  # the reference's own module


@dataclass(frozen=True, slots=True)
class Terminated:
    """Told to a watcher, once, after the watched actor's ``on_stop`` has ended."""

    ref: ActorRef
    reason: StopReason


ActorTerminated = Terminated
"""The published name."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was not handled to its end, as hooks and `ActorSystem.dead_letters` see it.

    ``attempts``: how often a handler had it.
    """

    target: ActorRef | None
    message: object
    expects_reply: bool = False
    _: KW_ONLY
    reason: DeadLetterReason = DeadLetterReason.UNHANDLED
    error: str = ""
    timestamp: float = 0.0
    attempts: int = 0
    deadline: float | None = None
    message_id: str = ""
    cause_id: str = ""
    root_id: str = ""
    sender_path: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    redelivered_from: str = ""
