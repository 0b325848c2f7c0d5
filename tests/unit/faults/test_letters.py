"""Letters: a million cost no memory, one about another is counted, and time set back reorders none."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest

from papyra import ActorSystem, DeadLetter, StopReason
from papyra.history import letters_by_reason, running_at, why_stopped
from papyra.messages import DeadLetterReason
from papyra.testing.clock import ManualClock
from tests.unit.runtime.actors import STOP, Boom, Store, Worker, quiet, stopped

if TYPE_CHECKING:
    from papyra import ActorRef


async def test_line_10_a_storm_of_a_million_letters_is_bounded_in_memory_and_rows_and_exact() -> None:
    store = Store()
    async with ActorSystem(persistence=store, letters_per_minute=100, audit_interval=None) as system:
        refs = [system.spawn(Worker) for _ in range(4)]
        await system.stop_all()
        objects = 0
        for number in range(250_000):
            for ref in refs:
                ref.tell(number)
            if number == 10_000:
                objects = len(gc.get_objects())
        assert len(gc.get_objects()) - objects < 1_000
        assert system.dead_letters.total == system.accounting().dead == 1_000_000
    assert len(store.dead_letters) <= 4 * 100
    assert letters_by_reason(store.dead_letters, store.events) == {"target_stopped": 1_000_000}


async def test_line_10_a_letter_about_a_letter_is_counted_and_breeds_no_more() -> None:
    told: list[DeadLetter] = []

    def on_dead_letter(letter: DeadLetter) -> None:
        told.append(letter)
        gone.tell(letter)

    store = Store()
    async with ActorSystem(
        persistence=store, on_dead_letter=on_dead_letter, letters_per_minute=10, audit_interval=None
    ) as system:
        gone = system.spawn(Worker)
        await system.stop(gone)
        gone.tell("the first")
        for _ in range(2_000):
            await asyncio.sleep(0)
        assert len(told) <= 10
        assert system.dead_letters.total <= 11
        assert system.accounting().is_balanced
    assert len(store.dead_letters) <= 10


async def test_line_10_a_letter_to_a_dead_actor_in_the_name_of_another_is_one_letter(
    system: ActorSystem,
) -> None:
    class Undertaker(Worker):
        """Tells the dead again what they were told."""

        async def handle(self, message: object) -> object:
            assert isinstance(message, DeadLetter)
            assert message.target is not None
            message.target.tell(message)
            return None

    undertaker, gone = system.spawn(Undertaker), system.spawn(Worker)
    await system.stop(gone)
    gone.tell("the first")
    undertaker.tell(system.dead_letters.messages[0])
    await quiet(system)
    assert system.dead_letters.counts[DeadLetterReason.TARGET_STOPPED] == 2


@pytest.mark.parametrize("jump", [-3600.0, -0.000001, 3600.0])
async def test_line_17_the_wall_clock_may_jump_and_the_order_of_the_history_stays(jump: float) -> None:
    store, clock = Store(), ManualClock()
    async with ActorSystem(persistence=store, clock=clock, system_id="orders") as system:
        refs: list[ActorRef] = []
        for _ in range(5):
            refs.append(system.spawn(Worker, policy=STOP))
            await refs[-1].ask(1)
            clock.set_wall(clock.now() + jump)
        refs[0].tell(Boom())
        await stopped(system, refs[0])
        assert await system.flush(5)
        events = store.events
        times = [event.timestamp for event in events]
        assert times == sorted(set(times))
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        alive = {ref.path for ref in refs[1:]}
        assert {actor.path for actor in running_at(events, times[-1]).actors} == alive
        (stop,) = why_stopped(events).values()
        assert stop.reason == StopReason.FAILED
