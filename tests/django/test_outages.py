"""Connections that break, disks that fill, files that go: nothing acknowledged is lost or doubled."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError, OperationalError, connection, connections

from django_papyra.backend import DjangoPersistence
from papyra.exceptions import (
    AppendError,
    BackendClosedError,
    StoreFailedError,
    StoreFullError,
    StoreUnavailableError,
)
from papyra.persistence.models import EventType
from papyra.testing.records import INCARNATION, event, numbers

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Faults = Mapping[str, deque[Exception | None]]


async def test_a_killed_connection_is_replaced_and_nothing_is_lost_or_doubled(
    backend: DjangoPersistence, writers: list[sqlite3.Connection]
) -> None:
    for number in range(5):
        await backend.append([event(number)])
        writers[-1].close()
    assert len(writers) == 5
    assert numbers(await backend.list_events()) == [0, 1, 2, 3, 4]
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
    assert numbers(await backend.list_events()) == [0, 1, 2, 3]
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
    assert numbers(await backend.list_events()) == [0, 1, 2]
    assert not (await backend.scan()).has_anomalies


async def test_a_loss_note_in_doubt_is_written_once(
    backend: DjangoPersistence, trigger: Callable[[str], None], faults: Faults
) -> None:
    trigger("RAISE(ABORT, 'no poison here')")
    faults["after_commit"].append(OperationalError("no answer"))
    with pytest.raises(AppendError):
        await backend.append([event(1, event_type="Poison")])
    await backend.append([event(2)])
    types = [record.event_type for record in await backend.list_events()]
    assert types == [EventType.RECORDS_LOST, "ActorStarted"]
    assert not (await backend.scan()).has_anomalies


async def test_a_database_that_is_down_is_unavailable_and_works_when_it_is_back(
    backend: DjangoPersistence, faults: Faults
) -> None:
    faults["connect"].extend([OperationalError("connection refused")] * 3)
    with pytest.raises(StoreUnavailableError, match="connection refused"):
        await backend.append([event(1)])
    await backend.append([event(2)])
    assert numbers(await backend.list_events()) == [2]
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
    assert numbers(await backend.list_events()) == [0, 1]
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
    assert numbers(await backend.list_events()) == [2]


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
        assert numbers(await backend.list_events()) == [0]
        writers[-1].execute("PRAGMA max_page_count = 100000")
        await backend.append(large)
        assert numbers(await backend.list_events()) == list(range(60))
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
        assert numbers(await backend.list_events()) == [0, 2]
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


async def test_a_read_only_database_is_unavailable_and_still_read(scratch: Path) -> None:
    async with DjangoPersistence("scratch") as backend:
        await backend.append([event(1)])
    connections.settings["scratch"]["OPTIONS"] = {"init_command": "PRAGMA query_only = ON"}
    async with DjangoPersistence("scratch") as backend:
        with pytest.raises(StoreUnavailableError, match="readonly"):
            await backend.append([event(2)])
        assert numbers(await backend.list_events()) == [1]
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
    assert await backend.list_events() == ()
    async with DjangoPersistence() as another:
        await another.append([event(2)])
        assert numbers(await another.list_events()) == [2]


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
