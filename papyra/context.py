"""What an actor knows of itself and its surroundings, as ``self.context``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from papyra.messages import CURRENT_MESSAGE, MailboxPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Hashable, Mapping

    from papyra.ref import ActorRef, Delivery, M, Recipient
    from papyra.supervision import SupervisionPolicy

ActorFactory = Callable[..., Any]
DEFAULT_CAPACITY = 1024
T = TypeVar("T")


class System(Protocol):
    """What an actor sees of its system."""

    @property
    def system_id(self) -> str:
        """The system's stable name."""
        ...

    def spawn(  # noqa: PLR0913  # options, all by name
        self,
        actor_factory: Callable[..., Recipient[M]],
        *args: object,
        name: str | None = ...,
        policy: SupervisionPolicy | None = ...,
        mailbox_capacity: int | None = ...,
        mailbox_policy: MailboxPolicy | str = ...,
        passivate_after: float | None = ...,
        parent: ActorRef | None = ...,
    ) -> ActorRef[M]:
        """Spawn an actor, at the top of the tree unless ``parent`` is given."""
        ...

    def ref_for(self, target: str) -> ActorRef:
        """Return the living actor with this address, path or name."""
        ...

    async def stop(self, ref: ActorRef) -> None:
        """Stop ``ref`` and wait until it has."""
        ...

    async def aclose(self) -> None:
        """Close the system; called by one of its actors it returns at once."""
        ...

    def now(self) -> float:
        """Return the time that records carry."""
        ...


class Timers(Protocol):
    """An actor's timers, by key: any hashable. They send messages to the actor itself.

    Starting a key anew replaces its timer. After `cancel`, a restart or a stop no message of the timer is
    handled any more, even if it was queued. Mailbox policies do not hold for them.
    """

    def start_once(self, key: Hashable, message: object, *, after: float) -> None:
        """Send ``message`` once, ``after`` seconds from now."""
        ...

    def start_periodic(
        self, key: Hashable, message: object, *, every: float, first: float | None = None
    ) -> None:
        """Send ``message`` each ``every`` seconds, the first time in ``first``.

        While one is still queued no other is added, and what was missed is not made up for.
        """
        ...

    def cancel(self, key: Hashable) -> bool:
        """End the timer of ``key``; whether there was one."""
        ...

    def cancel_all(self) -> None:
        """End all."""
        ...

    def is_active(self, key: Hashable) -> bool:
        """Whether a message of ``key`` is still to come."""
        ...

    def keys(self) -> tuple[Hashable, ...]:
        """Return the keys that are active."""
        ...


class _Own(Protocol):
    """What a context needs of the runtime for things that end with the instance."""

    @property
    def timers(self) -> Timers: ...
    def set_receive_timeout(self, seconds: float | None) -> None: ...
    def pipe(
        self,
        awaitable: Awaitable[Any],
        on_result: Callable[[Any], object] | None,
        on_error: Callable[[BaseException], object] | None,
    ) -> None: ...


class _Surroundings(Protocol):
    """What a context needs of the runtime."""

    @property
    def system(self) -> System: ...
    @property
    def ref(self) -> ActorRef: ...
    @property
    def parent_ref(self) -> ActorRef | None: ...
    @property
    def child_refs(self) -> tuple[ActorRef, ...]: ...
    @property
    def sender_ref(self) -> ActorRef | None: ...
    @property
    def message_ids(self) -> tuple[str, str, str]: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    def forward(self, ref: ActorRef, message: object) -> Delivery: ...
    def stash(self) -> None: ...
    def unstash(self) -> None: ...
    def spawn_child(self, factory: ActorFactory, args: tuple[object, ...], **options: Any) -> ActorRef: ...
    def stop_self(self) -> None: ...
    @property
    def own(self) -> _Own: ...
    def watch(self, ref: ActorRef) -> None: ...
    def unwatch(self, ref: ActorRef) -> None: ...


