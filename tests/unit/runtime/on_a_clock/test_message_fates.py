"""What becomes of the message that failed, and what the actor and the history hear of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from papyra import (
    Actor,
    ActorSystem,
    MessageFate,
    StopReason,
    Strategy,
)
from papyra import events as happened
from papyra.messages import DeadLetterReason
from tests.unit.runtime.actors import Boom, Hold, Parent, Store, Worker, stopped, task_ended
from tests.unit.runtime.policies import Noting, of, policy

if TYPE_CHECKING:
    from papyra import ActorRef
    from papyra.testing import ManualClock


class Flaky(Worker):
    """Fails so many times, all instances together."""

    def __init__(self, failures: list[int]) -> None:
        super().__init__()
        self.failures = failures

    async def handle(self, message: object) -> object:
        if message == "flaky" and self.failures[0]:
            self.failures[0] -= 1
            raise ValueError("not yet")
        return await super().handle(message)


class TestFailedMessages:
    @pytest.mark.parametrize("strategy", [Strategy.RESTART, Strategy.RESUME])
    async def test_r4_a_retried_message_goes_first_and_its_asker_waits_on(
        self, system: ActorSystem, strategy: Strategy
    ) -> None:
        its = policy(strategy, failed_message=MessageFate.RETRY, message_retries=2)
        ref = system.spawn(Flaky, [2], policy=its)
        asking = asyncio.create_task(ref.ask("flaky"))
        await asyncio.sleep(0)
        ref.tell("later")
        assert await asking == "flaky"
        assert await ref.ask("seen") == ["flaky", "later"]
        assert (system.accounting().failed, system.dead_letters.total) == (0, 0)

    async def test_r1_after_its_retries_it_is_one_letter_with_its_attempts(self, system: ActorSystem) -> None:
        its = policy(failed_message=MessageFate.RETRY, message_retries=2, max_restarts=9)
        ref = system.spawn(Flaky, [9], policy=its)
        with pytest.raises(ValueError, match="not yet"):
            await ref.ask("flaky")
        (letter,) = system.dead_letters.messages
        assert (letter.reason, letter.attempts) == (DeadLetterReason.HANDLER_FAILED, 3)
        assert system.accounting().failed == 1

    async def test_a_retried_message_goes_before_those_that_were_put_aside(self, system: ActorSystem) -> None:
        order: list[object] = []

        class Waiting(Actor):
            """Puts aside what comes before it is ready; fails once to become so."""

            async def receive(self, message: object) -> object:
                if message != "ready" and "ready" not in order:
                    self.context.stash()
                    return None
                order.append(message)
                if order == ["ready"]:
                    raise ValueError("not yet")
                return None

        ref = system.spawn(Waiting, policy=policy(failed_message=MessageFate.RETRY))
        for message in ("early", "early too", "ready", "later"):
            ref.tell(message)
        await ref.ask("last")
        assert order == ["ready", "ready", "early", "early too", "later", "last"]

    async def test_a_stop_instead_of_a_restart_makes_it_a_letter(self, system: ActorSystem) -> None:
        its = policy(Strategy.STOP, failed_message=MessageFate.RETRY)
        ref = system.spawn(Flaky, [9], policy=its)
        with pytest.raises(ValueError, match="not yet"):
            await ref.ask("flaky")
        await system.wait_for_event(happened.ActorStopped)
        (letter,) = system.dead_letters.messages
        assert letter.reason is DeadLetterReason.HANDLER_FAILED

    async def test_it_is_pending_while_the_parent_decides(
        self, system: ActorSystem, clock: ManualClock
    ) -> None:
        parent = system.spawn(Parent)
        hold = Hold()
        child = await parent.ask(("spawn", policy(failed_message=MessageFate.RETRY, message_retries=1)))
        parent.tell(hold)
        await hold.begun.wait()
        child.tell(Boom())
        await clock.settle()
        assert system.accounting().is_balanced
        assert system.accounting().pending == 2
        hold.release.set()
        await system.wait_for_event(happened.ActorRestarted)

    async def test_an_askers_failure_may_be_its_own_affair(self, system: ActorSystem) -> None:
        ref = system.spawn(Worker, policy=policy(failed_message=MessageFate.ASKER, max_restarts=9))
        with pytest.raises(ValueError, match="boom"):
            await ref.ask(Boom())
        assert system.dead_letters.total == 0
        ref.tell(Boom())
        await ref.ask("seen")
        assert system.dead_letters.total == 1
        assert system.accounting().failed == 2


class TestHooks:
    async def test_a_new_instance_hears_why_and_with_what_before_it_starts(self, system: ActorSystem) -> None:
        log: list[str] = []
        ref = system.spawn(Noting, log, "a", policy=policy())
        ref.tell(Boom())
        await ref.ask("seen")
        assert log == ["a starts", "a stops", "a restarts: boom, Boom", "a starts"]

    async def test_a_restart_hook_that_fails_is_a_failure_of_the_start(self, system: ActorSystem) -> None:
        class Worse(Worker):
            def on_restart(self, reason: BaseException, message: object | None) -> None:
                del message
                raise RuntimeError(f"and {reason}")

        ref = system.spawn(Worse, policy=policy(max_restarts=2))
        ref.tell(Boom())
        stop = await system.wait_for_event(happened.ActorStopped)
        assert isinstance(stop, happened.ActorStopped)
        assert stop.reason is StopReason.RESTART_LIMIT
        assert [crash.reason for crash in of(system, happened.ActorCrashed)] == [
            "receive",
            "on_restart",
            "on_restart",
        ]

    async def test_what_is_not_delivered_is_told_once_before_the_stop(self, system: ActorSystem) -> None:
        log: list[str] = []
        ref, hold = system.spawn(Noting, log, "a"), Hold()
        ref.tell(hold)
        await hold.begun.wait()
        for number in range(3):
            ref.tell(number)
        stopping = asyncio.create_task(system.stop(ref))
        await asyncio.sleep(0)
        hold.release.set()
        await stopping
        assert log == ["a starts", "a leaves [0, 1, 2]", "a stops"]
        assert system.dead_letters.counts[DeadLetterReason.QUEUED_AT_STOP] == 3

    async def test_at_most_a_thousand_are_told(self, system: ActorSystem) -> None:
        counts: list[int] = []

        class Counting(Worker):
            async def on_undelivered(self, messages: tuple[object, ...]) -> None:
                counts.append(len(messages))
                raise ValueError("and fails")

        ref, hold = system.spawn(Counting, mailbox_capacity=None), Hold()
        ref.tell(hold)
        await hold.begun.wait()
        for number in range(1_500):
            ref.tell(number)
        stopping = asyncio.create_task(system.stop(ref))
        await asyncio.sleep(0)
        hold.release.set()
        await stopping
        assert counts == [1_000]


class TestCrashReports:
    async def test_it_has_the_message_and_those_before_it(self, system: ActorSystem) -> None:
        ref = system.spawn(Worker, policy=policy(max_restarts=9))
        for number in range(12):
            await ref.ask(number)
        ref.tell(Boom(ValueError("password: hunter2")))
        await ref.ask("seen")
        (crash,) = of(system, happened.ActorCrashed)
        assert [each["message_type"] for each in crash.recent] == ["int"] * 8
        assert len({each["message_id"] for each in crash.recent}) == 8
        assert crash.message_type.endswith("Boom")
        assert "Boom" in crash.message
        await system.flush()
        store = system.persistence
        assert isinstance(store, Store)
        (stored,) = store.of("ActorCrashed")
        assert isinstance(stored.payload, dict)
        assert stored.payload["recent"][-1] == dict(crash.recent[-1])
        assert "hunter2" not in str(stored.payload)

    async def test_messages_that_failed_or_were_passed_on_are_among_those_before_it(
        self, system: ActorSystem
    ) -> None:
        class Passing(Worker):
            async def handle(self, message: object) -> object:
                if isinstance(message, float):
                    self.context.forward(other)
                    return None
                return await super().handle(message)

        other = system.spawn(Worker)
        ref = system.spawn(Passing, policy=policy(max_restarts=9))
        for message in (1, Boom(), 2.5, Boom(), "text", Boom()):
            ref.tell(message)
        await ref.ask("seen")
        kinds = [
            [each["message_type"].rpartition(".")[2] for each in crash.recent]
            for crash in of(system, happened.ActorCrashed)
        ]
        assert kinds == [
            ["int"],
            ["int", "Boom", "float"],
            ["int", "Boom", "float", "Boom", "str"],
        ]

    async def test_an_actor_that_has_idled_still_knows_its_last_messages(
        self, system: ActorSystem, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("papyra._runtime.linger.LINGER_SECONDS", 0.001)
        ref = system.spawn(Worker, name="idle", policy=policy(max_restarts=9))
        for message in (*range(9), "text"):
            await ref.ask(message)
        await task_ended("/idle")
        ref.tell(b"bytes")
        ref.tell(Boom())
        await ref.ask("seen")
        (crash,) = of(system, happened.ActorCrashed)
        assert [each["message_type"] for each in crash.recent] == ["int"] * 6 + ["str", "bytes"]
        numbers = [int(each["message_id"].rpartition("-")[2]) for each in crash.recent]
        assert numbers == sorted(set(numbers))

    async def test_a_huge_message_is_cut(self, system: ActorSystem) -> None:
        class Broken(Actor):
            def receive(self, message: object) -> None:
                raise ValueError(f"no {type(message)}")

        system.spawn(Broken).tell(["x" * 10_000] * 10)
        crash = await system.wait_for_event(happened.ActorCrashed)
        assert isinstance(crash, happened.ActorCrashed)
        assert 100 < len(crash.message) <= 2_048


class TestStopsInHandlers:
    async def test_two_actors_that_stop_each_other_both_end(self, system: ActorSystem) -> None:
        class Rival(Actor):
            async def receive(self, other: ActorRef) -> None:
                await asyncio.sleep(0)
                await self.context.stop(other)

        one, other = system.spawn(Rival), system.spawn(Rival)
        one.tell(other)
        other.tell(one)
        for ref in (one, other):
            await stopped(system, ref)

    async def test_a_ring_of_actors_that_stop_the_next_all_end(self, system: ActorSystem) -> None:
        class Link(Actor):
            async def receive(self, following: ActorRef) -> None:
                await asyncio.sleep(0)
                await self.context.stop(following)

        ring = [system.spawn(Link) for _ in range(7)]
        for at, link in enumerate(ring):
            link.tell(ring[(at + 1) % 7])
        for ref in ring:
            await stopped(system, ref)

    async def test_a_child_that_stops_one_that_stops_its_parent_ends(self, system: ActorSystem) -> None:
        class Stopper(Parent):
            async def handle(self, message: object) -> object:
                match message:
                    case ("stop", other):
                        await asyncio.sleep(0)
                        await self.context.stop(other)  # type: ignore[arg-type]
                        return None
                    case "child":
                        return self.context.spawn_child(Stopper)
                    case _:
                        return await super().handle(message)

        parent, outside = system.spawn(Stopper), system.spawn(Stopper)
        child = await parent.ask("child")
        child.tell(("stop", outside))
        outside.tell(("stop", parent))
        for ref in (parent, child, outside):
            await stopped(system, ref)
