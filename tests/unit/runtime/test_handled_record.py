"""``MessageHandled``, on request: one event for each handled message, in order, bounded, in nobody's way."""

from __future__ import annotations

import asyncio
import gc
import weakref
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from papyra import Actor, ActorSystem, handles
from papyra.exceptions import ConfigurationError
from papyra.history import timeline
from papyra.persistence.backends.memory import InMemoryPersistence
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import LossNote, PersistedEvent
from papyra.persistence.retention import RetentionPolicy
from papyra.testing import ManualClock
from papyra.testing.faultybackend import FaultyBackend
from tests.unit.runtime.actors import RESTART, Boom, Hold, Store, Worker, quiet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from papyra.persistence.backend import PersistenceBackend
    from papyra.persistence.models import Record


def recording(store: PersistenceBackend, **options: Any) -> ActorSystem:
    options = {"record_handled": True, "audit_interval": None, "system_id": "orders", **options}
    return ActorSystem(persistence=store, close_persistence=False, **options)


def handled_in(events: tuple[PersistedEvent, ...]) -> list[PersistedEvent]:
    return [event for event in events if event.event_type == "MessageHandled"]


@pytest.fixture
def memory() -> InMemoryPersistence:
    return InMemoryPersistence(RetentionPolicy())


async def test_each_handled_message_is_an_event_with_its_ids_type_and_duration(
    memory: InMemoryPersistence,
) -> None:
    class Front(Actor):
        async def receive(self, message: object) -> object:
            return await back.ask(message)

    async with recording(memory) as system:
        back = system.spawn(Worker, name="back")
        front = system.spawn(Front, name="front")
        assert await front.ask({"sku": "book"}) == {"sku": "book"}
        assert await system.flush(5)
        inner, outer = handled_in(memory.events)
    assert (inner.actor_path, outer.actor_path) == ("/back", "/front")
    assert inner.actor_type == f"{Worker.__module__}.Worker"
    assert inner.actor_address == str(back.address)
    assert inner.cause_id == inner.root_id == outer.message_id == outer.root_id
    assert outer.cause_id == ""
    assert inner.payload == {"message_type": "dict", "seconds": pytest.approx(0, abs=0.5)}
    assert 0 <= inner.payload["seconds"] <= outer.payload["seconds"]  # type: ignore[index]


async def test_nothing_is_recorded_unless_it_is_asked_for_and_then_of_those_classes_only(
    memory: InMemoryPersistence,
) -> None:
    class Other(Worker):
        pass

    class Plain(Actor):
        def receive(self, message: object) -> object:
            return message

    async with recording(memory, record_handled=False) as system:
        await system.spawn(Worker, name="w").ask(1)
    assert handled_in(memory.events) == []
    async with recording(memory, record_handled=[Worker]) as system:
        for cls in (Worker, Other, Plain):
            await system.spawn(cls, name=cls.__name__).ask(1)
    assert [event.actor_path for event in handled_in(memory.events)] == ["/Worker", "/Other"]


@pytest.mark.parametrize("which", [["Worker"], [1], [Worker, None]])
def test_what_is_no_class_of_actors_is_refused(which: Any) -> None:
    with pytest.raises(ConfigurationError, match="record_handled"):
        ActorSystem(record_handled=which)


async def test_what_is_not_handled_is_no_such_event_and_what_is_passed_on_is_two(
    memory: InMemoryPersistence,
) -> None:
    class Clerk(Actor):
        @handles(str)
        def text(self, _: str) -> None:
            self.context.forward(desk)

        @handles(int)
        def number(self, number: int) -> None:
            if number == 1:
                self.context.stash()
            else:
                self.context.unstash_all()

    async with recording(memory) as system:
        desk = system.spawn(Worker, name="desk", policy=RESTART)
        clerk = system.spawn(Clerk, name="clerk", policy=RESTART)
        with pytest.raises(ValueError, match="boom"):
            await desk.ask(Boom())
        clerk.tell(1.5)  # UNHANDLED
        assert await clerk.ask("text") == "text"
        desk.tell("late", ttl=0)  # EXPIRED
        await quiet(system)
        assert await system.flush(5)
        told = [(e.actor_path, e.payload["message_type"]) for e in handled_in(memory.events)]  # type: ignore[index]
        assert told == [("/clerk", "str"), ("/desk", "str")]
        accounting = system.accounting()
        assert (accounting.handled, accounting.expired, accounting.failed, accounting.dead) == (2, 1, 1, 1)


