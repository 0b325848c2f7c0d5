"""R6: shutdown has phases and one overall deadline, and records what did not get done."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from papyra import Actor, ActorSystem, PersistenceStartupError
from papyra.events import ActorStopped, StopReason
from papyra.exceptions import StoreUnavailableError
from papyra.messages import DeadLetterReason
from papyra.testing.clock import ManualClock
from tests.unit.runtime.actors import RESTART, STOP, Boom, Hold, Lifecycle, Parent, Store, Worker, quiet

if TYPE_CHECKING:
    from papyra import ActorRef
    from papyra.persistence.models import PersistedEvent


async def hold_one(system: ActorSystem, cls: type[Actor] = Worker) -> tuple[ActorRef, Hold]:
    ref, hold = system.spawn(cls), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    return ref, hold


def last(store: Store) -> PersistedEvent:
    return store.events[-1]


async def test_r6_the_last_word_has_the_accounting_and_everything_is_stored(store: Store) -> None:
    async with ActorSystem(persistence=store) as system:
        ref = system.spawn(Worker)
        await ref.ask(1)
        gone = system.spawn(Worker)
        await system.stop(gone)
        gone.tell("late")
    assert store.types() == [
        "SystemStarted",
        "StartupChecked",
        "ActorStarted",
        "ActorStarted",
        "ActorStopped",
        "ActorStopped",
        "SystemStopped",
    ]
    assert [event.seq for event in store.events] == list(range(1, 8))
    payload = last(store).payload
    assert isinstance(payload, dict)
    assert payload["reason"] == "requested"
    assert payload["accounting"] == system.accounting().to_payload()
    assert payload["accounting"]["accepted"] == 2
    assert payload["killed"] == []


async def test_r6_messages_queued_at_the_end_are_letters_shutdown(store: Store) -> None:
    async with ActorSystem(persistence=store) as system:
        ref, hold = await hold_one(system)
        for number in range(3):
            ref.tell(number)
        closing = asyncio.create_task(system.aclose())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert ref.tell("during").error is not None
        hold.release.set()
        await closing
    assert system.dead_letters.counts[DeadLetterReason.SHUTDOWN] == 4
    assert len(store.letters("shutdown")) == 4
    assert system.accounting().is_balanced


async def test_r6_after_the_end_a_tell_is_counted_and_refused() -> None:
    async with ActorSystem() as system:
        ref = system.spawn(Worker)
    assert ref.tell("late").error is not None
    assert system.accounting().dead == 1
    assert [letter.message for letter in system.dead_letters.messages] == ["late"]


async def test_r6_no_actor_is_spawned_once_it_has_begun() -> None:
    errors: list[Exception] = []

    class Hydra(Worker):
        async def on_stop(self) -> None:
            for spawn in (self.context.system.spawn, self.context.spawn_child):
                try:
                    spawn(Worker)
                except Exception as error:  # noqa: BLE001
                    errors.append(error)

    async with ActorSystem() as system:
        await system.spawn(Hydra).ask(1)
    assert [type(error).__name__ for error in errors] == ["SystemNotRunning", "SystemNotRunning"]


@pytest.mark.parametrize("stuck_in", ["receive", "on_start", "on_stop"])
async def test_r6_what_is_stuck_is_cancelled_at_the_deadline(store: Store, stuck_in: str) -> None:
    cancelled: list[str] = []

    class Stuck(Worker):
        async def _maybe(self, where: str) -> None:
            if where == stuck_in:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    cancelled.append(where)
                    raise

        async def on_start(self) -> None:
            await self._maybe("on_start")

        async def on_stop(self) -> None:
            await self._maybe("on_stop")

        async def handle(self, message: object) -> object:
            await self._maybe("receive")
            return message

    system = ActorSystem(persistence=store, shutdown_timeout=0.1)
    await system.start()
    ref = system.spawn(Stuck)
    ref.tell("x")
    ref.tell("y")
    for _ in range(5):
        await asyncio.sleep(0)
    began = time.monotonic()
    await system.aclose()
    assert time.monotonic() - began < 1
    assert cancelled == [stuck_in]
    (event,) = store.of("ActorStopped")
    assert event.payload["reason"] == "killed"  # type: ignore[index]
    assert last(store).payload["killed"] == [ref.path]  # type: ignore[index]
    accounting = system.accounting()
    assert accounting.is_balanced
    assert accounting.accepted == 2
    assert accounting.pending == 0
    assert accounting.failed == (stuck_in == "receive")


async def test_r6_what_ignores_its_cancellation_is_given_up(store: Store) -> None:
    leave = asyncio.Event()

    class Stubborn(Worker):
        async def handle(self, message: object) -> object:
            while not leave.is_set():
                try:
                    await leave.wait()
                except asyncio.CancelledError:
                    continue
            return message

    system = ActorSystem(persistence=store, shutdown_timeout=0.5)
    await system.start()
    ref = system.spawn(Stubborn, name="stubborn")
    asking = asyncio.create_task(ref.ask("x", timeout=None))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    try:
        await system.aclose()
        with pytest.raises(Exception, match="not running"):
            await asking
        assert store.of("ActorStopped")[0].payload["reason"] == "killed"  # type: ignore[index]
        assert system.accounting().failed == 1
        (task,) = (task for task in asyncio.all_tasks() if task.get_name() == "/stubborn")
    finally:
        leave.set()  # else a failure would leave the loop waiting for it for ever
    await asyncio.wait((task,))
    assert system.accounting().is_balanced
    assert system.accounting().handled == 0


async def test_r6_the_parent_of_a_stuck_child_still_stops_as_it_should(store: Store) -> None:
    log: list[str] = []

    class Tidy(Parent):
        async def on_stop(self) -> None:
            log.append("tidied up")

    async with ActorSystem(persistence=store, shutdown_timeout=0.1) as system:
        parent = system.spawn(Tidy)
        child = await parent.ask(("spawn", STOP))
        hold = Hold()
        child.tell(hold)
        await hold.begun.wait()
    reasons = {event.actor_path: event.payload["reason"] for event in store.of("ActorStopped")}  # type: ignore[index]
    assert reasons == {child.path: "killed", parent.path: "shutdown"}
    assert log == ["tidied up"]


async def test_r6_a_second_close_waits_for_the_first_and_a_third_is_nothing() -> None:
    async with ActorSystem() as system:
        _, hold = await hold_one(system)
        first, second = asyncio.create_task(system.aclose()), asyncio.create_task(system.aclose())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not first.done()
        assert not second.done()
        hold.release.set()
        await asyncio.gather(first, second)
        await system.aclose()


async def test_r6_a_cancelled_close_goes_on() -> None:
    system = ActorSystem()
    await system.start()
    _, hold = await hold_one(system)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await system.aclose()
    assert not system.is_running
    hold.release.set()
    await system.aclose()
    assert system.list_actors() == ()


async def test_r6_an_actor_may_close_its_system(store: Store) -> None:
    class Last(Worker):
        async def handle(self, message: object) -> object:
            await self.context.system.aclose()
            return message

    async with ActorSystem(persistence=store) as system:
        assert await system.spawn(Last).ask("good night") == "good night"
        await system.aclose()
    assert last(store).event_type == "SystemStopped"
    assert store.of("ActorStopped")[0].payload["reason"] == "shutdown"  # type: ignore[index]


async def test_r6_closing_before_starting_is_fine() -> None:
    store = Store()
    system = ActorSystem(persistence=store)
    await system.aclose()
    await system.aclose()
    assert store.closed


@pytest.mark.parametrize("close", [True, False])
async def test_r6_the_backend_is_closed_unless_it_is_shared(*, close: bool) -> None:
    store = Store()
    async with ActorSystem(persistence=store, close_persistence=close):
        pass
    assert store.closed is close


async def test_r6_an_exception_in_the_block_closes_the_system_and_goes_on(store: Store) -> None:
    with pytest.raises(LookupError):
        async with ActorSystem(persistence=store):
            raise LookupError
    assert last(store).event_type == "SystemStopped"


async def test_r6_hooks_hear_everything_before_the_end() -> None:
    heard: list[str] = []

    class Hooks:
        async def on_event(self, event: object) -> None:
            await asyncio.sleep(0)
            heard.append(type(event).__name__)

    async with ActorSystem(hooks=Hooks()) as system:
        for _ in range(3):
            system.spawn(Worker)
    assert heard == ["ActorStarted"] * 3 + ["ActorStopped"] * 3


async def test_r6_the_deadline_holds_for_the_store_too(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    system = ActorSystem(persistence=store, shutdown_timeout=0.1)
    await system.start()
    store.gate.clear()
    system.spawn(Worker)
    async with asyncio.timeout(5):
        await system.aclose()
    assert "were not written before the deadline" in caplog.text


async def test_r6_a_restart_in_flight_does_not_outlive_it() -> None:
    log: list[str] = []

    class Flaky(Lifecycle):
        pass

    async with ActorSystem() as system:
        ref = system.spawn(Flaky, log, policy=RESTART)
        await quiet(system)
        ref.tell(Boom())
    ends = [event for event in system.events() if isinstance(event, ActorStopped)]
    assert [end.reason for end in ends] == [StopReason.SHUTDOWN]
    assert log.count("init") - log.count("on_stop") in {0, 1}


async def test_r6_audits_come_by_themselves_and_stop_with_the_system() -> None:
    store, clock = Store(), ManualClock()
    async with ActorSystem(persistence=store, clock=clock, audit_interval=60) as system:
        system.spawn(Worker)
        for _ in range(3):
            clock.advance(60)
        await system.flush()
        assert len(store.audits) == 3
    clock.advance(60)
    audits = store.audits
    assert len(audits) == 3
    assert ["actors" in audit.details for audit in audits[:3]] == [True, False, False]  # type: ignore[operator]
    assert store.types()[-1] == "SystemStopped"


async def test_r6_idle_actors_below_a_stuck_one_end_with_it(store: Store) -> None:
    async with ActorSystem(persistence=store, shutdown_timeout=0.1) as system:
        parent = system.spawn(Parent)
        idle = await parent.ask(("spawn", STOP))
        parent.tell(Hold())
        await asyncio.sleep(0)
    assert {event.actor_path for event in store.of("ActorStopped")} == {idle.path, parent.path}
    assert system.list_actors() == ()


async def test_r6_a_draining_actor_is_killed_too(store: Store) -> None:
    async with ActorSystem(persistence=store, shutdown_timeout=0.1) as system:
        ref, _ = await hold_one(system)
        ref.tell("queued")
        draining = asyncio.create_task(system.stop(ref, drain=True, timeout=1_000))
        await asyncio.sleep(0)
    await draining
    assert store.of("ActorStopped")[0].payload["reason"] == "killed"  # type: ignore[index]
    assert system.accounting().pending == 0


async def test_r6_a_close_that_comes_while_the_system_starts_closes_it_then(store: Store) -> None:
    store.gate.clear()
    system = ActorSystem(persistence=store, audit_interval=None)
    starting = asyncio.create_task(system.start())
    while not store.appends:  # noqa: ASYNC110  # nothing says when
        await asyncio.sleep(0)
    closing = asyncio.create_task(system.aclose())
    await asyncio.sleep(0)
    store.gate.set()
    await starting
    await closing
    assert not system.is_running
    assert store.types() == ["SystemStarted", "StartupChecked", "SystemStopped"]


async def test_r6_a_start_that_hangs_does_not_keep_the_system_from_closing(store: Store) -> None:
    store.gate.clear()
    system = ActorSystem(persistence=store, shutdown_timeout=0.01)
    starting = asyncio.create_task(system.start())
    while not store.appends:  # noqa: ASYNC110  # nothing says when
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await system.aclose()
    store.gate.set()
    with pytest.raises(PersistenceStartupError):
        await starting
    assert store.types() == []


@pytest.mark.parametrize("error", [StoreUnavailableError("gone"), OSError("gone"), ValueError("a bug")])
async def test_r4_a_store_that_does_not_close_well_is_logged(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Store):
        async def aclose(self) -> None:
            raise error

    async with ActorSystem(persistence=Failing(), audit_interval=None) as system:
        system.spawn(Worker)
    assert "did not close well" in caplog.text
