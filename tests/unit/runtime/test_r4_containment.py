"""R4: what fails is counted, logged and visible, and stops no other actor, no sender, no system."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from papyra import Actor, ActorRef, ActorSystem, message
from papyra.events import ActorCrashed
from papyra.exceptions import AppendError, StoreFailedError, StoreFullError, StoreUnavailableError
from papyra.persistence.startup import PersistenceStartupConfig
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
    from papyra.persistence.models import Record

IGNORE = PersistenceStartupConfig()
CYCLE: list[object] = []
CYCLE.append(CYCLE)


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


class HostileError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no str")


@pytest.mark.parametrize(
    "payload",
    [{(1, 2): "x"}, CYCLE, "\udcff", Hostile(), float("nan"), object(), b"\xff" * 10, lambda: None],
    ids=["tuple key", "cycle", "surrogate", "hostile", "nan", "object", "bytes", "function"],
)
async def test_r4_a_payload_that_will_not_serialise_is_a_letter_like_any_other(
    system: ActorSystem, store: Store, payload: object
) -> None:
    ref = system.spawn(Worker)
    await system.stop(ref)
    assert ref.tell(payload).error is not None
    await system.flush()
    (letter,) = store.letters("target_stopped")
    assert letter.fidelity in {"inexact", "unstorable", "exact"}
    assert await system.spawn(Worker).ask("alive") == "alive"


@pytest.mark.parametrize("error", [HostileError(), KeyError(CYCLE), ValueError("\udcff"), RecursionError()])
async def test_r4_an_exception_that_will_not_print_is_a_failure_like_any_other(
    system: ActorSystem, store: Store, error: Exception
) -> None:
    ref, other = system.spawn(Worker, policy=RESTART), system.spawn(Worker)
    ref.tell(Boom(error))
    await restarted(system)
    assert await ref.ask("seen") == []
    assert await other.ask("alive") == "alive"
    await system.flush()
    assert str(store.of("ActorCrashed")[0].payload["error"]).startswith(type(error).__name__)  # type: ignore[index]


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailableError("down"),
        StoreFullError("no space left"),
        StoreFailedError("fsync failed"),
        PermissionError("read-only"),
        RuntimeError("a bug in the backend"),
        AppendError([(0, StoreUnavailableError("poison"))]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_r4_a_store_that_raises_on_every_append_touches_no_actor(error: Exception) -> None:
    async with ActorSystem(
        persistence=Store(always=error), persistence_startup=IGNORE, shutdown_timeout=0.1
    ) as system:
        ref = system.spawn(Worker, policy=RESTART)
        for number in range(100):
            ref.tell(number)
        ref.tell(Boom())
        assert await ref.ask("alive") == "alive"
        assert not await system.flush(0.01) or isinstance(error, AppendError)
        assert system.accounting().is_balanced
        assert ref.is_alive()


async def test_r4_a_store_that_hangs_touches_no_actor_and_is_visible() -> None:
    store = Store()
    async with ActorSystem(persistence=store, shutdown_timeout=0.2) as system:
        store.gate.clear()
        refs = [system.spawn(Worker) for _ in range(50)]
        assert await asyncio.gather(*(ref.ask(1) for ref in refs)) == [1] * 50
        assert not await system.flush(0.01)
        async with asyncio.timeout(5):
            await system.aclose()
    assert system.is_degraded


async def test_r4_a_store_that_recovers_gets_everything_in_order() -> None:
    store = Store()
    async with ActorSystem(persistence=store) as system:
        store.script.extend([StoreUnavailableError("down"), StoreFullError("full")])
        refs = [system.spawn(Worker) for _ in range(3)]
        assert await system.flush(10)
        assert [event.actor_path for event in store.of("ActorStarted")] == [ref.path for ref in refs]
        assert not system.is_degraded


async def test_r4_more_records_than_may_wait_are_dropped_and_counted() -> None:
    store = Store()
    async with ActorSystem(persistence=store, max_queued_records=50) as system:
        store.gate.clear()
        for _ in range(200):
            system.spawn(Worker)
        assert system.accounting().records_dropped >= 150
        store.gate.set()
        assert await system.flush(10)
        assert "RecordsDropped" in store.types()


class TroubledHooks:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_event(self, event: object) -> None:
        self.calls.append(type(event).__name__)
        raise RuntimeError("hook")

    async def on_dead_letter(self, letter: object) -> None:
        del letter
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    async def on_failure(self, failure: object) -> None:
        del failure
        raise HostileError


async def test_r4_raising_hooks_are_logged_counted_and_called_again(caplog: pytest.LogCaptureFixture) -> None:
    hooks = TroubledHooks()
    async with ActorSystem(hooks=hooks, on_dead_letter=lambda _: 1 / 0) as system:
        ref = system.spawn(Worker, policy=RESTART)
        ref.tell(Boom())
        await restarted(system)
        assert await ref.ask("alive") == "alive"
        async with asyncio.timeout(5):
            while system.audit().counters["hooks_failed"] < 6:  # noqa: ASYNC110
                await asyncio.sleep(0)
    assert hooks.calls == ["ActorStarted", "ActorCrashed", "ActorRestarted", "ActorStopped"]
    assert caplog.text.count("the hook") >= 7


async def test_r4_a_hanging_hook_delays_no_actor_and_not_the_end() -> None:
    class Hanging:
        async def on_event(self, event: object) -> None:
            del event
            await asyncio.Event().wait()

    async with asyncio.timeout(5):
        async with ActorSystem(hooks=Hanging(), shutdown_timeout=0.1) as system:
            ref = system.spawn(Worker)
            assert await ref.ask("alive") == "alive"


async def test_r4_a_slow_or_dead_receiver_hurts_no_actor_that_plainly_tells_it(system: ActorSystem) -> None:
    slow, hold, dead = system.spawn(Worker, mailbox_capacity=1), Hold(), system.spawn(Worker)
    await system.stop(dead)
    slow.tell(hold)
    await hold.begun.wait()

    class Talker(Actor):
        async def receive(self, message: object) -> str:
            for _ in range(10):
                slow.tell(message)
                dead.tell(message)
            return "unharmed"

    talker = system.spawn(Talker)
    assert await talker.ask("hello") == "unharmed"
    hold.release.set()
    await quiet(system)
    assert system.accounting().dead == 10 + 8


async def test_r4_a_factory_that_raises_at_a_restart_stops_that_actor_only(system: ActorSystem) -> None:
    made: list[Worker] = []

    def once() -> Worker:
        if made:
            raise OSError("no more workers")
        made.append(Worker())
        return made[0]

    ref, other = system.spawn(once, policy=RESTART), system.spawn(Worker)
    ref.tell(Boom())
    ref.tell("queued")
    event = await stopped(system, ref)
    assert (event.payload["reason"], event.error) == ("start_failed", "OSError: no more workers")
    crashes = [event for event in system.events() if isinstance(event, ActorCrashed)]
    assert [(crash.reason, crash.decision) for crash in crashes] == [
        ("receive", "restart"),
        ("the factory", "stop"),
    ]
    assert await other.ask("alive") == "alive"
    assert system.dead_letters.messages[-1].message == "queued"


async def test_r4_a_failing_actor_fails_alone(system: ActorSystem) -> None:
    refs = [system.spawn(Worker, policy=STOP) for _ in range(10)]
    refs[3].tell(Boom())
    await stopped(system, refs[3])
    assert [ref.is_alive() for ref in refs].count(True) == 9


async def test_r4_secrets_reach_neither_letters_nor_events() -> None:
    store = Store()

    @message(name="tests.Login")
    class Login(dict[str, Any]):
        pass

    async with ActorSystem(persistence=store, messages=[Login], redact=["password", "pin"]) as system:
        ref = system.spawn(Worker, policy=RESTART)
        ref.tell(Boom(ValueError("refused: password=hunter2 for pin: 1234")))
        await restarted(system)
        await system.stop(ref)
        ref.tell({"user": "ann", "password": "hunter2", "nested": [{"pin": "1234"}]})
        await system.flush()
        records: list[Record] = [*store.events, *store.dead_letters]
    text = "\n".join(map(repr, records))
    assert "hunter2" not in text
    assert "1234" not in text
    assert store.letters("target_stopped")[0].fidelity == "redacted"


@pytest.mark.parametrize("drain", [False, True])
async def test_r4_a_parent_that_waits_for_the_end_of_its_child_is_not_asked_what_to_do_about_it(
    system: ActorSystem, *, drain: bool
) -> None:
    class Failing(Actor):
        async def receive(self, message: object) -> None:
            assert message is hold
            hold.begun.set()
            await hold.release.wait()
            raise ValueError("too late to decide")

    class Stopping(Parent):
        async def handle(self, message: object) -> object:
            match message:
                case "spawn":
                    return self.context.spawn_child(Failing)
                case ActorRef():
                    await system.stop(message, drain=drain)
                    return self.failures
                case _:
                    return None

    parent, hold = system.spawn(Stopping), Hold()
    child: ActorRef = await parent.ask("spawn")
    child.tell(hold)
    child.tell("queued")
    await hold.begun.wait()
    asked = asyncio.create_task(parent.ask(child, timeout=5))
    while child.is_alive():  # noqa: ASYNC110  # nothing says when
        await asyncio.sleep(0)
    hold.release.set()
    assert await asked == []
