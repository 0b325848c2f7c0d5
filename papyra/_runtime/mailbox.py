"""Messages on their way: envelopes, and the mailbox that keeps them in order and bounded."""

from __future__ import annotations

from collections import deque
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import msgspec

from papyra.exceptions import MailboxFull, PapyraError
from papyra.ref import Delivery

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Generator, Mapping

    from papyra._runtime.identity import Identity


class Envelope(msgspec.Struct):
    """One accepted message. Ids are numbers of this incarnation, 0 for none; times are the loop's.

    A Struct, because one is made for each message and this is the fastest class there is.
    """

    message: object
    reply: Future[Any] | None
    id: int
    cause: int
    root: int
    sender: Identity | None
    target: Identity
    deadline: float | None
    headers: Mapping[str, str] | None
    at: float


CURRENT: ContextVar[Envelope | None] = ContextVar("papyra_current_message", default=None)
"""What the running code was caused by: in an actor's task, and in every task that was started from there."""


class Waiting(Delivery):
    """A message beyond the mailbox's capacity: it has its place in line, its sender may wait for room."""

    __slots__ = ("_error", "_loop", "_senders", "is_settled")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._senders: list[Future[None]] = []
        self._error: PapyraError | None = None
        self.is_settled = False

    @property
    def error(self) -> PapyraError | None:
        """Why the message was refused after all: its actor stopped first."""
        return self._error

    def settle(self, error: PapyraError | None = None) -> None:
        """Let the sender go on: there is room now, or there never will be."""
        self.is_settled = True
        self._error = error
        for sender in self._senders:
            if not sender.done():
                sender.set_result(None)

    def __await__(self) -> Generator[Any, None, None]:
        if not self.is_settled:
            sender = self._loop.create_future()
            self._senders.append(sender)
            yield from sender
        if self._error is not None:
            raise self._error


class Mailbox:
    """The messages of one actor, oldest first; up to ``capacity`` more may wait for room behind them."""

    __slots__ = ("capacity", "queue", "waiting")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.queue: deque[Envelope] = deque()
        self.waiting: deque[Waiting] | None = None

    def offer(self, envelope: Envelope, loop: AbstractEventLoop) -> Waiting | None:
        """Queue a message beyond the capacity; ``None`` if as many as that wait already."""
        if self.waiting is None:
            self.waiting = deque()
        if len(self.waiting) >= self.capacity:
            return None
        delivery = Waiting(loop)
        self.waiting.append(delivery)
        self.queue.append(envelope)
        return delivery

    def make_room(self) -> None:
        """Note that a message was taken out: the longest waiting one has room now."""
        if self.waiting:
            self.waiting.popleft().settle()

    def refuse_waiting(self, error: PapyraError) -> None:
        """Tell every waiting sender that its message will not be handled."""
        while self.waiting:
            self.waiting.popleft().settle(error)


def mailbox_full(target: Identity, capacity: int) -> MailboxFull:
    """Return the error of a message that found no place."""
    return MailboxFull(f"{target.path} has {capacity} messages in its mailbox and as many waiting for room")
