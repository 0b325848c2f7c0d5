"""One actor's life as others see and change it: place in the tree, phase, end. Its turns are in `turns`."""

from __future__ import annotations

from asyncio import CancelledError
from collections import deque
from typing import TYPE_CHECKING, Any

from papyra._runtime import passing, watching
from papyra._runtime.belongings import Belongings
from papyra._runtime.facts import NOWHERE, End, Origin
from papyra._runtime.mailbox import CURRENT, NEVER, Envelope
from papyra._runtime.phases import STARTING, Command, Phase, StoppedItself, drop
from papyra._runtime.receiver import Receiver
from papyra._runtime.texts import error_text
from papyra.actor import Actor
from papyra.context import ActorContext
from papyra.events import StopReason
from papyra.exceptions import ActorStopped
from papyra.messages import DeadLetterReason
from papyra.ref import ActorRef, endpoint_of
from papyra.supervision import RestartType

if TYPE_CHECKING:
    from asyncio import Future, Task
    from collections.abc import Mapping

    from papyra._runtime.facts import Restart, Trail
    from papyra._runtime.mailbox import MailboxLimits
    from papyra._runtime.scheduling import Alarm
    from papyra._runtime.site import Site
    from papyra.context import ActorFactory, System
    from papyra.ref import Delivery
    from papyra.supervision import RestartHistory, SupervisionPolicy


