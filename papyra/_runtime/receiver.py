"""The receiving half of an actor: what a reference reaches. Handling the messages is the cell's affair."""

from __future__ import annotations

import asyncio
from contextvars import Context
from math import isnan
from sys import maxsize
from threading import get_ident
from typing import TYPE_CHECKING, Any

from papyra._runtime.identity import Identity
from papyra._runtime.mailbox import CURRENT, Envelope, Mailbox, mailbox_full
from papyra.exceptions import ActorStopped, PapyraError
from papyra.messages import DeadLetterReason, Timeout
from papyra.ref import TAKEN, ActorRef, Delivery, Refusal

if TYPE_CHECKING:
    from asyncio import Future, Task

    from papyra._runtime.facts import Origin
    from papyra._runtime.site import Site

_DISCARDED_AT_ONCE = 256


class Receiver(Identity):
    """A mailbox with a task behind it, which exists only while there is something to do, or was lately.

    ``closed`` is the reason of letters for messages that come too late, ``None`` while messages are taken.
    ``box`` is there exactly while ``task`` is; ``waiter`` while that task waits for anything to happen;
    ``current`` is the message that is handled, ``since`` when that began.
    """

    __slots__ = (
        "box",
        "capacity",
        "closed",
        "current",
        "parked",
        "retiring",
        "scope",
        "since",
        "site",
        "task",
        "waiter",
    )

    def __init__(self, site: Site, number: int, name: str | None, path: str, capacity: int | None) -> None:
        super().__init__(site.system_id, number, name, path)
        self.site = site
        self.capacity = maxsize if capacity is None else capacity
        self.scope = Context()
        self.box: Mailbox | None = None
        self.task: Task[None] | None = None
        self.waiter: Future[None] | None = None
        self.parked: Future[None] | None = None
        self.retiring = False
        self.closed: DeadLetterReason | None = None
        self.current: Envelope | None = None
        self.since = 0.0

    @property
    def is_alive(self) -> bool:
        """Whether messages are taken."""
        return self.closed is None

    @property
    def ref(self) -> ActorRef:
        """A reference to this actor; all of them are equal."""
        return ActorRef(self)

    def tell(self, message: object) -> Delivery:
        """Put ``message`` into the mailbox."""
        envelope = self.wrap(message, None)
        return self.enqueue(envelope) if self.closed is None else self.refuse(envelope)

    async def ask(self, message: object, timeout: float | Timeout | None) -> Any:
        """Put ``message`` into the mailbox and wait for the reply."""
        site = self.site
        current = CURRENT.get()
        if current is not None and current.target is self and asyncio.current_task() is self.task:
            raise PapyraError(f"{self.path} asks itself while it handles a message, and would wait for ever")
        if isinstance(timeout, Timeout):
            timeout = site.default_timeout
        if timeout is not None and isnan(timeout):  # it would compare with no other deadline
            raise ValueError("nan is no timeout; None waits for ever")
        reply: Future[Any] = site.loop.create_future()
        envelope = self.wrap(message, reply)
        delivery = self.enqueue(envelope) if self.closed is None else self.refuse(envelope)
        if delivery.error is not None:
            raise delivery.error
        if timeout is None:
            return await reply
        site.asks.add(envelope, envelope.at + timeout)
        try:
            return await reply
        finally:
            site.asks.close(envelope)

    def wrap(self, message: object, reply: Future[Any] | None) -> Envelope:
        """Return ``message`` with a number, and with what caused it."""
        site = self.site
        if get_ident() != site.thread:  # the counts, and so the accounting, are this thread's
            site.check_thread()
        number, cause = next(site.ids), CURRENT.get()
        if cause is None:
            return Envelope(message, reply, number, 0, number, None, self, None, None, site.time())
        root, headers = cause.root or number, cause.headers
        return Envelope(
            message, reply, number, cause.id, root, cause.target, self, None, headers, site.time()
        )

    def enqueue(self, envelope: Envelope) -> Delivery:
        """Take ``envelope`` in; the order of these calls is the order of handling."""
        box = self.box
        if box is None:
            box = self.rouse()
        if self.waiter is not None:
            self.wake()
        self.site.counts.accepted += 1
        if len(box.queue) < box.capacity:
            box.queue.append(envelope)
            return TAKEN
        delivery = box.offer(envelope, self.site.loop)
        if delivery is not None:
            return delivery
        self.site.counts.dead += 1
        self.site.letters.add(envelope, self.ref, DeadLetterReason.OVERFLOW)
        return Refusal(mailbox_full(self, box.capacity))

    def refuse(self, envelope: Envelope) -> Refusal:
        """Account for a message that came too late."""
        self.site.counts.accepted += 1
        self.site.counts.dead += 1
        self.site.letters.add(envelope, self.ref, self.closed or DeadLetterReason.TARGET_STOPPED)
        return Refusal(self.stopped_error())

    def notify(self, notice: object, origin: Origin, sender: Identity) -> None:
        """Put the runtime's own ``notice`` into the mailbox, full or not; a closed one misses it."""
        if self.closed is None:
            box = self.box or self.rouse()
            self.wake()
            site, number = self.site, next(self.site.ids)
            root = origin.root or number
            site.counts.accepted += 1
            box.queue.append(
                Envelope(notice, None, number, origin.id, root, sender, self, None, None, site.time())
            )

    def rouse(self) -> Mailbox:
        """Begin a task for what comes next."""
        site = self.site
        site.check_thread()
        self.box = box = Mailbox(self.capacity)
        self.retiring = False
        if not site.active:
            site.on_activity()
        site.active.add(self)
        task = site.loop.create_task(site.live(self), name=self.path, context=self.scope)
        if self.box is box:  # a loop with eager tasks may have run it to its end already
            self.task = task
        task.add_done_callback(self.task_ended, context=self.scope)
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
            if not waiter.done():
                waiter.set_result(None)

    def retire(self) -> None:
        """Note that the task ends because nothing was to do for a while."""
        self.box = self.task = self.parked = None
        self.site.active.discard(self)

    def pending(self) -> int:
        """Count the messages that are neither handled nor given up."""
        waiting = 0 if self.box is None else len(self.box.queue)
        return waiting + (self.current is not None)

    def discard_soon(self) -> None:
        """Discard what is queued, now as far as that takes no time, even while a message is handled."""
        if not self.discard_queued():
            self.site.loop.call_soon(self.discard_soon)

    def discard_queued(self) -> bool:
        """Make letters of some queued messages and fail their askers; whether none is left."""
        box = self.box
        if box is None or not box.queue:
            return True
        reason = self.closed
        if reason is DeadLetterReason.TARGET_STOPPED or reason is None:
            reason = DeadLetterReason.QUEUED_AT_STOP
        error = self.stopped_error()
        box.refuse_waiting(error)
        for _ in range(min(len(box.queue), _DISCARDED_AT_ONCE)):
            envelope = box.queue.popleft()
            reply = envelope.reply
            if reply is not None and reply.done() and not reply.cancelled():
                self.site.expire(envelope, self.ref)
                continue
            self.site.counts.dead += 1
            if reply is not None and not reply.done():
                reply.set_exception(error)
            self.site.letters.add(envelope, self.ref, reason)
        return not box.queue

    def stopped_error(self) -> ActorStopped:
        """Return what a sender is told."""
        return ActorStopped(f"{self.path} is not running")
