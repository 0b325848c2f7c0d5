"""Who waits for an actor never holds up what that actor waits for: nobody waits out a timeout in a circle."""

from __future__ import annotations

import asyncio

import pytest

from papyra import Actor, ActorRef, ActorSystem, RestartScope, Strategy, SupervisionPolicy, SupervisorDecision
from papyra import events as happened
from papyra.exceptions import PapyraError
from papyra.messages import DeadLetterReason
from papyra.testing import ManualClock
from tests.unit.runtime.actors import Boom, Hold, Parent, Store, Worker, quiet, stopped
from tests.unit.runtime.policies import of, policy

TOGETHER = policy(scope=RestartScope.ONE_FOR_ALL, max_restarts=9)


async def seen(ref: ActorRef) -> list[object]:
    async with asyncio.timeout(5):
        told: list[object] = await ref.ask("seen")
    return told


class Curious(Parent):
    """Asks whom it is told to, and writes down what came of it."""

    def __init__(self, heard: list[object], gate: Hold | None = None) -> None:
        super().__init__()
        self.heard = heard
        self.gate = gate

    async def handle(self, message: object) -> object:
        match message:
            case ("curious", SupervisionPolicy() as its):
                return self.context.spawn_child(lambda: Curious(self.heard, self.gate), policy=its)
            case ("ask later", ActorRef() as ref):
                assert self.gate is not None
                self.gate.begun.set()
                await self.gate.release.wait()
                return await self.try_asking(ref)
            case ("ask", ActorRef() as ref):
                return await self.try_asking(ref)
            case _:
                return await super().handle(message)

    async def try_asking(self, ref: ActorRef) -> object:
        try:
            reply = await ref.ask("seen", timeout=None)
        except PapyraError as error:
            self.heard.append(error)
            return None
        self.heard.append(reply)
        return reply


@pytest.mark.parametrize("is_grandchild", [False, True])
@pytest.mark.parametrize("when", ["before", "while it waits"])
async def test_a_child_that_asks_its_restarting_parent_is_told_at_once(
    system: ActorSystem, clock: ManualClock, when: str, *, is_grandchild: bool
) -> None:
    heard: list[object] = []
    gate, hold = Hold(), Hold()
    parent = system.spawn(lambda: Curious(heard, gate), policy=policy())
    asker = await parent.ask(("curious", policy()))
    if is_grandchild:
        asker = await asker.ask(("curious", policy()))
    parent.tell(hold)
    await hold.begun.wait()
    parent.tell(Boom())
    asker.tell(("ask" if when == "before" else "ask later", parent))
    await clock.settle()
    hold.release.set()
    await clock.settle()
    gate.release.set()
    assert await seen(parent) == []
    (error,) = heard
    assert type(error) is PapyraError
    assert asker.path in str(error)
    assert parent.path in str(error)
    assert len(of(system, happened.ActorRestarted)) == 1
    assert system.dead_letters.counts[DeadLetterReason.EXPIRED] == 1


async def test_what_others_ask_a_restarting_parent_is_answered_after_the_restart(
    system: ActorSystem, clock: ManualClock
) -> None:
    heard: list[object] = []
    hold = Hold()
    parent = system.spawn(lambda: Curious(heard), policy=policy())
    child = await parent.ask(("curious", policy()))
    other = system.spawn(lambda: Curious(heard))
    child.tell(hold)
    await hold.begun.wait()
    parent.tell(Boom())
    await clock.settle()
    other.tell(("ask", parent))
    asking = asyncio.create_task(parent.ask("seen"))
    await clock.settle()
    hold.release.set()
    async with asyncio.timeout(5):
        assert await asking == []
    await quiet(system)
    assert heard == [[]]


async def test_a_child_that_asks_its_restarting_parent_in_on_stop_is_told_at_once(
    system: ActorSystem,
) -> None:
    heard: list[object] = []

    class Polite(Worker):
        async def on_stop(self) -> None:
            assert self.context.parent is not None
            try:
                await self.context.parent.ask("may I?", timeout=None)
            except PapyraError as error:
                heard.append(error)

    class Above(Worker):
        async def handle(self, message: object) -> object:
            return self.context.spawn_child(Polite) if message == "child" else await super().handle(message)

    parent = system.spawn(Above, policy=policy())
    child = await parent.ask("child")
    await child.ask(1)
    parent.tell(Boom())
    assert await seen(parent) == []
    assert len(heard) == 1
    assert not child.is_alive()


