"""Retention that nobody calls: when it runs, what it removes, and what keeps it from that."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import BackendClosedError, ConfigurationError, StoreFullError
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.retention import RetentionPolicy
from papyra.testing import ManualClock
from papyra.testing.faults import FaultyFs
from papyra.testing.records import event
from tests.unit.core.test_threads_ending import _exit_code, _fork
from tests.unit.files.stores import REPAIR, QuickFs, fresh, named

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from papyra.persistence._files.fs import FileSystem

HOUR = 3600.0
YEARS = 50 * 365 * 24 * HOUR


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.ndjson"


def kept(path: Path) -> int:
    return path.read_bytes().count(b'"event_type"')


class Timed:
    """A store with a clock of its own that looks at retention each hour."""

    def __init__(
        self,
        path: Path,
        policy: RetentionPolicy,
        fs: FileSystem | None = None,
        clock: ManualClock | None = None,
        **options: Any,
    ) -> None:
        self.clock = clock or ManualClock()
        self.store = JsonFilePersistence(
            path, policy, fs=fs or QuickFs(), clock=self.clock, compact_interval_seconds=HOUR, **options
        )

    async def add(self, *numbers: int) -> None:
        await self.store.append([event(number, timestamp=self.clock.now()) for number in numbers])

    async def hour_passes(self) -> None:
        """Let an hour pass, and return once the look that was due then is over, and what came of it."""
        self.clock.advance(HOUR)
        await self.store.recover(REPAIR)  # a job of the writer: behind what is due
        await self.store.stats()  # one of the reader: behind the look
        await self.store.recover(REPAIR)


async def test_at_twice_its_limit_a_store_shrinks_to_it_and_not_before(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    timed = Timed(path, RetentionPolicy(max_records=10))
    await timed.add(*range(19))
    await timed.hour_passes()
    assert kept(path) == 19
    await timed.add(19)
    assert kept(path) == 20, "an append removes nothing"
    await timed.hour_passes()
    assert kept(path) == 10
    assert timed.store.metrics.compactions == 1
    assert timed.store.metrics.records_removed == 10
    assert "retention removed 10 records; 10 stay" in caplog.text
    await timed.add(20)
    assert len(await timed.store.list_events()) == 10
    await timed.store.aclose()
    assert await named(path) == []


async def test_nothing_runs_without_a_first_use_or_a_limit(path: Path) -> None:
    first = Timed(path, RetentionPolicy())
    await first.add(*range(9))
    await first.hour_passes()
    await first.store.aclose()
    before = path.read_bytes()
    timed = Timed(path, RetentionPolicy(max_records=1))
    timed.clock.advance(10 * HOUR)
    assert len(await timed.store.list_events()) == 1
    await timed.store.aclose()
    assert path.read_bytes() == before
    with pytest.raises(ConfigurationError, match="compact_interval_seconds"):
        JsonFilePersistence(path, compact_interval_seconds=0)


async def test_a_store_that_takes_no_records_is_left_alone(path: Path) -> None:
    fs = FaultyFs(path.parent)
    timed = Timed(path, RetentionPolicy(max_records=2), fs)
    await timed.add(*range(9))
    fs.fill(0)
    with pytest.raises(StoreFullError):
        await timed.add(10)
    fs.fill(None)
    before = path.read_bytes()
    await timed.hour_passes()
    assert path.read_bytes() == before
    assert timed.store.metrics.compactions == 0
    await timed.add(10)
    await timed.hour_passes()
    assert kept(path) == 2
    await timed.store.aclose()


async def test_its_errors_are_counted_and_logged_and_the_next_hour_tries_again(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fs = FaultyFs(path.parent)
    timed = Timed(path, RetentionPolicy(max_records=2), fs)
    await timed.add(*range(9))
    fs.fail("sync_all", errno.ENOSPC, times=1)
    await timed.hour_passes()
    assert kept(path) == 9
    assert timed.store.metrics.compaction_errors == 1
    assert "retention was not carried out" in caplog.text
    await timed.add(9)
    await timed.hour_passes()
    assert kept(path) == 2
    await timed.store.aclose()


async def test_closing_breaks_off_a_run_and_leaves_the_file_as_it_was(path: Path) -> None:
    class Slow(QuickFs):
        entered = threading.Event()
        gate = threading.Event()
        is_slow = False

        def pread(self, fd: int, length: int, offset: int) -> bytes:
            if self.is_slow and threading.current_thread().name.endswith("ndjson"):
                self.entered.set()
                assert self.gate.wait(10)
            return super().pread(fd, length, offset)

    slow = Slow()
    timed = Timed(path, RetentionPolicy(max_records=2), slow)
    await timed.add(*range(9))
    before = path.read_bytes()
    slow.is_slow = True
    timed.clock.advance(HOUR)
    assert await asyncio.to_thread(slow.entered.wait, 10)
    closing = asyncio.create_task(timed.store.aclose())
    await asyncio.sleep(0)
    assert timed.store.closed
    slow.gate.set()
    await closing
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in path.parent.iterdir()) == [
        "log.ndjson",
        "log.ndjson.idx",
        "log.ndjson.lock",
    ]
    assert timed.store.metrics.compaction_errors == 0


async def test_a_clock_that_jumps_forward_removes_nothing_and_one_that_is_right_again_goes_on(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    timed = Timed(path, RetentionPolicy(max_age_seconds=3 * HOUR))
    await timed.add(*range(4))
    timed.clock.set_wall(timed.clock.now() + YEARS)
    await timed.hour_passes()
    assert kept(path) == 4
    assert (await timed.store.compact()).removed_records == 0, "nor if it is asked for"
    assert "check the clock" in caplog.text
    timed.clock.set_wall(timed.clock.now() - YEARS)
    await timed.hour_passes()
    assert kept(path) == 4
    timed.clock.advance(2 * HOUR)
    await timed.hour_passes()
    assert kept(path) == 2, "no more than half at once"
    assert "no more than half of a kind goes for that at once" in caplog.text
    await timed.hour_passes()
    assert kept(path) == 1
    await timed.hour_passes()
    assert kept(path) == 0
    await timed.store.aclose()
    assert await named(path) == []


async def test_a_process_that_starts_with_a_wrong_clock_leaves_half_for_whoever_reads_the_log(
    path: Path,
) -> None:
    early = Timed(path, RetentionPolicy())
    await early.add(*range(8))
    await early.store.aclose()
    late = Timed(
        path, RetentionPolicy(max_age_seconds=2 * HOUR), clock=ManualClock(early.clock.now() + YEARS)
    )
    await late.add(8, 9)
    await late.hour_passes()
    assert kept(path) == 5
    await late.store.aclose()


async def test_times_that_are_yet_to_come_hold_nothing_up(path: Path) -> None:
    clock = ManualClock()
    start = clock.now()
    policy = RetentionPolicy(max_age_seconds=2 * HOUR)
    async with JsonFilePersistence(path, policy, fs=QuickFs(), clock=clock) as store:
        times = [start, start + YEARS, start]
        await store.append([event(number, timestamp=time) for number, time in enumerate(times)])
        clock.advance(3 * HOUR)
        await store.append([event(number, timestamp=clock.now()) for number in (4, 5, 6)])
        assert len(await store.list_events()) == 3, "reads hide them as removal takes them"
        assert (await store.compact(dry_run=True)).removed_records == 3
        assert (await store.compact()).removed_records == 3
        assert [each.timestamp for each in await store.list_events()] == [clock.now()] * 3


async def test_reads_show_again_what_a_clock_that_jumped_has_hidden(path: Path) -> None:
    clock = ManualClock()
    policy = RetentionPolicy(max_age_seconds=HOUR)
    async with JsonFilePersistence(path, policy, fs=QuickFs(), clock=clock) as store:
        start = clock.now()
        await store.append([event(number, timestamp=start) for number in range(3)])
        seen = []
        for jump in (0.0, YEARS, 0.0, -YEARS, YEARS, 0.0):
            clock.set_wall(start + jump)
            seen.append(len(await store.list_events()))
        assert seen == [3, 0, 3, 3, 0, 3]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
async def test_a_forked_child_runs_nothing_writes_nothing_and_ends(path: Path) -> None:
    timed = Timed(path, RetentionPolicy(max_records=2), fsync="os", overflow="drop_oldest")
    await timed.add(*range(9))
    before = path.read_bytes()
    with timed.store.metrics._lock:  # noqa: SLF001  # as another thread may hold it

        def child() -> int:
            store = timed.store
            timed.clock.advance(10 * HOUR)
            for use in (store.append([fresh(1)]), store.compact(), store.record_event(fresh(2))):
                try:
                    asyncio.run(use)
                except BackendClosedError:
                    continue
                return 1
            assert store.metrics.write_errors == 2
            assert store.state.is_ok
            assert asyncio.run(store.close_within(5)) == 0
            return 0

        pid = _fork(child)
        code = await asyncio.to_thread(_exit_code, pid)
    assert code == 0
    assert os.getpid() != pid
    assert path.read_bytes() == before
    await timed.hour_passes()
    assert kept(path) == 2
    await timed.store.aclose()
