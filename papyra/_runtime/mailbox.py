"""Messages on their way: envelopes, and the mailbox that keeps them in order and bounded."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from contextvars import ContextVar
from functools import lru_cache
from sys import maxsize
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from papyra.exceptions import ConfigurationError, MailboxFull, PapyraError
from papyra.messages import MailboxPolicy
from papyra.ref import Delivery

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable, Generator, Mapping

    from papyra._runtime.identity import Identity


class Past(NamedTuple):
    """What befell a message before: how often a handler had it, the letter it was sent again from."""

    attempts: int = 0
    redelivered_from: str = ""


NEVER = -1.0
"""When an envelope came that stands for a message and is none."""


class Envelope(msgspec.Struct):
    """One accepted message. Ids are numbers of this incarnation, 0 for none; times are the loop's.

    What caused a message that was sent again is named by its stored id, for it may be of an earlier one.

    A Struct, because one is made for each message and this is the fastest class there is.
    """

    message: object
    reply: Future[Any] | None
    id: int
    cause: int | str
    root: int | str
    sender: Identity | None
    target: Identity
    deadline: float | None
    headers: Mapping[str, str] | None
    at: float
    past: Past | None = None


class Notice(Envelope):
    """A message of the runtime's own: it always fits, and no policy drops it."""


class TickSource(Protocol):
    """What sends ticks, one at a time."""

    tick: Tick | None


class Tick(Notice):
    """A timer's message; its deadline, infinite, is what has `is_over` look at it when its turn comes."""

    source: TickSource | None = None


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


class Ticket:
    """A sender that waits for room with its message still in hand; ``accept`` takes it, or says why not."""

    __slots__ = ("_accept", "_future", "envelope")

    def __init__(
        self, envelope: Envelope, future: Future[None], accept: Callable[[Envelope], PapyraError | None]
    ) -> None:
        self.envelope = envelope
        self._future = future
        self._accept = accept

    def use(self) -> bool:
        """Hand the message in; ``False`` if its sender has gone."""
        if self._future.done():
            return False
        error = self._accept(self.envelope)
        if error is None:
            self._future.set_result(None)
        else:
            self._future.set_exception(error)
        return True


class MailboxLimits(NamedTuple):
    """What one actor's mailbox may hold, and what becomes of more."""

    capacity: int
    policy: MailboxPolicy = MailboxPolicy.BACKPRESSURE
    passivate_after: float | None = None

    @classmethod
    @lru_cache(maxsize=256)  # most actors share them
    def of(
        cls, capacity: int | None, policy: MailboxPolicy | str, passivate_after: float | None = None
    ) -> MailboxLimits:
        """Check what a spawn says; ``None``: no bound. Raises `ConfigurationError`."""
        if passivate_after is not None and not passivate_after > 0:
            raise ConfigurationError(f"passivate_after must be above 0 seconds, not {passivate_after!r:.50}")
        if capacity is not None and capacity < 1:
            raise ConfigurationError(
                f"mailbox_capacity must be 1 or more, or None for no bound, not {capacity}"
            )
        try:
            policy = MailboxPolicy(policy)
        except ValueError as error:
            known = ", ".join(MailboxPolicy)
            raise ConfigurationError(f"mailbox_policy is one of {known}, not {policy!r:.100}") from error
        return cls(maxsize if capacity is None else capacity, policy, passivate_after)


