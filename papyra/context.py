"""What an actor knows of itself and its surroundings, as ``self.context``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from papyra.ref import ActorRef
    from papyra.supervision import SupervisionPolicy

ActorFactory = Callable[..., object]
DEFAULT_CAPACITY = 1024


class System(Protocol):
    """What an actor sees of its system."""

    @property
    def system_id(self) -> str:
        """The system's stable name."""
        ...

    def spawn(
        self,
        actor_factory: ActorFactory,
        *args: object,
        name: str | None = ...,
        policy: SupervisionPolicy | None = ...,
        mailbox_capacity: int | None = ...,
        parent: ActorRef | None = ...,
    ) -> ActorRef:
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
    def message_id(self) -> str: ...
    def spawn_child(
        self,
        factory: ActorFactory,
        args: tuple[object, ...],
        name: str | None,
        policy: SupervisionPolicy | None,
        capacity: int | None,
    ) -> ActorRef: ...
    def stop_self(self) -> None: ...
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
        return self._around.message_id

    def spawn_child(
        self,
        actor_factory: ActorFactory,
        *args: object,
        name: str | None = None,
        mailbox_capacity: int | None = DEFAULT_CAPACITY,
        policy: SupervisionPolicy | None = None,
    ) -> ActorRef:
        """Spawn an actor that this one supervises and that stops before it."""
        return self._around.spawn_child(actor_factory, args, name, policy, mailbox_capacity)

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
