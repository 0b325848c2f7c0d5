"""The receiving half of an actor: what a reference reaches. Handling the messages is the cell's affair."""

from __future__ import annotations

import asyncio
from contextvars import Context
from math import inf, isnan
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from papyra._runtime.identity import Identity
from papyra._runtime.mailbox import (
    CURRENT,
    Envelope,
    Mailbox,
    Notice,
    Tick,
    Ticket,
    checked_headers,
    is_over,
    mailbox_full,
)
from papyra.exceptions import ActorStopped, PapyraError
from papyra.messages import DeadLetterReason, MailboxPolicy, Timeout
from papyra.ref import TAKEN, ActorRef, Delivery, Refusal

if TYPE_CHECKING:
    from asyncio import Future, Task
    from collections.abc import Mapping

    from papyra._runtime.facts import End, Origin
    from papyra._runtime.mailbox import MailboxLimits, TickSource
    from papyra._runtime.site import Site
    from papyra._runtime.wakeups import Sleeper

_DISCARDED_AT_ONCE = 256
_DISCARDING_SECONDS = 0.002
current_message = CURRENT.get
N = TypeVar("N", bound=Notice)


class Receiver(Identity):
    """A mailbox with a task behind it, which exists only while there is something to do, or was lately.

    ``closed`` is the reason of letters for messages that come too late, ``None`` while messages are taken.
    ``box`` is there exactly while ``task`` is; ``waiter`` while that task waits for anything to happen;
    ``parked``: it was seen waiting; ``urgent`` tells it to look at anything but messages first; ``current``
    is the message that is handled, ``since`` when that began. ``end`` is set as soon as the end is decided;
    after it only the names, ``end`` and ``closed`` are of use. Sets are ``None`` until wanted.
    """

    __slots__ = (
        "box",
        "closed",
        "current",
        "end",
        "limits",
        "parked",
        "retiring",
        "scope",
        "since",
        "site",
        "task",
        "urgent",
        "waiter",
        "watchers",
        "watching",
    )

    def __init__(self, site: Site, number: int, name: str | None, path: str, limits: MailboxLimits) -> None:
        Identity.__init__(self, site.system_id, number, name, path)  # super() takes longer
        self.site = site
        self.limits = limits
        self.scope: Context | None = None
        self.box: Mailbox | None = None
        self.task: Task[None] | None = None
        self.waiter: Sleeper | None = None
        self.parked = False
        self.retiring = False
        self.urgent = True
        self.closed: DeadLetterReason | None = None
        self.current: Envelope | None = None
        self.since = 0.0
        self.end: End | None = None
        self.watchers: set[Receiver] | None = None
        self.watching: set[Receiver] | None = None

    @property
    def is_alive(self) -> bool:
        """Whether messages are taken."""
        return self.closed is None

    @property
    def is_over(self) -> bool:
        """Whether the actor has ended, and not only decided to."""
        return False

    @property
    def ref(self) -> ActorRef:
        """A reference to this actor; all of them are equal."""
        return ActorRef(self)

    def tell(self, message: object) -> Delivery:
        """Put ``message`` into the mailbox; the order of these calls is the order of handling."""
        site, box = self.site, self.box
        if get_ident() != site.thread:  # the counts, and so the accounting, are this thread's
            site.check_thread()
        if box is None or self.closed is not None or len(box.queue) >= box.capacity:
            return self.enqueue(self.wrap(message, None))
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            site.wakeups.add(waiter)
        counts, cause = site.counts, current_message()
        counts.newest = number = counts.newest + 1
        if cause is None:
            envelope = Envelope(message, None, number, 0, number, None, self, None, None, site.time())
        else:
            root, sender, carried = cause.root or number, cause.target, cause.headers
            envelope = Envelope(
                message, None, number, cause.id, root, sender, self, None, carried, site.time()
            )
        box.queue.append(envelope)
        return TAKEN

    def tell_marked(self, message: object, ttl: float | None, headers: Mapping[str, str] | None) -> Delivery:
        """Do so with a time to live, or headers."""
        return self.enqueue(self.wrap(message, None, ttl, headers))

    async def send(
        self, message: object, ttl: float | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Wait for room, then put ``message`` into the mailbox."""
        envelope = self.wrap(message, None, ttl, headers)
        box = self.box
        if box is None or self.closed is not None or (len(box.queue) < box.capacity and not box.waiting):
            error = self.enqueue(envelope).error
            if error is not None:
                raise error
            return
        if self._is_calling():
            raise PapyraError(f"{self.path} waits for room in its own mailbox, and would wait for ever")
        future: Future[None] = self.site.loop.create_future()
        ticket = Ticket(envelope, future, self._accept)
        box.wait(ticket)
        try:
            await future
        except asyncio.CancelledError:
            box.withdraw(ticket)
            raise

    async def ask(
        self,
        message: object,
        timeout: float | Timeout | None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Put ``message`` into the mailbox and wait for the reply."""
        site = self.site
        if current_message() is not None and self._is_calling():
            raise PapyraError(f"{self.path} asks itself while it handles a message, and would wait for ever")
        if isinstance(timeout, Timeout):
            timeout = site.default_timeout
        if timeout is not None and isnan(timeout):  # it would compare with no other deadline
            raise ValueError("nan is no timeout; None waits for ever")
        reply: Future[Any] = site.loop.create_future()
        envelope = self.wrap(message, reply, None, headers)
        delivery = self.enqueue(envelope)
        if delivery is not TAKEN and delivery.error is not None:
            raise delivery.error
        if self.box is not None and self.box.on_ask is not None:
            self.box.on_ask(envelope)
        if timeout is None:
            return await reply
        envelope.deadline = deadline = envelope.at + timeout
        alarm = site.scheduler.call_at(deadline, site.expire_ask, envelope)
        try:
            return await reply
        finally:
            alarm.cancel()

    def _is_calling(self) -> bool:
        current = current_message()
        return current is not None and current.target is self and asyncio.current_task() is self.task

    def wrap(
        self,
        message: object,
        reply: Future[Any] | None,
        ttl: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Envelope:
        """Return ``message`` with what caused it; it gets its number when it is accepted."""
        site = self.site
        if get_ident() != site.thread:
            site.check_thread()
        cause, at = current_message(), site.time()
        if cause is None:
            envelope = Envelope(message, reply, 0, 0, 0, None, self, None, None, at)
        else:
            sender, carried = cause.target, cause.headers
            envelope = Envelope(message, reply, 0, cause.id, cause.root, sender, self, None, carried, at)
        if ttl is not None or headers is not None:
            _mark(envelope, ttl, headers)
        return envelope

    def enqueue(self, envelope: Envelope) -> Delivery:
        """Take ``envelope`` in, or say why not."""
        if self.closed is not None:
            return self.refuse(envelope)
        box = self.box
        if box is None:
            box = self.rouse()
        if self.waiter is not None:
            self.wake()
        self.site.counts.accept(envelope)
        if len(box.queue) < box.capacity:
            box.queue.append(envelope)
            return TAKEN
        return self._overflow(box, envelope)

    def _overflow(self, box: Mailbox, envelope: Envelope) -> Delivery:
        match box.policy:
            case MailboxPolicy.BACKPRESSURE:
                delivery = box.offer(envelope, self.site.loop)
                return delivery or self._lose(envelope)
            case MailboxPolicy.DROP_NEW:
                refusal = self._lose(envelope)
                return TAKEN if envelope.reply is None else refusal
            case MailboxPolicy.DROP_OLDEST:
                oldest = box.drop_oldest()
                if oldest is None:
                    return self._lose(envelope)
                refusal = self._lose(oldest)
                if oldest.reply is not None and not oldest.reply.done():
                    oldest.reply.set_exception(refusal.error)
                box.queue.append(envelope)
                return TAKEN
            case MailboxPolicy.FAIL:
                raise self._lose(envelope).error

    def _lose(self, envelope: Envelope) -> Refusal:
        self.site.counts.dead += 1
        self.site.letters.add(envelope, self.ref, DeadLetterReason.OVERFLOW)
        return Refusal(mailbox_full(self, self.limits.capacity))

    def _accept(self, envelope: Envelope) -> PapyraError | None:
        """Take in what its sender has waited for to find room."""
        if self.closed is not None or self.box is None:
            return self.refuse(envelope).error
        self.site.counts.accept(envelope)
        self.box.queue.append(envelope)
        return None

    def refuse(self, envelope: Envelope) -> Refusal:
        """Account for a message that came too late."""
        self.site.counts.accept(envelope)
        self.site.counts.dead += 1
        self.site.letters.add(envelope, self.ref, self.closed or DeadLetterReason.TARGET_STOPPED)
        return Refusal(self.stopped_error())

    def notify(self, message: object, origin: Origin, sender: Identity) -> None:
        """Put the runtime's own ``message`` into the mailbox, full or not; a closed one misses it."""
        self._put(Notice, message, origin, sender, None)

    def tick(self, message: object, origin: Origin, source: TickSource) -> Tick | None:
        """Do so for a timer of this actor."""
        tick = self._put(Tick, message, origin, self, inf)
        if tick is not None:
            tick.source = source
        return tick

    def _put(
        self, kind: type[N], message: object, origin: Origin, sender: Identity, deadline: float | None
    ) -> N | None:
        if self.closed is not None:
            return None
        box = self.rouse() if self.box is None else self.box
        self.wake()
        at = self.site.time()
        notice = kind(message, None, 0, origin.id, origin.root, sender, self, deadline, None, at)
        self.site.counts.accept(notice)
        box.queue.append(notice)
        return notice

    @property
    def is_busy(self) -> bool:
        """Whether anything is to do: the actor's task is there and does not wait."""
        return self.box is not None and (self.waiter is None or bool(self.box.queue))

    def take_back(self, source: TickSource | None) -> None:
        """Act as if what waits of ``source`` had never been sent; ``None``: what waits of any timer."""
        box = self.box
        if box is not None and (source is None or source.tick is not None or box.stash):
            self.site.counts.taken_back += box.withdraw_ticks(source)

    def rouse(self) -> Mailbox:
        """Begin a task for what comes next."""
        site = self.site
        site.check_thread()
        self.box = box = Mailbox(self.limits)
        self.retiring = False
        if not site.active:
            site.on_activity()
        site.active.add(self)
        scope = self.scope
        if scope is None:
            scope = self.scope = Context()
        task = site.loop.create_task(site.live(self), name=self.path, context=scope)
        if self.box is box:  # a loop with eager tasks may have run it to its end already
            self.task = task
        task.add_done_callback(self.task_ended, context=scope)
        return box

    def task_ended(self, task: Task[None]) -> None:
        """Look at the exception, which is on record, so that asyncio need not complain."""
        if not task.cancelled():
            task.exception()

    def wake(self) -> None:
        """Let the task look around again, if it waits."""
        waiter = self.waiter
        if waiter is not None:
            self.site.check_thread()
            self.waiter = None
            self.site.wakeups.add(waiter)

    def retire(self) -> None:
        """Note that the task ends because nothing was to do for a while."""
        self.box = self.task = None
        self.parked = False
        self.site.active.discard(self)

    def pending(self) -> int:
        """Count the messages that are neither handled nor given up."""
        waiting = 0 if self.box is None else self.box.pending
        return waiting + (self.current is not None)

    def discard_soon(self) -> None:
        """Discard what is queued, now as far as that takes no time, even while a message is handled."""
        if not self.discard_queued():
            self.site.loop.call_soon(self.discard_soon)

    def discard_queued(self) -> bool:
        """Make letters of some queued messages and fail their askers; whether none is left."""
        box = self.box
        if box is None:
            return True
        box.bring_back()
        if not box.queue:
            return True
        reason = self.closed
        if reason is DeadLetterReason.TARGET_STOPPED or reason is None:
            reason = DeadLetterReason.QUEUED_AT_STOP
        error = self.stopped_error()
        box.refuse_waiting(error)
        until = self.site.time() + _DISCARDING_SECONDS  # a large message takes its time to be encoded
        for _ in range(min(len(box.queue), _DISCARDED_AT_ONCE)):
            if self.site.time() > until:
                break
            envelope = box.queue.popleft()
            reply = envelope.reply
            if is_over(envelope, self.site.time()):
                self.site.expire(envelope, self.ref)
                continue
            self.site.counts.dead += 1
            if reply is not None and not reply.done():
                reply.set_exception(error)
            self.site.letters.add(envelope, self.ref, reason)
            self.note_undelivered(envelope.message)
        return not box.queue

    def note_undelivered(self, message: object) -> None:
        """Hear of a message that was queued and is not handled any more."""

    def stopped_error(self) -> ActorStopped:
        """Return what a sender is told."""
        return ActorStopped(f"{self.path} is not running")


def _mark(envelope: Envelope, ttl: float | None, headers: Mapping[str, str] | None) -> None:
    if ttl is not None:
        if not ttl >= 0:  # also refuses NaN
            raise ValueError(f"ttl must be 0 or more seconds, not {ttl!r:.50}")
        envelope.deadline = envelope.at + ttl
    if headers is not None:
        envelope.headers = checked_headers(headers)
