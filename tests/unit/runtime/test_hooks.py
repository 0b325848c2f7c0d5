"""Observers hear what happened, once, in order, after the fact."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from papyra import (
    ActorSystem,
    AuditReport,
    DeadLetter,
    FailureInfo,
    PersistenceStartupError,
    Strategy,
    SupervisorDecision,
    SystemHooks,
)
from papyra.events import ActorStopped
from papyra.exceptions import StoreLockedError
from papyra.hooks import DefaultHooks
from papyra.messages import DeadLetterReason
from tests.unit.runtime.actors import RESTART, Boom, Hold, Store, Worker, restarted

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from papyra.events import ActorEvent


class Listening(DefaultHooks):
    """Keeps all it hears; half of it in async methods."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def on_event(self, event: ActorEvent) -> None:
        self.heard.append(type(event).__name__)

    async def on_dead_letter(self, dl: DeadLetter) -> None:
        await asyncio.sleep(0)
        self.heard.append(dl)

    async def on_failure(self, failure: FailureInfo) -> None:
        self.heard.append(failure)

    def on_audit(self, report: AuditReport) -> None:
        self.heard.append(report)

    def on_persistence_scan(self, report: object) -> Awaitable[None] | None:
        self.heard.append(report)
        return None


async def test_everything_is_heard_once_and_in_order() -> None:
    hooks, error = Listening(), ValueError("boom")
    async with ActorSystem(hooks=hooks) as system:
        ref = system.spawn(Worker, policy=RESTART)
        ref.tell(Boom(error))
        await restarted(system)
        report = system.audit()
    scan, started, letter, crashed, failure, again, audit, stopped = hooks.heard
    assert type(scan).__name__ == "PersistenceScanReport"
    assert (started, crashed, again, stopped) == (
        "ActorStarted",
        "ActorCrashed",
        "ActorRestarted",
        "ActorStopped",
    )
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.target) == (DeadLetterReason.HANDLER_FAILED, ref)
    assert failure == FailureInfo(ref.address, error, Strategy.RESTART, SupervisorDecision.RESTART)
    assert audit is report


async def test_hooks_may_have_any_methods_and_letters_a_function_of_their_own() -> None:
    class Few:
        on_audit = "not callable"

        def on_event(self, event: ActorEvent) -> None:
            heard.append(event)

    heard: list[object] = []
    async with ActorSystem(hooks=Few(), on_dead_letter=heard.append) as system:
        ref = system.spawn(Worker)
        await system.stop(ref)
        ref.tell("late")
        system.audit()
    assert [type(each).__name__ for each in heard] == ["ActorStarted", "ActorStopped", "DeadLetter"]


async def test_a_hook_runs_after_the_fact_and_never_within_an_actor() -> None:
    tasks: list[str] = []

    def hear(event: ActorEvent) -> None:
        del event
        task = asyncio.current_task()
        tasks.append("" if task is None else task.get_name())

    class Hooks:
        on_event = staticmethod(hear)

    async with ActorSystem(hooks=Hooks()) as system:
        ref = system.spawn(Worker, name="worker")
        assert tasks == []
        await ref.ask(1)
    assert set(tasks) == {"papyra hooks"}


async def test_a_slow_hook_delays_no_actor_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    hold = Hold()

    class Slow:
        async def on_event(self, event: ActorEvent) -> None:
            del event
            hold.begun.set()
            await hold.release.wait()

    async with ActorSystem(hooks=Slow()) as system:
        ref = system.spawn(Worker)
        await hold.begun.wait()
        for number in range(10):
            assert await ref.ask(number) == number
        await asyncio.sleep(0.11)  # the hook has to be slow by the clock
        hold.release.set()
    assert "took 0." in caplog.text


async def test_a_hook_may_tell_an_actor() -> None:
    class Reporting:
        def on_dead_letter(self, letter: DeadLetter) -> None:
            ref.tell(("letter", letter.message))

    async with ActorSystem(hooks=Reporting()) as system:
        ref, dead = system.spawn(Worker), system.spawn(Worker)
        await system.stop(dead)
        dead.tell("x")
        async with asyncio.timeout(5):
            while await ref.ask("seen") != [("letter", "x")]:  # noqa: ASYNC110
                await asyncio.sleep(0)


async def test_more_facts_than_may_wait_are_dropped_and_said_to_be(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("papyra._runtime.hook_runner.MAX_QUEUED", 5)
    hooks = Listening()
    async with ActorSystem(hooks=hooks) as system:
        for _ in range(20):
            system.spawn(Worker)
    assert hooks.heard.count("ActorStarted") < 20
    assert "hooks are too slow" in caplog.text


def test_the_published_protocol_is_satisfied() -> None:
    assert isinstance(Listening(), SystemHooks)
    assert isinstance(DefaultHooks(), SystemHooks)
    assert DefaultHooks().on_failure(FailureInfo(None, ValueError())) is None  # type: ignore[arg-type]


async def test_a_refused_start_is_heard_of() -> None:
    hooks, store = Listening(), Store(always=StoreLockedError("held by another"))
    system = ActorSystem(persistence=store, hooks=hooks)
    with pytest.raises(PersistenceStartupError):
        await system.start()
    assert [type(each).__name__ for each in hooks.heard] == ["PersistenceScanReport"]


async def test_r4_a_hook_that_raises_anything_is_counted_and_the_next_fact_is_told() -> None:
    class Odd(BaseException):
        pass

    class Raising:
        def __init__(self) -> None:
            self.errors: list[BaseException] = [Odd(), asyncio.CancelledError(), ValueError()]

        async def on_event(self, event: ActorEvent) -> None:
            del event
            if self.errors:
                raise self.errors.pop()

    async with ActorSystem(hooks=Raising(), audit_interval=None) as system:
        for _ in range(4):
            system.spawn(Worker)
    assert system.audit().counters["hooks_failed"] == 3


async def test_r1_letters_that_hooks_cause_while_the_system_closes_are_all_on_record(store: Store) -> None:
    class Telling:
        def on_event(self, event: ActorEvent) -> None:
            if event.path == "/live" and isinstance(event, ActorStopped):
                for number in range(5):
                    gone.tell(number)

    async with ActorSystem(
        persistence=store, hooks=Telling(), letters_per_minute=2, audit_interval=None
    ) as system:
        gone = system.spawn(Worker)
        await system.stop(gone)
        system.spawn(Worker, name="live")
    suppressed = [event.payload["count"] for event in store.of("DeadLettersSuppressed")]  # type: ignore[index]
    assert (len(store.dead_letters), suppressed) == (2, [3])
    assert store.types()[-1] == "SystemStopped"
