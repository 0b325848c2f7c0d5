"""F5 to F8: the end in each call of what segments do, with and without power, and each call refused once."""

from __future__ import annotations

import errno
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from papyra.exceptions import PersistenceError, StoreFullError
from papyra.persistence.backends.rotating import RotatingFilePersistence
from papyra.persistence.models import EventType, LossNote, RecordKind, ScanDepth
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.faults import Crash, FaultyFs, PowerLoss
from papyra.testing.records import INCARNATION, event, letter
from tests.unit.files.sets import SMALL, filled, known, opened, quarantined, seqs
from tests.unit.files.stores import REPAIR

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from papyra.persistence.models import Record

LOSSES = (None, *PowerLoss)
MOST_CALLS = 400
KINDS = (RecordKind.EVENT, RecordKind.DEAD_LETTER)
points: dict[str, int] = {}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture(scope="module", autouse=True)
def printed_points() -> Any:
    yield
    print("\ncrash points of segments:", {**points, "all": sum(points.values())})  # noqa: T201  # it may not fall


class Work:
    def __init__(self, store: RotatingFilePersistence) -> None:
        self.store = store
        self.done: list[Record] = []
        self.is_complete = False

    async def append(self, *records: Record) -> None:
        await self.store.append(records)
        self.done += records


def store_on(path: Path, fs: FaultyFs, **options: Any) -> RotatingFilePersistence:
    return RotatingFilePersistence(path, fs=fs, **{"max_bytes": SMALL, "max_files": 100, **options})


async def crashes(
    path: Path,
    work: Callable[[Work], Awaitable[object]],
    loss: PowerLoss | None,
    name: str,
    **options: Any,
) -> AsyncIterator[Work]:
    """Do ``work`` on what is at ``path`` and end it in each of its calls; yield after each end."""
    saved = path.parent.parent / "saved"
    shutil.rmtree(saved, ignore_errors=True)
    shutil.copytree(path.parent, saved, symlinks=True)
    for number in range(MOST_CALLS):
        shutil.rmtree(path.parent)
        shutil.copytree(saved, path.parent, symlinks=True)
        fs = FaultyFs(path.parent)
        fs.crash_at(number)
        done = Work(store_on(path, fs, **options))
        with suppress(PersistenceError, Crash):
            await work(done)
            done.is_complete = True
        fs.abandon() if loss is None else fs.cut_power(loss)
        with suppress(PersistenceError, Crash):
            await done.store.aclose()
        points[name] = points.get(name, 0) + 1
        yield done
        if done.is_complete:
            return
    pytest.fail(f"not done after {MOST_CALLS} calls")


async def append_with_rotations(work: Work) -> None:
    for number in range(21, 33):
        await work.append(*(make(number, incarnation=INCARNATION, seq=number) for make in (event, letter)))
    await work.append(*known(RecordKind.EVENT, 33, 50))


@pytest.mark.parametrize("loss", LOSSES)
async def test_i1_i5_ended_in_any_call_of_appending_and_rotating_the_acknowledged_is_there(
    tmp_path: Path, loss: PowerLoss | None
) -> None:
    path = tmp_path / "root" / "log"
    path.parent.mkdir()
    await filled(path)
    async for work in crashes(path, append_with_rotations, loss, "append and rotate"):
        for kind in KINDS:
            found = await seqs(path, kind)
            wanted = [*range(1, 21), *(record.seq for record in work.done if record.kind is kind)]
            assert all(found.count(seq) == 1 for seq in wanted)
            assert found == sorted(set(found))
        async with opened(path) as store:
            for depth in ScanDepth:
                assert not (await store.scan(depth)).has_damage
            await store.append(known(RecordKind.EVENT, 1, 60))
            await store.recover(REPAIR)
            for depth in ScanDepth:
                assert (await store.scan(depth)).anomalies == ()
        assert await seqs(path) == list(range(1, 61))


@pytest.mark.parametrize("loss", LOSSES)
async def test_i7_ended_in_any_call_of_dropping_old_segments_a_prefix_is_gone_and_no_more(
    tmp_path: Path, loss: PowerLoss | None
) -> None:
    path = tmp_path / "root" / "log"
    path.parent.mkdir()
    note = LossNote(INCARNATION, "dead_letter", 3, 3, "overflow").to_payload()
    async with opened(path) as store:
        await store.append([*known(RecordKind.DEAD_LETTER, 1, 2), *known(RecordKind.DEAD_LETTER, 4, 5)])
        await store.append([event(0, event_type=EventType.RECORDS_DROPPED, payload=note)])
        for number in range(1, 16):
            await store.append(known(RecordKind.EVENT, number, number))

    async def work(work: Work) -> None:
        for number in range(16, 30):
            await work.append(*known(RecordKind.EVENT, number, number))

    async for done in crashes(path, work, loss, "drop", max_files=3):
        found = await seqs(path)
        newest = max(record.seq for record in done.done) if done.done else 15
        assert found == list(range(found[0], found[-1] + 1))
        assert found[-1] >= newest
        async with opened(path) as store:
            assert not (await store.scan()).has_damage
            await store.recover(REPAIR)
            assert (await store.scan()).anomalies == (), "the note was carried over"


