"""F9, F12, F14: disks that take their time, clocks that jump, and readers while everything moves."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import PersistenceError
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import RecordKind, ScanDepth
from papyra.persistence.query import RecordQuery
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.clock import START, ManualClock
from papyra.testing.promises.sharing import turns
from tests.budget import BUDGET
from tests.faults_files.processes import HEAD, ROOT, findings, numbers_of
from tests.faults_files.works import NAME, RUBBISH, SOUND, TORN
from tests.unit.files.stores import REPAIR, QuickFs, fresh, known, named, numbers, opened

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

YEAR = 365.25 * 86_400
ROUNDS = BUDGET.pick(quick=15, ci=40, whole=300)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / NAME


async def handed_in(store: JsonFilePersistence) -> list[int]:
    found = [event for event in await store.list_events() if event.event_type == "ActorStarted"]
    return [event.payload["number"] for event in found]  # type: ignore[index]


class SlowFs(QuickFs):
    """A disk that is at a sync until it is let go."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.is_syncing = threading.Event()

    def sync(self, fd: int) -> None:
        del fd
        self.is_syncing.set()
        self.may_go_on.wait(20)

    sync_all = sync

    def write_synced(self, fd: int, data: bytes | memoryview) -> int:
        written = self.write(fd, data)
        self.sync(fd)
        return written


async def test_f9_a_sync_that_takes_long_holds_up_its_callers_and_nothing_else(path: Path) -> None:
    fs = SlowFs()
    async with opened(path, fs=fs) as store, opened(path) as reader:
        first = asyncio.create_task(store.append([known(1)]))
        await asyncio.to_thread(fs.is_syncing.wait, 20)
        queued = [asyncio.create_task(store.append([known(seq)])) for seq in range(2, 50)]
        async with turns() as turned:
            for _ in range(50):
                await asyncio.sleep(0)
            assert await reader.list_events() == ()
            assert (await reader.scan()).anomalies == ()
        assert turned[0] > 50
        assert not first.done()
        assert not any(task.done() for task in queued), "acknowledged before the medium had it"
        fs.may_go_on.set()
        await asyncio.gather(first, *queued)
    assert await numbers(path) == list(range(1, 50))


@pytest.mark.parametrize(
    "jumps", [[-3600.0], [10 * YEAR], [10 * YEAR, -10 * YEAR], [0.0], [1e-6, -1e-6]], ids=str
)
async def test_f12_a_clock_that_jumps_reorders_and_loses_nothing(path: Path, jumps: list[float]) -> None:
    clock = ManualClock()
    written = 0
    for jump in [0.0, *jumps, 0.0]:
        clock = ManualClock(clock.now() + jump)
        async with opened(path, clock=clock) as store:
            for _ in range(3):
                written += 1
                await store.append([replace(fresh(written), timestamp=clock.now())])
            assert (await store.scan()).anomalies == ()
            assert await handed_in(store) == list(range(1, written + 1))
            with path.open("ab") as file:
                file.write(TORN)
            await store.recover(REPAIR)
    assert await named(path) == []
    async with opened(path, clock=clock) as store:
        assert await handed_in(store) == list(range(1, written + 1))


async def test_f12_a_record_of_the_future_stops_no_retention_of_those_before_it(path: Path) -> None:
    clock = ManualClock()
    times = [START - 100, START + 10 * YEAR, START - 50, START]
    policy = RetentionPolicy(max_records=2)
    async with opened(path, clock=clock) as store:
        await store.append([replace(fresh(number), timestamp=time) for number, time in enumerate(times)])
        await store.compact(policy)
        assert [event.timestamp for event in await store.list_events()] == times[2:]


async def test_f12_a_clock_set_back_gives_no_identity_twice(path: Path) -> None:
    for back in range(5):
        async with opened(path, clock=ManualClock(START - back * 3600)) as store:
            await store.append([fresh(back), fresh(back)])
    async with opened(path) as store:
        found = await store.list_events()
    assert len({(event.incarnation, event.seq) for event in found}) == len(found) == 10


FAKED = """
async def main():
    async with JsonFilePersistence(path) as store:
        for number in range(5):
            await store.append([mine(int(me) * 5 + number)])
        assert not (await store.scan()).anomalies

asyncio.run(main())
"""


def test_f12_processes_whose_clocks_disagree_by_years_share_a_store(path: Path) -> None:
    if shutil.which("faketime") is None:
        pytest.skip("there is no faketime here: apt-get install faketime")
    for life, when in enumerate(["2026-01-01", "2036-01-01", "1999-12-31 23:59:58", "2026-03-29 00:59:59"]):
        subprocess.run(
            ["faketime", "-f", f"@{when}", sys.executable, "-c", HEAD + FAKED, str(path), str(life)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=60,
            check=True,
        )
    assert numbers_of(path) == {str(life): list(range(life * 5, life * 5 + 5)) for life in range(4)}
    assert findings(path) == []


async def compact(store: JsonFilePersistence, path: Path) -> None:
    del path
    await store.compact(RetentionPolicy(dead_letters=RetentionPolicy(max_records=1)))


async def repair(store: JsonFilePersistence, path: Path) -> None:
    with path.open("ab") as file:
        file.write(RUBBISH)
    await store.recover(REPAIR)


async def repair_the_tail(store: JsonFilePersistence, path: Path) -> None:
    with path.open("ab") as file:
        file.write(TORN)
    await store.recover(REPAIR)


@pytest.mark.parametrize("work", [compact, repair, repair_the_tail])
async def test_f14_trial_32_a_reader_misses_no_record_while_the_file_is_written_anew(
    path: Path, work: Callable[[JsonFilePersistence, Path], Awaitable[None]]
) -> None:
    path.write_bytes(SOUND)
    acknowledged = [1, 2, 3, 4, 5]
    query = RecordQuery(kind=RecordKind.EVENT, limit=2, newest_first=False)
    async with opened(path) as store, opened(path) as reader:
        is_done = False

        async def move() -> None:
            nonlocal is_done
            for number in range(6, 6 + ROUNDS):
                await store.append([known(number), known(number, kind=RecordKind.DEAD_LETTER)])
                acknowledged.append(number)
                await work(store, path)
            is_done = True

        moving = asyncio.create_task(move())
        looks = 0
        while not is_done and not (moving.done() and moving.exception()):
            at_start = list(acknowledged)
            try:
                seen = [event async for event in reader.iterate(query)]
            except PersistenceError as error:
                assert "begin again" in str(error)  # noqa: PT017  # an answer, and not a guess
                continue
            looks += 1
            mine = [event.seq for event in seen if event.event_type != "RecoveryRun"]  # type: ignore[union-attr]
            assert mine == list(range(1, len(mine) + 1))
            assert len(mine) >= len(at_start)
            await asyncio.sleep(0)
        await moving
        assert looks > 0
    assert await numbers(path) == list(range(1, 6 + ROUNDS))


async def test_f14_trial_21_a_scan_in_a_loop_beside_a_busy_writer_never_finds_anything(path: Path) -> None:
    async with JsonFilePersistence(path, fsync="os") as store, opened(path) as reader:
        done = 0

        async def write() -> None:
            nonlocal done
            for number in range(BUDGET.pick(quick=3, ci=10, whole=100)):
                await store.append([fresh(number)] * 1_000)
                done += 1_000

        writing = asyncio.create_task(write())
        scans = 0
        while not writing.done():
            for depth in ScanDepth:
                assert (await reader.scan(depth)).anomalies == ()
                scans += 1
        await writing
        assert scans > 1
        assert (await reader.counts())[RecordKind.EVENT] == done