class Mailbox:
    """The messages of one actor, oldest first, and those put aside; senders that wait for room.

    ``on_ask`` hears of asks while the actor itself waits for others.
    """

    __slots__ = ("_offered", "capacity", "on_ask", "policy", "queue", "stash", "waiting")

    def __init__(self, limits: MailboxLimits) -> None:
        self.capacity, self.policy, _ = limits
        self.queue: deque[Envelope] = deque()
        self.waiting: deque[Waiting | Ticket] | None = None
        self.stash: list[Envelope] | None = None
        self.on_ask: Callable[[Envelope], None] | None = None
        self._offered = 0

    @property
    def pending(self) -> int:
        """How many messages are queued or set aside. No ``__len__``: an empty mailbox is one, too."""
        return len(self.queue) + len(self.stash or ())

    def offer(self, envelope: Envelope, loop: AbstractEventLoop) -> Waiting | None:
        """Queue a message beyond the capacity; ``None`` if as many as that wait already."""
        if self._offered >= self.capacity:
            return None
        delivery = Waiting(loop)
        self._line().append(delivery)
        self._offered += 1
        self.queue.append(envelope)
        return delivery

    def wait(self, ticket: Ticket) -> None:
        """Put a sender into the line."""
        self._line().append(ticket)

    def withdraw(self, ticket: Ticket) -> None:
        """Forget a sender that has gone."""
        if self.waiting is not None:
            with suppress(ValueError):  # it has had its turn
                self.waiting.remove(ticket)

    def _line(self) -> deque[Waiting | Ticket]:
        if self.waiting is None:
            self.waiting = deque()
        return self.waiting

    def make_room(self) -> None:
        """Note that a message was taken out: who is first in line has room now."""
        while self.waiting:
            first = self.waiting[0]
            if isinstance(first, Waiting):
                self.waiting.popleft()
                self._offered -= 1
                first.settle()
                return
            if len(self.queue) >= self.capacity:
                return
            self.waiting.popleft()
            if first.use():
                return

    def refuse_waiting(self, error: PapyraError) -> None:
        """Tell every waiting sender that its message will not be handled."""
        while self.waiting:
            first = self.waiting.popleft()
            if isinstance(first, Waiting):
                first.settle(error)
            else:
                first.use()
        self._offered = 0

    def drop_oldest(self) -> Envelope | None:
        """Take out the oldest message that may be dropped; ``None`` if there is none."""
        for at, envelope in enumerate(self.queue):
            if not isinstance(envelope, Notice):
                del self.queue[at]
                return envelope
        return None

    def withdraw_ticks(self, source: TickSource | None) -> int:
        """Take out what ``source`` has sent, from wherever it stands, or all ticks; returns how many."""
        count = 0
        for place in (self.queue, self.stash or []):
            kept = [each for each in place if not _is_tick_of(each, source)]
            if len(kept) < len(place):
                count += len(place) - len(kept)
                place.clear()
                place.extend(kept)
        for _ in range(count):
            self.make_room()
        return count

    def set_aside(self, envelope: Envelope) -> bool:
        """Put ``envelope`` into the stash; ``False`` if that is full."""
        if self.stash is None:
            self.stash = []
        if len(self.stash) >= self.capacity:
            return False
        self.stash.append(envelope)
        return True

    def take_from_stash(self, envelope: Envelope) -> bool:
        """Undo `set_aside` of the newest; whether that was ``envelope``."""
        if not self.stash or self.stash[-1] is not envelope:
            return False
        self.stash.pop()
        return True

    def bring_back(self) -> None:
        """Put what was set aside in front of the queue, in order."""
        if self.stash:
            self.queue.extendleft(reversed(self.stash))
            self.stash = None


def _is_tick_of(envelope: Envelope, source: TickSource | None) -> bool:
    return type(envelope) is Tick and (source is None or envelope.source is source)


def is_over(envelope: Envelope, now: float) -> bool:
    """Whether the message is not worth handling: its asker was told so, or its time to live has passed.

    To be asked when its turn has come: the source of a `Tick` learns of it by that.
    """
    deadline, reply = envelope.deadline, envelope.reply
    if deadline is None:
        return False
    if type(envelope) is Tick and envelope.source is not None:
        envelope.source.tick = None
    return deadline <= now or (reply is not None and reply.done() and not reply.cancelled())


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return a copy; raises `TypeError` for anything but text by text."""
    for pair in headers.items():
        if not all(isinstance(part, str) for part in pair):
            raise TypeError(f"headers are text by text, not {pair[0]!r:.50}: {pair[1]!r:.50}")
    return dict(headers)


def mailbox_full(target: Identity, capacity: int) -> MailboxFull:
    """Return the error of a message that found no place."""
    return MailboxFull(f"{target.path} has {capacity} messages in its mailbox, and takes no more")