async def test_the_order_of_the_history_is_that_of_what_happened(memory: InMemoryPersistence) -> None:
    class Boss(Worker):
        async def handle(self, message: object) -> object:
            if message == "child":
                return self.context.spawn_child(Worker, name="child")
            return await super().handle(message)

    async with recording(memory) as system:
        boss = system.spawn(Boss, name="boss")
        for message in (1, 2, "child", 3, "stop"):
            boss.tell(message)
        await quiet(system)
    told = [(event.event_type, event.actor_path) for event in memory.events if event.actor_path]
    assert told == [
        ("ActorStarted", "/boss"),
        *[("MessageHandled", "/boss")] * 2,
        ("ActorStarted", "/boss/child"),
        *[("MessageHandled", "/boss")] * 3,
        ("ActorStopped", "/boss/child"),
        ("ActorStopped", "/boss"),
    ]
    times = [event.timestamp for event in memory.events]
    assert times == sorted(set(times))
    assert [event.seq for event in memory.events] == list(range(1, len(times) + 1))


async def test_what_was_handled_is_durable_though_the_next_message_takes_for_ever(
    memory: InMemoryPersistence,
) -> None:
    async with recording(memory) as system:
        worker, hold = system.spawn(Worker, name="w"), Hold()
        for message in (1, 2, 3, hold):
            worker.tell(message)
        await hold.begun.wait()
        assert await system.flush(5)
        assert len(handled_in(memory.events)) == 3
        hold.release.set()
        await worker.ask("seen")
        assert await system.flush(5)
        assert len(handled_in(memory.events)) == 5


class Noticing(Store):
    """Says when the first handled message has come."""

    def __init__(self) -> None:
        super().__init__()
        self.has_come = asyncio.Event()

    async def append(self, records: Sequence[Record]) -> None:
        await super().append(records)
        if self.of("MessageHandled"):
            self.has_come.set()


async def test_it_reaches_the_store_without_anybody_waiting_for_it() -> None:
    store = Noticing()
    async with recording(store) as system:
        worker, hold = system.spawn(Worker, name="w"), Hold()
        worker.tell(1)
        worker.tell(hold)
        await hold.begun.wait()
        async with asyncio.timeout(5):
            await store.has_come.wait()
        hold.release.set()


async def test_handlers_that_overtake_each_other_are_recorded_as_they_ended(
    memory: InMemoryPersistence,
) -> None:
    async with recording(memory) as system:
        slow, quick = system.spawn(Worker, name="slow"), system.spawn(Worker, name="quick")
        hold = Hold()
        slow.tell(hold)
        await hold.begun.wait()
        for number in range(3):
            await quick.ask(number)
        hold.release.set()
        await quiet(system)
        assert await system.flush(5)
    assert [event.actor_path for event in handled_in(memory.events)] == [*["/quick"] * 3, "/slow"]
    times = [event.timestamp for event in memory.events]
    assert all(before < after for before, after in pairwise(times))


@pytest.mark.parametrize("kind", ["memory", "json", "records only"])
async def test_every_store_has_every_handled_message_and_the_accounting_agrees(
    kind: str, tmp_path: Path, memory: InMemoryPersistence
) -> None:
    file = JsonFilePersistence(tmp_path / "log.ndjson", fsync="os")
    stores: dict[str, PersistenceBackend] = {
        "memory": memory,
        "json": file,
        "records only": FaultyBackend(memory),
    }
    store = stores[kind]
    async with recording(store) as system:
        workers = [system.spawn(Worker, name=f"w{number}", mailbox_capacity=None) for number in range(5)]
        for number in range(3_000):
            workers[number % 5].tell(number)
            if number % 700 == 0:
                await asyncio.sleep(0)
        await quiet(system)
        assert await system.flush(30)
        handled = handled_in(await (file if kind == "json" else memory).list_events())
        assert len(handled) == system.accounting().handled == 3_000
        assert len({event.message_id for event in handled}) == 3_000
        assert {event.payload["message_type"] for event in handled} == {"int"}  # type: ignore[index]
    await store.aclose()


