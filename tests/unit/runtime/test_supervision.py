"""What a failure leads to, who decides, and that the numbers are right."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from papyra import Actor, ActorSystem, SupervisionPolicy, SupervisorDecision
from papyra.events import ActorCrashed, ActorEscalated, ActorRestarted, ActorStarted, ActorStopped, StopReason
from papyra.testing.clock import ManualClock
from tests.unit.runtime.actors import (
    ESCALATE,
    RESTART,
    STOP,
    Boom,
    Hold,
    Lifecycle,
    Parent,
    Store,
    Worker,
    quiet,
    restarted,
    stopped,
)

if TYPE_CHECKING:
    from papyra import ActorRef


def kinds(system: ActorSystem, ref: ActorRef) -> list[str]:
    return [type(event).__name__ for event in system.events() if event.address == ref.address.to_dict()]


async def test_the_default_is_stop_and_restart_for_named_actors(system: ActorSystem) -> None:
    unnamed, named = system.spawn(Worker), system.spawn(Worker, name="named")
    unnamed.tell(Boom())
    named.tell(Boom())
    await restarted(system)
    await stopped(system, unnamed)
    assert named.is_alive()


async def test_a_restart_keeps_mailbox_and_address_and_rebuilds_the_state(system: ActorSystem) -> None:
    ref = system.spawn(Worker, policy=RESTART)
    for message in (1, 2, Boom(), 3, 4):
        ref.tell(message)
    assert await ref.ask("seen") == [3, 4]
    assert system.ref_for(ref.address) == ref
    assert kinds(system, ref) == ["ActorStarted", "ActorCrashed", "ActorRestarted"]


async def test_the_failing_message_is_a_letter_and_is_not_run_again(
    system: ActorSystem, store: Store
) -> None:
    ref = system.spawn(Worker, policy=RESTART)
    ref.tell(Boom(ValueError("card 42")))
    await restarted(system)
    await system.flush()
    (letter,) = store.letters("handler_failed")
    assert letter.error == "ValueError: card 42"
    (crash,) = store.of("ActorCrashed")
    assert crash.message_id == letter.message_id
    assert system.accounting().failed == 1


async def test_restarts_are_limited_per_child_in_a_sliding_window() -> None:
    clock = ManualClock()
    async with ActorSystem(clock=clock) as system:
        policy = SupervisionPolicy(RESTART.strategy, max_restarts=2, within_seconds=10)
        one, other = system.spawn(Worker, policy=policy), system.spawn(Worker, policy=policy)
        one.tell(Boom())
        other.tell(Boom())
        await restarted(system, 2)
        clock.advance(9)
        one.tell(Boom())
        await restarted(system, 3)
        clock.advance(2)
        one.tell(Boom())
        await restarted(system, 4)
        assert system.actor_info(one).restarts == 2
        assert system.actor_info(other).restarts == 0
        one.tell(Boom())
        event = await stopped(system, one)
        assert event.reason is StopReason.RESTART_LIMIT
        assert (event.restart, event.limit) == (2, 2)
        assert event.text == "receive failed after 2 of 2 restarts in 10 s"
        assert other.is_alive()


async def test_the_wall_clock_stepping_back_gives_no_restart_more() -> None:
    clock = ManualClock()
    async with ActorSystem(clock=clock) as system:
        ref = system.spawn(Worker, policy=RESTART)
        for _ in range(4):
            ref.tell(Boom())
            clock.set_wall(1.0)
        assert (await stopped(system, ref)).reason is StopReason.RESTART_LIMIT
        assert kinds(system, ref).count("ActorRestarted") == 3


async def test_restarts_are_numbered_n_of_m(system: ActorSystem) -> None:
    ref = system.spawn(Worker, policy=RESTART)
    for _ in range(4):
        ref.tell(Boom())
    await stopped(system, ref)
    crashes = [event for event in system.events() if isinstance(event, ActorCrashed)]
    assert [(crash.restart, crash.limit, crash.decision) for crash in crashes] == [
        (1, 3, "restart"),
        (2, 3, "restart"),
        (3, 3, "restart"),
        (3, 3, "stop"),
    ]
    restarts = [event for event in system.events() if isinstance(event, ActorRestarted)]
    assert [(event.restart, event.reason) for event in restarts] == [
        (number, "ValueError: boom") for number in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("decision", "fate"),
    [
        (SupervisorDecision.RESTART, "restarted"),
        (SupervisorDecision.IGNORE, "resumed"),
        (SupervisorDecision.STOP, "stopped"),
        (SupervisorDecision.ESCALATE, "stopped"),
        (None, "stopped"),
    ],
)
async def test_the_parents_decision_goes_before_the_policy(
    system: ActorSystem, decision: SupervisorDecision | None, fate: str
) -> None:
    parent = system.spawn(Parent, lambda _: decision)
    child = await parent.ask(("spawn", STOP))
    child.tell("kept?")
    child.tell(Boom())
    await system.wait_for_event(ActorCrashed)
    if fate == "stopped":
        await stopped(system, child)
        return
    assert await child.ask("seen") == ([] if fate == "restarted" else ["kept?"])
    crash = next(event for event in system.events() if isinstance(event, ActorCrashed))
    assert crash.decided_by == "parent"


async def test_the_parents_decision_to_restart_keeps_the_limit(system: ActorSystem) -> None:
    parent = system.spawn(Parent, lambda _: SupervisorDecision.RESTART)
    child = await parent.ask(("spawn", STOP))
    for _ in range(4):
        child.tell(Boom())
    assert (await stopped(system, child)).reason is StopReason.RESTART_LIMIT


async def test_the_parent_decides_between_two_messages(system: ActorSystem) -> None:
    parent, hold = system.spawn(Parent, lambda _: SupervisorDecision.RESTART), Hold()
    child = await parent.ask(("spawn", STOP))
    parent.tell(hold)
    parent.tell("after")
    await hold.begun.wait()
    child.tell(Boom())
    child.tell("queued meanwhile")
    await asyncio.sleep(0)
    assert system.actor_info(child).state == "restarting"
    hold.release.set()
    assert await child.ask("seen") == ["queued meanwhile"]
    assert await parent.ask("seen") == ["after"]


async def test_a_parent_that_waits_for_the_child_leaves_it_to_the_policy(system: ActorSystem) -> None:
    parent = system.spawn(Parent, lambda _: SupervisorDecision.STOP)
    child = await parent.ask(("spawn", RESTART))
    hold = Hold()
    child.tell(hold)
    await hold.begun.wait()
    child.tell(Boom())
    asking = asyncio.create_task(parent.ask(("ask", child, "seen"), timeout=None))
    await asyncio.sleep(0)
    hold.release.set()
    assert await asking == []
    assert child.is_alive()


async def test_a_parent_that_does_not_decide_in_time_leaves_it_to_the_policy() -> None:
    async with ActorSystem(ask_timeout=0.01) as system:
        parent, hold = system.spawn(Parent, lambda _: SupervisorDecision.STOP), Hold()
        child = await parent.ask(("spawn", RESTART))
        parent.tell(hold)
        await hold.begun.wait()
        child.tell(Boom())
        await restarted(system)
        hold.release.set()


async def test_a_raising_or_senseless_decision_leaves_it_to_the_policy(system: ActorSystem) -> None:
    def senseless(_: BaseException) -> SupervisorDecision:
        return "perhaps"  # type: ignore[return-value]  # what a user may do

    def raising(_: BaseException) -> SupervisorDecision:
        raise LookupError("no decision")

    for number, decide in enumerate((senseless, raising), 1):
        parent = system.spawn(Parent, decide, name=f"parent{number}")
        child = await parent.ask(("spawn", RESTART))
        child.tell(Boom())
        await restarted(system, number)
        assert parent.is_alive()


async def test_a_stop_wins_over_a_decision_that_is_awaited(system: ActorSystem) -> None:
    parent, hold = system.spawn(Parent, lambda _: SupervisorDecision.RESTART), Hold()
    child = await parent.ask(("spawn", STOP))
    parent.tell(hold)
    await hold.begun.wait()
    child.tell(Boom())
    await asyncio.sleep(0)
    await system.stop(child)
    assert (await stopped(system, child)).reason is StopReason.REQUESTED
    hold.release.set()
    await quiet(system)


async def test_a_restart_stops_the_children_first_and_runs_on_stop(system: ActorSystem) -> None:
    log: list[str] = []

    class Root(Lifecycle):
        async def on_start(self) -> None:
            await super().on_start()
            self.context.spawn_child(Lifecycle, log)

    root = system.spawn(Root, log, policy=RESTART)
    await root.ask("started")
    root.tell(Boom())
    await restarted(system)
    await system.stop(root)
    life = ["init", "on_start", "init", "on_start", "on_stop", "on_stop"]
    assert log == life + life
    assert len([event for event in system.events() if isinstance(event, ActorStopped)]) == 3


async def test_an_escalation_is_the_parents_failure_after_its_message(system: ActorSystem) -> None:
    class Undecided(Worker):
        async def handle(self, message: object) -> object:
            if message == "spawn":
                return self.context.spawn_child(Worker, policy=ESCALATE)
            return await super().handle(message)

    parent, hold = system.spawn(Undecided, policy=RESTART), Hold()
    child = await parent.ask("spawn")
    parent.tell("state")
    parent.tell(hold)
    await hold.begun.wait()
    child.tell(Boom())
    assert (await stopped(system, child)).reason is StopReason.ESCALATED
    assert kinds(system, parent) == ["ActorStarted"]
    hold.release.set()
    await restarted(system)
    assert kinds(system, parent) == ["ActorStarted", "ActorCrashed", "ActorRestarted"]
    assert kinds(system, child) == ["ActorStarted", "ActorCrashed", "ActorEscalated", "ActorStopped"]
    assert await parent.ask("seen") == []
    escalated = next(event for event in system.events() if isinstance(event, ActorEscalated))
    assert (escalated.to, escalated.error) == (parent.path, "ValueError: boom")
    crash = [event for event in system.events() if isinstance(event, ActorCrashed)][-1]
    assert crash.reason == f"child {child.path}"
    assert crash.message_id == escalated.message_id


async def test_an_escalation_goes_up_until_somebody_handles_it(system: ActorSystem) -> None:
    top = system.spawn(Parent, policy=RESTART, name="top")

    class Middle(Parent):
        pass

    class Root(Parent):
        async def on_start(self) -> None:
            self.middle = self.context.spawn_child(Middle, name="middle", policy=ESCALATE)

    root = system.spawn(Root, policy=RESTART, name="root")
    await root.ask("started")
    middle = system.ref_for("/root/middle")
    leaf = await middle.ask(("spawn", ESCALATE, "leaf"))
    leaf.tell(Boom())
    await restarted(system)
    assert (await stopped(system, leaf)).reason is StopReason.ESCALATED
    assert (await stopped(system, middle)).reason is StopReason.ESCALATED
    assert system.ref_for("/root/middle") != middle
    assert top.is_alive()
    assert root.is_alive()


async def test_an_escalation_at_the_top_stops_the_actor(system: ActorSystem) -> None:
    ref = system.spawn(Worker, policy=ESCALATE)
    ref.tell(Boom())
    assert (await stopped(system, ref)).reason is StopReason.ESCALATED


@pytest.mark.parametrize("policy", [STOP, RESTART, ESCALATE])
async def test_the_children_of_an_actor_that_stops_for_a_failure_stop_first(
    system: ActorSystem, policy: SupervisionPolicy
) -> None:
    parent = system.spawn(Parent, policy=SupervisionPolicy(policy.strategy, max_restarts=0))
    child = await parent.ask(("spawn", RESTART))
    parent.tell(Boom())
    await stopped(system, parent)
    events = [event for event in system.events() if isinstance(event, ActorStopped)]
    assert [event.path for event in events] == [child.path, parent.path]
    assert events[0].reason is StopReason.PARENT_STOPPED
    assert system.list_actors() == ()


async def test_the_first_start_failing_follows_the_policy_and_never_recurses(system: ActorSystem) -> None:
    log: list[str] = []
    policy = SupervisionPolicy(RESTART.strategy, max_restarts=2_000)

    class Never(Lifecycle):
        def __init__(self) -> None:
            super().__init__(log, fails=["on_start"])

    ref = system.spawn(Never, policy=policy)
    other = system.spawn(Worker)
    assert await other.ask("not starved") == "not starved"
    assert system.actor_info(ref).alive
    event = await system.wait_for_event(ActorStopped, timeout=60)
    assert event.payload["reason"] == "restart_limit"
    assert log.count("on_start") == 2_001
    assert "on_stop" not in log
    assert ActorStarted not in {type(event) for event in system.events() if event.path == ref.path}


def test_a_policy_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="max_restarts"):
        SupervisionPolicy(max_restarts=-1)
    with pytest.raises(ValueError, match="within_seconds"):
        SupervisionPolicy(within_seconds=0)


async def test_every_failing_actor_counts_its_own_restarts(system: ActorSystem) -> None:
    class Flaky(Actor):
        async def receive(self, message: object) -> None:
            raise ValueError(message)

    refs = [system.spawn(Flaky, policy=RESTART) for _ in range(3)]
    for ref in refs:
        for number in range(3):
            ref.tell(number)
    await quiet(system)
    await restarted(system, 9)
    assert all(ref.is_alive() for ref in refs)


async def test_a_suspended_mailbox_keeps_its_bound(system: ActorSystem) -> None:
    parent, hold = system.spawn(Parent, lambda _: SupervisorDecision.RESTART), Hold()
    child = system.spawn(Worker, parent=parent, mailbox_capacity=2)
    parent.tell(hold)
    await hold.begun.wait()
    child.tell(Boom())
    await system.wait_for_event(ActorStarted)
    while system.actor_info(child).state != "restarting":  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert [child.tell(number).error is None for number in range(5)] == [True] * 4 + [False]
    hold.release.set()
    await quiet(system)
    assert await child.ask("seen") == [0, 1, 2, 3]


async def test_a_child_that_escalates_while_its_parent_restarts_restarts_it_once(system: ActorSystem) -> None:
    class FailsLate(Worker):
        async def handle(self, message: object) -> object:
            await super().handle(message)
            if message is hold:
                raise ValueError("late")
            return message

    parent, hold = system.spawn(FailsLate, policy=RESTART), Hold()
    child = system.spawn(Worker, parent=parent, policy=ESCALATE)
    parent.tell(hold)
    await hold.begun.wait()
    child.tell(Boom())
    await stopped(system, child)
    hold.release.set()
    await restarted(system)
    await parent.ask("go on")
    assert system.actor_info(parent).restarts == 1
