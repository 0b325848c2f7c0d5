"""Method style on top of messages: attribute access builds a path, calling it asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from papyra.messages import SYSTEM_TIMEOUT, AttrPath, ProxyCall, ProxyGetAttr, ProxySetAttr, Timeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Generator


class _Addressable(Protocol):
    """What a proxy needs of a reference."""

    def tell(self, message: object) -> Awaitable[None]: ...
    def ask(
        self, message: object, *, timeout: float | Timeout | None = ...
    ) -> Coroutine[object, object, Any]: ...


class ProxyAccessor:
    """One attribute path: call it, `defer` a call, `get` or `set` it."""

    __slots__ = ("_attr_path", "_ref", "_timeout")

    def __init__(
        self, actor_ref: _Addressable, attr_path: AttrPath, timeout: float | Timeout | None = SYSTEM_TIMEOUT
    ) -> None:
        self._ref = actor_ref
        self._attr_path = attr_path
        self._timeout = timeout

    def __getattr__(self, name: str) -> ProxyAccessor:
        return ProxyAccessor(self._ref, (*self._attr_path, _public(name)), self._timeout)

    def __call__(self, *args: object, **kwargs: object) -> Coroutine[object, object, Any]:
        """Call the method and return its result."""
        return self._ref.ask(ProxyCall(self._attr_path, args, kwargs or None), timeout=self._timeout)

    def defer(self, *args: object, **kwargs: object) -> Awaitable[None]:
        """Call without waiting for the result: a tell."""
        return self._ref.tell(ProxyCall(self._attr_path, args, kwargs or None))

    def get(self) -> Coroutine[object, object, Any]:
        """Read the attribute."""
        return self._ref.ask(ProxyGetAttr(self._attr_path), timeout=self._timeout)

    def set(self, value: object) -> Coroutine[object, object, Any]:
        """Set the attribute."""
        return self._ref.ask(ProxySetAttr(self._attr_path, value), timeout=self._timeout)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.get().__await__()

    def __repr__(self) -> str:
        return f"<ProxyAccessor {'.'.join(self._attr_path)} of {self._ref!r}>"


class ActorProxy:
    """Reaches what the actor's class lets it, see ``Actor.proxied``; by default all it adds in public."""

    __slots__ = ("_ref", "_timeout")

    def __init__(self, actor_ref: _Addressable, *, timeout: float | Timeout | None = SYSTEM_TIMEOUT) -> None:
        self._ref = actor_ref
        self._timeout = timeout

    def __getattr__(self, name: str) -> ProxyAccessor:
        return ProxyAccessor(self._ref, (_public(name),), self._timeout)

    def __repr__(self) -> str:
        return f"<ActorProxy of {self._ref!r}>"


def _public(name: str) -> str:
    if name.startswith("_"):
        raise AttributeError(f"a proxy reaches public names only, not {name!r}")
    return name
