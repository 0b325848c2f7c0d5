"""Actors that do what a message says, and a store that does what a test says."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from papyra import Actor, ActorRef, ActorStopped, StopReason, Strategy, SupervisionPolicy, Terminated
from papyra import events as happened
from papyra.persistence.backends.memory import InMemoryPersistence
from papyra.persistence.retention import RetentionPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from papyra import ActorSystem, SupervisorDecision
    from papyra.events import ActorEvent
    from papyra.persistence.models import PersistedDeadLetter, PersistedEvent, Record

STOP = SupervisionPolicy(Strategy.STOP)
RESTART = SupervisionPolicy(Strategy.RESTART)
RESUME = SupervisionPolicy(Strategy.RESUME)
ESCALATE = SupervisionPolicy(Strategy.ESCALATE)


@dataclass(frozen=True)
class Boom:
    """Raise this."""

    error: BaseException = field(default_factory=lambda: ValueError("boom"))


@dataclass(frozen=True, eq=False)
class Hold:
    """Say that you have begun, and wait until released."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    reply: object = "released"


class Worker(Actor):
    """Keeps what it was told, and whether two messages ever overlapped."""

    def __init__(self) -> None:
        self.seen: list[object] = []
        self.is_busy = False
        self.overlapped = False

    async def receive(self, message: object) -> object:
        self.overlapped |= self.is_busy
        self.is_busy = True
        try:
            return await self.handle(message)
        finally:
            self.is_busy = False

    async def handle(self, message: object) -> object:
        match message:
            case Boom(error):
                raise error
            case Hold():
                message.begun.set()
                await message.release.wait()
                return message.reply
            case "seen":
                return list(self.seen)
            case "stop":
                await self.context.stop_self()
                return None
            case _:
                self.seen.append(message)
                return message


class Parent(Worker):
    """Has children, and decides about them as ``decide`` says."""

    def __init__(self, decide: Callable[[BaseException], SupervisorDecision | None] | None = None) -> None:
        super().__init__()
        self.decide = decide
        self.failures: list[str] = []

    async def handle(self, message: object) -> object:
        match message:
            case ("spawn", SupervisionPolicy() as policy):
                return self.context.spawn_child(Worker, policy=policy)
            case ("spawn", SupervisionPolicy() as policy, str(name)):
                return self.context.spawn_child(Worker, policy=policy, name=name)
            case ("watch", ActorRef() as ref):
                await self.context.watch(ref)
            case ("unwatch", ActorRef() as ref):
                await self.context.unwatch(ref)
            case ("ask", ActorRef() as ref, question):
                return await ref.ask(question, timeout=5)
            case _:
                return await super().handle(message)
        return None

    async def on_child_failure(self, child_ref: ActorRef, exc: BaseException) -> SupervisorDecision | None:
        assert not self.is_busy
        self.failures.append(f"{child_ref.path} {exc}")
        return None if self.decide is None else self.decide(exc)


class Lifecycle(Worker):
    """Writes down which of its methods run."""

    def __init__(self, log: list[str], *, fails: Sequence[str] = ()) -> None:
        super().__init__()
        self.log = log
        self.fails = fails
        self.note("init")

    def note(self, method: str) -> None:
        self.log.append(method)
        if method in self.fails:
            raise RuntimeError(f"{method} failed")

    async def on_start(self) -> None:
        self.note("on_start")

    async def on_stop(self) -> None:
        self.note("on_stop")


async def stopped(system: ActorSystem, ref: ActorRef) -> happened.ActorStopped:
    """Return the event of this actor's end, once it is there."""

    def is_it(event: ActorEvent) -> bool:
        return isinstance(event, happened.ActorStopped) and event.address == ref.address.to_dict()

    event = await system.wait_for_event(is_it, timeout=5)
    assert isinstance(event, happened.ActorStopped)
    return event


async def restarted(system: ActorSystem, times: int = 1) -> happened.ActorRestarted:
    """Return the n-th restart in the whole system, once it is there."""
    counted: list[ActorEvent] = []

    def is_it(event: ActorEvent) -> bool:
        if isinstance(event, happened.ActorRestarted):
            counted.append(event)
        return len(counted) == times

    event = await system.wait_for_event(is_it, timeout=5)
    assert isinstance(event, happened.ActorRestarted)
    return event


async def quiet(system: ActorSystem) -> None:
    """Let everything run until no message is pending."""
    async with asyncio.timeout(10):
        while system.accounting().pending:  # noqa: ASYNC110  # nothing says when
            await asyncio.sleep(0)


async def task_ended(path: str) -> None:
    """Let the task of the actor at ``path`` end, as that of an idle one does."""
    tasks = {task for task in asyncio.all_tasks() if task.get_name() == path}
    if tasks:
        _, left = await asyncio.wait(tasks, timeout=5)
        assert not left


async def seen_by(ref: ActorRef) -> list[object]:
    """Return what a `Worker` was told, once that is something."""
    async with asyncio.timeout(5):
        while not (seen := await ref.ask("seen")):
            pass
    assert isinstance(seen, list)
    return seen


class Store(InMemoryPersistence):
    """Raises what its script says, one step for each append, or for ever; waits while its gate is closed."""

    def __init__(self, *script: BaseException, always: BaseException | None = None) -> None:
        super().__init__(RetentionPolicy())
        self.script = deque(script)
        self.always = always
        self.gate = asyncio.Event()
        self.gate.set()
        self.appends = 0

    async def append(self, records: Sequence[Record]) -> None:
        self.appends += 1
        await self.gate.wait()
        if self.always is not None:
            raise self.always
        if self.script:
            raise self.script.popleft()
        await super().append(records)

    def types(self) -> list[str]:
        """The types of the stored events, in order."""
        return [event.event_type for event in self.events]

    def of(self, event_type: str) -> list[PersistedEvent]:
        """The stored events of one type."""
        return [event for event in self.events if event.event_type == event_type]

    def letters(self, reason: str) -> list[PersistedDeadLetter]:
        """The stored letters of one reason."""
        return [letter for letter in self.dead_letters if letter.reason == reason]


__all__ = [
    "ESCALATE",
    "RESTART",
    "STOP",
    "ActorStopped",
    "Boom",
    "Hold",
    "Lifecycle",
    "Parent",
    "StopReason",
    "Store",
    "Terminated",
    "Worker",
    "quiet",
    "restarted",
    "seen_by",
    "stopped",
    "task_ended",
]
