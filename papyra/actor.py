"""What users write: subclass, override, spawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from papyra.exceptions import UnhandledMessage
from papyra.handlers import handler_for, handlers_of, handles
from papyra.ref import M, Recipient

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Mapping

    from papyra.context import ActorContext
    from papyra.ref import ActorRef

__all__ = ["Actor", "attach", "handles"]

_MOST_CLASSES = 1024


class _Nothing:
    """What hooks that nobody overrides return: nothing, awaited or not."""

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


_NOTHING = _Nothing()


class Actor(Recipient[M]):
    """State that only its own messages touch, one at a time. ``Actor[M]`` takes messages of type ``M``.

    A subclass overrides `receive`, or marks methods with `handles`. Every method may be sync or ``async``;
    what this class has of them can be awaited.
    """

    proxied: ClassVar[Collection[str] | None] = None
    """The names a proxy may reach; ``None``: every public name that the class adds to this one."""

    _context: ActorContext | None = None
    _handlers: ClassVar[Mapping[type, str]] = {}
    _methods: ClassVar[dict[type, Callable[..., Any]]] = {}

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        cls._handlers = handlers_of(cls)
        cls._methods = {}

    @property
    def context(self) -> ActorContext:
        """The actor's surroundings; raises `RuntimeError` before it is spawned, so in ``__init__`` too."""
        if self._context is None:
            raise RuntimeError(
                f"{type(self).__qualname__} was not spawned yet; use the context from on_start on"
            )
        return self._context

    def on_start(self) -> Any:
        """Run before the first message, and again after each restart."""
        return _NOTHING

    def on_stop(self) -> Any:
        """Run after the last message, once the children have stopped; before each restart too."""
        return _NOTHING

    def on_restart(self, reason: BaseException, message: object | None) -> Any:
        """Run on the new instance after a failure, before its `on_start`.

        ``message`` is the one that was being handled, if any was, and if this very actor failed.
        """
        del reason, message
        return _NOTHING

    def on_undelivered(self, messages: tuple[object, ...]) -> Any:
        """Hear, once and before `on_stop`, which messages were queued or stashed when the actor stopped.

        At most the first thousand; each is a dead letter anyway.
        """
        del messages
        return _NOTHING

    def receive(self, message: Any) -> Any:
        """Handle one message, ``async`` or not; what it returns is the reply to an ask.

        Unless overridden it calls the method that `handles` the message; without one it raises
        `UnhandledMessage`, which an override may raise too.
        """
        method = self._methods.get(type(message)) or _method_for(type(self), message)
        return method(self, message)

    def on_child_failure(self, child_ref: ActorRef, exc: BaseException) -> Any:
        """Decide about a child's failure, between two messages: a `papyra.supervision.SupervisorDecision`.

        ``None`` leaves it to the policy.
        """
        del child_ref, exc
        return _NOTHING


def attach(actor: Actor, context: ActorContext) -> None:
    """Give ``actor`` its context; for the runtime. Raises `TypeError` for another actor's instance."""
    if actor._context is not None and actor._context is not context:  # noqa: SLF001  # the class's own module
        raise TypeError(
            f"the factory returned a {type(actor).__qualname__} that another actor has; return a new one"
        )
    actor._context = context  # noqa: SLF001


def _method_for(cls: type[Actor], message: object) -> Callable[..., Any]:
    kind = type(message)
    if not cls._handlers:
        raise NotImplementedError(f"{cls.__qualname__} does not say how to receive {kind.__qualname__}")
    name = handler_for(cls._handlers, kind)
    if name is None:
        raise UnhandledMessage(f"{cls.__qualname__} handles no {kind.__qualname__}", message)
    method: Callable[..., Any] = getattr(cls, name)
    if len(cls._methods) < _MOST_CLASSES:
        cls._methods[kind] = method
    return method
