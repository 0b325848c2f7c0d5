"""Appending to SQL: what is acknowledged is committed once, and what cannot be takes nothing with it."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError, OperationalError, connection, connections, transaction
from django.test.utils import override_settings

from django_papyra.backend import DjangoPersistence
from django_papyra.models import Event, Incarnation, IncarnationState, QuarantinedRecord
from papyra.exceptions import (
    AppendError,
    BackendClosedError,
    ConfigurationError,
    InvalidRecordError,
    RecordConflictError,
    StoreFailedError,
    StoreFullError,
    StoreUnavailableError,
)
from papyra.node import this_node
from papyra.persistence.models import EventType, LossNote, PersistedEvent, RecordKind
from papyra.persistence.query import RecordQuery
from papyra.persistence.threads import run_sync
from papyra.testing.records import INCARNATION, OTHER_INCARNATION, event, full_records, letter, numbers

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Faults = Mapping[str, deque[Exception | None]]


async def stored(backend: DjangoPersistence, kind: RecordKind = RecordKind.EVENT) -> list[PersistedEvent]:
    query = RecordQuery(kind=kind, newest_first=False)
    return [record async for record in backend.iterate(query) if isinstance(record, PersistedEvent)]


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
    found = await stored(backend)
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
    (note,) = [record for record in await stored(backend) if record.event_type == EventType.RECORDS_LOST]
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
    assert numbers(record for record in await stored(backend) if record.event_type == "ActorStarted") == [
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
    assert numbers(await stored(backend)) == [1]


async def test_a_killed_connection_is_replaced_and_nothing_is_lost_or_doubled(
    backend: DjangoPersistence, writers: list[sqlite3.Connection]
) -> None:
    for number in range(5):
        await backend.append([event(number)])
        writers[-1].close()
    assert len(writers) == 5
    assert numbers(await stored(backend)) == [0, 1, 2, 3, 4]
    assert not (await backend.scan()).has_anomalies


@pytest.mark.parametrize("point", ["before_commit", "after_commit", "connect"])
async def test_a_batch_in_doubt_is_repeated_and_stored_once(
    point: str, backend: DjangoPersistence, faults: Faults, writers: list[sqlite3.Connection]
) -> None:
    await backend.append([event(0)])
    faults[point].append(OperationalError("the server closed the connection"))
    if point == "connect":
        writers[-1].close()
    await backend.append([event(1), event(2, incarnation=INCARNATION, seq=1)])
    await backend.append([event(3)])
    assert numbers(await stored(backend)) == [0, 1, 2, 3]
    assert not (await backend.scan()).has_anomalies


async def test_a_batch_that_stays_in_doubt_costs_no_later_record_its_number(
    backend: DjangoPersistence, faults: Faults
) -> None:
    """The rows are there, the caller was told they may not be: the next record must not get their numbers."""
    await backend.append([event(0)])
    faults["after_commit"].extend([OperationalError("no answer")] * 3)
    with pytest.raises(StoreUnavailableError):
        await backend.append([event(1)])
    await backend.append([event(2)])
    assert numbers(await stored(backend)) == [0, 1, 2]
    assert not (await backend.scan()).has_anomalies


async def test_a_loss_note_in_doubt_is_written_once(
    backend: DjangoPersistence, trigger: Callable[[str], None], faults: Faults
) -> None:
    trigger("RAISE(ABORT, 'no poison here')")
    faults["after_commit"].append(OperationalError("no answer"))
    with pytest.raises(AppendError):
        await backend.append([event(1, event_type="Poison")])
    await backend.append([event(2)])
    types = [record.event_type for record in await stored(backend)]
    assert types == [EventType.RECORDS_LOST, "ActorStarted"]
    assert not (await backend.scan()).has_anomalies


async def test_a_database_that_is_down_is_unavailable_and_works_when_it_is_back(
    backend: DjangoPersistence, faults: Faults
) -> None:
    faults["connect"].extend([OperationalError("connection refused")] * 3)
    with pytest.raises(StoreUnavailableError, match="connection refused"):
        await backend.append([event(1)])
    await backend.append([event(2)])
    assert numbers(await stored(backend)) == [2]
    assert backend.metrics.write_errors == 1


async def test_a_batch_waits_for_another_connection_to_let_go(
    backend: DjangoPersistence, writers: list[sqlite3.Connection]
) -> None:
    await backend.append([event(0)])
    holder = await sync_to_async(_hold_the_file)()
    waiting = asyncio.create_task(backend.append([event(1)]))
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    assert not done
    await sync_to_async(holder.close)()
    await waiting
    assert numbers(await stored(backend)) == [0, 1]
    assert len(writers) == 1


def _hold_the_file() -> sqlite3.Connection:
    file = str(connection.settings_dict["NAME"])
    holder = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    return holder


async def test_missing_tables_say_what_to_run(backend: DjangoPersistence, sql: Callable[..., object]) -> None:
    sql("ALTER TABLE django_papyra_event RENAME TO gone")
    try:
        for attempt in (backend.append([event(1)]), backend.scan(), backend.list_events(), backend.stats()):
            with pytest.raises(StoreUnavailableError, match=r"manage\.py migrate"):
                await attempt
    finally:
        sql("ALTER TABLE gone RENAME TO django_papyra_event")
    await backend.append([event(2)])
    assert numbers(await stored(backend)) == [2]


async def test_a_full_disk_refuses_and_works_once_there_is_room(
    scratch: Path, writers: list[sqlite3.Connection]
) -> None:
    async with DjangoPersistence("scratch") as backend:
        await backend.append([event(0)])
        (pages,) = writers[-1].execute("PRAGMA page_count").fetchone()
        writers[-1].execute(f"PRAGMA max_page_count = {pages + 2}")
        large = [event(number, payload="x" * 2_000) for number in range(1, 60)]
        with pytest.raises(StoreFullError):
            await backend.append(large)
        assert numbers(await stored(backend)) == [0]
        writers[-1].execute("PRAGMA max_page_count = 100000")
        await backend.append(large)
        assert numbers(await stored(backend)) == list(range(60))
        assert not (await backend.scan()).has_anomalies
    assert scratch.exists()


async def test_a_database_file_that_was_moved_takes_no_write_that_nobody_will_read(
    scratch: Path, writers: list[sqlite3.Connection]
) -> None:
    aside = scratch.with_suffix(".aside")
    async with DjangoPersistence("scratch") as backend:
        await backend.append([event(0)])
        scratch.rename(aside)
        with pytest.raises(StoreUnavailableError, match=r"manage\.py migrate"):
            await backend.append([event(1)])
        assert not scratch.exists()
        aside.rename(scratch)
        await backend.append([event(2)])
        assert numbers(await stored(backend)) == [0, 2]
    assert len(writers) == 2


async def test_the_writer_is_durable_and_patient_whatever_the_project_sets(
    scratch: Path, writers: list[sqlite3.Connection]
) -> None:
    options = {"init_command": "PRAGMA journal_mode=DELETE; PRAGMA synchronous=OFF", "timeout": 0.1}
    connections.settings["scratch"]["OPTIONS"] = options
    async with DjangoPersistence("scratch") as backend:
        await backend.append([event(1)])
        assert writers[-1].execute("PRAGMA synchronous").fetchone() == (3,)
        assert writers[-1].execute("PRAGMA busy_timeout").fetchone() == (5_000,)
    async with DjangoPersistence() as backend:
        await backend.append([event(1)])
        assert writers[-1].execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert writers[-1].execute("PRAGMA synchronous").fetchone() == (2,)
    assert scratch.exists()


async def test_records_never_join_a_callers_transaction(backend: DjangoPersistence) -> None:
    def record_and_roll_back() -> None:
        with transaction.atomic():
            run_sync(backend.append([event(1)]))
            transaction.set_rollback(True)

    await asyncio.to_thread(record_and_roll_back)
    assert numbers(await stored(backend)) == [1]


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


async def test_a_read_only_database_is_unavailable_and_still_read(scratch: Path) -> None:
    async with DjangoPersistence("scratch") as backend:
        await backend.append([event(1)])
    connections.settings["scratch"]["OPTIONS"] = {"init_command": "PRAGMA query_only = ON"}
    async with DjangoPersistence("scratch") as backend:
        with pytest.raises(StoreUnavailableError, match="readonly"):
            await backend.append([event(2)])
        assert numbers(await stored(backend)) == [1]
        assert not (await backend.scan()).has_anomalies
    assert scratch.exists()


async def test_a_medium_that_fails_is_written_to_no_more(backend: DjangoPersistence, faults: Faults) -> None:
    broken = DatabaseError("disk I/O error")
    broken.__cause__ = sqlite3.OperationalError("disk I/O error")
    broken.__cause__.sqlite_errorname = "SQLITE_IOERR_FSYNC"
    faults["before_commit"].append(broken)
    for _ in range(2):
        with pytest.raises(StoreFailedError, match="disk I/O error"):
            await backend.append([event(1)])
    assert await stored(backend) == []
    async with DjangoPersistence() as another:
        await another.append([event(2)])
        assert numbers(await stored(another)) == [2]


async def test_a_fault_of_ours_is_no_silence(backend: DjangoPersistence, faults: Faults) -> None:
    faults["before_commit"].append(ZeroDivisionError("a bug"))
    for _ in range(2):
        with pytest.raises(StoreFailedError, match="a bug"):
            await backend.append([event(1)])
    assert backend.metrics.write_errors == 2


async def test_a_closed_backend_says_so(transactional_db: None) -> None:
    del transactional_db
    backend = DjangoPersistence()
    await backend.append([event(1)])
    await backend.list_events()
    await backend.aclose()
    await backend.aclose()
    for attempt in (backend.append([event(2)]), backend.list_events(), backend.beat(INCARNATION)):
        with pytest.raises(BackendClosedError):
            await attempt
