"""How idle actors are woken: many by one callback of the loop, each in its own task and context."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref

import pytest

from papyra import Actor, ActorSystem
from papyra.events import StopReason
from tests.unit.runtime.actors import Store, Worker, quiet, task_ended

SPOKEN: contextvars.ContextVar[str] = contextvars.ContextVar("spoken", default="nothing")


class Listener(Actor):
    """Replies with its task's name, and with what a sender had set in its own context."""

    async def receive(self, message: object) -> tuple[str, str]:
        task = asyncio.current_task()
        assert task is not None
        said = task.get_name(), SPOKEN.get()
        if message == "speak":
            SPOKEN.set(task.get_name())
        return said


async def test_actors_that_are_woken_together_run_in_their_own_tasks_and_contexts(
    system: ActorSystem,
) -> None:
    refs = [system.spawn(Listener, name=f"listener-{number}") for number in range(20)]
    await asyncio.gather(*(ref.ask("hello") for ref in refs))
    SPOKEN.set("by the sender")
    replies: list[tuple[str, str]] = []
    for _ in range(3):
        replies = await asyncio.gather(*(ref.ask("speak") for ref in refs))
        assert [name for name, _ in replies] == [ref.path for ref in refs]
        assert "by the sender" not in {spoken for _, spoken in replies}
    assert [spoken for _, spoken in replies] == [ref.path for ref in refs]


async def test_an_actor_told_in_the_turn_of_another_has_its_turn_in_the_next(system: ActorSystem) -> None:
    order: list[str] = []

    class First(Actor):
        async def receive(self, _: object) -> None:
            order.append("first")
            second.tell("go")

    class Second(Actor):
        async def receive(self, _: object) -> None:
            order.append("second")

    first, second = system.spawn(First), system.spawn(Second)
    await asyncio.sleep(0.01)
    first.tell("go")
    asyncio.get_running_loop().call_soon(order.append, "another's turn")
    await quiet(system)
    assert order == ["first", "another's turn", "second"]


@pytest.mark.parametrize("has_message", [False, True])
async def test_a_waiting_task_that_is_cancelled_ends_its_actor_only(
    system: ActorSystem, *, has_message: bool
) -> None:
    ref, other = system.spawn(Worker, name="worker"), system.spawn(Worker)
    await asyncio.gather(ref.ask(1), other.ask(1))
    await asyncio.sleep(0)
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "/worker"]
    if has_message:
        ref.tell("never handled")
    other.tell(2)
    task.cancel()
    await task_ended("/worker")
    assert not ref.is_alive()
    assert await other.ask("seen") == [1, 2]
    assert system.accounting().dead == int(has_message)
    stopped = [event for event in system.events() if getattr(event, "reason", None) is StopReason.KILLED]
    assert len(stopped) == 1


async def test_r5_a_task_that_has_ended_is_freed_at_once(system: ActorSystem) -> None:
    ref = system.spawn(Worker, name="worker")
    await ref.ask(1)
    (task,) = [weakref.ref(task) for task in asyncio.all_tasks() if task.get_name() == "/worker"]
    gc.collect()
    gc.disable()
    try:
        await task_ended("/worker")
        await asyncio.sleep(0)
        assert task() is None
    finally:
        gc.enable()


class Bomb(Actor):
    """Ends the loop, as an interrupt does."""

    def receive(self, _: object) -> None:
        raise KeyboardInterrupt


def test_those_behind_one_that_ended_the_loop_have_their_turn_when_it_runs_again() -> None:
    loop = asyncio.new_event_loop()
    system = ActorSystem(persistence=Store(), audit_interval=None)

    async def begin() -> None:
        await system.start()
        refs = [system.spawn(Bomb), *(system.spawn(Worker) for _ in range(5))]
        await asyncio.sleep(0.01)
        for ref in refs:
            ref.tell("go")
        await asyncio.sleep(60)

    async def go_on() -> None:
        await quiet(system)
        assert system.accounting().handled == 5
        await system.aclose()

    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(begin())
        for task in asyncio.all_tasks(loop):
            if task.get_name().startswith("Task-"):
                task.cancel()
        loop.run_until_complete(go_on())
    finally:
        loop.close()