@pytest.mark.parametrize("loss", LOSSES)
async def test_i4_i6_ended_in_any_call_a_recovery_loses_no_byte_and_is_done_again(
    tmp_path: Path, loss: PowerLoss | None
) -> None:
    path = tmp_path / "root" / "log"
    path.parent.mkdir()
    events = await filled(path)
    rubbish = b"rubbish that stands nowhere else"
    for file, at in ((events[1], 2), (events[-1], 3)):
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join([*lines[:at], rubbish, b"\n", *lines[at:]]))
    events[2].unlink()
    events[3].rename(path / events[3].name.replace("00000004-", "00000014-"))
    events[0].write_bytes(events[0].read_bytes().rsplit(b"\n", 2)[0] + b"\n")
    missing = set(range(1, 21)) - set(await seqs(path))
    async for work in crashes(path, lambda work: work.store.recover(REPAIR), loss, "recover"):
        there = b"".join(file.read_bytes() for file in path.glob("*.ndjson"))
        assert rubbish in there or b"cnViYmlzaC" in quarantined(path)
        assert set(await seqs(path)) == set(range(1, 21)) - missing
        async with opened(path) as store:
            assert not (work.is_complete and (await store.scan()).has_anomalies)
            await store.recover(REPAIR)
            for depth in ScanDepth:
                assert (await store.scan(depth)).anomalies == ()
        assert await seqs(path) == sorted(set(range(1, 21)) - missing)
        assert await seqs(path, RecordKind.DEAD_LETTER) == list(range(1, 21))
        assert b"cnViYmlzaC" in quarantined(path)


@pytest.mark.parametrize("loss", LOSSES)
async def test_i7_i10_ended_in_any_call_a_compaction_takes_a_prefix_and_no_more(
    tmp_path: Path, loss: PowerLoss | None
) -> None:
    path = tmp_path / "root" / "log"
    path.parent.mkdir()
    await filled(path)
    keep = RetentionPolicy(max_records=7)
    async for work in crashes(path, lambda work: work.store.compact(keep), loss, "compact"):
        for kind in KINDS:
            found = await seqs(path, kind)
            assert found == list(range(found[0], 21))
            assert found[0] == 14 if work.is_complete else found[0] <= 14
        async with opened(path) as store:
            assert not (await store.scan()).has_damage
            await store.compact(keep)
            await store.recover(REPAIR)
            for depth in ScanDepth:
                assert (await store.scan(depth)).anomalies == ()
        assert await seqs(path) == list(range(14, 21))


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EACCES])
async def test_i1_i8_whichever_call_fails_the_acknowledged_is_there_and_nothing_is_damaged(
    tmp_path: Path, error: int
) -> None:
    path = tmp_path / "root" / "log"
    path.parent.mkdir()
    await filled(path)
    saved = tmp_path / "saved"
    shutil.copytree(path.parent, saved)
    for number in range(MOST_CALLS):
        shutil.rmtree(path.parent)
        shutil.copytree(saved, path.parent)
        fs = FaultyFs(path.parent)
        fs.fail(None, error, after=number, times=1)
        work = Work(store_on(path, fs, max_files=6))
        for first in range(21, 60, 3):
            with suppress(PersistenceError):
                await work.append(*known(RecordKind.EVENT, first, first + 2))
        calls = len(fs.calls)
        with suppress(PersistenceError):
            await work.store.aclose()
        found = await seqs(path)
        floor = found[0]
        assert all(found.count(record.seq) == 1 for record in work.done if record.seq >= floor)
        assert found == sorted(set(found))
        async with opened(path) as store:
            holes = set(range(floor, found[-1] + 1)) - set(found)
            report = await store.scan()
            assert report.has_damage is bool(holes), (number, report.anomalies)
            await store.recover(REPAIR)
            assert (await store.scan()).anomalies == ()
            await store.append(known(RecordKind.EVENT, 60, 61))
        if calls <= number:
            return
    pytest.fail(f"not done after {MOST_CALLS} calls")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("after", range(12))