class ActorContext:
    """One actor's view; the same object across its restarts."""

    __slots__ = ("_around",)

    def __init__(self, around: _Surroundings) -> None:
        self._around = around

    @property
    def system(self) -> System:
        """The system the actor lives in."""
        return self._around.system

    @property
    def self_ref(self) -> ActorRef:
        """The actor's own reference."""
        return self._around.ref

    @property
    def parent(self) -> ActorRef | None:
        """The supervisor; ``None`` at the top of the tree."""
        return self._around.parent_ref

    @property
    def children(self) -> tuple[ActorRef, ...]:
        """The living children, oldest first."""
        return self._around.child_refs

    @property
    def sender(self) -> ActorRef | None:
        """The actor that sent the current message; ``None`` if it came from outside."""
        return self._around.sender_ref

    @property
    def message_id(self) -> str:
        """The id of the current message, as the history has it; empty between messages."""
        return self._around.message_ids[0]

    @property
    def cause_id(self) -> str:
        """The id of the message whose handler sent the current one; empty if it came from outside."""
        return self._around.message_ids[1]

    @property
    def root_id(self) -> str:
        """The id of the message from outside with which it all began."""
        return self._around.message_ids[2]

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the current message, which go with whatever its handler sends."""
        return self._around.headers

    def forward(self, ref: ActorRef, message: object = CURRENT_MESSAGE) -> Delivery:
        """Hand the current message, or ``message`` in its place, on to ``ref``, which answers its sender.

        What the handler returns answers nobody. Raises `RuntimeError` where there is no message to hand on.
        """
        return self._around.forward(ref, message)

    def stash(self) -> None:
        """Put the current message aside, until `unstash_all` or a restart; its asker waits on.

        Raises `StashFull` beyond the mailbox's capacity, `RuntimeError` where there is no message.
        """
        self._around.stash()

    def unstash_all(self) -> None:
        """Put all that was set aside in front of the mailbox, in order."""
        self._around.unstash()

    @property
    def timers(self) -> Timers:
        """Messages to the actor itself, later."""
        return self._around.own.timers

    def set_receive_timeout(self, seconds: float | None) -> None:
        """Be sent `papyra.messages.ReceiveTimeout` each time nothing was to do for so long; ``None``: never.

        Forgotten at a restart.
        """
        self._around.own.set_receive_timeout(seconds)

    def pipe_to_self(
        self,
        awaitable: Awaitable[T],
        *,
        on_result: Callable[[T], object] | None = None,
        on_error: Callable[[BaseException], object] | None = None,
    ) -> None:
        """Await something without holding up the mailbox: its outcome comes back as a message.

        That is the result, or what ``on_result`` makes of it; for an error `papyra.messages.PipeFailed`, or
        what ``on_error`` makes of it. At a restart or stop the work is cancelled and nothing comes.
        """
        self._around.own.pipe(awaitable, on_result, on_error)

    def spawn_child(
        self,
        actor_factory: Callable[..., Recipient[M]],
        *args: object,
        name: str | None = None,
        mailbox_capacity: int | None = DEFAULT_CAPACITY,
        mailbox_policy: MailboxPolicy | str = MailboxPolicy.BACKPRESSURE,
        passivate_after: float | None = None,
        policy: SupervisionPolicy | None = None,
    ) -> ActorRef[M]:
        """Spawn an actor that this one supervises and that stops before it."""
        return self._around.spawn_child(
            actor_factory,
            args,
            name=name,
            mailbox_capacity=mailbox_capacity,
            mailbox_policy=mailbox_policy,
            passivate_after=passivate_after,
            policy=policy,
        )

    async def stop_self(self) -> None:
        """Stop once the current message has ended; returns at once."""
        self._around.stop_self()

    async def stop(self, ref: ActorRef) -> None:
        """Stop ``ref`` and wait until it has; does not wait for this actor itself or one above it."""
        await self._around.system.stop(ref)

    async def watch(self, ref: ActorRef) -> None:
        """Be told `papyra.ref.Terminated` once when ``ref`` ends, or now if it has."""
        self._around.watch(ref)

    async def unwatch(self, ref: ActorRef) -> None:
        """Stop watching ``ref``."""
        self._around.unwatch(ref)
