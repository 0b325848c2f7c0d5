"""Cancellation from outside is never swallowed; what the actor's code let out of itself is a failure."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from papyra import Actor, ActorStopped
from papyra.events import ActorCrashed, StopReason
from tests.unit.runtime.actors import RESTART, Boom, Hold, Worker, quiet, restarted, stopped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from papyra import ActorSystem


ROOT = Path(__file__).resolve().parents[3]


class Does(Actor):
    async def receive(self, message: Callable[[], Awaitable[object]] | object) -> object:
        return await message() if callable(message) else message


async def test_a_cancelled_task_that_was_awaited_is_a_failure(system: ActorSystem) -> None:
    async def await_a_cancelled_task() -> None:
        task = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        task.cancel()
        await task

    ref = system.spawn(Does, policy=RESTART)
    ref.tell(await_a_cancelled_task)
    await restarted(system)
    crash = next(event for event in system.events() if isinstance(event, ActorCrashed))
    assert crash.error_type == "asyncio.exceptions.CancelledError"
    assert await ref.ask("alive") == "alive"
    assert system.accounting().failed == 1


async def test_a_handlers_own_timeout_is_a_failure_and_no_cancellation(system: ActorSystem) -> None:
    async def time_out() -> None:
        async with asyncio.timeout(0):
            await asyncio.sleep(60)

    async def wait_in_vain() -> None:
        await asyncio.wait_for(asyncio.Event().wait(), 0.001)

    ref = system.spawn(Does, policy=RESTART)
    for message in (time_out, wait_in_vain):
        with pytest.raises(TimeoutError):
            await ref.ask(message)
    assert await ref.ask("alive") == "alive"


async def test_a_task_group_in_a_handler_works(system: ActorSystem) -> None:
    async def gather() -> list[int]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0, number)) for number in range(3)]
        return [task.result() for task in tasks]

    async def fail() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(60))
            group.create_task(raise_lookup_error())

    async def raise_lookup_error() -> None:
        raise LookupError("in the group")

    ref = system.spawn(Does, policy=RESTART)
    assert await ref.ask(gather) == [0, 1, 2]
    with pytest.raises(ExceptionGroup) as raised:
        await ref.ask(fail)
    assert raised.group_contains(LookupError)
    assert await ref.ask("alive") == "alive"


async def test_a_cancelled_actor_task_ends_cancelled_and_its_actor_is_accounted_for(
    system: ActorSystem,
) -> None:
    ref, hold = system.spawn(Worker, name="victim"), Hold()
    asking = asyncio.create_task(ref.ask(hold))
    await hold.begun.wait()
    ref.tell("queued")
    (task,) = (task for task in asyncio.all_tasks() if task.get_name() == "/victim")
    task.cancel("from outside")
    with pytest.raises(ActorStopped) as raised:
        await asking
    assert raised.value.reason == "killed"
    await asyncio.wait((task,))
    assert task.cancelled()
    assert (await stopped(system, ref)).reason is StopReason.KILLED
    accounting = system.accounting()
    assert (accounting.failed, accounting.dead, accounting.pending) == (1, 1, 0)


async def test_a_parked_actor_that_is_cancelled_ends_too(system: ActorSystem) -> None:
    ref = system.spawn(Worker, name="parked")
    await ref.ask(1)
    (task,) = (task for task in asyncio.all_tasks() if task.get_name() == "/parked")
    task.cancel()
    ref.tell("after the cancellation")
    assert (await stopped(system, ref)).reason is StopReason.KILLED
    assert system.accounting().dead == 1


ENDING = """
import asyncio
from papyra import Actor, ActorSystem, Strategy, SupervisionPolicy
from papyra.persistence.backends.memory import InMemoryPersistence

class Ending(Actor):
    async def receive(self, message):
        raise END(message)

async def main():
    store = InMemoryPersistence()
    system = ActorSystem(persistence=store)
    await system.start()
    bystander = system.spawn(Actor)
    system.spawn(Ending, policy=SupervisionPolicy(Strategy.RESTART)).tell(3)
    try:
        await asyncio.Event().wait()
    finally:
        print(bystander.is_alive(), system.accounting().failed, system.accounting().pending)
        print(system.events()[-1].reason, system.events()[-1].error)
        await system.aclose()
        print(store.events[-1].event_type, store.events[-1].payload["accounting"]["failed"])

try:
    asyncio.run(main())
except KeyboardInterrupt as error:
    raise SystemExit(error.args[0])
"""


@pytest.mark.parametrize("end", ["KeyboardInterrupt", "SystemExit"])
def test_the_end_of_the_process_goes_on_through_an_actor(end: str) -> None:
    # In a process of its own: CPython 3.11 miscounts its recursion after such an end of a loop.
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ENDING.replace("END(", f"{end}(")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout.splitlines() == ["True 1 0", f"killed {end}: 3", "SystemStopped 1"]
    assert "never retrieved" not in done.stderr


async def test_other_base_exceptions_are_failures_like_any_other(system: ActorSystem) -> None:
    class Odd(BaseException):
        pass

    class Raising(Actor):
        async def receive(self, message: object) -> object:
            if message == "raise":
                raise Odd
            return message

    ref = system.spawn(Raising, policy=RESTART)
    with pytest.raises(Exception, match="Odd"):
        await ref.ask("raise")
    assert await ref.ask("alive") == "alive"


async def test_r1_an_actor_that_raises_what_ends_generators_is_killed_and_accounted_for(
    system: ActorSystem,
) -> None:
    ref = system.spawn(Worker, policy=RESTART)
    with pytest.raises(ActorStopped):
        await ref.ask(Boom(GeneratorExit()), timeout=5)
    end = await stopped(system, ref)
    assert (end.reason, end.error) == (StopReason.KILLED, "GeneratorExit")
    assert system.accounting().failed == 1


async def test_the_senders_context_does_not_leak_into_the_actor(system: ActorSystem) -> None:
    language: ContextVar[str] = ContextVar("language", default="none")
    seen: list[str] = []

    class Polyglot(Actor):
        def __init__(self) -> None:
            seen.append(language.get())

        async def on_start(self) -> None:
            seen.append(language.get())

        async def receive(self, message: str) -> str:
            before = language.get()
            language.set(message)
            return before

    language.set("sender's")
    ref = system.spawn(Polyglot)
    assert [await ref.ask(word) for word in ("en", "fr", "de")] == ["none", "en", "fr"]
    assert seen == ["none", "none"]
    assert language.get() == "sender's"
    await quiet(system)
