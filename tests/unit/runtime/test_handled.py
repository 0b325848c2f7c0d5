"""Handled messages on record, where that is wanted: each once, with its cause, and no other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from papyra import Actor, ActorRef, ActorSystem
from papyra.exceptions import ConfigurationError
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import ScanDepth
from tests.unit.runtime.actors import RESTART, Boom, Store, Worker, quiet

if TYPE_CHECKING:
    from pathlib import Path


class Router(Actor):
    async def receive(self, message: tuple[ActorRef, object]) -> None:
        target, content = message
        self.context.forward(target, content)


class Teller(Actor):
    async def receive(self, target: ActorRef) -> None:
        target.tell("caused")


async def handled(store: Any) -> list[Any]:
    return [event for event in await store.list_events() if event.event_type == "MessageHandled"]


async def test_each_handled_message_is_one_event_with_its_ids_and_its_type() -> None:
    store = Store()
    async with ActorSystem(persistence=store, audit_interval=None, record_handled=True) as system:
        worker = system.spawn(Worker, name="worker")
        system.spawn(Teller, name="teller").tell(worker)
        await quiet(system)
        await system.flush()
        by_path = {event.actor_path: event for event in await handled(store)}
        assert system.accounting().handled == 2
    teller, caused = by_path["/teller"], by_path["/worker"]
    assert caused.cause_id == teller.message_id == caused.root_id
    assert caused.message_id not in {"", teller.message_id}
    assert caused.payload["message_type"] == "str"
    assert caused.payload["seconds"] >= 0
    assert caused.actor_type.endswith("Worker")


async def test_what_failed_expired_or_died_is_none() -> None:
    store = Store()
    async with ActorSystem(persistence=store, audit_interval=None, record_handled=True) as system:
        worker = system.spawn(Worker, policy=RESTART)
        for message in (1, Boom(), 2):
            worker.tell(message)
        worker.tell("late", ttl=0)
        assert await worker.ask("seen") == [2]
        await system.stop(worker)
        worker.tell("dead")
        await system.flush()
        assert len(await handled(store)) == system.accounting().handled == 3


@pytest.mark.parametrize("count", [1, 700])
async def test_many_at_once_are_all_stored_in_order_and_the_file_is_sound(tmp_path: Path, count: int) -> None:
    store = JsonFilePersistence(tmp_path / "log.ndjson", fsync="os")
    async with ActorSystem(persistence=store, audit_interval=None, record_handled=[Worker]) as system:
        worker, other = system.spawn(Worker, mailbox_capacity=None), system.spawn(Teller)
        for number in range(count):
            worker.tell(number)
        other.tell(worker)
        await quiet(system)
        assert await system.flush(10)
        events = await handled(store)
        assert len(events) == count + 1
        numbers = [int(event.message_id.rpartition("-")[2]) for event in events]
        assert numbers == sorted(numbers)
        assert {event.actor_path for event in events} == {worker.path}
        assert not (await store.scan(ScanDepth.FULL)).has_anomalies


async def test_a_store_that_is_down_stops_no_actor_and_every_loss_is_noted() -> None:
    store = Store()
    async with ActorSystem(
        persistence=store, audit_interval=None, record_handled=True, max_queued_records=50
    ) as system:
        store.script.extend([OSError("down")] * 3)
        worker = system.spawn(Worker, mailbox_capacity=None)
        for number in range(500):
            worker.tell(number)
        await quiet(system)
        assert await system.flush(20)
        lost = system.accounting().records_dropped
        assert system.accounting().handled == 500
        kept = len(await handled(store))
    assert kept + lost >= 500
    assert lost > 0


@pytest.mark.parametrize("wanted", [["Worker"], 3])
def test_only_classes_of_actors_can_be_recorded(wanted: Any) -> None:
    with pytest.raises((ConfigurationError, TypeError)):
        ActorSystem(record_handled=wanted)


async def test_a_heap_of_expired_messages_leaves_the_loop_its_turns() -> None:
    async with ActorSystem(persistence=Store(), audit_interval=None) as system:
        worker, turns = system.spawn(Worker, mailbox_capacity=None), 0
        for number in range(5_000):
            worker.tell(number, ttl=0)
        worker.tell("last")
        while system.accounting().pending:
            await asyncio.sleep(0)
            turns += 1
        assert system.accounting().expired == 5_000
    assert turns > 10