class Cell(Receiver):
    """One actor. ``ready``: ``on_start`` has succeeded, so ``on_stop`` is due."""

    __slots__ = (
        "actor",
        "answer",
        "args",
        "belongings",
        "children",
        "commands",
        "context",
        "drain_timer",
        "factory",
        "failure",
        "gone",
        "origin",
        "parent",
        "phase",
        "policy",
        "ready",
        "restarts",
        "resumes_at",
        "stop_waiters",
        "trail",
    )

    actor: Actor

    def __init__(  # noqa: PLR0913, PLR0917  # what a spawn says; names take longer
        self,
        site: Site,
        number: int,
        name: str | None,
        path: str,
        parent: Cell | None,
        factory: ActorFactory,
        args: tuple[object, ...],
        policy: SupervisionPolicy,
        limits: MailboxLimits,
    ) -> None:
        Receiver.__init__(self, site, number, name, path, limits)  # super() takes longer
        self.parent = parent
        self.children: dict[int, Cell] | None = None
        self.factory = factory
        self.args = args
        self.policy = policy
        self.context = ActorContext(self)
        current = CURRENT.get()
        self.origin = NOWHERE if current is None else Origin.of(current)
        self.phase = STARTING
        self.ready = False
        self.belongings: Belongings | None = None
        self.drain_timer: Alarm | None = None
        self.failure: Restart | None = None
        self.trail: Trail | None = None
        self.commands: deque[Command] | None = None
        self.answer: Future[Any] | None = None
        self.gone: Future[None] | None = None
        self.restarts: RestartHistory | None = None
        self.resumes_at = 0.0
        self.stop_waiters: list[Future[None]] | None = None

    @property
    def is_over(self) -> bool:
        """Whether the actor has ended."""
        return self.phase is Phase.STOPPED

    @property
    def system(self) -> System:
        """The facade."""
        return self.site.system

    @property
    def parent_ref(self) -> ActorRef | None:
        """The parent's reference."""
        return None if self.parent is None else self.parent.ref

    @property
    def child_refs(self) -> tuple[ActorRef, ...]:
        """The children's references, oldest first."""
        return tuple(child.ref for child in (self.children or {}).values())

    @property
    def sender_ref(self) -> ActorRef | None:
        """Who sent the message at hand."""
        at_hand = passing.at_hand(self)
        sender = None if at_hand is None else at_hand.sender
        return sender.ref if isinstance(sender, Receiver) else None

    @property
    def message_ids(self) -> tuple[str, str, str]:
        """The stored ids of the message at hand, its cause and its root."""
        at_hand = passing.at_hand(self)
        if at_hand is None:
            return "", "", ""
        name = self.site.journal.message_id
        return name(at_hand.id), name(at_hand.cause), name(at_hand.root)

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the message at hand."""
        at_hand = passing.at_hand(self)
        return {} if at_hand is None or at_hand.headers is None else dict(at_hand.headers)

    def forward(self, ref: ActorRef, message: object) -> Delivery:
        """Hand the current message on."""
        target, current = cell_of(ref), self.current
        handled = self.site.handled
        if handled is not None and current is not None and handled.wants(self.actor):
            handled.note_passed(self, current, self.since)
        return passing.forward(self, target, message)

    def stash(self) -> None:
        """Put the current message aside."""
        passing.stash(self)

    def note_undelivered(self, message: object) -> None:
        """Keep for `papyra.actor.Actor.on_undelivered` what this actor will not handle any more."""
        if self.ready and overrides(self.actor, "on_undelivered"):
            self.own.note_undelivered(message)

    @property
    def own(self) -> Belongings:
        """What this actor has beside a mailbox, from now on; raises `ActorStopped` once it has ended."""
        self.site.check_thread()
        if self.phase is Phase.STOPPED:
            raise self.stopped_error()
        if self.belongings is None:
            self.belongings = Belongings(self, self.passivate)
        return self.belongings

    def passivate(self) -> bool:
        """Stop after idling too long, unless that would take others' work away; whether it does."""
        if self.children or (self.box is not None and self.box.stash):
            return False
        self.request_stop(StopReason.PASSIVATED, "it had nothing to do for long")
        return True

    def retire(self) -> None:
        """Note that the task ends because nothing was to do for a while."""
        super().retire()
        if self.belongings is not None:
            self.belongings.watch()  # an alarm that came just now took it for busy

    def unstash(self) -> None:
        """Put what was set aside in front of the queue."""
        if self.box is not None:
            self.box.bring_back()

    def spawn_child(self, factory: ActorFactory, args: tuple[object, ...], **options: Any) -> ActorRef:
        """Spawn below this actor."""
        return self.system.spawn(factory, *args, parent=self.ref, **options)

    def stop_self(self) -> None:
        """Stop after the current message, or begin anew if the policy has it so."""
        if self.policy.restart is RestartType.PERMANENT and self.end is None and not self.site.is_closing:
            self.command(StoppedItself(Origin.of(CURRENT.get())))
        else:
            self.request_stop(StopReason.COMPLETED, "it stopped itself")

    def watch(self, ref: ActorRef) -> None:
        """Have this actor told when ``ref`` ends."""
        watching.watch(self, cell_of(ref))

    def unwatch(self, ref: ActorRef) -> None:
        """End `watch`."""
        watching.unwatch(self, cell_of(ref))

    def condition(self, now: float) -> str:
        """Say what the actor is doing."""
        if self.current is not None:
            state = f"it has been handling one message for {now - self.since:.3g} s"
        else:
            state = f"it is {'stopping' if self.end is not None else self.phase.value}"
        queue = self.box.queue if self.box is not None else ()
        oldest = f", the oldest since {now - queue[0].at:.3g} s" if queue else ""
        return f"{state}; {len(queue)} wait in its mailbox{oldest}"

    def cause(self) -> Envelope:
        """Return what stands for a message in on_start, on_stop and decisions; it came at `NEVER`."""
        if self.end is not None:
            origin = self.end.origin
        else:
            origin = self.origin if self.failure is None else self.failure.failure.origin
        return Envelope(None, None, origin.id, origin.cause, origin.root, None, self, None, None, NEVER)

    def command(self, command: Command) -> None:
        """Queue ``command`` before any message."""
        if self.commands is None:
            self.commands = deque()
        self.commands.append(command)
        self.urge()

    def urge(self) -> None:
        """Have the task look at anything but messages."""
        self.urgent = True
        if self.box is None:
            self.rouse()
        self.wake()

    def settle(self) -> None:
        """Let messages be handled again, if nothing else is to be done."""
        is_ending = self.end is not None and self.drain_timer is None
        self.urgent = is_ending or self.phase is not Phase.RUNNING or bool(self.commands)

    def request_stop(self, reason: StopReason, text: str = "", *, drain_seconds: float | None = None) -> None:
        """Stop after the current message, or with ``drain_seconds`` after those queued now.

        A second request ends the draining and changes nothing else.
        """
        if self.end is None:
            self.decide_end(End(reason=reason, text=text, origin=Origin.of(CURRENT.get())))
            if drain_seconds is not None and self.box is not None and self.box.queue:
                self.drain_timer = self.site.call_later(drain_seconds, self.end_drain)
                self.settle()
                return
        elif self.drain_timer is None or drain_seconds is not None:
            return
        self.end_drain()

    def ended(self) -> Future[None] | None:
        """Return what is done once the actor has stopped; ``None`` if it has."""
        if self.phase is Phase.STOPPED:
            return None
        waiter = self.site.loop.create_future()
        if self.stop_waiters is None:
            self.stop_waiters = []
        self.stop_waiters.append(waiter)
        return waiter

    def decide_end(self, end: End) -> None:
        """Take no message any more and free the name, now."""
        self.end = end
        is_shutdown = end.reason is StopReason.SHUTDOWN or self.site.is_closing
        self.closed = DeadLetterReason.SHUTDOWN if is_shutdown else DeadLetterReason.TARGET_STOPPED
        self.site.tree.free_name(self)
        if self.belongings is not None:
            self.belongings.close()
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(None)

    def end_drain(self) -> None:
        """Give up what is still queued, and stop."""
        if self.drain_timer is not None:
            self.drain_timer.cancel()
            self.drain_timer = None
        if self.phase is Phase.STOPPED:
            return
        if self.task is None and not self.children and not (self.ready and overrides(self.actor, "on_stop")):
            self.finish()
            return
        self.discard_soon()
        self.urge()

    def kill(self, text: str) -> None:
        """Cancel whatever the actor is doing."""
        self.decide_end(End(reason=StopReason.KILLED, text=text, origin=Origin.of(self.current)))
        if self.task is None:
            self.finish()
        else:
            self.task.cancel(text)

    def task_ended(self, task: Task[None]) -> None:
        """Notice a task that was cancelled before it could begin."""
        super().task_ended(task)
        if self.task is task:
            self.die(CancelledError())

    def die(self, error: BaseException) -> None:
        """End at once, in the middle of whatever it was: the task was cancelled, or cannot go on."""
        if self.phase is Phase.STOPPED:
            return
        end = self.end
        if end is None or end.reason is not StopReason.KILLED:
            end = _end_of(error, Origin.of(self.current))
            self.decide_end(end)
        envelope, self.current = self.current, None
        if envelope is not None:
            self.site.counts.failed += 1
            if envelope.reply is not None and not envelope.reply.done():
                envelope.reply.set_exception(self.stopped_error())
            self.site.letters.add(envelope, self.ref, DeadLetterReason.HANDLER_FAILED, end.error or end.text)
        for child in tuple((self.children or {}).values()):
            child.request_stop(StopReason.PARENT_STOPPED, "its parent was killed")
        self.finish()

    def finish(self, on_stop_error: BaseException | None = None) -> None:
        """Record the end, tell those who watch or wait, and let go of everything but the names."""
        assert self.end is not None  # noqa: S101  # decide_end() came first
        while not self.discard_queued():
            pass
        self.phase = Phase.STOPPED
        self.urgent = True
        end, parent = self.end, self.parent
        site = self.site
        site.tree.detach(self)
        site.active.discard(self)
        if site.emptied is not None and not site.emptied.done() and not len(site.tree):
            site.emptied.set_result(None)
        site.journal.stopped(self, end, on_stop_error)
        watching.tell_watchers(self, end)
        self.clear_commands()
        if parent is not None and not parent.children and parent.gone is not None and not parent.gone.done():
            parent.gone.set_result(None)
        for waiter in self.stop_waiters or ():
            if not waiter.done():
                waiter.set_result(None)
        self._let_go()

    def clear_commands(self) -> None:
        """Decide nothing about the children that have failed so far: they stop anyway."""
        commands, self.commands = self.commands, None
        for command in commands or ():
            drop(command)

    def stopped_error(self) -> ActorStopped:
        """Return what senders are told."""
        if self.end is None:
            return super().stopped_error()
        text = f": {self.end.text}" if self.end.text else ""
        return ActorStopped(
            f"{self.path} is not running ({self.end.reason.value}{text})", reason=self.end.reason.value
        )

    def _let_go(self) -> None:
        if self.drain_timer is not None:
            self.drain_timer.cancel()
            self.drain_timer = None
        del self.actor, self.factory, self.args, self.policy, self.context, self.scope
        self.box = self.task = self.waiter = None
        self.parent = self.children = self.gone = self.answer = self.stop_waiters = None
        if self.failure is not None and self.failure.stopped is not None and not self.failure.stopped.done():
            self.failure.stopped.set_result(None)
        self.watchers = self.watching = self.restarts = self.failure = None
        self.trail = None
        if self.belongings is not None:
            self.belongings.close()  # on_stop may have started something
            self.belongings = None
        self.origin = NOWHERE


def _end_of(error: BaseException, origin: Origin) -> End:
    if isinstance(error, CancelledError):
        return End(reason=StopReason.KILLED, text="its task was cancelled from outside", origin=origin)
    return End(reason=StopReason.KILLED, text="its task was ended", error=error_text(error), origin=origin)


def cell_of(ref: object) -> Cell:
    """Return the cell behind ``ref``; raises `TypeError` for anything else."""
    endpoint = endpoint_of(ref) if isinstance(ref, ActorRef) else None
    if not isinstance(endpoint, Cell):
        raise TypeError(f"not a reference to an actor: {ref!r:.200}")
    return endpoint


def overrides(actor: Actor, method: str) -> bool:
    """Whether the class of ``actor`` brings its own ``method``."""
    return getattr(type(actor), method) is not getattr(Actor, method)
