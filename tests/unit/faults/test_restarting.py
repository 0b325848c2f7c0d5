"""A restart loses nothing but the failing message, spends one child's budget, and says why."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import TYPE_CHECKING

import pytest

from papyra import (
    Actor,
    ActorSystem,
    MailboxFull,
    StopReason,
    Strategy,
    SupervisionPolicy,
    SupervisorDecision,
    Terminated,
)
from papyra import events as happened
from papyra.history import timeline
from papyra.testing.clock import ManualClock
from papyra.testing.probe import Probe
from tests.unit.runtime.actors import (
    ESCALATE,
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
    from papyra import ActorRef

OFTEN = SupervisionPolicy(Strategy.RESTART, max_restarts=1_000)


async def test_line_3_five_hundred_crashes_between_messages_lose_and_reorder_none(
    system: ActorSystem,
) -> None:
    seen: list[int] = []

    class Keeping(Worker):
        async def handle(self, message: object) -> object:
            if isinstance(message, int):
                seen.append(message)
                await asyncio.sleep(0)
                return None
            return await super().handle(message)

    ref = system.spawn(Keeping, policy=OFTEN, mailbox_capacity=None)
    for number in range(500):
        ref.tell(number)
        ref.tell(Boom())
    await quiet(system)
    assert seen == list(range(500))
    assert system.accounting().failed == len(system.dead_letters.messages) == 500


async def test_line_3_senders_that_wait_for_room_keep_their_place_over_a_restart(system: ActorSystem) -> None:
    seen: list[object] = []

    class Keeping(Worker):
        async def handle(self, message: object) -> object:
            if isinstance(message, int):
                seen.append(message)
            return await super().handle(message)

    ref, hold = system.spawn(Keeping, policy=RESTART, mailbox_capacity=2), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    deliveries = [ref.tell(message) for message in (Boom(), 1, 2, 3)]
    waiting = [asyncio.create_task(_wait(delivery)) for delivery in deliveries]
    hold.release.set()
    await asyncio.wait_for(asyncio.gather(*waiting), 5)
    await quiet(system)
    assert seen == [1, 2, 3]


async def _wait(delivery: object) -> None:
    await delivery  # type: ignore[misc]  # a Delivery


async def test_line_6_a_mailbox_keeps_its_bound_while_its_actor_restarts(system: ActorSystem) -> None:
    again = Hold()
    starts: list[int] = []

    class Slow(Worker):
        async def on_start(self) -> None:
            starts.append(1)
            if len(starts) == 2:
                again.begun.set()
                await again.release.wait()

    ref = system.spawn(Slow, policy=RESTART, mailbox_capacity=4)
    ref.tell(Boom())
    await again.begun.wait()
    refused = [ref.tell(number).error for number in range(20)]
    assert [type(error) for error in refused] == [*[type(None)] * 8, *[MailboxFull] * 12]
    assert system.actor_info(ref).mailbox_depth <= 8
    again.release.set()
    await quiet(system)
    assert await ref.ask("seen") == list(range(8))


async def test_line_4_the_budget_is_each_childs_own_and_its_window_slides(store: Store) -> None:
    clock = ManualClock()
    twice = SupervisionPolicy(Strategy.RESTART, max_restarts=2, within_seconds=10)
    async with ActorSystem(persistence=store, clock=clock) as system:
        one, other = system.spawn(Worker, policy=twice), system.spawn(Worker, policy=twice)
        for _ in range(10):  # never three within ten seconds
            one.tell(Boom())
            await one.ask("alive")
            clock.advance(5.1)
        other.tell(Boom())
        await other.ask("alive")
        assert system.actor_info(other).restarts == 1
        for _ in range(3):
            one.tell(Boom())
        stop = await stopped(system, one)
        assert (stop.reason, stop.restart, stop.limit) == (StopReason.RESTART_LIMIT, 2, 2)
        assert other.is_alive()
    assert len(store.of("ActorRestarted")) == 10 + 1 + 1


async def test_line_4_a_limit_that_is_reached_stops_the_child_once_and_the_parent_goes_on(
    system: ActorSystem,
) -> None:
    probe, parent = Probe(system), system.spawn(Parent)
    child = await parent.ask(("spawn", SupervisionPolicy(Strategy.RESTART, max_restarts=1)))
    await probe.watch(child)
    for _ in range(5):
        child.tell(Boom())
    assert (await probe.expect(Terminated)).reason is StopReason.RESTART_LIMIT
    await quiet(system)
    await probe.expect_no_message(within=0.001)
    assert await parent.ask("alive") == "alive"
    assert system.accounting().failed == 2
    assert system.accounting().dead == 3


async def test_line_4_a_child_that_escalates_twice_fails_its_parent_once_for_each(
    system: ActorSystem,
) -> None:
    grandparent = system.spawn(Parent, lambda _: SupervisorDecision.IGNORE)
    parent = system.spawn(Parent, parent=grandparent)
    for _ in range(2):
        child = await parent.ask(("spawn", ESCALATE))
        child.tell(Boom())
        await stopped(system, child)
        await parent.ask("after it")
    escalated = [event for event in system.events() if isinstance(event, happened.ActorEscalated)]
    crashes = [event for event in system.events() if isinstance(event, happened.ActorCrashed)]
    assert len(escalated) == 2
    assert [event.path for event in crashes].count(parent.path) == 2
    assert parent.is_alive()


@pytest.mark.parametrize("end", ["restart", "stop", "escalate", "start", "limit"])
async def test_line_5_what_a_failure_led_to_is_logged_and_on_record_with_its_cause(
    store: Store, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    policies = {
        "restart": RESTART,
        "escalate": ESCALATE,
        "limit": SupervisionPolicy(Strategy.RESTART, max_restarts=0),
    }

    class Failing(Worker):
        async def on_start(self) -> None:
            if end == "start":
                raise ValueError("boom")

    caplog.set_level(logging.DEBUG)
    async with ActorSystem(persistence=store, system_id="orders") as system:
        parent = system.spawn(Parent, name="parent")
        ref = system.spawn(Failing, name="it", parent=parent, policy=policies.get(end, STOP))
        ref.tell(Boom())
        await (restarted(system) if end == "restart" else stopped(system, ref))
        await quiet(system)
    assert any("/parent/it" in record.getMessage() for record in caplog.records)
    assert "ValueError: boom" in caplog.text
    (life,) = timeline("orders", "/parent/it", store.events, store.dead_letters).lives
    (crash,) = life.crashes
    assert (crash.error.type, crash.error.text) == ("builtins.ValueError", "boom")
    assert crash.decision == {"restart": "restart", "escalate": "escalate"}.get(end, "stop")
    assert life.stop is not None
    if end == "restart":
        assert [restart.reason for restart in life.restarts] == ["ValueError: boom"]
        return
    assert life.stop.error is not None
    assert life.stop.error.text == "boom"
    assert (
        life.stop.reason
        == {
            "stop": "failed",
            "escalate": "escalated",
            "start": "start_failed",
            "limit": "restart_limit",
        }[end]
    )
    if end != "start":
        assert life.stop.message_id == crash.message_id != ""


async def test_line_1_a_crash_of_the_parent_while_it_decides_leaves_its_child_to_the_policy(
    system: ActorSystem,
) -> None:
    class Raising(Parent):
        async def on_child_failure(self, child_ref: ActorRef, exc: BaseException) -> SupervisorDecision:
            raise OSError(f"{child_ref.path} {exc}")

    parent = system.spawn(Raising, policy=STOP)
    child = await parent.ask(("spawn", RESTART))
    child.tell(Boom())
    assert await child.ask("alive") == "alive"
    assert parent.is_alive()
    assert system.actor_info(child).restarts == 1


async def test_line_16_collections_during_traffic_and_restarts_lose_nothing(system: ActorSystem) -> None:
    class Nested(Actor):
        async def receive(self, message: object) -> object:
            if message == "boom":
                raise ValueError("boom")
            gc.collect(0)
            await asyncio.sleep(0)
            return message

    refs = [system.spawn(Nested, policy=OFTEN) for _ in range(5)]
    asks = []
    for number in range(60):
        ref = refs[number % 5]
        asks.append(asyncio.create_task(ref.ask(number, timeout=None)))
        ref.tell("boom")
        if not number % 20:
            gc.collect()
            await asyncio.sleep(0)
    assert await asyncio.wait_for(asyncio.gather(*asks), 10) == list(range(60))
    await quiet(system)
    assert system.accounting().failed == 60