async def test_r5_what_a_store_that_hangs_cannot_take_is_dropped_oldest_first_and_noted_exactly() -> None:
    store = Store()
    async with recording(store, max_queued_records=500) as system:
        worker = system.spawn(Worker, name="w", mailbox_capacity=None)
        await worker.ask("warm")
        assert await system.flush(5)
        store.gate.clear()
        for number in range(2_000):
            worker.tell(number)
        await quiet(system)
        assert not await system.flush(0.01)
        dropped = system.accounting().records_dropped
        assert dropped >= 1_400
        store.gate.set()
        assert await system.flush(5)
        handled = system.accounting().handled
    notes = [LossNote.from_payload(event.payload) for event in store.of("RecordsDropped")]
    noted = sum(note.last - note.first + 1 for note in notes if note is not None)
    assert noted == dropped
    assert len(store.of("MessageHandled")) + dropped == handled
    seqs = {event.seq for event in store.events}
    holes = set(range(1, max(seqs) + 1)) - seqs
    covered = {seq for note in notes if note is not None for seq in range(note.first, note.last + 1)}
    assert holes <= covered


class Parcel:
    """Something whose end can be seen."""


async def test_r5_no_message_is_kept_while_its_event_waits() -> None:
    store = Store()
    async with recording(store) as system:
        worker = system.spawn(Failing, name="w")
        await worker.ask("warm")
        assert await system.flush(5)
        store.gate.clear()
        parcel = Parcel()
        seen = weakref.ref(parcel)
        worker.tell(parcel)
        del parcel
        for number in range(20):
            worker.tell(number)
        await worker.ask("behind them")
        await quiet(system)
        await ManualClock().settle()
        gc.collect()
        assert seen() is None
        store.gate.set()
        assert await system.flush(5)
        assert store.of("MessageHandled")[1].payload["message_type"].endswith("Parcel")  # type: ignore[index]


class Failing(Actor):
    """Keeps nothing."""

    def receive(self, message: object) -> None:
        """Handle it."""


async def test_what_is_handled_after_the_recorders_end_is_counted_as_lost() -> None:
    store = Store()
    async with recording(store, shutdown_timeout=0.5) as system:
        worker = system.spawn(Worker, name="w")
        await worker.ask(1)
        assert await system.flush(5)
        await system.persistence.aclose()
        for number in range(10):
            await worker.ask(number)
        worker.tell(10)
        await quiet(system)
        assert system.accounting().handled == 12
        assert system.is_degraded
    assert system.accounting().records_dropped == 10 + 1  # the first ended the recorder; and the actor's end


async def test_the_timeline_shows_the_last_messages_of_each_life(memory: InMemoryPersistence) -> None:
    async with recording(memory) as system:
        for count in (12, 3):
            worker = system.spawn(Worker, name="w")
            for number in range(count):
                worker.tell(number)
            await worker.ask("seen")
            await system.stop(worker)
    first, second = timeline("orders", "/w", memory.events, memory.dead_letters).lives
    assert len(first.messages) == 8
    assert [message.message_type for message in first.messages] == [*["int"] * 7, "str"]
    assert len(second.messages) == 4
    ids = [int(message.message_id.rpartition("-")[2]) for message in (*first.messages, *second.messages)]
    assert ids == sorted(ids)
    assert all(message.seconds is not None and message.seconds >= 0 for message in first.messages)
    (life, _) = timeline("orders", "/w", memory.events, (), last=2).lives
    assert life.messages == first.messages[-2:]
    assert timeline("orders", "/w", memory.events, (), last=0).lives[0].messages == ()
