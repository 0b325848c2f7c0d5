"""What all actors of one running system share. It knows nothing of what a cell is, cells know it."""

from __future__ import annotations

import logging
import threading
from itertools import count
from typing import TYPE_CHECKING, Any

from papyra._runtime.asks import expire
from papyra._runtime.wakeups import Wakeups
from papyra.handlers import declared_messages
from papyra.messages import DeadLetterReason

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable, Coroutine

    from papyra._runtime.dead_letters import DeadLetterMailbox
    from papyra._runtime.handled import HandledLog
    from papyra._runtime.journal import Journal
    from papyra._runtime.mailbox import Envelope
    from papyra._runtime.scheduling import Scheduler
    from papyra._runtime.tree import Tree
    from papyra.clock import Clock
    from papyra.context import System
    from papyra.payloads import MessageRegistry
    from papyra.ref import ActorRef


_log = logging.getLogger(__name__)


class Counts:
    """How many messages came to each end; what is pending is counted where it waits.

    A message gets its number when it is accepted, so ``newest``, the last one given, counts them too.
    """

    __slots__ = ("dead", "expired", "failed", "handled", "late_replies", "newest", "taken_back")

    def __init__(self) -> None:
        self.newest = 0
        self.taken_back = 0
        self.handled = 0
        self.failed = 0
        self.dead = 0
        self.expired = 0
        self.late_replies = 0

    @property
    def accepted(self) -> int:
        """How many messages were accepted."""
        return self.newest - self.taken_back

    def accept(self, envelope: Envelope) -> None:
        """Count ``envelope`` by giving it its number."""
        self.newest = envelope.id = self.newest + 1
        if not envelope.root:
            envelope.root = envelope.id


def _nothing() -> None:
    """Do nothing."""


class Site:
    """One per incarnation. ``active`` are the cells with a task: all with messages, and some that idle.

    ``leaving``: piped work whose actor wants it no more, from its cancellation to its end.
    """

    __slots__ = (
        "active",
        "actor_ids",
        "call_later",
        "clock",
        "counts",
        "decision_seconds",
        "default_timeout",
        "emptied",
        "handled",
        "is_closing",
        "journal",
        "known_classes",
        "leaving",
        "letters",
        "live",
        "loop",
        "on_activity",
        "registry",
        "scheduler",
        "system",
        "system_id",
        "thread",
        "time",
        "tree",
        "wakeups",
    )

    def __init__(  # noqa: PLR0913  # its parts, by name
        self,
        *,
        system: System,
        loop: AbstractEventLoop,
        clock: Clock,
        tree: Tree[Any],
        journal: Journal,
        letters: DeadLetterMailbox,
        scheduler: Scheduler,
        live: Callable[[Any], Coroutine[object, object, None]],
        registry: MessageRegistry,
        default_timeout: float | None,
    ) -> None:
        self.system = system
        self.system_id = system.system_id
        self.loop = loop
        self.time = scheduler.time
        self.wakeups = Wakeups(loop)
        self.thread = threading.get_ident()
        self.clock = clock
        self.tree = tree
        self.journal = journal
        self.letters = letters
        self.scheduler = scheduler
        self.call_later = scheduler.call_later
        self.live = live
        self.on_activity: Callable[[], None] = _nothing
        self.default_timeout = default_timeout
        self.decision_seconds = 30.0 if default_timeout is None else default_timeout
        self.actor_ids = count(1)
        self.emptied: Future[None] | None = None
        self.handled: HandledLog | None = None
        self.counts = Counts()
        self.active: set[Any] = set()
        self.leaving: set[Future[Any]] = set()
        self.is_closing = False
        self.registry = registry
        self.known_classes: set[type] = set()

    def learn(self, actor_class: type) -> None:
        """Take in the messages that a class of actors declares: what it handles, and its type argument."""
        self.known_classes.add(actor_class)
        for message_class in declared_messages(actor_class):
            if not self.registry.add_declared(message_class):
                _log.debug("%s cannot be rebuilt from a dead letter", message_class)

    def check_thread(self) -> None:
        """Raise `RuntimeError` in any thread but the loop's."""
        if threading.get_ident() != self.thread:
            raise RuntimeError(
                "actors belong to the event loop's thread; from another, system.call_threadsafe(ref.tell, …)"
            )

    def expire(self, envelope: Envelope, ref: ActorRef) -> None:
        """Count a message whose deadline passed before its turn came."""
        self.counts.expired += 1
        expire(envelope, self.time())
        self.letters.add(envelope, ref, DeadLetterReason.EXPIRED)

    def expire_ask(self, envelope: Envelope) -> None:
        """Tell an asker that its time is over; its message is counted when its turn comes."""
        expire(envelope, self.time())

    def late_reply(self, envelope: Envelope, ref: ActorRef) -> None:
        """Count a reply that nobody waits for any more; its message was handled."""
        self.counts.late_replies += 1
        waited = self.time() - envelope.at
        self.letters.add(
            envelope,
            ref,
            DeadLetterReason.LATE_REPLY,
            f"the reply came after {waited:.3g} s, when the asker had stopped waiting",
        )
