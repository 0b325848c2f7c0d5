"""What a store can do now: full and back, in doubt and written anew, failed for good; and who is told."""

from __future__ import annotations

import asyncio
import errno
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from papyra import ActorSystem
from papyra.exceptions import PersistenceError, StoreFailedError, StoreFullError, StoreUnavailableError
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.retention import RetentionPolicy
from papyra.persistence.state import StoreCondition, StoreState
from papyra.testing import ManualClock
from papyra.testing.faults import Crash, FaultyFs, PowerLoss
from tests.unit.files.stores import HEADER, REPAIR, fresh, known, line, named, numbers, opened

if TYPE_CHECKING:
    from pathlib import Path

STATE_LOGGER = "papyra.persistence.state"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.ndjson"


@pytest.fixture
def fs(path: Path) -> FaultyFs:
    return FaultyFs(path.parent)


def changes_in(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [(each.levelno, each.getMessage()) for each in caplog.records if each.name == STATE_LOGGER]


async def test_a_full_disk_degrades_the_store_since_when_and_why_and_room_ends_that(
    path: Path, fs: FaultyFs, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    async with opened(path, fs=fs, clock=clock) as store:
        await store.append([fresh(1)])
        assert store.state == StoreState()
        clock.advance(5)
        fs.fill(10)
        for _ in range(3):
            clock.advance(1)
            with pytest.raises(StoreFullError):
                await store.append([fresh(2)])
        assert store.state.condition is StoreCondition.DEGRADED
        assert store.state.since == clock.now() - 2
        assert str(path) in store.state.reason
        assert any("degraded" in warning for warning in (await store.scan()).warnings)
        fs.fill(None)
        await store.record_event(fresh(2))
        assert store.state.is_ok
        assert store.state.since == clock.now()
    told = changes_in(caplog)
    assert [level for level, _ in told] == [logging.ERROR, logging.WARNING], "once for each change"
    assert "takes records again" in told[1][1]


async def test_what_is_wrong_with_a_record_says_nothing_of_the_store(path: Path) -> None:
    async with opened(path) as store:
        await store.append([known(1)])
        with pytest.raises(Exception, match="refused"):
            await store.append([known(1, event_type="Other")])
        assert store.state.is_ok


async def test_a_store_that_another_process_writes_to_is_degraded(path: Path) -> None:
    async with opened(path) as holder, opened(path) as store:
        await holder.append([fresh(1)])
        with pytest.raises(StoreUnavailableError):
            await store.append([fresh(2)])
        assert store.state.condition is StoreCondition.DEGRADED


async def test_an_append_that_is_told_late_does_not_hide_that_the_store_has_failed(path: Path) -> None:
    async with opened(path) as store:
        append = asyncio.create_task(store.append([fresh(1)]))
        await asyncio.sleep(0)
        store._writer.drain(10)  # noqa: SLF001  # it is stored, and this loop was not told
        store._fail(OSError(errno.EIO, "what a timer met"))  # noqa: SLF001
        await append
        assert store.state.condition is StoreCondition.FAILED
        with pytest.raises(StoreFailedError):
            await store.append([fresh(2)])


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
async def test_i1_after_a_failed_sync_file_and_batch_go_into_a_new_file_and_last(
    path: Path, fs: FaultyFs, error: int
) -> None:
    store = JsonFilePersistence(path, fs=fs)
    await store.append([known(1)])
    doubted = path.stat().st_ino
    fs.fail("sync", error, times=1)
    await store.append([known(2), known(3)])
    assert path.stat().st_ino != doubted
    assert store.state.is_ok
    fs.cut_power(PowerLoss.ALL_GONE)
    with suppress(PersistenceError, Crash):
        await store.aclose()
    assert await numbers(path) == [1, 2, 3]
    assert await named(path) == []


async def test_a_doubtful_file_is_never_synced_again(path: Path, fs: FaultyFs) -> None:
    synced: list[tuple[int, int]] = []

    class Watching(FaultyFs):
        def sync(self, fd: int) -> None:
            synced.append(self.fstat(fd).key)
            super().sync(fd)

    watching = Watching(path.parent)
    async with opened(path, fs=watching) as store:
        await store.append([known(1)])
        doubted = watching.stat(path).key
        watching.fail("sync", errno.EIO, times=1)
        synced.clear()
        await store.append([known(2)])
        await store.append([known(3)])
    assert synced.count(doubted) == 1, "the one that failed"
    assert await numbers(path) == [1, 2, 3]
    assert not fs.calls


async def test_a_second_failure_in_a_row_is_final_and_one_in_between_is_not(
    path: Path, fs: FaultyFs, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path, fs=fs) as store:
        for seq in (1, 3, 5):
            fs.fail("sync", errno.EIO, times=1)
            await store.append([known(seq)])
            await store.append([known(seq + 1)])
        fs.fail("sync", errno.EIO, times=1)
        await store.append([known(7)])
        fs.fail("sync", errno.EIO, times=1)
        for _ in range(2):
            with pytest.raises(StoreFailedError, match="check the disk"):
                await store.append([known(8)])
        assert store.state.condition is StoreCondition.FAILED
        with pytest.raises(StoreFailedError):
            await store.recover(REPAIR)
        assert any("a sync failed" in warning for warning in (await store.scan()).warnings)
    assert [level for level, _ in changes_in(caplog)] == [logging.CRITICAL]
    async with opened(path) as other:
        assert any("a sync failed" in warning for warning in (await other.scan()).warnings)
        await other.append([known(8)])
        assert not (await other.scan()).warnings
    assert await numbers(path) == list(range(1, 9))


@pytest.mark.parametrize("after", range(8))
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
async def test_i1_whichever_call_of_writing_anew_fails_what_was_acknowledged_is_there(
    path: Path, fs: FaultyFs, after: int, error: int
) -> None:
    done = [1]
    async with opened(path, fs=fs) as store:
        await store.append([known(1)])
        fs.fail("sync", errno.EIO, times=1)
        fs.fail(None, error, after=after + 2, times=1)  # write and sync of the batch come before
        for seq in (2, 3):
            try:
                await store.append([known(seq)])
                done.append(seq)
            except (StoreFailedError, StoreFullError):
                continue
    found = await numbers(path)
    assert [seq for seq in found if seq in done] == done
    assert len(found) == len(set(found))


async def test_no_room_to_write_a_doubtful_file_anew_degrades_and_the_next_batch_tries_again(
    path: Path, fs: FaultyFs
) -> None:
    async with opened(path, fs=fs) as store:
        await store.append([fresh(1)])
        doubted = path.stat().st_ino
        fs.fail("sync", errno.EIO, times=1)
        fs.fill(300)
        for number in (2, 3):
            with pytest.raises(StoreFullError):
                await store.append([fresh(number)])
            assert store.state.condition is StoreCondition.DEGRADED
            assert path.stat().st_ino == doubted
        fs.fill(None)
        await store.append([fresh(4)])
        assert store.state.is_ok
        assert path.stat().st_ino != doubted
        assert [event.timestamp for event in await store.list_events()] == [
            fresh(1).timestamp,
            fresh(4).timestamp,
        ], "and nothing that was refused"
    assert await numbers(path) == [1, 2], "its numbers were given back"
    assert await named(path) == []


async def test_a_doubt_that_is_left_at_the_end_is_left_to_the_next_writer(path: Path, fs: FaultyFs) -> None:
    async with opened(path, fs=fs) as store:
        await store.append([known(1)])
        fs.fail("sync", errno.EIO, times=1)
        fs.fill(300)
        with pytest.raises(StoreFullError):
            await store.append([known(2)])
        with pytest.raises(StoreFullError):
            await store.aclose()
    doubted = path.stat().st_ino
    async with opened(path) as other:
        await other.append([known(2)])
    assert path.stat().st_ino != doubted
    assert await numbers(path) == [1, 2]


async def test_a_torn_tail_stays_apart_when_its_file_is_written_anew(path: Path, fs: FaultyFs) -> None:
    path.write_bytes(HEADER + line(1) + line(2)[:50])
    fs.fail("sync", errno.EIO, times=1)  # the one at opening
    async with opened(path, fs=fs) as store:
        await store.append([known(3)])
    assert await numbers(path) == [1, 3]
    assert "garbage" in await named(path) or "torn_tail" in await named(path)


async def test_what_another_program_adds_to_a_doubtful_file_is_kept(path: Path, fs: FaultyFs) -> None:
    async with opened(path, fs=fs) as store:
        await store.append([known(1)])
        fs.fail("sync", errno.EIO, times=1)
        fs.fill(300)
        with pytest.raises(StoreFullError):
            await store.append([known(2)])
        with path.open("ab") as file:
            file.write(line(2))
        fs.fill(None)
        await store.append([known(3)])
    assert await numbers(path) == [1, 2, 3]


async def test_a_doubtful_file_that_was_removed_meanwhile_begins_anew(path: Path, fs: FaultyFs) -> None:
    async with opened(path, fs=fs) as store:
        await store.append([known(1)])
        fs.fail("sync", errno.EIO, times=1)
        fs.fill(300)
        with pytest.raises(StoreFullError):
            await store.append([known(2)])
        path.unlink()
        fs.fill(None)
        await store.append([known(2)])
    assert await numbers(path) == [2]
    assert await named(path) == []


async def test_a_compaction_after_a_doubt_works_on_the_new_file(path: Path, fs: FaultyFs) -> None:
    async with opened(path, fs=fs, fsync="os") as store:
        await store.append([known(seq) for seq in range(1, 6)])
        fs.fail("sync", errno.EIO, times=1)
        report = await store.compact(RetentionPolicy(max_records=2))
        assert report.removed_records == 3
        await store.append([known(6)])
    assert await numbers(path) == [4, 5, 6]
    assert await named(path) == []


async def test_what_another_program_added_before_a_sync_failed_is_kept(path: Path, fs: FaultyFs) -> None:
    async with opened(path, fs=fs, fsync="os") as store:
        await store.append([known(1)])
        with path.open("ab") as file:
            file.write(line(2))
        fs.fail("sync", errno.EIO, times=1)
        await store.append([known(3)])
    assert await numbers(path) == [1, 2, 3]
    assert await named(path) == []


async def test_a_disk_that_fails_every_sync_of_the_interval_is_told_without_an_append(
    path: Path, fs: FaultyFs, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path, fs=fs, fsync="interval", fsync_interval_seconds=0.001) as store:
        await store.append([known(1)])
        fs.fail("sync", errno.EIO)
        with suppress(StoreFailedError):
            await store.append([known(2)])
        await until(store, StoreCondition.FAILED)
    assert [level for level, _ in changes_in(caplog)] == [logging.CRITICAL]
    assert await numbers(path) == [1, 2]


async def test_a_sync_of_the_interval_that_finds_no_room_is_told_without_an_append_and_so_is_its_end(
    path: Path, fs: FaultyFs, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path, fs=fs, fsync="interval", fsync_interval_seconds=0.001) as store:
        await store.append([known(1)])
        async with asyncio.timeout(10):
            while fs.calls.count("sync") < 2:  # noqa: ASYNC110  # the one at opening, then that of the interval
                await asyncio.sleep(0)
        fs.fill(len(line(2)) + 50)
        fs.fail("sync", errno.EIO, times=1)
        await store.append([known(2)])
        await until(store, StoreCondition.DEGRADED)
        fs.fill(None)
        await until(store, StoreCondition.OK)
    assert [level for level, _ in changes_in(caplog)] == [logging.ERROR, logging.WARNING]
    assert await numbers(path) == [1, 2]


async def until(store: JsonFilePersistence, condition: StoreCondition) -> None:
    async with asyncio.timeout(10):
        while store.state.condition is not condition:  # noqa: ASYNC110  # a thread of the store's own does it
            await asyncio.sleep(0)


async def test_i1_a_doubt_is_passed_on_though_the_lock_file_was_deleted_before(
    path: Path, fs: FaultyFs
) -> None:
    store = JsonFilePersistence(path, fs=fs, fsync="os")
    await store.append([known(1)])
    lock_of(path).unlink()
    fs.fail("sync", errno.EIO)
    with pytest.raises(StoreFailedError):
        await store.aclose()
    fs.heal()
    await see_it_written_anew(path)


async def test_i1_a_doubt_is_passed_on_though_the_lock_file_was_deleted_after_it(
    path: Path, fs: FaultyFs
) -> None:
    store = JsonFilePersistence(path, fs=fs)
    await store.append([known(1)])
    fs.fail("sync", errno.EIO, times=1)
    fs.fill(300)
    for _ in range(3):
        with pytest.raises(StoreFullError):
            await store.append([known(2)])
        assert lock_of(path).exists()
        lock_of(path).unlink()
        fs.fill(30)  # a new lock file has room for that word and no more
    with pytest.raises(StoreFullError):
        await store.append([known(2)])
    fs.abandon()
    with suppress(PersistenceError, Crash):
        await store.aclose()
    await see_it_written_anew(path)


def lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


async def see_it_written_anew(path: Path) -> None:
    doubted = path.stat().st_ino
    async with opened(path) as store:
        assert any("a sync failed" in warning for warning in (await store.scan()).warnings)
        await store.append([known(1)])
    assert path.stat().st_ino != doubted
    assert await numbers(path) == [1]


async def test_a_system_is_degraded_while_its_store_is(path: Path, fs: FaultyFs) -> None:
    store = JsonFilePersistence(path, fs=fs)
    async with ActorSystem(persistence=store) as system:
        await system.flush()
        seen = [system.is_degraded]
        fs.fill(0)
        with pytest.raises(StoreFullError):
            await store.append([fresh(1)])
        seen.append(system.is_degraded)
        fs.fill(None)
        await store.append([fresh(1)])
        seen.append(system.is_degraded)
    assert seen == [False, True, False]


async def test_what_an_earlier_rewrite_left_over_is_in_nobodys_way(path: Path, fs: FaultyFs) -> None:
    async with opened(path, fs=fs) as store:
        await store.append([known(1)])
        path.with_name(f"{path.name}.rewrite.tmp").write_bytes(b"half a rewrite")
        fs.fail("sync", errno.EIO, times=1)
        await store.append([known(2)])
    assert await numbers(path) == [1, 2]
    assert await named(path) == []
