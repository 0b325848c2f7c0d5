"""R6 where it is hardest: a close during the start, work that will not end, a shutdown that is cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from papyra import ActorSystem, PipeFailed
from papyra.exceptions import SystemNotRunning
from tests.unit.runtime.actors import RESTART, Hold, Store, Worker, seen_by

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.context import ActorContext


class Doer(Worker):
    """Does with its context what a message says."""

    async def handle(self, message: object) -> object:
        return message(self.context) if callable(message) else await super().handle(message)


def piping(work: Callable[[], Any], **options: Any) -> Callable[[ActorContext], None]:
    return lambda context: context.pipe_to_self(work(), **options)


def divide(_: object) -> float:
    return 1 / 0


async def asked_for_an_append(store: Store) -> None:
    while not store.appends:  # noqa: ASYNC110  # nothing says when
        await asyncio.sleep(0)


async def test_r6_what_starts_after_its_close_has_given_up_is_closed_at_once() -> None:
    store = Store()
    store.gate.clear()
    system = ActorSystem(persistence=store, shutdown_timeout=0.02, close_persistence=False)
    starting = asyncio.create_task(system.start())
    await asked_for_an_append(store)
    await system.aclose()
    store.gate.set()
    with pytest.raises(SystemNotRunning, match="before it had started"):
        await starting
    assert not system.is_running
    assert store.types() == ["SystemStarted", "StartupChecked", "SystemStopped"]


async def test_r6_one_deadline_covers_the_rest_of_the_start_and_the_close() -> None:
    store, loop = Store(), asyncio.get_running_loop()
    store.gate.clear()
    system = ActorSystem(persistence=store, shutdown_timeout=2.0)
    starting = asyncio.create_task(system.start())
    await asked_for_an_append(store)
    began = loop.time()
    closing = asyncio.create_task(system.aclose())
    await asyncio.sleep(0.8)  # a part of the one deadline is used up
    store.gate.set()
    await starting
    store.gate.clear()  # from now on the store takes nothing
    await closing
    assert loop.time() - began < 2.0 + 0.6  # the recorder's last words
    store.gate.set()


async def test_r6_a_store_that_never_closes_does_not_keep_an_unstarted_system(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Hanging(Store):
        async def aclose(self) -> None:
            await asyncio.Event().wait()

    async with asyncio.timeout(5):
        await ActorSystem(persistence=Hanging(), shutdown_timeout=0.02).aclose()
    assert "did not close before the deadline" in caplog.text


async def test_r6_a_cancelled_shutdown_goes_on_under_the_same_deadline() -> None:
    system, loop = ActorSystem(persistence=Store(), shutdown_timeout=0.5), asyncio.get_running_loop()
    await system.start()
    ref, hold = system.spawn(Worker), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    began = loop.time()
    closing = asyncio.create_task(system.aclose())
    while not closing.done() and loop.time() - began < 4:
        await asyncio.sleep(0.08)  # again and again, within the deadline and after it
        for task in asyncio.all_tasks():
            if task.get_name() == "papyra shutdown":
                task.cancel()
    await closing
    assert loop.time() - began < 2  # each one's own deadline would never pass
    assert system.accounting().is_balanced


async def test_r6_piped_work_that_ignores_its_end_is_given_up_and_on_record() -> None:
    store, leave = Store(), asyncio.Event()

    async def ignore() -> None:
        while not leave.is_set():
            try:
                await leave.wait()
            except asyncio.CancelledError:
                continue

    system = ActorSystem(persistence=store, shutdown_timeout=0.5)
    try:
        await system.start()
        await system.spawn(Doer).ask(piping(ignore))
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await system.aclose()
        assert store.events[-1].payload["pipes_left"] == 1  # type: ignore[index]
        assert store.events[-1].payload["killed"] == []  # type: ignore[index]
    finally:
        leave.set()  # else a failure would leave the loop waiting for it for ever


async def test_r6_piped_work_that_cleans_up_is_waited_for() -> None:
    store, cleaned = Store(), asyncio.Event()

    async def clean_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)  # cleaning up takes a while
            cleaned.set()
            raise LookupError("nobody wants to know")

    async with ActorSystem(persistence=store) as system:
        await system.spawn(Doer).ask(piping(clean_up))
        await asyncio.sleep(0)
    assert cleaned.is_set()
    assert store.events[-1].payload["pipes_left"] == 0  # type: ignore[index]


@pytest.mark.parametrize("broken", ["on_result", "both"])
async def test_r4_a_mapping_that_raises_comes_as_what_it_raised(broken: str) -> None:
    async with ActorSystem(persistence=Store(), audit_interval=None) as system:
        ref = system.spawn(Doer, policy=RESTART)
        mappings: dict[str, object] = {"on_result": divide}
        if broken == "both":
            mappings["on_error"] = divide
        await ref.ask(piping(lambda: asyncio.sleep(0, 1), **mappings))
        (came,) = await seen_by(ref)
        assert isinstance(came, PipeFailed)
        assert isinstance(came.error, ZeroDivisionError)


async def test_r4_work_that_somebody_else_cancels_comes_as_a_failure() -> None:
    async with ActorSystem(persistence=Store(), audit_interval=None) as system:
        ref = system.spawn(Doer)
        work = asyncio.ensure_future(asyncio.Event().wait())
        await ref.ask(piping(lambda: work))
        work.cancel()
        (came,) = await seen_by(ref)
        assert isinstance(came, PipeFailed)
        assert isinstance(came.error, asyncio.CancelledError)


async def test_r6_a_close_inside_a_timeout_that_expires_goes_on_without_its_caller() -> None:
    store = Store()
    system = ActorSystem(persistence=store, shutdown_timeout=5)
    await system.start()
    ref, hold = system.spawn(Worker), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await system.aclose()
    hold.release.set()
    await asyncio.gather(system.aclose(), system.aclose())
    assert store.types().count("SystemStopped") == 1
    assert system.accounting().handled == 1
