"""Supervision policies at work: what restarts, when, and how often."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from papyra import (
    ActorStopped,
    ActorSystem,
    Backoff,
    RestartType,
    StopReason,
    Strategy,
    SupervisionPolicy,
)
from papyra import events as happened
from papyra.exceptions import ConfigurationError
from papyra.messages import DeadLetterReason
from tests.unit.runtime.actors import Boom, Parent, Worker
from tests.unit.runtime.policies import Noting, of, policy

if TYPE_CHECKING:
    from papyra.testing import ManualClock


class TestDecisions:
    async def test_resume_goes_on_with_the_same_instance(self, system: ActorSystem) -> None:
        ref = system.spawn(Worker, policy=policy(Strategy.RESUME))
        ref.tell(1)
        ref.tell(Boom())
        assert await ref.ask("seen") == [1]
        (crash,) = of(system, happened.ActorCrashed)
        assert crash.decision == "resume"
        assert of(system, happened.ActorRestarted) == []
        assert system.dead_letters.counts[DeadLetterReason.HANDLER_FAILED] == 1

    async def test_the_most_specific_class_of_an_exception_decides(self, system: ActorSystem) -> None:
        decisions = {
            Exception: Strategy.STOP,
            LookupError: Strategy.RESTART,
            KeyError: Strategy.RESUME,
        }
        ref = system.spawn(Worker, policy=policy(Strategy.ESCALATE, decisions=decisions))
        for error in (KeyError(1), IndexError(2), ValueError(3)):
            ref.tell(Boom(error))
        await system.wait_for_event(happened.ActorStopped)
        assert [crash.decision for crash in of(system, happened.ActorCrashed)] == [
            "resume",
            "restart",
            "stop",
        ]

    async def test_what_never_started_cannot_resume(self, system: ActorSystem) -> None:
        class Broken(Worker):
            async def on_start(self) -> None:
                raise ValueError("no")

        system.spawn(Broken, policy=policy(Strategy.RESUME))
        stop = await system.wait_for_event(happened.ActorStopped)
        assert isinstance(stop, happened.ActorStopped)
        assert stop.reason is StopReason.START_FAILED

    @pytest.mark.parametrize(
        "options",
        [
            {"strategy": "sideways"},
            {"scope": "all"},
            {"restart": "sometimes"},
            {"failed_message": "lost"},
            {"when_exhausted": Strategy.RESTART},
            {"message_retries": -1},
            {"decisions": {ValueError: "ignore"}},
            {"decisions": {"ValueError": Strategy.STOP}},
        ],
    )
    def test_what_is_no_policy_is_refused_where_it_is_made(self, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError):
            SupervisionPolicy(**options)

    @pytest.mark.parametrize("options", [(-1, 1, 0), (2, 1, 0), (1, float("inf"), 0), (1, 2, 1.5)])
    def test_what_is_no_backoff_is_refused(self, options: tuple[float, float, float]) -> None:
        with pytest.raises(ConfigurationError):
            Backoff(*options)

    def test_policies_are_values(self) -> None:
        one, other = policy(decisions={KeyError: "stop"}), policy(decisions={KeyError: Strategy.STOP})
        assert one == other
        assert len({one, other}) == 1
        assert one != policy()

    async def test_when_no_restart_is_left_it_may_escalate_exactly_once(self, system: ActorSystem) -> None:
        parent = system.spawn(Parent, policy=policy(Strategy.STOP))
        child_policy = policy(max_restarts=1, when_exhausted=Strategy.ESCALATE)
        child = await parent.ask(("spawn", child_policy))
        child.tell(Boom())
        child.tell(Boom())
        await system.wait_for_event(
            lambda event: isinstance(event, happened.ActorStopped) and event.path == parent.path
        )
        assert len(of(system, happened.ActorEscalated)) == 1
        stops = {stop.path: stop.reason for stop in of(system, happened.ActorStopped)}
        assert stops == {child.path: StopReason.ESCALATED, parent.path: StopReason.FAILED}


class TestTypes:
    async def test_a_permanent_actor_that_stops_itself_begins_anew_within_its_limit(
        self, system: ActorSystem
    ) -> None:
        log: list[str] = []
        ref = system.spawn(Noting, log, "a", policy=policy(restart=RestartType.PERMANENT, max_restarts=2))
        for _ in range(2):
            ref.tell("stop")
        assert await ref.ask("seen") == []
        assert log[:5] == [
            "a starts",
            "a stops",
            "a restarts: it stopped itself, NoneType",
            "a starts",
            "a stops",
        ]
        ref.tell("stop")
        stop = await system.wait_for_event(happened.ActorStopped)
        assert isinstance(stop, happened.ActorStopped)
        assert (stop.reason, stop.restart, stop.limit) == (StopReason.RESTART_LIMIT, 2, 2)
        assert (stop.text, stop.error) == ("it stopped itself after 2 of 2 restarts in 60 s", "")
        assert stop.message_id
        assert all(restart.message_id for restart in of(system, happened.ActorRestarted))
        assert of(system, happened.ActorCrashed) == []

    async def test_a_permanent_actor_stops_when_it_is_asked_to(self, system: ActorSystem) -> None:
        ref = system.spawn(Worker, policy=policy(restart=RestartType.PERMANENT))
        await ref.ask(1)
        await system.stop(ref)
        assert of(system, happened.ActorRestarted) == []

    async def test_a_temporary_actor_never_restarts(self, system: ActorSystem) -> None:
        ref = system.spawn(Worker, policy=policy(restart=RestartType.TEMPORARY))
        ref.tell(Boom())
        stop = await system.wait_for_event(happened.ActorStopped)
        assert isinstance(stop, happened.ActorStopped)
        assert stop.reason is StopReason.FAILED


class TestBackoff:
    async def test_messages_queue_within_the_bound_while_it_waits(
        self, system: ActorSystem, clock: ManualClock
    ) -> None:
        backoff = Backoff(first_seconds=10, last_seconds=40, jitter=0)
        ref = system.spawn(
            Worker, policy=policy(backoff=backoff), mailbox_capacity=2, mailbox_policy="drop_new"
        )
        ref.tell(Boom())
        await clock.settle()
        asking = asyncio.create_task(ref.ask("seen", timeout=None))
        await clock.settle()
        for number in range(3):
            ref.tell(number)
        assert system.dead_letters.counts[DeadLetterReason.OVERFLOW] == 2
        assert system.actor_info(ref).resumes_in == 10
        assert system.actor_info(ref).state == "restarting"
        clock.advance(9.9)
        await clock.settle()
        assert of(system, happened.ActorRestarted) == []
        clock.advance(0.1)
        assert await asking == []
        assert await ref.ask("seen") == [0]

    async def test_it_doubles_and_a_quiet_period_forgets_it(
        self, system: ActorSystem, clock: ManualClock
    ) -> None:
        backoff = Backoff(first_seconds=1, last_seconds=100, jitter=0)
        ref = system.spawn(Worker, policy=policy(backoff=backoff, max_restarts=5, within_seconds=60))
        waits = []
        for quiet in (0, 0, 0, 61):
            clock.advance(quiet)
            ref.tell(Boom())
            await clock.settle()
            waits.append(round(system.actor_info(ref).resumes_in))
            assert system.actor_info(ref).next_backoff == 2 * waits[-1]
            clock.advance(waits[-1])
            await ref.ask("seen")
        assert waits == [1, 2, 4, 1]

    @pytest.mark.parametrize("drain", [False, True])
    async def test_a_stop_ends_the_wait_at_once(
        self, system: ActorSystem, clock: ManualClock, *, drain: bool
    ) -> None:
        ref = system.spawn(Worker, policy=policy(backoff=Backoff(first_seconds=20, jitter=0)))
        ref.tell(Boom())
        await clock.settle()
        ref.tell("queued")
        async with asyncio.timeout(5):
            await system.stop(ref, drain=drain)
        assert not ref.is_alive()

    async def test_jitter_takes_off_its_share_and_no_more(self) -> None:
        backoff = Backoff(first_seconds=8, last_seconds=8, jitter=0.25)
        assert backoff.delay(1, 0.0) == 8
        assert 6 < backoff.delay(1, 0.999) < 6.1


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_five_thousand_failing_starts_neither_recurse_nor_hold_the_loop(
    system: ActorSystem, strategy: Strategy
) -> None:
    class Broken(Worker):
        async def on_start(self) -> None:
            raise ValueError("never")

    ref = system.spawn(Broken, policy=policy(strategy, max_restarts=5_000))
    with pytest.raises(ActorStopped):
        await ref.ask(1, timeout=None)
    assert len(of(system, happened.ActorCrashed)) == (5_001 if strategy is Strategy.RESTART else 1)
