"""Each fault that was found in papyra 0.3.0's runtime, with what is right; the numbers are its list's."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from papyra import (
    Actor,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    StopReason,
    SupervisionPolicy,
    SupervisorDecision,
)
from papyra import events as happened
from papyra.exceptions import StoreUnavailableError
from papyra.messages import DeadLetterReason
from papyra.persistence.json import JsonFilePersistence
from tests.unit.runtime.actors import (
    RESTART,
    STOP,
    Boom,
    Hold,
    Parent,
    Store,
    Worker,
    quiet,
    restarted,
    stopped,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path


@pytest.mark.parametrize("policy", [STOP, RESTART])
async def test_a1_an_ask_timeout_leaves_the_target_alone(
    system: ActorSystem, policy: SupervisionPolicy
) -> None:
    ref, hold = system.spawn(Worker, policy=policy), Hold()
    ref.tell("state")
    with pytest.raises(AskTimeout):
        await ref.ask(hold, timeout=0.2)
    hold.release.set()
    assert await ref.ask("seen") == ["state"]
    assert system.accounting().failed == 0


async def test_a2_a_cancelled_asker_leaves_the_target_alone(system: ActorSystem) -> None:
    ref, hold = system.spawn(Worker), Hold()
    asking = asyncio.create_task(ref.ask(hold))
    await hold.begun.wait()
    asking.cancel()
    hold.release.set()
    assert await ref.ask("alive") == "alive"


async def test_a3_a_write_error_reaches_no_actor() -> None:
    store = Store()
    async with ActorSystem(persistence=store) as system:
        store.script.extend([StoreUnavailableError("down"), OSError("full"), StoreUnavailableError("down")])
        ref = system.spawn(Worker)
        assert await ref.ask(1) == 1
        assert await system.flush(10)
    assert store.types()[-1] == "SystemStopped"


async def test_a4_a_payload_stops_nobody_on_disk_either(tmp_path: Path) -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    async with ActorSystem(persistence=JsonFilePersistence(tmp_path / "log.ndjson")) as system:
        ref = system.spawn(Worker)
        await system.stop(ref)
        for payload in ({(1, 2): "x"}, cycle, "\udcff"):
            ref.tell(payload)
        assert await system.flush(10)
        assert await system.spawn(Worker).ask(1) == 1
    async with JsonFilePersistence(tmp_path / "log.ndjson") as store:
        assert len(await store.list_dead_letters()) == 3
        assert not (await store.scan()).has_anomalies


async def test_a5_a_factory_that_raises_at_a_restart_ends_one_actor(system: ActorSystem) -> None:
    made = iter([Worker()])
    ref, other = system.spawn(lambda: next(made), policy=RESTART), system.spawn(Worker)
    ref.tell(Boom())
    assert (await stopped(system, ref)).reason is StopReason.START_FAILED
    assert await other.ask(1) == 1


async def test_a6_a_chain_of_parents_stops_at_any_depth(system: ActorSystem) -> None:
    class Link(Actor):
        def receive(self, message: int) -> None:
            if message:
                self.context.spawn_child(Link).tell(message - 1)

    root = system.spawn(Link)
    root.tell(1_200)
    await quiet(system)
    await system.stop(root)
    assert system.list_actors() == ()


async def test_a6_a_start_that_always_fails_neither_recurses_nor_starves(system: ActorSystem) -> None:
    class Never(Actor):
        async def on_start(self) -> None:
            raise OSError("never")

    system.spawn(Never, policy=SupervisionPolicy(RESTART.strategy, 1_100))
    other = system.spawn(Worker)
    assert await other.ask(1) == 1
    assert system.event_count < 100
    await system.wait_for_event(happened.ActorStopped, timeout=60)


async def test_a7_queued_asks_end_when_the_actor_stops(system: ActorSystem) -> None:
    ref, hold = system.spawn(Worker), Hold()
    asks = [asyncio.create_task(ref.ask(message, timeout=None)) for message in (hold, 1, 2)]
    await hold.begun.wait()
    stopping = asyncio.create_task(system.stop(ref))
    await asyncio.wait(asks[1:], timeout=5)
    hold.release.set()
    results = await asyncio.gather(*asks, return_exceptions=True)
    await stopping
    assert results[0] == "released"
    assert [type(result) for result in results[1:]] == [ActorStopped, ActorStopped]


@pytest.mark.parametrize("how", ["stop", "close", "crash"])
async def test_a8_no_accepted_tell_vanishes(how: str) -> None:
    async with ActorSystem() as system:
        ref, hold = system.spawn(Worker), Hold()
        ref.tell(hold)
        await hold.begun.wait()
        if how == "crash":
            ref.tell(Boom())
        for number in range(19):
            ref.tell(number)
        ends: dict[str, Callable[[], Coroutine[object, object, object]]] = {
            "stop": partial(system.stop, ref),
            "close": system.aclose,
            "crash": partial(stopped, system, ref),
        }
        ending = asyncio.create_task(ends[how]())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        hold.release.set()
        await ending
    accounting = system.accounting()
    assert (accounting.handled, accounting.dead) == (1, 19)
    assert len(system.dead_letters.messages) == 19 + (how == "crash")


async def test_a9_the_ask_timeout_covers_a_full_mailbox(system: ActorSystem) -> None:
    ref, hold = system.spawn(Worker, mailbox_capacity=1), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    ref.tell("full")
    began = time.monotonic()
    with pytest.raises(AskTimeout):
        await ref.ask("x", timeout=0.01)
    assert time.monotonic() - began < 1
    hold.release.set()
    await quiet(system)


async def test_a11_the_events_and_letters_of_a_shutdown_are_stored() -> None:
    store = Store()
    async with ActorSystem(persistence=store) as system:
        ref, hold = system.spawn(Worker), Hold()
        ref.tell(hold)
        await hold.begun.wait()
        ref.tell("queued")
        asyncio.get_running_loop().call_later(0.001, hold.release.set)
    assert store.types()[2:] == ["ActorStarted", "ActorStopped", "SystemStopped"]
    assert len(store.letters("shutdown")) == 1


async def test_a14_a_proxy_is_no_hole(system: ActorSystem) -> None:
    other = system.spawn(Worker)
    proxy: Any = system.spawn(Worker, policy=STOP).proxy(timeout=1)
    with pytest.raises(AttributeError):
        await proxy.context.system.stop(other)
    with pytest.raises(AttributeError):
        await proxy.nosuch()
    assert other.is_alive()
    assert await proxy.seen == []


async def test_a15_memory_comes_back_after_churn() -> None:
    class Heavy(Worker):
        def __init__(self) -> None:
            super().__init__()
            self.ballast = bytearray(10_000)

    async with ActorSystem(max_events=100) as system:
        refs = [system.spawn(Heavy) for _ in range(100)]
        alive = [weakref.ref(ref) for ref in refs]
        parent = system.spawn(Parent)
        for ref in refs:
            await ref.ask(1)
        for _ in range(20):
            await system.stop(await parent.ask(("spawn", STOP)))
        for ref in refs:
            await system.stop(ref)
        del refs, ref
        gc.collect()
        assert sum(each() is not None for each in alive) == 0
        assert system.actor_info(parent).children_rids == ()
        assert len(system.list_actors()) == 1
        assert len(system.events()) == 100


async def test_b1_the_real_error_of_a_start_is_told_and_no_start_is_claimed(system: ActorSystem) -> None:
    class Broken(Actor):
        async def on_start(self) -> None:
            raise LookupError("no config")

    ref = system.spawn(Broken)
    await stopped(system, ref)
    crash, stop = system.events()
    assert isinstance(crash, happened.ActorCrashed)
    assert isinstance(stop, happened.ActorStopped)
    assert crash.error == stop.error == "LookupError: no config"


async def test_b2_no_decision_leaves_orphans(system: ActorSystem) -> None:
    class Family(Parent):
        async def on_child_failure(self, child_ref: object, exc: BaseException) -> SupervisorDecision:
            del child_ref, exc
            return SupervisorDecision.RESTART

    nested = system.spawn(Parent, parent=system.spawn(Family), policy=STOP)
    grandchild = await nested.ask(("spawn", STOP))
    nested.tell(Boom())
    await restarted(system)
    assert not grandchild.is_alive()
    assert nested.is_alive()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_b3_a_watcher_is_told_once_whenever_it_began(system: ActorSystem, when: str) -> None:
    watcher, target = system.spawn(Parent), system.spawn(Worker)
    if when == "before":
        await watcher.ask(("watch", target))
    await system.stop(target)
    if when == "after":
        await watcher.ask(("watch", target))
    await quiet(system)
    assert len(await watcher.ask("seen")) == 1


@pytest.mark.parametrize("stuck", ["receive", "on_stop", "hook"])
async def test_b5_a_shutdown_ends_whatever_is_stuck(stuck: str) -> None:
    async def for_ever(*_: object) -> object:
        return await asyncio.Event().wait()

    class Stuck(Worker):
        async def handle(self, message: object) -> object:
            return await for_ever() if stuck == "receive" else message

        async def on_stop(self) -> None:
            if stuck == "on_stop":
                await for_ever()

    class Hooks:
        on_event = staticmethod(for_ever) if stuck == "hook" else None

    system = ActorSystem(hooks=Hooks(), shutdown_timeout=0.1)
    await system.start()
    system.spawn(Stuck).tell(1)
    for _ in range(3):
        await asyncio.sleep(0)
    began = time.monotonic()
    await system.aclose()
    assert time.monotonic() - began < 1


async def test_b6_no_capacity_is_no_bound(system: ActorSystem) -> None:
    ref, hold = system.spawn(Worker, mailbox_capacity=None), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    for number in range(2_000):
        await ref.tell(number)
    hold.release.set()
    await quiet(system)


async def test_b7_a_dead_parent_gets_no_child_and_nonsense_is_refused(system: ActorSystem) -> None:
    parent = system.spawn(Parent)
    await system.stop(parent)
    with pytest.raises(ActorStopped):
        system.spawn(Worker, parent=parent)
    with pytest.raises(TypeError):
        system.spawn(Worker, parent="nonsense")  # type: ignore[arg-type]


async def test_b8_a_broadcast_waits_for_nobody_before_all_are_told(system: ActorSystem) -> None:
    full, other = system.spawn(Worker, mailbox_capacity=1), system.spawn(Worker)
    hold = Hold()
    full.tell(hold)
    await hold.begun.wait()
    full.tell("full")
    sending = asyncio.create_task(system.broadcast("news"))
    await asyncio.sleep(0)
    assert await other.ask("seen") == ["news"]
    hold.release.set()
    assert await sending == 2


async def test_b9_what_on_stop_or_a_hook_raises_is_seen(caplog: pytest.LogCaptureFixture) -> None:
    class Bad(Worker):
        async def on_stop(self) -> None:
            raise OSError("stop")

    async with ActorSystem(on_dead_letter=lambda _: 1 / 0) as system:
        ref = system.spawn(Bad)
        await system.stop(ref)
        ref.tell("letter")
    assert (await stopped(system, ref)).on_stop_error == "OSError: stop"
    assert "failed in on_stop" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_b10_a_name_is_free_at_once(system: ActorSystem) -> None:
    ref = system.spawn(Worker, name="desk")
    stopping = asyncio.create_task(system.stop(ref))
    await asyncio.sleep(0)
    assert system.spawn(Worker, name="desk") != ref
    await stopping


async def test_c1_ignore_lets_the_child_go_on(system: ActorSystem) -> None:
    parent = system.spawn(Parent, lambda _: SupervisorDecision.IGNORE)
    child = await parent.ask(("spawn", STOP))
    for message in (1, Boom(), 2):
        child.tell(message)
    assert await child.ask("seen") == [1, 2]


async def test_c2_reasons_say_something(system: ActorSystem) -> None:
    ref = system.spawn(Worker, policy=RESTART)
    ref.tell(Boom())
    assert (await restarted(system)).reason == "ValueError: boom"
    assert system.dead_letters.messages[0].reason is DeadLetterReason.HANDLER_FAILED
