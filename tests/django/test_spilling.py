"""The database goes away and comes back: with a folder to spill into, whoever records does not notice."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.db import OperationalError

from django_papyra.backend import DjangoPersistence
from papyra import Actor, ActorSystem
from papyra.exceptions import ConfigurationError, StoreUnavailableError
from papyra.persistence.models import (
    EventType,
    PersistenceRecoveryConfig,
    PersistenceRecoveryMode,
)
from papyra.persistence.startup import PersistenceStartupConfig, PersistenceStartupMode
from papyra.persistence.state import StoreCondition
from papyra.testing.clock import ManualClock
from papyra.testing.records import INCARNATION, event, numbers
from tests.unit.core.medium import until

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import AsyncIterator, Mapping

    Faults = Mapping[str, deque[Exception | None]]

ROOT = Path(__file__).resolve().parents[2]


class Database:
    """A database of its own that can be taken away, and the folder beside it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.aside = file.with_suffix(".aside")
        self.spill_dir = file.with_name("spill")
        self.clock = ManualClock()

    def take_away(self) -> None:
        self.file.rename(self.aside)

    def bring_back(self) -> None:
        self.aside.rename(self.file)

    @asynccontextmanager
    async def opened(self, **options: Any) -> AsyncIterator[DjangoPersistence]:
        async with DjangoPersistence(
            "scratch", spill_dir=self.spill_dir, clock=self.clock, **options
        ) as backend:
            yield backend

    async def recovered(self, backend: DjangoPersistence) -> None:
        """Let time pass until ``backend`` has sent everything."""

        def is_ok() -> bool:
            self.clock.advance(1)
            return backend.state.is_ok

        await until(is_ok)

    def spilled(self) -> list[Path]:
        return sorted(self.spill_dir.rglob("spill-*"))


@pytest.fixture
def database(scratch: Path) -> Database:
    return Database(scratch)


async def test_i1_what_is_appended_meanwhile_is_there_exactly_once_and_in_order_after(
    database: Database,
) -> None:
    async with database.opened() as backend:
        await backend.append([event(0, incarnation=INCARNATION, seq=1)])
        database.take_away()
        for number in range(1, 20):
            await backend.append(
                [event(number, incarnation=INCARNATION, seq=number + 1), event(100 + number)]
            )
        assert (backend.state.condition, backend.state.waiting) == (StoreCondition.SPILLING, 38)
        assert "run `manage.py migrate`" in backend.state.reason
        with pytest.raises(StoreUnavailableError, match="there is no file"):
            await backend.list_events()
        with pytest.raises(StoreUnavailableError, match="there is no file"):
            await backend.stats()
        database.bring_back()
        await database.recovered(backend)
        await backend.append([event(20, incarnation=INCARNATION, seq=21)])
        found = await backend.list_events()
        ours = [record for record in found if record.incarnation == INCARNATION]
        assert numbers(ours) == list(range(21))
        assert numbers([record for record in found if record not in ours]) == list(range(101, 120))
        assert not (await backend.scan()).has_anomalies
        assert database.spilled() == []
        assert (await backend.stats()).waiting_records == 0


