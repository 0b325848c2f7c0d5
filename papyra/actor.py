"""What users write: subclass, override, spawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Collection

    from papyra.context import ActorContext
    from papyra.ref import ActorRef
    from papyra.supervision import SupervisorDecision


class Actor:
    """State that only its own messages touch, one at a time."""

    proxied: ClassVar[Collection[str] | None] = None
    """The names a proxy may reach; ``None``: every public name that the class adds to this one."""

    _context: ActorContext | None = None

    @property
    def context(self) -> ActorContext:
        """The actor's surroundings; raises `RuntimeError` before it is spawned, so in ``__init__`` too."""
        if self._context is None:
            raise RuntimeError(
                f"{type(self).__qualname__} was not spawned yet; use the context from on_start on"
            )
        return self._context

    async def on_start(self) -> None:
        """Run before the first message, and again after each restart."""

    async def on_stop(self) -> None:
        """Run after the last message, once the children have stopped; before each restart too."""

    def receive(self, message: Any) -> Any:
        """Handle one message, ``async`` or not; what it returns is the reply to an ask."""
        raise NotImplementedError(
            f"{type(self).__qualname__} does not say how to receive {type(message).__qualname__}"
        )

    async def on_child_failure(self, child_ref: ActorRef, exc: BaseException) -> SupervisorDecision | None:
        """Decide about a child's failure, between two messages; ``None`` leaves it to the policy."""
        del child_ref, exc
        return None


def attach(actor: Actor, context: ActorContext) -> None:
    """Give ``actor`` its context; for the runtime. Raises `TypeError` for another actor's instance."""
    if actor._context is not None and actor._context is not context:  # noqa: SLF001  # the class's own module
        raise TypeError(
            f"the factory returned a {type(actor).__qualname__} that another actor has; return a new one"
        )
    actor._context = context  # noqa: SLF001
