"""Backoff, restart types and fates where they meet: with stops, kills, deadlines and each other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from papyra import (
    ActorStopped,
    ActorSystem,
    AskTimeout,
    Backoff,
    MailboxFull,
    MessageFate,
    RestartType,
    StopReason,
    Strategy,
    SupervisionPolicy,
    SupervisorDecision,
)
from papyra import events as happened
from papyra.messages import DeadLetterReason
from papyra.testing import ManualClock
from tests.unit.runtime.actors import RESTART, STOP, Boom, Hold, Parent, Worker, quiet, stopped

if TYPE_CHECKING:
    from papyra import ActorRef

SLOWLY = Backoff(first_seconds=10.0, last_seconds=40.0, jitter=0.0)


def policy(strategy: Strategy = Strategy.RESTART, **options: Any) -> SupervisionPolicy:
    return SupervisionPolicy(strategy, **{"max_restarts": 5, **options})


def of(system: ActorSystem, kind: type) -> list[Any]:
    return [event for event in system.events() if isinstance(event, kind)]


class Flaky(Worker):
    """Fails on a `Boom` the first so many times, over all its instances; writes down what it starts."""

    def __init__(self, log: list[object], failures: int = 1_000) -> None:
        super().__init__()
        self.log, self.failures = log, failures

    async def handle(self, message: object) -> object:
        self.log.append(message)
        if isinstance(message, Boom) and sum(isinstance(each, Boom) for each in self.log) > self.failures:
            return "in the end"
        return await super().handle(message)


async def waiting(system: ActorSystem, clock: ManualClock, ref: ActorRef) -> None:
    """Let ``ref`` fail, and wait to restart."""
    ref.tell(Boom())
    await clock.settle()
    assert system.actor_info(ref).state == "restarting"


async def test_line_6_while_it_waits_to_restart_its_mailbox_has_its_bound_and_its_askers_wait(
    timed: ActorSystem, clock: ManualClock
) -> None:
    ref = timed.spawn(Worker, policy=policy(backoff=SLOWLY), mailbox_capacity=2)
    await waiting(timed, clock, ref)
    asking = asyncio.create_task(ref.ask(1, timeout=None))
    impatient = asyncio.create_task(ref.ask(2, timeout=5.0))
    await asyncio.sleep(0)
    refused = [ref.tell(number).error for number in range(3, 8)]
    assert [type(error) for error in refused] == [type(None), type(None), *[MailboxFull] * 3]
    clock.advance(6)
    with pytest.raises(AskTimeout):
        await asyncio.wait_for(impatient, 5)
    assert not asking.done()
    clock.advance(5)
    assert await asyncio.wait_for(asking, 5) == 1
    assert await ref.ask("seen", timeout=None) == [1, 3, 4]


@pytest.mark.parametrize("how", ["stop", "close", "kill", "parent"])
async def test_line_8_a_stop_ends_the_wait_for_a_restart_at_once(how: str) -> None:
    clock = ManualClock()
    async with asyncio.timeout(5), ActorSystem(clock=clock, audit_interval=None) as system:
        parent = system.spawn(Parent)
        ref = system.spawn(Worker, policy=policy(backoff=SLOWLY), parent=parent)
        await waiting(system, clock, ref)
        asking = asyncio.create_task(ref.ask("queued", timeout=None))
        await asyncio.sleep(0)
        if how == "kill":
            for task in asyncio.all_tasks():
                if task.get_name() == ref.path:
                    task.cancel()
            await stopped(system, ref)
        elif how == "close":
            await system.aclose()
        else:
            await system.stop(ref if how == "stop" else parent)
        with pytest.raises(ActorStopped):
            await asking
        assert not ref.is_alive()
        clock.advance(1_000)
        await clock.settle()
        assert of(system, happened.ActorRestarted) == []
        assert system.accounting().pending == 0


async def test_line_4_pauses_grow_to_their_limit_and_are_forgotten_after_a_quiet_period(
    timed: ActorSystem, clock: ManualClock
) -> None:
    ref = timed.spawn(Worker, policy=policy(backoff=SLOWLY, max_restarts=100, within_seconds=60.0))

    async def pause() -> float:
        await waiting(timed, clock, ref)
        waited = 0.0
        while timed.actor_info(ref).state == "restarting":
            clock.advance(0.5)
            waited += 0.5
            await clock.settle()
        return waited

    assert [await pause() for _ in range(4)] == [10.0, 20.0, 40.0, 40.0]
    clock.advance(61)
    assert await pause() == 10.0


async def test_line_4_an_exhausted_budget_escalates_exactly_once(system: ActorSystem) -> None:
    failures: list[str] = []

    class Deciding(Parent):
        async def on_child_failure(
            self, child_ref: ActorRef, exc: BaseException
        ) -> SupervisorDecision | None:
            assert isinstance(exc, ValueError)
            failures.append(child_ref.path)
            return SupervisorDecision.IGNORE if child_ref.path.count("/") == 2 else None

    top = system.spawn(Deciding, name="top")
    middle = system.spawn(Deciding, name="middle", parent=top)
    ref = system.spawn(
        Worker, name="it", parent=middle, policy=policy(max_restarts=2, when_exhausted=Strategy.ESCALATE)
    )
    for _ in range(9):
        ref.tell(Boom())
    await stopped(system, ref)
    await middle.ask("alive")
    await top.ask("alive")
    assert failures == ["/top/middle/it"] * 3 + ["/top/middle"]
    assert len(of(system, happened.ActorEscalated)) == 1
    assert (await stopped(system, ref)).reason in {StopReason.ESCALATED, StopReason.RESTART_LIMIT}
    assert system.accounting().failed == 3


async def test_a_retried_message_is_first_again_and_its_asker_waits(system: ActorSystem) -> None:
    log: list[object] = []
    ref = system.spawn(Flaky, log, 2, policy=policy(failed_message=MessageFate.RETRY))
    boom = Boom()
    asking = asyncio.create_task(ref.ask(boom))
    await asyncio.sleep(0)
    for number in range(3):
        ref.tell(number)
    assert await asyncio.wait_for(asking, 5) == "in the end"
    await quiet(system)
    assert log == [boom, boom, boom, 0, 1, 2]
    assert system.dead_letters.total == 0
    accounting = system.accounting()
    assert (accounting.accepted, accounting.handled, accounting.failed) == (4, 4, 0)


async def test_a_message_that_always_fails_is_a_letter_with_its_attempts(system: ActorSystem) -> None:
    log: list[object] = []
    ref = system.spawn(
        Flaky, log, policy=policy(failed_message=MessageFate.RETRY, message_retries=2, max_restarts=50)
    )
    with pytest.raises(ValueError, match="boom"):
        await ref.ask(Boom())
    assert len(log) == 3
    (letter,) = system.dead_letters.messages
    assert (letter.reason, letter.attempts) == (DeadLetterReason.HANDLER_FAILED, 3)
    assert await ref.ask("alive") == "alive"
    assert system.accounting().failed == 1


@pytest.mark.parametrize("how", ["stop", "deadline", "cancelled asker"])
async def test_a_message_that_waits_to_be_retried_has_one_end(
    timed: ActorSystem, clock: ManualClock, how: str
) -> None:
    log: list[object] = []
    ref = timed.spawn(Flaky, log, 1, policy=policy(failed_message=MessageFate.RETRY, backoff=SLOWLY))
    asking = asyncio.create_task(ref.ask(Boom(), timeout=5.0))
    await clock.settle()
    assert len(log) == 1
    if how == "stop":
        await timed.stop(ref)
        with pytest.raises((ActorStopped, ValueError)):
            await asking
    elif how == "deadline":
        clock.advance(6)
        with pytest.raises(AskTimeout):
            await asking
    else:
        asking.cancel()
        await asyncio.wait([asking])
    clock.advance(20)
    await clock.settle()
    accounting = timed.accounting()
    assert accounting.pending == 0
    assert accounting.is_balanced
    assert timed.dead_letters.total == 1


@pytest.mark.parametrize("fate", MessageFate)
async def test_whatever_the_fate_resuming_keeps_the_state(system: ActorSystem, fate: MessageFate) -> None:
    log: list[object] = []
    ref = system.spawn(Flaky, log, policy=policy(Strategy.RESUME, failed_message=fate, message_retries=1))
    ref.tell("state")
    with pytest.raises(ValueError, match="boom"):
        await ref.ask(Boom())
    assert await ref.ask("seen") == ["state"]
    assert of(system, happened.ActorRestarted) == []
    assert system.dead_letters.total == (0 if fate is MessageFate.ASKER else 1)
    assert system.accounting().failed == 1


async def test_a_permanent_child_comes_back_from_its_own_stop_within_its_limit_and_not_from_ours(
    system: ActorSystem,
) -> None:
    for_ever = policy(restart=RestartType.PERMANENT, max_restarts=3)
    ref = system.spawn(Worker, policy=for_ever)
    for _ in range(3):
        ref.tell("stop")
        assert await ref.ask("alive", timeout=5) == "alive"
    ref.tell("stop")
    assert (await stopped(system, ref)).reason is StopReason.RESTART_LIMIT
    other = system.spawn(Worker, policy=for_ever)
    await system.stop(other)
    assert (await stopped(system, other)).reason is StopReason.REQUESTED


@pytest.mark.parametrize("end", ["stop", "crash", "kill", "limit"])
async def test_what_is_undelivered_is_told_once_before_on_stop_and_at_most_a_thousand(
    system: ActorSystem, end: str
) -> None:
    log: list[object] = []

    class Left(Worker):
        async def on_undelivered(self, messages: tuple[object, ...]) -> None:
            log.append(messages)
            raise OSError("of no account")

        async def on_stop(self) -> None:
            log.append("on_stop")

    its = {"limit": policy(max_restarts=0)}.get(end, STOP)
    ref, hold = system.spawn(Left, policy=its, mailbox_capacity=None), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    if end in {"crash", "limit"}:
        ref.tell(Boom())
    for number in range(1_200):
        ref.tell(number)
    if end == "kill":
        (task,) = (task for task in asyncio.all_tasks() if task.get_name() == ref.path)
        task.cancel()
    stopping = asyncio.create_task(system.stop(ref)) if end == "stop" else None
    await asyncio.sleep(0)
    hold.release.set()
    await stopped(system, ref)
    if stopping is not None:
        await stopping
    if end == "kill":
        assert len([each for each in log if isinstance(each, tuple)]) <= 1
    else:
        assert [len(each) if isinstance(each, tuple) else each for each in log] == [1_000, "on_stop"]
    assert system.accounting().dead == 1_200


async def test_restarting_hooks_run_in_order_on_the_new_instance(system: ActorSystem) -> None:
    log: list[str] = []

    class Told(Worker):
        async def on_start(self) -> None:
            log.append(f"start {self.seen}")

        def on_restart(self, reason: BaseException, message: object | None) -> None:  # may be plain
            log.append(f"restart {type(reason).__name__} {type(message).__name__} {self.seen}")

        def on_stop(self) -> None:  # may be plain
            log.append(f"stop {self.seen}")

    ref = system.spawn(Told, policy=RESTART)
    ref.tell("x")
    ref.tell(Boom())
    await ref.ask("alive")
    assert log == ["start []", "stop ['x']", "restart ValueError Boom []", "start []"]