@pytest.mark.parametrize("asked", ["leader", "follower"])
@pytest.mark.parametrize("when", ["before", "while they wait"])
async def test_a_sibling_that_waits_for_a_reply_of_the_group_is_left_behind_and_gets_it(
    system: ActorSystem, clock: ManualClock, when: str, asked: str
) -> None:
    heard: list[object] = []
    gate, hold = Hold(), Hold()
    parent = system.spawn(lambda: Curious(heard, gate))
    asker, leader, follower = [await parent.ask(("curious", TOGETHER)) for _ in range(3)]
    target = {"leader": leader, "follower": follower}[asked]
    busy = Hold()
    if asked == "follower" and when == "before":
        follower.tell(busy)
        await busy.begun.wait()
    leader.tell(hold)
    await hold.begun.wait()
    leader.tell(Boom())
    asker.tell(("ask" if when == "before" else "ask later", target))
    await clock.settle()
    hold.release.set()
    await clock.settle()
    busy.release.set()
    await clock.settle()
    gate.release.set()
    for ref in (leader, follower, asker):
        await seen(ref)
    assert heard == [[]]
    restarts = [event.path for event in of(system, happened.ActorRestarted)]
    assert sorted(restarts) == sorted([leader.path, follower.path, asker.path])
    assert restarts[-1] == asker.path
    assert system.dead_letters.counts[DeadLetterReason.HANDLER_FAILED] == 1


async def test_what_a_sibling_asks_beside_its_messages_does_not_leave_it_behind(
    system: ActorSystem, clock: ManualClock
) -> None:
    class Piping(Worker):
        async def handle(self, message: object) -> object:
            if isinstance(message, ActorRef):
                self.context.pipe_to_self(message.ask("seen", timeout=None))
                return None
            return await super().handle(message)

    parent, hold = system.spawn(Parent), Hold()
    older = system.spawn(Piping, parent=parent, policy=TOGETHER)
    leader = system.spawn(Worker, parent=parent, policy=TOGETHER)
    leader.tell(hold)
    await hold.begun.wait()
    leader.tell(Boom())
    await older.ask(leader)
    await clock.settle()
    hold.release.set()
    await seen(leader)
    await seen(older)
    assert [event.path for event in of(system, happened.ActorRestarted)] == [older.path, leader.path]


async def test_a_sibling_whose_failure_is_being_decided_restarts_with_the_others(
    system: ActorSystem, clock: ManualClock
) -> None:
    gate = asyncio.Event()

    class Deciding(Parent):
        async def on_child_failure(
            self, child_ref: ActorRef, exc: BaseException
        ) -> SupervisorDecision | None:
            del child_ref
            if str(exc) == "resume":
                await gate.wait()
                return SupervisorDecision.RESUME
            return None

    parent, hold = system.spawn(Deciding), Hold()
    undecided = await parent.ask(("spawn", policy()))
    leader = await parent.ask(("spawn", TOGETHER))
    youngest = await parent.ask(("spawn", policy()))
    await undecided.ask(1)
    youngest.tell(hold)
    await hold.begun.wait()
    leader.tell(Boom())
    await clock.settle()
    undecided.tell(Boom(ValueError("resume")))
    await clock.settle()
    hold.release.set()
    await clock.settle()
    gate.set()
    assert await seen(undecided) == []
    for ref in (leader, youngest):
        await seen(ref)
    assert {event.path: event.sibling for event in of(system, happened.ActorRestarted)} == {
        leader.path: "",
        undecided.path: leader.path,
        youngest.path: leader.path,
    }


