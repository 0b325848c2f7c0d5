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
        self.finished: Counter[int] = Counter()  # by the id of the parcel, 0 for whatever is none
        self.raised: Counter[int] = Counter()
        self.handling: set[int] = set()
        self.started: set[str] = set()
        self.withdrawn: set[int] = set()
        self.put_aside: set[int] = set()
        self.doubtful = 0
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

    def refused(self, parcel: Parcel, error: PapyraError) -> None:
        """Write down that nobody was sent what its sender would have waited for in vain."""
        if type(error) is PapyraError:
            self.withdrawn.add(parcel.id)

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
        self.hand: Parcel | None = None
        self.aside: Parcel | None = None  # for as long as its handler runs: if that fails, so may the parcel
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
        """Follow a parcel's orders, as long as it is in hand; what becomes of it is written down at once."""
        self.hand = message if isinstance(message, Parcel) else None
        self.book.handling.add(self.number)
        try:
            with self.book.alone(self.number, "receive"):
                if self.hand is not None:
                    self.book.see(self.hand, self.number)
                    for order in self.hand.orders:
                        await self._follow(order)
        except BaseException:
            self._write_down(message, self.book.raised)
            self.book.doubtful += message is self.aside  # unless its actor stops: then it is a letter already
            raise
        else:
            self._write_down(message, self.book.finished)
            return None
        finally:
            self._give_away()
            self.aside = None

    def _write_down(self, message: object, outcome: Counter[int]) -> None:
        if not isinstance(message, Parcel):
            outcome[0] += 1
        elif message is self.hand:
            outcome[message.id] += 1

    def _give_away(self) -> None:
        self.hand = None
        self.book.handling.discard(self.number)

    async def _follow(self, order: Order) -> None:  # noqa: C901, PLR0912  # one line for each word
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
                await self._try(lambda: ask(self.book, self.me, target, orders, timeout))
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
                await self._follow_new(context, order)

    async def _follow_new(self, context: Any, order: Order) -> None:  # noqa: C901, PLR0912  # as above
        """Follow what a step of the runtime may not have yet."""
        match order:
            case ("forward", target, orders) if self.hand is not None:
                context.forward(self.book.ref(target), self.book.parcel(self.me, target, orders))
                self.book.finished[self.hand.id] += 1
                self._give_away()
            case ("send", target, orders):
                await self._try(lambda: send(self.book, self.me, target, orders))
            case ("stash",) if self.hand is not None and self.hand.id not in self.book.put_aside:
                context.stash()
                self.book.put_aside.add(self.hand.id)  # once, or it would come back for ever
                self.aside = self.hand
                self._give_away()
            case ("unstash",) if self.hand is not None:  # not of what this handler has just put aside
                context.unstash_all()
            case ("forward", *_) | ("stash",) | ("unstash",):
                pass
            case ("timer", key, seconds):
                context.timers.start_once(key, Tick(), after=seconds)
            case ("periodic timer", key, seconds):
                context.timers.start_periodic(key, Tick(), every=seconds)
            case ("no timer", key):
                context.timers.cancel(key)
            case ("pipe", float() as seconds):
                context.pipe_to_self(asyncio.sleep(seconds, Tick()))
            case ("receive timeout", seconds):
                context.set_receive_timeout(seconds)
            case _:
                self.book.violations.append(f"no such order: {order}")

    async def _try(self, make: Any) -> None:
        with suppress(Exception):
            await make()


async def send(book: Book, sender: str, receiver: object, orders: object) -> None:
    """Send a parcel; one that is withdrawn while it waits for room was never sent."""
    ref = book.ref(receiver)
    parcel = book.parcel(sender, receiver, orders)
    try:
        await ref.send(parcel)
    except asyncio.CancelledError:
        book.withdrawn.add(parcel.id)
        raise
    except PapyraError as error:
        book.refused(parcel, error)


async def ask(book: Book, sender: str, receiver: object, orders: object, timeout: float | None) -> None:
    """Ask by a parcel."""
    ref = book.ref(receiver)
    parcel = book.parcel(sender, receiver, orders)
    try:
        await ref.ask(parcel, timeout=timeout)
    except PapyraError as error:
        book.refused(parcel, error)


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
