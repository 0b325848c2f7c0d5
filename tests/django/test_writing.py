"""Appending to SQL: what is acknowledged is committed once, and what cannot be takes nothing with it."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from django.db import transaction
from django.test.utils import override_settings

from django_papyra.backend import DjangoPersistence
from django_papyra.models import Event, Incarnation, IncarnationState, QuarantinedRecord
from papyra.exceptions import (
    AppendError,
    ConfigurationError,
    InvalidRecordError,
    RecordConflictError,
)
from papyra.node import this_node
from papyra.persistence.models import EventType, LossNote, RecordKind
from papyra.persistence.query import RecordQuery
from papyra.persistence.threads import run_sync
from papyra.testing.records import INCARNATION, OTHER_INCARNATION, event, full_records, letter, numbers

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Mapping

    Faults = Mapping[str, deque[Exception | None]]


@pytest.mark.parametrize("action", ["RAISE(ABORT, 'no poison here')", "RAISE(IGNORE)"])
async def test_a_poison_row_never_drops_its_batch(
    action: str, backend: DjangoPersistence, trigger: Callable[[str], None]
) -> None:
    trigger(action)
    batch = [event(number, incarnation=INCARNATION, seq=number) for number in range(1, 101)]
    batch[41] = event(42, incarnation=INCARNATION, seq=42, event_type="Poison", payload="größer")
    with pytest.raises(AppendError) as caught:
        await backend.append(batch)
    ((position, reason),) = caught.value.refused
    assert (position, type(reason)) == (41, InvalidRecordError)
    found = await backend.list_events()
    started = [record for record in found if record.event_type == "ActorStarted"]
    assert numbers(started) == [number for number in range(1, 101) if number != 42]
    assert not (await backend.scan()).has_anomalies


async def test_i4_a_poison_row_lies_in_quarantine_byte_for_byte_and_its_hole_is_explained(
    backend: DjangoPersistence, trigger: Callable[[str], None]
) -> None:
    trigger("RAISE(ABORT, 'no poison here')")
    poison = event(2, incarnation=INCARNATION, seq=2, event_type="Poison", payload={"kept": "größer\x00"})
    around = [event(number, incarnation=INCARNATION, seq=number) for number in (1, 3)]
    for _ in range(2):  # a repetition explains nothing twice
        with pytest.raises(AppendError):
            await backend.append([around[0], poison, around[1]])
    kept = await QuarantinedRecord.objects.aget()
    assert (kept.kind, kept.incarnation, kept.seq, kept.reason) == ("event", INCARNATION, 2, "refused")
    assert bytes(kept.content).startswith(b'{"seq":2,"kind":"event"')
    assert "no poison here" in kept.detail
    (note,) = [
        record for record in await backend.list_events() if record.event_type == EventType.RECORDS_LOST
    ]
    loss = LossNote.from_payload(note.payload)
    assert loss is not None
    assert loss[:4] == (INCARNATION, "event", 2, 2)
    assert not (await backend.scan()).has_anomalies


async def test_a_poison_row_without_an_identity_leaves_no_hole_either(
    backend: DjangoPersistence, trigger: Callable[[str], None]
) -> None:
    trigger("RAISE(ABORT, 'no poison here')")
    with pytest.raises(AppendError):
        await backend.append([event(1), event(2, event_type="Poison"), event(3)])
    await backend.append([event(4)])
    assert numbers(
        record for record in await backend.list_events() if record.event_type == "ActorStarted"
    ) == [
        1,
        3,
        4,
    ]
    assert not (await backend.scan()).has_anomalies


async def test_a_table_that_takes_nothing_keeps_every_record_in_quarantine(
    backend: DjangoPersistence, sql: Callable[..., object]
) -> None:
    sql("CREATE TRIGGER poison BEFORE INSERT ON django_papyra_event BEGIN SELECT RAISE(ABORT, 'shut'); END")
    try:
        with pytest.raises(AppendError) as caught:
            await backend.append([event(number) for number in range(5)])
        assert [position for position, _ in caught.value.refused] == [0, 1, 2, 3, 4]
        assert await QuarantinedRecord.objects.acount() == 5
        await backend.append([letter(1)])
        assert (await backend.counts())[RecordKind.DEAD_LETTER] == 1
    finally:
        sql("DROP TRIGGER poison")


async def test_a_conflict_names_the_identity_and_leaves_the_first(backend: DjangoPersistence) -> None:
    await backend.append([event(1, incarnation=INCARNATION, seq=1)])
    with pytest.raises(AppendError) as caught:
        await backend.append([event(number, incarnation=INCARNATION, seq=1) for number in (1, 2)])
    ((position, reason),) = caught.value.refused
    assert (position, type(reason)) == (1, RecordConflictError)
    assert INCARNATION in str(reason)
    assert numbers(await backend.list_events()) == [1]


async def test_records_never_join_a_callers_transaction(backend: DjangoPersistence) -> None:
    def record_and_roll_back() -> None:
        with transaction.atomic():
            run_sync(backend.append([event(1)]))
            transaction.set_rollback(True)

    await asyncio.to_thread(record_and_roll_back)
    assert numbers(await backend.list_events()) == [1]


async def test_rows_say_what_records_say(backend: DjangoPersistence) -> None:
    failed = {"reason": "failed", "error": "ZeroDivisionError: \x00" + "x" * 300}
    await backend.append([*full_records(), event(7, event_type="ActorStopped", payload=failed)])
    first, stopped = [row async for row in Event.objects.order_by("id")]
    assert (first.actor_path, first.actor_type, first.message_id) == ("/desk/stock", "shop.Stock", "m-3")
    assert first.at.timestamp() == first.timestamp
    assert first.body.endswith(f'"crc":"{first.crc}"}}')
    assert first.size == len(first.body.encode()) + 1
    assert stopped.reason == "failed"
    assert stopped.why == "ZeroDivisionError: \N{REPLACEMENT CHARACTER}" + "x" * 180


async def test_values_that_a_column_cannot_hold_are_cut_there_and_whole_in_the_record(
    backend: DjangoPersistence,
) -> None:
    odd = event(1, actor_path="/" + "p" * 400, event_type="\ud800\x00é", timestamp=1e300, trace_id="t" * 150)
    await backend.append([odd])
    row = await Event.objects.aget()
    assert (len(row.actor_path), row.event_type, len(row.trace_id)) == (
        191,
        "?\N{REPLACEMENT CHARACTER}é",
        100,
    )
    assert row.at.year == 9999
    query = RecordQuery(kind=RecordKind.EVENT, actor=odd.actor_path, type=odd.event_type)
    (found,) = (await backend.read(query)).records
    assert found.timestamp == 1e300
    assert not (await backend.read(replace(query, actor="/" + "p" * 399))).records
    assert not (await backend.scan()).has_anomalies


async def test_a_systems_start_and_stop_keep_its_row(backend: DjangoPersistence) -> None:
    node = this_node()
    start = {"node": node.to_dict(), "versions": {}, "settings_digest": ""}
    begun = event(1, incarnation=INCARNATION, seq=1, event_type=EventType.SYSTEM_STARTED, payload=start)
    await backend.append([begun])
    await backend.beat(INCARNATION)
    row = await Incarnation.objects.aget()
    assert (row.system_id, row.host, row.pid, row.state) == (
        "orders",
        node.host,
        node.pid,
        IncarnationState.RUNNING,
    )
    assert row.heartbeat_at is not None
    await backend.append(
        [event(9, incarnation=INCARNATION, seq=2, event_type=EventType.SYSTEM_STOPPED, payload={})]
    )
    await backend.append([begun])
    await backend.beat(INCARNATION)
    await row.arefresh_from_db()
    assert row.state == IncarnationState.STOPPED
    assert row.stopped_at is not None
    assert row.stopped_at.timestamp() == event(9).timestamp


async def test_an_incarnation_declared_lost_by_mistake_runs_again_with_its_next_beat(
    backend: DjangoPersistence,
) -> None:
    start = event(1, incarnation=INCARNATION, seq=1, event_type=EventType.SYSTEM_STARTED, payload={})
    lost = {"closes": INCARNATION, "last_seen": event(1).timestamp}
    notice = event(
        2, incarnation=OTHER_INCARNATION, seq=1, event_type=EventType.INCARNATION_LOST, payload=lost
    )
    await backend.append([start, notice])
    assert (await Incarnation.objects.aget()).state == IncarnationState.LOST
    await backend.beat(INCARNATION)
    row = await Incarnation.objects.aget()
    assert (row.state, row.stopped_at) == (IncarnationState.RUNNING, None)


def test_a_writer_that_is_neither_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'thread' or 'inline'"):
        DjangoPersistence(writer="process")


def test_an_alias_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        DjangoPersistence("nowhere")


async def test_instants_are_the_same_without_time_zones(backend: DjangoPersistence) -> None:
    with override_settings(USE_TZ=False):
        async with DjangoPersistence() as naive:
            await naive.append([event(1)])
            (row,) = [row async for row in Event.objects.all()]
            assert row.at.tzinfo is None
            assert row.at.astimezone().timestamp() != 0
            assert not (await naive.scan()).has_anomalies
    del backend


async def test_at_the_deadline_closing_says_how_much_is_not_acknowledged(transactional_db: None) -> None:
    del transactional_db
    backend = DjangoPersistence()
    await backend.append([event(1)])
    has_begun, may_end = threading.Event(), threading.Event()

    def hang() -> None:
        has_begun.set()
        assert may_end.wait(10)

    work = asyncio.create_task(backend._place.write(hang))  # noqa: SLF001  # as a slow statement would
    read = asyncio.create_task(backend._place.read(lambda: may_end.wait(10)))  # noqa: SLF001
    assert await asyncio.to_thread(has_begun.wait, 10)
    append = asyncio.create_task(backend.append([event(2), event(3)]))
    await asyncio.sleep(0)
    assert await asyncio.wait_for(backend.close_within(0.01), 5) == 2
    may_end.set()
    await asyncio.gather(work, read, append)
    async with DjangoPersistence() as other:
        assert numbers(await other.list_events()) == [1, 2, 3]