async def test_i1_a_sync_that_fails_once_costs_nothing_and_one_that_goes_on_failing_ends_the_writer(
    tmp_path: Path, loss: PowerLoss | None, after: int
) -> None:
    path = tmp_path / "root" / "log"
    path.parent.mkdir()
    await filled(path, 8)
    fs = FaultyFs(path.parent)
    fs.fail("sync", errno.EIO, after=after, times=1)
    work = Work(store_on(path, fs))
    with suppress(PersistenceError):
        for number in range(9, 30):
            await work.append(*known(RecordKind.EVENT, number, number))
    async with opened(path) as reader:
        assert not (await reader.scan()).has_damage, "beside the writer"
    fs.abandon() if loss is None else fs.cut_power(loss)
    with suppress(PersistenceError, Crash):
        await work.store.aclose()
    found = await seqs(path)
    assert found == list(range(1, found[-1] + 1))
    assert found[-1] >= max((record.seq for record in work.done), default=8)
    assert after == 0 or len(work.done) == 21, "only the sync at opening ends it"
    async with opened(path) as store:
        assert not (await store.scan()).has_damage
        await store.append(known(RecordKind.EVENT, 1, 40))
        await store.recover(REPAIR)
        assert (await store.scan()).anomalies == ()
    assert await seqs(path) == list(range(1, 41))


async def test_f7_a_disk_that_fills_at_any_byte_takes_part_of_a_batch_and_works_again(tmp_path: Path) -> None:
    path = tmp_path / "root" / "log"
    path.parent.mkdir()
    await filled(path, 8)
    saved = tmp_path / "saved"
    shutil.copytree(path.parent, saved)
    for room in range(0, 6_000, 149):
        shutil.rmtree(path.parent)
        shutil.copytree(saved, path.parent)
        fs = FaultyFs(path.parent)
        work = Work(store_on(path, fs))
        await work.append(*known(RecordKind.EVENT, 9, 9))
        fs.fill(room)
        with suppress(StoreFullError):
            for first in range(10, 60, 5):
                await work.append(*known(RecordKind.EVENT, first, first + 4))
                await work.store.append([event(first), letter(first)])
        with pytest.raises(StoreFullError):
            await work.store.append([event(number, payload="x" * 900) for number in range(9)])
        async with opened(path) as reader:
            assert (await reader.scan()).anomalies == ()
        before = await seqs(path)
        assert before == list(range(1, before[-1] + 1))
        assert before[-1] >= max(record.seq for record in work.done)
        fs.fill(None)
        await work.store.append([*known(RecordKind.EVENT, 1, 70), event(1), letter(1)])
        assert (await work.store.scan()).anomalies == ()
        await work.store.aclose()
        async with opened(path) as store:
            assert (await store.scan()).anomalies == ()
        assert await seqs(path) == list(range(1, 71))


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_failed_sync_between_syncs_loses_nothing_that_can_still_be_read(
    tmp_path: Path, loss: PowerLoss | None
) -> None:
    path = tmp_path / "root" / "log"
    path.parent.mkdir()
    await filled(path, 4)
    fs = FaultyFs(path.parent)
    work = Work(store_on(path, fs, fsync="os", max_bytes=50_000))
    for number in range(5, 30):
        await work.append(*known(RecordKind.EVENT, number, number))
    fs.fail("sync", errno.EIO, times=1)
    await work.store.aclose()
    fs.heal()
    fs.abandon() if loss is None else fs.cut_power(loss)
    assert await seqs(path) == list(range(1, 30))
    async with opened(path) as store:
        assert not (await store.scan()).has_damage
        await store.append(known(RecordKind.EVENT, 1, 40))
        await store.recover(REPAIR)
        assert (await store.scan()).anomalies == ()
    assert await seqs(path) == list(range(1, 41))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("is_new", [False, True])
async def test_one_of_several_writers_that_ends_in_any_call_leaves_what_it_acknowledged(
    tmp_path: Path, loss: PowerLoss | None, *, is_new: bool
) -> None:
    path = tmp_path / "root" / "log"
    path.parent.mkdir()
    if not is_new:
        await filled(path, 12, shared=True)
    first = 1 if is_new else 13

    async def work(work: Work) -> None:
        for number in range(first, first + 10):
            await work.append(*known(RecordKind.EVENT, number, number))
        await work.append(letter(first, incarnation=INCARNATION, seq=first))
        await work.store.aclose()

    async for done in crashes(path, work, loss, "share", shared=True, max_files=4):
        found = await seqs(path, shared=True)
        newest = max(
            (record.seq for record in done.done if record.kind is RecordKind.EVENT), default=first - 1
        )
        assert found == list(range(found[0], found[-1] + 1)) if found else newest == 0
        assert not found or found[-1] >= newest
        async with opened(path, shared=True) as store:
            assert not (await store.scan()).has_damage
            await store.recover(REPAIR)
            for depth in ScanDepth:
                assert (await store.scan(depth)).anomalies == ()
            await store.append(known(RecordKind.EVENT, first, first + 20))
            assert (await store.scan()).anomalies == ()
        assert (await seqs(path, shared=True))[-1] == first + 20
