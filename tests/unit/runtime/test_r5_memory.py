"""R5: memory is bounded: what is over is freed, what may pile up is capped."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING

import pytest

from papyra import Actor, ActorSystem
from papyra.messages import DeadLetterReason
from papyra.persistence.backends.memory import InMemoryPersistence
from papyra.persistence.retention import RetentionPolicy
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
    task_ended,
)

if TYPE_CHECKING:
    from papyra import ActorRef


@pytest.fixture(autouse=True)
def _no_tracebacks_kept_by_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("papyra._runtime.journal"), "disabled", True)


class Failing(Actor):
    async def receive(self, message: object) -> object:
        if message == "fail":
            raise ValueError("failed")
        return message


async def test_r5_a_stopped_actor_is_freed_though_its_reference_is_kept(system: ActorSystem) -> None:
    made: list[weakref.ref[Actor]] = []

    def make(cls: type[Actor]) -> Actor:
        actor = cls()
        made.append(weakref.ref(actor))
        return actor

    refs = [system.spawn(make, Failing), system.spawn(make, Worker), system.spawn(make, Worker, name="named")]
    for ref in refs:
        await ref.ask("busy once")
    refs[0].tell("fail")
    await stopped(system, refs[0])
    await system.stop(refs[1])
    await refs[2].ask("stop")
    await stopped(system, refs[2])
    await asyncio.sleep(0)
    gc.collect()
    assert [actor() for actor in made] == [None, None, None]
    assert system.list_actors() == ()
    assert system.list_names() == ()


async def test_r5_an_actor_without_references_is_freed_too(system: ActorSystem) -> None:
    ref = system.spawn(Worker)
    await system.stop(ref)
    cell = weakref.ref(ref)
    gone = ref.path
    del ref
    gc.collect()
    assert cell() is None, gone


async def test_r5_the_old_instance_is_freed_by_a_restart(system: ActorSystem) -> None:
    made: list[weakref.ref[Actor]] = []

    def make() -> Actor:
        actor = Failing()
        made.append(weakref.ref(actor))
        return actor

    ref = system.spawn(make, policy=RESTART)
    ref.tell("fail")
    await restarted(system)
    await ref.ask("go on")
    gc.collect()
    assert [actor() is None for actor in made] == [True, False]


async def test_r5_lists_of_children_do_not_grow(system: ActorSystem) -> None:
    parent = system.spawn(Parent)
    for _ in range(100):
        child = await parent.ask(("spawn", STOP))
        await system.stop(child)
    kept = await parent.ask(("spawn", RESTART))
    for _ in range(3):
        kept.tell(Boom())
    await restarted(system, 3)
    assert system.actor_info(parent).children_rids == (kept.address.actor_id,)


async def test_r5_watchers_do_not_pile_up(system: ActorSystem) -> None:
    watcher, target = system.spawn(Parent), system.spawn(Worker)
    await watcher.ask(("watch", target))

    async def pass_by() -> weakref.ref[ActorRef]:
        passing = system.spawn(Parent)
        await passing.ask(("watch", target))
        await passing.ask(("watch", watcher))
        await system.stop(passing)
        return weakref.ref(passing)

    passed = [await pass_by() for _ in range(20)]
    gc.collect()
    assert {each() for each in passed} == {None}


async def test_r5_events_are_the_newest_with_an_absolute_index() -> None:
    async with ActorSystem(max_events=10) as system:
        refs = [system.spawn(Worker) for _ in range(25)]
        assert system.event_count == 25
        assert [event.path for event in system.events()] == [ref.path for ref in refs[15:]]
        assert [event.path for event in system.events(23)] == [ref.path for ref in refs[23:]]
        assert system.events(25) == ()
        waiting = asyncio.create_task(system.wait_for_event(lambda _: True, start_index=25))
        await asyncio.sleep(0)
        new = system.spawn(Worker)
        assert (await waiting).path == new.path


async def test_r5_letters_in_memory_are_capped_and_their_counts_exact(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Store()
    async with ActorSystem(persistence=store, letters_per_minute=10) as system:
        refs = [system.spawn(Worker) for _ in range(2)]
        await system.stop_all()
        for number in range(20_000):
            refs[number % 2].tell(number)
        assert system.dead_letters.total == 20_000
        assert system.dead_letters.counts[DeadLetterReason.TARGET_STOPPED] == 20_000
        assert len(system.dead_letters.messages) == 20
        assert system.accounting().dead == 20_000
        system.audit()
    assert len(store.dead_letters) == 20
    suppressed = store.of("DeadLettersSuppressed")
    assert [(event.actor_path, event.payload["count"]) for event in suppressed] == [  # type: ignore[index]
        (ref.path, 9_990) for ref in refs
    ]
    assert store.audits[-1].dead_letters_count == 20_000
    assert "9990 more dead letters" in caplog.text


async def test_r5_storms_over_many_targets_share_one_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("papyra._runtime.storms.MAX_GROUPS", 20)
    store = Store()
    async with ActorSystem(persistence=store, letters_per_minute=1) as system:
        refs = [system.spawn(Worker) for _ in range(40)]
        await system.stop_all()
        for ref in refs:
            ref.tell("x")
    assert len(store.dead_letters) == 21
    (event,) = store.of("DeadLettersSuppressed")
    assert (event.actor_path, event.payload["count"]) == ("", 19)  # type: ignore[index]


async def test_r5_a_full_mailbox_at_a_stop_is_on_record_to_the_last_message() -> None:
    store = Store()
    async with ActorSystem(persistence=store) as system:
        ref, hold = system.spawn(Worker), Hold()
        ref.tell(hold)
        await hold.begun.wait()
        for number in range(2_048):
            assert ref.tell(number).error is None
        stopping = asyncio.create_task(system.stop(ref))
        await asyncio.sleep(0)
        hold.release.set()
        await stopping
    letters = [letter.payload["data"] for letter in store.letters("queued_at_stop")]  # type: ignore[index]
    assert letters == list(range(2_048))


async def test_r5_an_idle_actor_owns_no_task_and_keeps_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("papyra._runtime.linger.LINGER_SECONDS", 0.001)

    class Big:
        pass

    class Forgetful(Actor):
        async def receive(self, message: object) -> None:
            del message

    async with ActorSystem() as system:
        ref, big = system.spawn(Forgetful, name="idle"), Big()
        alive = weakref.ref(big)
        await ref.ask(big)
        del big
        await task_ended("/idle")
        gc.collect()
        assert alive() is None
        assert await ref.ask("wakes up again") is None


async def test_r5_answered_asks_are_forgotten_long_before_their_deadline(system: ActorSystem) -> None:
    class Big:
        pass

    async def ask(ref: ActorRef) -> weakref.ref[Big]:
        big = Big()
        await ref.ask([big], timeout=1_000)
        return weakref.ref(big)

    class Forgetful(Actor):
        async def receive(self, message: object) -> None:
            del message

    ref = system.spawn(Forgetful)
    asked = [await ask(ref) for _ in range(500)]
    gc.collect()
    assert sum(each() is not None for each in asked) < 150


async def test_r5_churn_leaves_nothing_behind() -> None:
    async with ActorSystem(
        persistence=InMemoryPersistence(RetentionPolicy(max_records=1)), max_events=10
    ) as system:
        await churn(system)
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(5):
            await churn(system)
        gc.collect()
        assert len(gc.get_objects()) - before < 500


async def churn(system: ActorSystem) -> None:
    refs = [system.spawn(Worker) for _ in range(200)]
    for ref in refs:
        ref.tell(1)
    await quiet(system)
    await system.stop_all()
    await system.flush()


async def test_r5_tasks_are_strongly_held(system: ActorSystem) -> None:
    ref, hold = system.spawn(Worker), Hold()
    asking = asyncio.create_task(ref.ask(hold))
    await hold.begun.wait()
    for _ in range(5):
        gc.collect()
        await asyncio.sleep(0)
    hold.release.set()
    assert await asking == "released"


@pytest.mark.parametrize("timer", ["deadline", "letters"])
async def test_r5_no_timer_keeps_the_context_of_whoever_caused_it(system: ActorSystem, timer: str) -> None:
    class Big:
        pass

    carried: ContextVar[Big] = ContextVar("carried")
    ref = system.spawn(Worker)

    async def cause() -> weakref.ref[Big]:
        big = Big()
        carried.set(big)
        if timer == "deadline":
            await ref.ask(1)
        else:
            await system.stop(ref)
            ref.tell("too late")
        return weakref.ref(big)

    alive = await asyncio.create_task(cause())
    await asyncio.sleep(0)  # the loop lets go of the task
    gc.collect()
    assert alive() is None
