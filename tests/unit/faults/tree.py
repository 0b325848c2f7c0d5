"""Actors that do what a parcel orders, and the book in which all that happens to parcels is written down."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from papyra import Actor, ActorRef, PapyraError, SupervisionPolicy, SupervisorDecision

if TYPE_CHECKING:
    from collections.abc import Iterator

Order = tuple[object, ...]
"""One thing to do: its word, and what the word needs. Actors are named by numbers, see `Book.place`."""


@dataclass(frozen=True, eq=False)
class Parcel:
    """A message unlike every other one; ``number`` counts those of one sender to one receiver."""

    id: int
    sender: str
    receiver: int
    number: int
    orders: tuple[Order, ...]


@dataclass(frozen=True)
class Tick:
    """What timers bring: not one of the parcels, which are each sent by somebody once."""


class FailedError(Exception):
    """A handler was ordered to fail."""


@dataclass
class Plan:
    """What one actor is made of, over all its instances; flaws are the methods that fail, oldest first."""

    policy: SupervisionPolicy | None = None
    decision: SupervisorDecision | None = None
    capacity: int | None = None
    name: str | None = None
    flaws: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


class Book:
    """Everything that can be said of the tree without asking the runtime."""

    def __init__(self) -> None:
        self.refs: list[ActorRef] = []
        self.parcels = 0
        self.senders = 0
        self.finished: Counter[int] = Counter()
        self.raised: Counter[int] = Counter()
        self.others_finished = self.others_raised = 0
        self.handling: set[int] = set()
        self.started: set[str] = set()
        self.violations: list[str] = []
        self.holds: list[asyncio.Event] = []
        self._sent: Counter[tuple[str, int]] = Counter()
        self._last_seen: dict[tuple[str, int], int] = {}
        self._seen: set[int] = set()
        self._busy: dict[int, str] = {}

    def place(self, number: object) -> int:
        """Return whom ``number`` means: mostly one that lives."""
        assert isinstance(number, int)
        alive = [place for place, ref in enumerate(self.refs) if ref.is_alive()]
        return alive[number % len(alive)] if alive and number % 7 else number % len(self.refs)

    def ref(self, number: object) -> ActorRef:
        """Return whom ``number`` means."""
        return self.refs[self.place(number)]

    def new_sender(self) -> str:
        """Return somebody whose order concerns nobody else."""
        self.senders += 1
        return f"sender {self.senders}"

    def parcel(self, sender: str, receiver: object, orders: object) -> Parcel:
        """Return the next parcel from this sender to this receiver; it has to be sent at once."""
        assert isinstance(orders, tuple)
        place = self.place(receiver)
        self._sent[sender, place] += 1
        self.parcels += 1
        return Parcel(self.parcels, sender, place, self._sent[sender, place], orders)

    def see(self, parcel: Parcel, number: int) -> None:
        """Check that a parcel came to the right one, after those that were sent before it."""
        channel = parcel.sender, parcel.receiver
        if parcel.receiver != number:
            self.violations.append(f"{parcel} came to {number}")
        if parcel.id in self._seen:  # put back, or tried again
            return
        self._seen.add(parcel.id)
        if self._last_seen.get(channel, 0) >= parcel.number:
            self.violations.append(f"{parcel} came after number {self._last_seen[channel]}")
        self._last_seen[channel] = parcel.number

    @contextmanager
    def alone(self, number: int, what: str) -> Iterator[None]:
        """Check that an actor does one thing at a time, over all its instances."""
        if number in self._busy:
            self.violations.append(f"{number} was in {self._busy[number]} when {what} began")
        self._busy[number] = what
        try:
            yield
        finally:
            self._busy.pop(number, None)


class Node(Actor):
    """Follows orders."""

    def __init__(self, book: Book, number: int, plan: Plan) -> None:
        self.book, self.number, self.plan = book, number, plan
        self._flaw("init")

    @property
    def me(self) -> str:
        return f"actor {self.number}"

    def _flaw(self, method: str) -> None:
        if self.plan.flaws and self.plan.flaws[0] == method:
            self.plan.flaws = self.plan.flaws[1:]
            raise FailedError(method)

    async def on_start(self) -> None:
        address = str(self.context.self_ref.address)
        with self.book.alone(self.number, "on_start"):
            await asyncio.sleep(0)
            self._flaw("on_start")
            self.book.started.add(address)

    async def on_stop(self) -> None:
        with self.book.alone(self.number, "on_stop"):
            await asyncio.sleep(0)
            self._flaw("on_stop")

    async def on_restart(self, reason: BaseException, message: object | None) -> None:
        del reason, message
        with self.book.alone(self.number, "on_restart"):
            await asyncio.sleep(0)
            self._flaw("on_restart")

    async def on_undelivered(self, messages: tuple[object, ...]) -> None:
        del messages
        with self.book.alone(self.number, "on_undelivered"):
            await asyncio.sleep(0)
            self._flaw("on_undelivered")

    async def on_child_failure(self, child_ref: ActorRef, exc: BaseException) -> SupervisorDecision | None:
        del child_ref, exc
        with self.book.alone(self.number, "on_child_failure"):
            await asyncio.sleep(0)
            return self.plan.decision

    async def receive(self, message: object) -> object:
        parcel = message if isinstance(message, Parcel) else None
        self.book.handling.add(self.number)
        put_aside = False
        try:
            with self.book.alone(self.number, "receive"):
                if parcel is not None:
                    self.book.see(parcel, self.number)
                    for order in parcel.orders:
                        put_aside |= await self._follow(order)
        except BaseException:
            if parcel is None:
                self.book.others_raised += 1
            else:
                self.book.raised[parcel.id] += 1
            raise
        finally:
            self.book.handling.discard(self.number)
        if parcel is None:
            self.book.others_finished += 1
        elif not put_aside:
            self.book.finished[parcel.id] += 1
        return None if parcel is None else parcel.id

    async def _follow(self, order: Order) -> bool:  # noqa: C901, PLR0912  # one line for each word
        context: Any = self.context
        match order:
            case ("pause", int() as turns):
                for _ in range(turns):
                    await asyncio.sleep(0)
            case ("hold",):
                gate = asyncio.Event()
                self.book.holds.append(gate)
                await gate.wait()
            case ("fail",):
                raise FailedError
            case ("cancelled",):
                raise asyncio.CancelledError
            case ("tell", target, orders):
                self.book.ref(target).tell(self.book.parcel(self.me, target, orders))
            case ("tell and wait", target, orders):
                await self._try(lambda: self.book.ref(target).tell(self.book.parcel(self.me, target, orders)))
            case ("ask", target, orders, float() as timeout):
                if self.book.ref(target) == context.self_ref:
                    return False  # refused before it is a message
                await self._try(
                    lambda: self.book.ref(target).ask(
                        self.book.parcel(self.me, target, orders), timeout=timeout
                    )
                )
            case ("spawn", Plan() as plan):
                spawn(self.book, plan, context.spawn_child)
            case ("stop", target):
                await self._try(lambda: context.stop(self.book.ref(target)))
            case ("stop self",):
                await context.stop_self()
            case ("watch", target):
                if self.book.ref(target) != context.self_ref:
                    await context.watch(self.book.ref(target))
            case _:
                return await self._follow_new(context, order)
        return False

    async def _follow_new(self, context: Any, order: Order) -> bool:  # noqa: C901, PLR0912  # as above
        """Follow what a step of the runtime may not have yet; returns whether the parcel was put aside."""
        match order:
            case ("forward", target, orders):
                context.forward(self.book.ref(target), self.book.parcel(self.me, target, orders))
            case ("send", target, orders):
                ref: Any = self.book.ref(target)
                await self._try(lambda: ref.send(self.book.parcel(self.me, target, orders)))
            case ("stash",):
                context.stash()
                return True
            case ("unstash",):
                context.unstash_all()
            case ("timer", key, seconds, is_periodic):
                if is_periodic:
                    context.timers.start_periodic(key, Tick(), every=seconds)
                else:
                    context.timers.start_once(key, Tick(), after=seconds)
            case ("no timer", key):
                context.timers.cancel(key)
            case ("pipe", float() as seconds):
                context.pipe_to_self(asyncio.sleep(seconds, Tick()))
            case ("receive timeout", seconds):
                context.set_receive_timeout(seconds)
            case _:
                self.book.violations.append(f"no such order: {order}")
        return False

    async def _try(self, make: Any) -> None:
        with suppress(PapyraError, FailedError, TimeoutError):
            await make()


def spawn(book: Book, plan: Plan, how: Any) -> None:
    """Spawn by ``how``, and write it down; a refusal is no fault of anybody."""
    number = len(book.refs)
    try:
        ref = how(
            Node,
            book,
            number,
            plan,
            name=plan.name,
            policy=plan.policy,
            mailbox_capacity=plan.capacity,
            **plan.options,
        )
    except (PapyraError, FailedError):
        return
    book.refs.append(ref)