class Waiting(Worker):
    """Waits for a reply of its child, which waits for its decision."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    async def on_start(self) -> None:
        self.child = self.context.spawn_child(Worker, policy=policy(max_restarts=9))
        if self.where == "on_start":
            self.child.tell(Boom())
            await self.child.ask("seen", timeout=None)

    async def handle(self, message: object) -> object:
        if message != "go":
            return await super().handle(message)
        self.child.tell(Boom())
        if self.where == "handler":
            await ManualClock().settle()  # the child waits for a decision before it is asked
            await self.child.ask("seen", timeout=None)
        return None

    async def on_child_failure(self, child_ref: ActorRef, exc: BaseException) -> SupervisorDecision | None:
        if self.where == "on_child_failure":
            await child_ref.ask(f"what is {exc}?", timeout=None)
        return SupervisorDecision.STOP


async def test_a_child_that_fails_again_while_its_parent_still_asks_it_leaves_that_to_the_policy(
    system: ActorSystem,
) -> None:
    class Insisting(Parent):
        async def on_child_failure(
            self, child_ref: ActorRef, exc: BaseException
        ) -> SupervisorDecision | None:
            self.failures.append(str(exc))
            await child_ref.ask("why?", timeout=None)
            return SupervisorDecision.STOP

    parent = system.spawn(Insisting)
    child = await parent.ask(("spawn", policy(max_restarts=9)))
    for _ in range(4):
        child.tell(Boom())
    await quiet(system)
    assert await seen(child) == ["why?"]
    crashes = of(system, happened.ActorCrashed)
    assert [(crash.decision, crash.decided_by) for crash in crashes] == [("restart", "policy")] * 4


@pytest.mark.parametrize("where", ["on_start", "on_child_failure", "handler"])
async def test_a_parent_that_waits_for_the_child_it_has_to_decide_about_leaves_it_to_the_policy(
    system: ActorSystem, where: str
) -> None:
    parent = system.spawn(Waiting, where)
    async with asyncio.timeout(5):
        await parent.ask("go" if where != "on_start" else 1)
    if not of(system, happened.ActorRestarted):
        await system.wait_for_event(happened.ActorRestarted)
    (crash,) = of(system, happened.ActorCrashed)
    assert (crash.decision, crash.decided_by) == ("restart", "policy")
    assert len(of(system, happened.ActorRestarted)) == 1


class Polite(Parent):
    """Says good-bye to its parent, stops whom it is told to, or has another do so."""

    async def on_stop(self) -> None:
        if self.context.parent is not None and self.context.parent.is_alive():
            await self.context.parent.ask("bye", timeout=None)

    async def handle(self, message: object) -> object:
        match message:
            case "child":
                return self.context.spawn_child(Polite)
            case ("stop", ActorRef() as ref):
                await self.context.stop(ref)
            case ("have", ActorRef() as other, order):
                await other.ask(order, timeout=None)
            case _:
                return await super().handle(message)
        return None


@pytest.mark.parametrize("who", ["nobody", "child", "grandchild"])
async def test_who_stops_one_that_waits_for_its_reply_does_not_wait_for_the_end(
    system: ActorSystem, who: str
) -> None:
    parent = system.spawn(Polite)
    child = await parent.ask("child")
    grandchild = await child.ask("child")
    for ref in (child, grandchild):
        await ref.ask(1)
    stop = ("stop", child)
    if who == "nobody":
        parent.tell(stop)
    else:
        asker = {"child": child, "grandchild": grandchild}[who]
        asker.tell(("have", parent, stop))
    await stopped(system, child)
    assert "bye" in await seen(parent)
    assert not grandchild.is_alive()


async def test_many_that_wait_for_the_end_of_others_do_not_search_each_other(system: ActorSystem) -> None:
    gate = asyncio.Event()

    class Slow(Actor):
        async def on_stop(self) -> None:
            await gate.wait()

        def receive(self, message: object) -> object:
            return message

    class Stopper(Actor):
        async def receive(self, message: ActorRef) -> None:
            await asyncio.sleep(0)
            await self.context.stop(message)

    slow = [system.spawn(Slow) for _ in range(3_000)]
    stoppers = [system.spawn(Stopper) for _ in slow]
    asks = [
        asyncio.create_task(stopper.ask(ref, timeout=None))
        for stopper, ref in zip(stoppers, slow, strict=True)
    ]
    rivals = [system.spawn(Stopper) for _ in range(2)]
    rivals[0].tell(rivals[1])
    rivals[1].tell(rivals[0])
    for rival in rivals:
        await stopped(system, rival)
    gate.set()
    await asyncio.gather(*asks)
    assert not any(ref.is_alive() for ref in slow)


@pytest.mark.parametrize("levels", [1, 300])
async def test_an_escalation_to_the_top_passes_each_level_exactly_once(levels: int) -> None:
    async with ActorSystem(persistence=Store(), audit_interval=None) as system:
        escalate = policy(Strategy.ESCALATE)
        refs = [system.spawn(Parent, policy=escalate)]
        for _ in range(levels):
            refs.append(system.spawn(Parent, policy=escalate, parent=refs[-1]))
        refs[-1].tell(Boom())
        await stopped(system, refs[0])
        escalations = [event.path for event in of(system, happened.ActorEscalated)]
        assert escalations == [ref.path for ref in reversed(refs)]
        assert [event.to for event in of(system, happened.ActorEscalated)] == [*escalations[1:], ""]
        assert {event.reason for event in of(system, happened.ActorStopped)} == {"escalated"}
        assert system.accounting().failed == 1
