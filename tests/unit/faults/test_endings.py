"""However an actor ends: gone from its parent, watchers told once, name free, its messages letters."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from papyra import Actor, ActorStopped, ActorSystem, StopReason, SupervisionPolicy, Terminated
from papyra import events as happened
from papyra.messages import DeadLetterReason
from papyra.testing.probe import Probe
from tests.unit.runtime.actors import RESTART, STOP, Boom, Hold, Parent, Store, Worker, quiet, stopped

if TYPE_CHECKING:
    from papyra import ActorRef


class Flawed(Worker):
    """Raises at the n-th call of one method, counted over all its instances."""

    def __init__(self, flaw: str, calls: list[str], at: int) -> None:
        super().__init__()
        self.flaw, self.calls, self.at = flaw, calls, at
        self.call("init")

    def call(self, method: str) -> None:
        self.calls.append(method)
        if method == self.flaw and self.calls.count(method) == self.at:
            raise RuntimeError(f"{method} failed")

    async def on_start(self) -> None:
        await asyncio.sleep(0)
        self.call("on_start")

    async def on_stop(self) -> None:
        await asyncio.sleep(0)
        self.call("on_stop")


ENDS = [
    pytest.param("on_start", 1, STOP, "start", StopReason.START_FAILED, id="on_start"),
    pytest.param(
        "on_start", 2, SupervisionPolicy(RESTART.strategy, 1), "crash", None, id="restarts_on_start"
    ),
    pytest.param("init", 2, RESTART, "crash", StopReason.START_FAILED, id="restarts_factory"),
    pytest.param("on_stop", 1, STOP, "stop", StopReason.REQUESTED, id="on_stop"),
    pytest.param("on_stop", 1, STOP, "crash", StopReason.FAILED, id="on_stop_after_a_failure"),
    pytest.param("", 1, STOP, "crash", StopReason.FAILED, id="receive"),
]


@pytest.mark.parametrize(("flaw", "at", "policy", "ends_by", "reason"), ENDS)
async def test_line_1_a_hook_that_raises_leaves_nothing_of_its_actor(
    system: ActorSystem,
    flaw: str,
    at: int,
    policy: SupervisionPolicy,
    ends_by: str,
    reason: StopReason | None,
) -> None:
    probe, parent = Probe(system, "probe"), system.spawn(Parent, name="parent")
    calls: list[str] = []
    ref = system.spawn(Flawed, flaw, calls, at, name="flawed", policy=policy, parent=parent)
    watching = asyncio.create_task(probe.watch(ref))
    hold = Hold()
    if ends_by != "start":
        ref.tell(hold)
        await hold.begun.wait()
        if ends_by == "crash":
            ref.tell(Boom())
    for number in range(3):
        ref.tell(number)
    ending = asyncio.create_task(system.stop(ref)) if ends_by == "stop" else None
    await asyncio.sleep(0)
    hold.release.set()
    await watching
    notice = await probe.expect(Terminated, within=5)
    if ending is not None:
        await ending
    await quiet(system)
    await probe.expect_no_message(within=0.001)
    assert notice.ref == ref
    assert reason in {None, notice.reason}
    assert system.actor_info(parent).children_rids == ()
    accounting = system.accounting()
    assert (accounting.dead, accounting.pending) == (3, 0)
    assert [letter.message for letter in system.dead_letters.messages if letter.message in {0, 1, 2}] == [
        0,
        1,
        2,
    ]
    again = system.spawn(Worker, name="flawed", parent=parent)
    assert await again.ask("alive") == "alive"
    assert (await stopped(system, ref)).reason is notice.reason


@pytest.mark.parametrize("moment", ["waits for its child", "in on_stop", "has stopped"])
async def test_line_2_what_is_told_to_an_actor_on_its_way_out_is_a_letter(
    system: ActorSystem, moment: str
) -> None:
    last = Hold()

    class Slow(Parent):
        async def on_stop(self) -> None:
            last.begun.set()
            await last.release.wait()

    ref, hold = system.spawn(Slow), Hold()
    child = await ref.ask(("spawn", STOP))
    child.tell(hold)
    await hold.begun.wait()
    stopping = asyncio.create_task(system.stop(ref))
    await asyncio.sleep(0)
    if moment != "waits for its child":
        hold.release.set()
        await last.begun.wait()
    if moment == "has stopped":
        last.release.set()
        await stopping
    assert not ref.is_alive()
    delivery = ref.tell("late")
    with pytest.raises(ActorStopped):
        await delivery
    with pytest.raises(ActorStopped):
        await ref.ask("late", timeout=None)
    hold.release.set()
    last.release.set()
    await stopping
    assert system.dead_letters.counts[DeadLetterReason.TARGET_STOPPED] == 2
    assert system.accounting().dead == 2


async def test_line_2_what_an_actor_tells_itself_while_it_stops_is_a_letter(system: ActorSystem) -> None:
    class Chatty(Actor):
        async def on_stop(self) -> None:
            self.context.self_ref.tell("to myself")

    ref = system.spawn(Chatty)
    await system.stop(ref)
    assert [letter.message for letter in system.dead_letters.messages] == ["to myself"]


async def test_line_8_stopping_from_everywhere_at_once_stops_once(system: ActorSystem, store: Store) -> None:
    parent = system.spawn(Parent)
    ref, hold = await parent.ask(("spawn", STOP, "child")), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    ref.tell("stop")
    stops = [asyncio.create_task(system.stop(target)) for target in (ref, ref, parent, ref, parent)]
    await asyncio.sleep(0)
    stops.append(asyncio.create_task(system.stop(ref)))
    hold.release.set()
    await asyncio.wait_for(asyncio.gather(*stops), 5)
    await asyncio.wait_for(system.stop(ref), 5)
    assert await system.flush(5)
    assert [event.actor_path for event in store.of("ActorStopped")] == [f"{parent.path}/child", parent.path]


class Ending(Parent):
    """Ends itself, its parent or the whole system in one of its methods, and waits for that."""

    def __init__(self, ends: str, where: str) -> None:
        super().__init__()
        self.ends, self.where = ends, where

    async def act(self, method: str) -> None:
        context = self.context
        if method != self.where:
            return
        if self.ends == "the system":
            await context.system.aclose()
        elif self.ends == "itself":
            await context.system.stop(context.self_ref)
        else:
            assert context.parent is not None
            await context.system.stop(context.parent)

    async def on_start(self) -> None:
        await self.act("on_start")

    async def handle(self, message: object) -> object:
        await self.act("receive")
        return await super().handle(message)

    async def on_stop(self) -> None:
        await self.act("on_stop")

    async def on_child_failure(self, child_ref: ActorRef, exc: BaseException) -> None:
        del child_ref, exc
        await self.act("on_child_failure")


@pytest.mark.parametrize("ends", ["itself", "its parent", "the system"])
@pytest.mark.parametrize("where", ["on_start", "receive", "on_stop", "on_child_failure"])
async def test_line_8_no_stop_from_inside_waits_for_itself(ends: str, where: str) -> None:
    async with asyncio.timeout(5), ActorSystem() as system:
        parent = system.spawn(Parent)
        ref = system.spawn(Ending, ends, where, parent=parent)
        system.spawn(Worker, parent=ref, policy=STOP).tell(Boom())
        ref.tell("go")
        if where == "on_stop":
            await system.stop(ref)
        await stopped(system, ref)
        await system.stop(parent)


async def test_line_8_an_actor_that_stops_is_not_resurrected_by_a_failing_end(system: ActorSystem) -> None:
    class Raising(Actor):
        async def on_stop(self) -> None:
            raise OSError("end")

    parent = system.spawn(Parent)
    ref = system.spawn(Raising, parent=parent, policy=RESTART)
    await system.stop(ref)
    await system.stop(parent)
    types = [type(event) for event in system.events() if event.path == ref.path]
    assert types == [happened.ActorStarted, happened.ActorStopped]


async def test_b7_a_child_that_is_spawned_while_its_parent_ends_never_outlives_it(
    system: ActorSystem,
) -> None:
    parent, hold = system.spawn(Parent), Hold()
    parent.tell(hold)
    await hold.begun.wait()
    child = system.spawn(Worker, parent=parent)
    stopping = asyncio.create_task(system.stop(parent))
    await asyncio.sleep(0)
    with pytest.raises(ActorStopped):
        system.spawn(Worker, parent=parent)
    hold.release.set()
    await stopping
    assert (await stopped(system, child)).reason is StopReason.PARENT_STOPPED
    assert system.list_actors() == ()