async def test_a_database_that_stays_locked_is_away_too(database: Database) -> None:
    async with database.opened() as backend:
        await backend.append([event(0)])
        with closing(sqlite3.connect(database.file, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            await backend.append([event(1)])
            assert "locked" in backend.state.reason
            assert numbers(await backend.list_events()) == [0]
            assert (await backend.stats()).waiting_records == 1
        await database.recovered(backend)
        assert numbers(await backend.list_events()) == [0, 1]


@pytest.mark.parametrize("point", ["before_commit", "after_commit"])
async def test_a_commit_in_doubt_is_stored_once(point: str, database: Database, faults: Faults) -> None:
    async with database.opened() as backend:
        await backend.append([event(0)])
        faults[point].extend([OperationalError("no answer")] * 3)
        await backend.append([event(1), event(2)])
        await backend.append([event(3)])
        await database.recovered(backend)
        found = await backend.list_events()
        assert numbers(found) == [0, 1, 2, 3]
        assert [record.seq for record in found] == [1, 2, 3, 4]
        assert not (await backend.scan()).has_anomalies


async def test_a_heartbeat_does_not_hold_up_what_is_to_be_kept(database: Database) -> None:
    async with database.opened() as backend:
        await backend.append([event(1, event_type=EventType.SYSTEM_STARTED, incarnation=INCARNATION, seq=1)])
        database.take_away()
        await backend.append([event(2)])
        with pytest.raises(StoreUnavailableError, match="'scratch' is away: "):
            await backend.beat(INCARNATION)
        database.bring_back()
        await database.recovered(backend)
        await backend.beat(INCARNATION)


async def test_closing_while_it_is_away_leaves_what_waits_to_the_next(database: Database) -> None:
    async with database.opened() as backend:
        database.take_away()
        await backend.append([event(1, incarnation=INCARNATION, seq=1)])
        assert await backend.close_within(10) == 0
    assert database.spilled() != []
    database.bring_back()
    async with database.opened() as backend:
        await backend.append([event(2, incarnation=INCARNATION, seq=2)])
        await database.recovered(backend)
        assert numbers(await backend.list_events()) == [1, 2]


async def test_a_recovery_sends_what_waits_before_it_judges(database: Database) -> None:
    async with database.opened() as backend:
        await backend.append([event(1, incarnation=INCARNATION, seq=1)])
        database.take_away()
        await backend.append([event(2, incarnation=INCARNATION, seq=2)])
    database.bring_back()
    async with database.opened() as other:
        await other.recover(PersistenceRecoveryConfig(PersistenceRecoveryMode.REPAIR))
        assert numbers(await other.list_events()) == [1, 2]
        assert not (await other.scan()).has_anomalies


async def test_a_full_spill_does_what_it_was_told(database: Database) -> None:
    async with database.opened(spill_max_bytes=4096, spill_when_full="drop_oldest") as backend:
        database.take_away()
        for number in range(1, 60):
            await backend.append([event(number, incarnation=INCARNATION, seq=number)])
        database.bring_back()
        await database.recovered(backend)
        found = await backend.list_events()
        kept = [record.seq for record in found if record.incarnation == INCARNATION]
        assert EventType.RECORDS_DROPPED in {record.event_type for record in found}
        assert (await backend.stats()).dropped_records == backend.metrics.records_dropped == 59 - len(kept)
        assert not (await backend.scan()).has_anomalies


async def test_without_a_folder_an_append_waits_as_long_as_it_may(database: Database) -> None:
    async with DjangoPersistence("scratch", retry_seconds=60, clock=database.clock) as backend:
        await backend.append([event(1)])
        database.take_away()
        waiting = asyncio.create_task(backend.append([event(2)]))
        done, _ = await asyncio.wait([waiting], timeout=1)
        assert not done
        database.bring_back()

        def is_done() -> bool:
            database.clock.advance(0.5)
            return waiting.done()

        await until(is_done)
        await waiting
        assert numbers(await backend.list_events()) == [1, 2]


def test_an_option_that_cannot_be_is_refused_whoever_writes() -> None:
    for writer in ("thread", "inline"):
        with pytest.raises(ConfigurationError, match="spill_max_bytes"):
            DjangoPersistence(writer=writer, spill_max_bytes=0)


class Counter(Actor):
    """Counts."""

    async def on_start(self) -> None:
        self.count = 0

    async def receive(self, message: object) -> int:
        if message == "fail":
            raise ValueError("told to")
        self.count += 1
        return self.count


async def test_r4_an_actor_system_never_notices(database: Database) -> None:
    backend = DjangoPersistence("scratch", spill_dir=database.spill_dir)
    async with backend, ActorSystem(system_id="orders", persistence=backend) as system:
        ref = system.spawn(Counter, name="counter")
        assert await ref.ask("one") == 1
        assert await system.flush(10)
        database.take_away()
        for number in range(2, 12):
            assert await ref.ask("another") == number
            await system.spawn(Counter).ask("one")
        system.spawn(Counter).tell("fail")
        assert await system.flush(10)
        assert backend.state.condition is StoreCondition.SPILLING
        assert system.is_degraded
        database.bring_back()
        await until(lambda: backend.state.is_ok)
        await until(lambda: not system.is_degraded)
    async with DjangoPersistence("scratch") as after:
        found = await after.list_events()
        assert [record.seq for record in found] == list(range(1, len(found) + 1))
        types = [record.event_type for record in found]
        assert types.count(EventType.ACTOR_STARTED) == 12
        assert EventType.ACTOR_CRASHED in types
        assert not {EventType.RECORDS_DROPPED, EventType.RECORDS_LOST} & set(types)
        assert types[-1] == EventType.SYSTEM_STOPPED
        assert not (await after.scan()).has_anomalies


async def test_a_system_that_starts_while_it_is_away_runs_degraded_and_is_on_record_after(
    database: Database,
) -> None:
    database.take_away()
    backend = DjangoPersistence("scratch", spill_dir=database.spill_dir)
    mode = PersistenceStartupConfig(PersistenceStartupMode.SCAN_ONLY)
    async with (
        backend,
        ActorSystem(system_id="orders", persistence=backend, persistence_startup=mode) as system,
    ):
        assert await system.spawn(Counter, name="counter").ask("one") == 1
        assert await system.flush(10)
        assert system.is_degraded
        database.bring_back()
        await until(lambda: backend.state.is_ok)
        types = [record.event_type for record in await backend.list_events()]
        assert EventType.SYSTEM_STARTED in types
        assert EventType.ACTOR_STARTED in types


RECORDING = """
import asyncio, sys
import django
django.setup()
from django_papyra.backend import DjangoPersistence
from papyra.testing.records import INCARNATION, event

async def main():
    async with DjangoPersistence(spill_dir=sys.argv[1]) as backend:
        for number in range(1, 100_000):
            await backend.append([event(number, incarnation=INCARNATION, seq=number)])
            print(number, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("meanwhile", ["away", "back"])
async def test_i1_killed_while_it_spills_the_next_start_sends_what_was_acknowledged(
    meanwhile: str, database: Database
) -> None:
    database.take_away()
    process = subprocess.Popen(
        [sys.executable, "-c", RECORDING, str(database.spill_dir)],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.django.run_settings",
            "PYTHONPATH": str(ROOT),
            "PAPYRA_TEST_DATABASE": str(database.file),
            "PAPYRA_TEST_SETTINGS": json.dumps({}),
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for number in range(1, 200):
        assert process.stdout.readline() == f"{number}\n"
        if number == 50 and meanwhile == "back":
            database.bring_back()
    process.kill()
    told = process.stdout.read().splitlines()
    process.communicate(timeout=30)
    last = int(told[-1]) if told else 199
    if meanwhile == "away":
        database.bring_back()
    folder = database.spill_dir / "database_default"
    folder.rename(database.spill_dir / "database_scratch")  # that process knew it by another alias
    async with database.opened() as backend:
        await backend.append([event(0)])
        await database.recovered(backend)
        found = [record for record in await backend.list_events() if record.incarnation == INCARNATION]
        assert [record.seq for record in found][:last] == list(range(1, last + 1))
        assert len(found) <= last + 1
        assert not (await backend.scan()).has_anomalies
