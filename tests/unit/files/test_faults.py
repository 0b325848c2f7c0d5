from __future__ import annotations

import asyncio
import errno
import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import PersistenceError, StoreFailedError, StoreFullError, StoreUnavailableError
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.retention import RetentionPolicy
from papyra.persistence.state import StoreCondition
from papyra.testing.faults import Crash, FaultyFs, PowerLoss
from tests.unit.files.stores import (
    HEADER,
    REPAIR,
    entries_of,
    fresh,
    known,
    line,
    named,
    numbers,
    opened,
    quarantine_of,
    recovered,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from papyra.persistence.models import PersistedEvent

DAMAGED = HEADER + line(1) + b"rubbish\n" + line(2) + line(3).replace(b"Started", b"Stopped") + line(4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.ndjson"


@pytest.fixture
def fs(path: Path) -> FaultyFs:
    return FaultyFs(path.parent)


async def read_events(path: Path) -> tuple[PersistedEvent, ...]:
    async with opened(path) as store:
        return await store.list_events()


async def happening(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # a thread of the store's own does it
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("room", [0, 1, 100, 200, 300])
async def test_a_full_disk_is_told_and_appends_work_again_once_there_is_room(
    path: Path, fs: FaultyFs, room: int
) -> None:
    async with opened(path, fs=fs) as store:
        await store.append([fresh(1)])
        before = path.read_bytes()
        fs.fill(room)
        with pytest.raises(StoreFullError, match="once there is room"):
            await store.append([fresh(2), fresh(3)])
        assert path.read_bytes() == before
        assert await numbers(path) == [1]
        fs.fill(None)
        await store.append([fresh(2), fresh(3)])
    assert await numbers(path) == [1, 2, 3]
    assert await named(path) == []


@pytest.mark.parametrize("room", range(0, 1_000, 50))  # the note in the lock takes some hundred bytes first
async def test_a_disk_that_is_full_from_the_start_leaves_nothing_torn(
    path: Path, fs: FaultyFs, room: int
) -> None:
    batch = [fresh(number) for number in range(1, 10)]
    fs.fill(room)
    async with opened(path, fs=fs) as store:
        with pytest.raises(StoreFullError):
            await store.append(batch)
        fs.fill(None)
        await store.append(batch)
    assert await numbers(path) == list(range(1, 10))
    assert await named(path) == []


async def test_a_disk_that_takes_a_byte_at_a_time_is_slow_and_no_more(path: Path, fs: FaultyFs) -> None:
    fs.write_at_most(1)
    async with opened(path, fs=fs) as store:
        await store.append([fresh(1), fresh(2)])
    assert await numbers(path) == [1, 2]


async def test_i4_a_full_disk_refuses_a_recovery_and_loses_no_byte(path: Path) -> None:
    for room in range(0, 4000, 100):
        path.write_bytes(DAMAGED)
        fs = FaultyFs(path.parent)
        fs.fill(room)
        async with opened(path, fs=fs) as store:
            try:
                await store.recover(REPAIR)
            except StoreFullError:
                assert path.read_bytes() == DAMAGED
                assert not path.with_name("log.ndjson.rewrite.tmp").exists()
                fs.fill(None)
                await store.recover(REPAIR)
            assert not (await store.scan()).has_anomalies
        assert await numbers(path) == [1, 2, 4]


async def test_a_full_disk_after_the_cut_of_a_torn_tail_leaves_a_store_that_is_clean(path: Path) -> None:
    torn = line(3)[:60]
    refusals = 0
    for room in range(0, 3000, 100):
        path.write_bytes(HEADER + line(1) + torn)
        fs = FaultyFs(path.parent)
        fs.fill(room)
        async with opened(path, fs=fs) as store:
            with suppress(StoreFullError):
                await store.recover(REPAIR)
                refusals -= 1
            refusals += 1
            assert path.read_bytes().startswith(HEADER + line(1))
            fs.fill(None)
            await store.recover(REPAIR)
            assert not (await store.scan()).has_anomalies
            await store.append([known(3)])
        assert await numbers(path) == [1, 3]
        assert torn in [entry["content"] for entry in entries_of(quarantine_of(path))]
        (quarantine_of(path) / "quarantine.ndjson").unlink()
    assert 5 < refusals < 30


async def test_a_failed_sync_of_a_recovery_ends_the_writer(path: Path, fs: FaultyFs) -> None:
    path.write_bytes(HEADER + line(1) + line(3)[:60])
    fs.fail("sync", errno.EIO, times=1)
    async with opened(path, fs=fs) as store:
        for _ in range(2):
            with pytest.raises(StoreFailedError):
                await store.recover(REPAIR)
    await recovered(path)
    assert await numbers(path) == [1]
    assert await named(path) == []


@pytest.mark.parametrize("room", [0, 10, 200])
async def test_a_full_disk_refuses_a_compaction_and_leaves_the_file(
    path: Path, fs: FaultyFs, room: int
) -> None:
    path.write_bytes(HEADER + line(1) + line(2) + line(3) + line(4))
    before = path.read_bytes()
    async with opened(path, fs=fs) as store:
        fs.fill(room)
        with pytest.raises(StoreFullError):
            await store.compact(RetentionPolicy(max_records=2))
        assert path.read_bytes() == before
        fs.fill(None)
        await store.append([known(5)])
        await store.compact(RetentionPolicy(max_records=2))
    assert await numbers(path) == [4, 5]
    assert await named(path) == []


async def test_after_a_failed_sync_the_next_writer_writes_the_file_anew(path: Path, fs: FaultyFs) -> None:
    async with opened(path, fs=fs) as store:
        await store.append([known(1)])
        fs.fail("sync", errno.EIO)
        with pytest.raises(StoreFailedError):
            await store.append([known(2)])
        doubted = path.stat().st_ino
        async with opened(path) as other:
            await other.append([known(2), known(3)])
            renewed = path.stat().st_ino
            assert renewed != doubted
        async with opened(path) as other:
            await other.append([known(4)])
        assert path.stat().st_ino == renewed
    assert await numbers(path) == [1, 2, 3, 4]
    assert await named(path) == []


@pytest.mark.parametrize("work", ["recover", "compact"])
async def test_i1_a_rewrite_whose_name_may_not_last_is_done_again_in_a_new_file(
    path: Path, fs: FaultyFs, work: str
) -> None:
    path.write_bytes(DAMAGED)
    quarantine_of(path).mkdir()
    store = JsonFilePersistence(path, fs=fs)
    await store.append([known(5)])
    fs.fail("sync_folder", errno.EIO, after=1, times=1)  # the first is the quarantine's
    before = fs.calls.count("replace")
    await (store.recover(REPAIR) if work == "recover" else store.compact(RetentionPolicy(max_records=2)))
    assert fs.calls.count("replace") == before + 3  # one is of the index beside it
    await store.append([known(9)])
    assert store.state.is_ok
    fs.cut_power(PowerLoss.ALL_GONE)
    with suppress(PersistenceError, Crash):
        await store.aclose()
    assert (await numbers(path))[-2:] == [5, 9]


@pytest.mark.parametrize("work", ["recover", "compact"])
async def test_i1_a_rewrite_whose_name_twice_may_not_last_ends_the_writer(
    path: Path, fs: FaultyFs, work: str
) -> None:
    path.write_bytes(DAMAGED)
    quarantine_of(path).mkdir()
    async with opened(path, fs=fs) as store:
        fs.fail("sync_folder", errno.EIO, after=1, times=2)  # the first is the quarantine's
        task = store.recover(REPAIR) if work == "recover" else store.compact(RetentionPolicy(max_records=2))
        with pytest.raises(StoreFailedError, match="check the disk"):
            await task
        with pytest.raises(StoreFailedError):
            await store.append([known(9)])
        rewritten = path.stat().st_ino
        async with opened(path) as other:
            await other.append([known(9)])
        assert path.stat().st_ino != rewritten
    assert (await numbers(path))[-2:] == [4, 9]


async def test_a_doubt_is_passed_on_whatever_the_process_is_called(
    path: Path, fs: FaultyFs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["\U0001f600" * 1000])
    async with opened(path, fs=fs) as store:
        fs.fail("sync", errno.EIO, after=1)
        with pytest.raises(StoreFailedError):
            await store.append([known(1)])
        doubted = path.stat().st_ino
        async with opened(path) as other:
            await other.append([known(1)])
        assert path.stat().st_ino != doubted


async def test_a_broken_write_that_cannot_be_taken_back_is_left_behind_in_the_old_file(
    path: Path, fs: FaultyFs
) -> None:
    async with opened(path, fs=fs) as store:
        await store.append([known(1)])
        fs.fill(20)
        fs.fail("truncate", errno.EIO)
        with pytest.raises(StoreFullError):
            await store.append([known(2)])
        assert await named(path) == []  # a writer is at it
        fs.fill(None)
        await store.append([known(2)])
    assert await numbers(path) == [1, 2]
    assert await named(path) == []


async def test_an_unreadable_medium_is_refused_and_left_alone(path: Path, fs: FaultyFs) -> None:
    path.write_bytes(DAMAGED)
    fs.fail("pread", errno.EIO)
    async with opened(path, fs=fs) as store:
        for task in (store.scan, store.list_events, store.compact, partial(store.append, [fresh(1)])):
            with pytest.raises(StoreFailedError, match="Input/output error"):
                await task()
        with pytest.raises(StoreFailedError):
            await store.recover(REPAIR)
    assert path.read_bytes() == DAMAGED
    assert not quarantine_of(path).exists()


async def test_a_missing_folder_is_told_with_what_to_do(tmp_path: Path) -> None:
    async with opened(tmp_path / "missing" / "log.ndjson") as store:
        assert await store.list_events() == ()
        assert not (await store.scan()).has_anomalies
        with pytest.raises(StoreUnavailableError, match="create the folder first"):
            await store.append([fresh(1)])


async def test_a_folder_or_a_pipe_in_place_of_a_file_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe"):
        async with opened(place) as store:
            for task in (
                store.list_events,
                store.scan,
                store.stats,
                store.compact,
                partial(store.append, [fresh(1)]),
            ):
                with pytest.raises(StoreUnavailableError, match="name a file to keep records in"):
                    await task()
    assert [entry.name for entry in tmp_path.iterdir()] == ["pipe"]


async def test_a_path_through_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with opened(tmp_path / "file" / "log.ndjson") as store:
        with pytest.raises(StoreUnavailableError, match="correct the path"):
            await store.append([fresh(1)])


async def test_denied_permission_is_told_and_changes_nothing(path: Path, fs: FaultyFs) -> None:
    path.write_bytes(DAMAGED)
    for call in ("open lock", "create", "make_folder"):
        fs.fail(call, errno.EACCES)
    async with opened(path, fs=fs) as store:
        for task in (partial(store.append, [fresh(1)]), partial(store.recover, REPAIR)):
            with pytest.raises(StoreUnavailableError, match="give this user"):
                await task()
        assert (await store.scan()).has_damage
    assert path.read_bytes() == DAMAGED


async def test_a_quarantine_that_cannot_be_written_refuses_the_recovery(path: Path, fs: FaultyFs) -> None:
    path.write_bytes(DAMAGED)
    fs.fail("make_folder", errno.EACCES)
    async with opened(path, fs=fs) as store:
        with pytest.raises(StoreUnavailableError):
            await store.recover(REPAIR)
    assert path.read_bytes() == DAMAGED


async def test_an_unforeseen_error_ends_the_writer_and_reaches_the_caller(path: Path) -> None:
    class Surprising(FaultyFs):
        def write(self, fd: int, data: bytes | memoryview) -> int:
            del fd, data
            raise LookupError("nobody thought of this")

    async with opened(path, fs=Surprising(path.parent)) as store:
        for _ in range(2):
            with pytest.raises(StoreFailedError, match="nobody thought of this"):
                await store.append([fresh(1)])


async def test_with_interval_a_sync_follows_by_itself(path: Path, fs: FaultyFs) -> None:
    store = JsonFilePersistence(path, fs=fs, fsync="interval", fsync_interval_seconds=0.01)
    await store.append([fresh(1)])
    opening = fs.calls.count("sync")
    await store.append([fresh(2)])
    await happening(lambda: fs.calls.count("sync") > opening)
    fs.fail("sync", errno.EIO, times=1)
    doubted = path.stat().st_ino
    await store.append([fresh(3)])
    await happening(lambda: path.stat().st_ino != doubted)
    await store.append([fresh(4)])
    fs.fail("sync", errno.EIO)
    await happening(lambda: store.state.condition is StoreCondition.FAILED)
    with pytest.raises(StoreFailedError):
        await store.append([fresh(5)])
    await store.aclose()
    assert [event.payload for event in await read_events(path)] == [fresh(n).payload for n in (1, 2, 3, 4)]


async def test_with_os_nothing_is_synced_before_the_end(path: Path, fs: FaultyFs) -> None:
    store = JsonFilePersistence(path, fs=fs, fsync="os")
    await store.append([fresh(1)])
    opening = fs.calls.count("sync")
    await store.append([fresh(2)])
    assert fs.calls.count("sync") == opening
    await store.aclose()
    assert fs.calls.count("sync") == opening + 1


def test_an_unknown_policy_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="never"):
        JsonFilePersistence(path, fsync="never")
