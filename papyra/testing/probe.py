"""An actor that a test holds in its hand: it says what must come next, and waits for it."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from papyra.actor import Actor

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.ref import ActorRef
    from papyra.system import ActorSystem

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class _Watch:
    target: ActorRef


class Probe:
    """Keeps what `ref` receives until it is expected; asks are answered by ``reply``."""

    def __init__(
        self,
        system: ActorSystem,
        name: str | None = None,
        *,
        reply: Callable[[object], object] = lambda _: None,
    ) -> None:
        self._inbox: deque[object] = deque()
        self._news = asyncio.Event()
        self._reply = reply
        self.ref: ActorRef = system.spawn(_Listener, self._take, name=name, mailbox_capacity=None)

    @property
    def waiting(self) -> tuple[object, ...]:
        """What came and was not expected yet, oldest first."""
        return tuple(self._inbox)

    async def expect(self, type_: type[M], *, within: float = 1.0) -> M:
        """Return the next message, which must be a ``type_``; waits at most ``within`` seconds for it."""
        if not await self._has_news(within):
            raise AssertionError(f"{self.ref.path}: no {type_.__qualname__} came within {within:g} s")
        message = self._inbox.popleft()
        if isinstance(message, type_):
            return message
        raise AssertionError(f"{self.ref.path}: expected {type_.__qualname__}, but {message!r:.500} came")

    async def expect_no_message(self, *, within: float = 0.05) -> None:
        """Require that nothing comes for ``within`` seconds, and that nothing waits already."""
        if await self._has_news(within):
            raise AssertionError(f"{self.ref.path}: expected no message, but {self._inbox[0]!r:.500} came")

    async def watch(self, ref: ActorRef) -> None:
        """Be told of the end of ``ref``, as its watchers are; returns once that is certain."""
        await self.ref.ask(_Watch(ref), timeout=1.0)

    async def _has_news(self, within: float) -> bool:
        try:
            async with asyncio.timeout(within):
                while not self._inbox:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    def _take(self, message: object) -> object:
        self._inbox.append(message)
        self._news.set()
        return self._reply(message)


class _Listener(Actor):
    def __init__(self, take: Callable[[object], object]) -> None:
        self._take = take

    async def receive(self, message: object) -> object:
        if isinstance(message, _Watch):
            await self.context.watch(message.target)
            return None
        return self._take(message)
