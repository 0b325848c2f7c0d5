"""What a running system records folds back into what it is."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from papyra.actor import Actor
from papyra.events import ActorStarted, ActorStopped
from papyra.exceptions import ActorStopped as StoppedError
from papyra.history import ActorKey, accounting, letters_by_reason, running_at, timeline, why_stopped
from papyra.persistence.backends.memory import InMemoryPersistence
from papyra.supervision import Strategy, SupervisionPolicy
from papyra.system import ActorSystem

if TYPE_CHECKING:
    from papyra.ref import ActorRef


REASONS = {"requested", "parent_stopped", "shutdown"}
PATIENT = SupervisionPolicy(Strategy.RESTART, max_restarts=1000)


class Desk(Actor):
    async def receive(self, message: object) -> object:
        match message:
            case "fail":
                raise ValueError("out of stock; token=hunter2")
            case "child":
                return self.context.spawn_child(Desk)
            case _:
                return message


@pytest.mark.parametrize("seed", range(5))
async def test_folding_the_stored_history_reproduces_the_live_tree_at_every_step(seed: int) -> None:
    choose = random.Random(seed)  # noqa: S311  # no secret
    backend = InMemoryPersistence()
    async with ActorSystem(system_id="orders", persistence=backend, close_persistence=False) as system:
        seen: list[tuple[float, set[str]]] = []
        for number in range(30):
            refs = [ref for ref in system.refs() if ref.is_alive()]
            await _do_something(system, refs, choose, number)
            assert await system.flush(5)
            alive = {info.path for info in system.list_actors(alive_only=True)}
            stored = await backend.list_events()
            seen.append((stored[-1].timestamp, alive))
            answer = running_at(stored, stored[-1].timestamp)
            assert {actor.path for actor in answer.actors} == alive
            assert answer.is_complete
    history = await backend.list_events()
    for at, alive in seen:
        assert {actor.path for actor in running_at(history, at).actors} == alive
    assert running_at(history, history[-1].timestamp).actors == ()
    assert {stop.reason for stop in why_stopped(history).values()} <= REASONS


async def _do_something(
    system: ActorSystem, refs: list[ActorRef], choose: random.Random, number: int
) -> None:
    move = choose.choice(["spawn", "child", "fail", "stop"]) if refs else "spawn"
    begun = system.event_count
    if move == "spawn":
        system.spawn(Desk, name=f"desk-{number}", policy=PATIENT)
        await system.wait_for_event(ActorStarted, start_index=begun)
    elif move == "child":
        await choose.choice(refs).ask("child")
        await system.wait_for_event(ActorStarted, start_index=begun)
    elif move == "fail":
        ref = choose.choice([ref for ref in refs if ref.name])
        with pytest.raises(ValueError, match="out of stock"):
            await ref.ask("fail")
        await ref.ask("still there")
    else:
        await system.stop(choose.choice(refs))
        await system.wait_for_event(ActorStopped, start_index=begun)


async def test_r3_the_timeline_of_a_crash_is_whole_without_any_other_source() -> None:
    backend = InMemoryPersistence()
    async with ActorSystem(system_id="orders", persistence=backend, close_persistence=False) as system:
        ref = system.spawn(Desk, name="desk")
        for _ in range(4):
            with pytest.raises(ValueError, match="out of stock"):
                await ref.ask("fail")
        with pytest.raises(StoppedError):
            await ref.tell("too late")
    events, letters = await backend.list_events(), await backend.list_dead_letters()
    (life,) = timeline("orders", "/desk", events, letters).lives
    first = life.crashes[0]
    assert first.error.type == "builtins.ValueError"
    assert first.error.text == "out of stock; token=[redacted]"
    assert "hunter2" not in repr(events)
    assert "hunter2" not in repr(letters)
    assert first.error.traceback
    assert first.message_id.startswith(events[0].incarnation)
    assert (first.during, first.message_type, first.decision) == ("receive", "str", "restart")
    assert [(crash.restart, crash.limit) for crash in life.crashes] == [(1, 3), (2, 3), (3, 3), (3, 3)]
    assert len(life.restarts) == 3
    assert life.stop is not None
    assert (life.stop.reason, life.stop.restart, life.stop.limit) == ("restart_limit", 3, 3)
    assert life.stop == why_stopped(events)[ActorKey("orders", "/desk")]
    assert [letter.reason for letter in life.letters] == [*["handler_failed"] * 4, "target_stopped"]
    assert letters_by_reason(letters, events) == {"handler_failed": 4, "target_stopped": 1}
    (final,) = accounting(await backend.list_audits(), events)
    assert final.is_final
    assert final.is_balanced
