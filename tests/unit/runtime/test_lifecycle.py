"""Starting, stopping and draining, from outside and from within, at every moment."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from papyra import Actor, ActorStopped, ActorSystem, NameTaken
from papyra.events import ActorStarted, StopReason
from papyra.events import ActorStopped as Stopped
from papyra.messages import DeadLetterReason
from tests.unit.runtime.actors import RESTART, Boom, Hold, Lifecycle, Parent, Worker, quiet, stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra import ActorRef

SETTLING_TURNS = 300


async def test_spawn_returns_at_once_and_on_start_runs_before_the_first_message(system: ActorSystem) -> None:
    log: list[str] = []
    ref = system.spawn(Lifecycle, log)
    assert log == ["init"]
    ref.tell("first")
    assert await ref.ask("seen") == ["first"]
    assert log == ["init", "on_start"]


async def test_a_constructor_that_raises_tells_the_caller_and_leaves_nothing(system: ActorSystem) -> None:
    with pytest.raises(RuntimeError, match="init failed"):
        system.spawn(partial(Lifecycle, [], fails=["init"]), name="taken")
    assert system.list_actors() == ()
    assert await system.spawn(Worker, name="taken").ask(1) == 1


@pytest.mark.parametrize("made", [object(), Worker, None])
async def test_a_factory_that_makes_no_actor_is_refused(system: ActorSystem, made: object) -> None:
    with pytest.raises(TypeError, match="not an Actor"):
        system.spawn(lambda: made)  # type: ignore[arg-type,return-value]


async def test_one_instance_cannot_be_two_actors(system: ActorSystem) -> None:
    worker = Worker()
    system.spawn(lambda: worker)
    with pytest.raises(TypeError, match="another actor"):
        system.spawn(lambda: worker)


async def test_the_context_is_there_from_on_start_on(system: ActorSystem) -> None:
    with pytest.raises(RuntimeError, match="not spawned yet"):
        _ = Worker().context
    paths: list[str] = []

    class Curious(Actor):
        async def on_start(self) -> None:
            paths.append(self.context.self_ref.path)
            assert self.context.parent is None
            assert self.context.children == ()

    system.spawn(Curious, name="curious")
    await system.wait_for_event(ActorStarted)
    assert paths == ["/curious"]


async def test_an_actor_without_receive_says_so(system: ActorSystem) -> None:
    class Empty(Actor):
        pass

    with pytest.raises(NotImplementedError, match="Empty does not say how to receive int"):
        await system.spawn(Empty).ask(1)


async def test_a_stop_goes_before_queued_messages_and_makes_letters_of_them(system: ActorSystem) -> None:
    ref, hold = system.spawn(Worker), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    for number in range(3):
        ref.tell(number)
    stopping = asyncio.create_task(system.stop(ref))
    await asyncio.sleep(0)
    ref.tell("too late")
    hold.release.set()
    await stopping
    assert system.accounting().handled == 1
    letters = [(letter.message, letter.reason.value) for letter in system.dead_letters.messages]
    assert letters == [
        (0, "queued_at_stop"),
        (1, "queued_at_stop"),
        (2, "queued_at_stop"),
        ("too late", "target_stopped"),
    ]


async def test_draining_handles_what_is_queued_and_takes_nothing_new(system: ActorSystem) -> None:
    seen: list[object] = []

    class Recorder(Worker):
        async def handle(self, message: object) -> object:
            seen.append(message)
            return await super().handle(message)

    ref, hold = system.spawn(Recorder), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    ref.tell(1)
    ref.tell(2)
    stopping = asyncio.create_task(system.stop(ref, drain=True))
    await asyncio.sleep(0)
    assert ref.tell("new").error is not None
    hold.release.set()
    await stopping
    assert seen == [hold, 1, 2]
    assert system.dead_letters.counts[DeadLetterReason.TARGET_STOPPED] == 1
    assert (await stopped(system, ref)).reason is StopReason.REQUESTED


async def test_draining_ends_with_its_deadline_or_a_second_stop(system: ActorSystem) -> None:
    for seconds, again in ((0.001, False), (60, True)):
        ref, hold = system.spawn(Worker), Hold()
        ref.tell(hold)
        await hold.begun.wait()
        ref.tell("never handled")
        letters = system.dead_letters.total
        stopping = asyncio.create_task(system.stop(ref, drain=True, timeout=seconds))
        await asyncio.sleep(0)
        second = asyncio.create_task(system.stop(ref)) if again else stopping
        async with asyncio.timeout(5):
            while system.dead_letters.total == letters:  # noqa: ASYNC110
                await asyncio.sleep(0)
        hold.release.set()
        await asyncio.gather(stopping, second)
    assert system.dead_letters.counts[DeadLetterReason.QUEUED_AT_STOP] == 2


async def test_a_failure_while_draining_is_supervised_like_any_other(system: ActorSystem) -> None:
    for policy, handled in ((RESTART, 1), (None, 0)):
        ref, hold = system.spawn(Worker, policy=policy), Hold()
        ref.tell(hold)
        await hold.begun.wait()
        before = system.accounting().handled
        ref.tell(Boom())
        ref.tell("after")
        stopping = asyncio.create_task(system.stop(ref, drain=True))
        await asyncio.sleep(0)
        hold.release.set()
        await stopping
        assert system.accounting().handled - before == 1 + handled


async def test_stopping_oneself_never_deadlocks(system: ActorSystem) -> None:
    class Suicidal(Parent):
        async def handle(self, message: object) -> object:
            match message:
                case "system.stop":
                    await self.context.system.stop(self.context.self_ref)
                case "context.stop":
                    await self.context.stop(self.context.self_ref)
                case "stop parent":
                    assert self.context.parent is not None
                    await self.context.stop(self.context.parent)
                case "spawn":
                    return self.context.spawn_child(Suicidal)
                case "stop child":
                    await self.context.stop(self.context.children[0])
                case _:
                    return await super().handle(message)
            return None

    for message in ("system.stop", "context.stop", "stop"):
        ref = system.spawn(Suicidal)
        await ref.ask(message)
        await stopped(system, ref)
    parent = system.spawn(Suicidal)
    child = await parent.ask("spawn")
    await parent.ask("stop child")
    assert not child.is_alive()
    child = await parent.ask("spawn")
    await child.ask("stop parent")
    await stopped(system, parent)
    assert [event.path for event in system.events() if isinstance(event, Stopped)][-2:] == [
        child.path,
        parent.path,
    ]


@pytest.mark.parametrize("leave", ["stop_self", "fail"])
async def test_on_start_may_end_it(system: ActorSystem, leave: str) -> None:
    class Brief(Worker):
        async def on_start(self) -> None:
            if leave == "fail":
                raise ValueError("brief")
            await self.context.stop_self()

    ref = system.spawn(Brief, name="brief")
    ref.tell("never handled")
    await stopped(system, ref)
    assert system.dead_letters.counts[DeadLetterReason.QUEUED_AT_STOP] == 1
    assert system.spawn(Worker, name="brief").is_alive()


async def test_an_actor_stopped_before_it_started_never_starts(system: ActorSystem) -> None:
    log: list[str] = []
    ref = system.spawn(Lifecycle, log)
    await system.stop(ref)
    assert log == ["init"]
    assert [type(event) for event in system.events()] == [Stopped]


async def test_a_stop_during_on_start_waits_for_it_and_runs_on_stop(system: ActorSystem) -> None:
    hold = Hold()
    log: list[str] = []

    class Slow(Lifecycle):
        async def on_start(self) -> None:
            hold.begun.set()
            await hold.release.wait()
            self.note("on_start")

    ref = system.spawn(Slow, log)
    await hold.begun.wait()
    stopping = asyncio.create_task(system.stop(ref))
    await asyncio.sleep(0)
    assert not stopping.done()
    hold.release.set()
    await stopping
    assert log == ["init", "on_start", "on_stop"]


async def test_a_stop_during_a_restart_wins(system: ActorSystem) -> None:
    hold = Hold()
    log: list[str] = []

    class SlowToStop(Lifecycle):
        async def on_stop(self) -> None:
            self.note("on_stop")
            hold.begun.set()
            await hold.release.wait()

    ref = system.spawn(SlowToStop, log, policy=RESTART)
    ref.tell(Boom())
    await hold.begun.wait()
    assert system.actor_info(ref).state == "restarting"
    stopping = asyncio.create_task(system.stop(ref))
    await asyncio.sleep(0)
    hold.release.set()
    await stopping
    assert log == ["init", "on_start", "on_stop"]
    assert (await stopped(system, ref)).reason is StopReason.REQUESTED


async def test_children_stop_before_their_parent_and_its_on_stop(system: ActorSystem) -> None:
    log: list[str] = []

    class Named(Actor):
        def __init__(self, name: str, below: int) -> None:
            self.name, self.below = name, below

        async def on_start(self) -> None:
            for number in range(self.below):
                self.context.spawn_child(Named, f"{self.name}.{number}", self.below - 1)

        async def on_stop(self) -> None:
            log.append(self.name)

        async def receive(self, message: object) -> object:
            return message

    root = system.spawn(Named, "root", 2)
    async with asyncio.timeout(5):
        while len(system.refs()) < 5 or len(system.events()) < 5:  # noqa: ASYNC110
            await asyncio.sleep(0)
    await system.stop(root)
    assert log.index("root.0.0") < log.index("root.0") < log.index("root")
    assert log.index("root.1.0") < log.index("root.1") < log.index("root")


async def test_a_dead_or_dying_parent_gets_no_children(system: ActorSystem) -> None:
    parent = system.spawn(Parent)
    await system.stop(parent)
    with pytest.raises(ActorStopped, match="cannot have children"):
        system.spawn(Worker, parent=parent)
    with pytest.raises(TypeError, match="not a reference"):
        system.spawn(Worker, parent="nonsense")  # type: ignore[arg-type]
    assert system.refs() == ()


@pytest.mark.parametrize("shape", ["deep", "wide"])
async def test_thousands_of_levels_or_children_start_and_stop_without_recursion(shape: str) -> None:
    count = 2_000

    class Link(Actor):
        def receive(self, message: int) -> None:
            if message:
                self.context.spawn_child(Link).tell(message - 1)

    def spawn_wide(system: ActorSystem) -> ActorRef:
        top = system.spawn(Link)
        for _ in range(count):
            system.spawn(Link, parent=top)
        return top

    def spawn_deep(system: ActorSystem) -> ActorRef:
        top = system.spawn(Link)
        top.tell(count)
        return top

    make: Callable[[ActorSystem], ActorRef] = spawn_deep if shape == "deep" else spawn_wide
    async with ActorSystem() as system:
        top = make(system)
        await quiet(system)
        assert len(system.refs()) == count + 1
        await system.stop(top)
        assert system.refs() == ()
        stops = [event for event in system.events() if isinstance(event, Stopped)]
        assert len(stops) == count + 1
        assert stops[-1].path == top.path


async def test_a_name_is_free_as_soon_as_the_stop_is_asked_for(system: ActorSystem) -> None:
    old, hold = system.spawn(Worker, name="desk"), Hold()
    old.tell(hold)
    await hold.begun.wait()
    with pytest.raises(NameTaken, match="/desk"):
        system.spawn(Worker, name="desk")
    stopping = asyncio.create_task(system.stop(old))
    await asyncio.sleep(0)
    new = system.spawn(Worker, name="desk")
    assert await new.ask("new") == "new"
    assert system.ref_for("/desk") == new != old
    hold.release.set()
    await stopping
    assert system.ref_for("/desk") == new


async def test_a_stop_with_a_slow_child_and_queued_messages_spins_nowhere(
    system: ActorSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = system.spawn(Parent)
    child, hold = await parent.ask(("spawn", RESTART)), Hold()
    child.tell(hold)
    await hold.begun.wait()
    for number in range(500):
        parent.tell(number)
    stopping = asyncio.create_task(system.stop(parent))
    for _ in range(SETTLING_TURNS):
        await asyncio.sleep(0)
    loop, scheduled = asyncio.get_running_loop(), 0
    call_soon = loop.call_soon

    def count(*args: Any, **kwargs: Any) -> asyncio.Handle:
        nonlocal scheduled
        scheduled += 1
        return call_soon(*args, **kwargs)

    monkeypatch.setattr(loop, "call_soon", count)
    for _ in range(SETTLING_TURNS):
        await asyncio.sleep(0)
    assert (
        SETTLING_TURNS <= scheduled < SETTLING_TURNS + 20
    )  # this test's own steps, and next to nothing else
    hold.release.set()
    await stopping


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
async def test_eager_tasks_change_nothing() -> None:
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    async with ActorSystem() as system:
        ref = system.spawn(Worker, policy=RESTART)
        ref.tell(1)
        assert await ref.ask("seen") == [1]
        ref.tell(Boom())
        assert await ref.ask("seen") == []
        log: list[str] = []
        system.spawn(Lifecycle, log)
        await system.stop_all()
    assert log == ["init", "on_start", "on_stop"]
    assert system.accounting().is_balanced
