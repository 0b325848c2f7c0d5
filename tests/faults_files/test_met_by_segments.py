"""What other stores lost, and what clocks and disks do, on sets of segments; see `test_met_by_others.py`."""

from __future__ import annotations

import asyncio
import errno
import math
import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import AppendError, PersistenceError, StoreUnavailableError
from papyra.persistence.models import PersistedEvent, RecordKind
from papyra.persistence.query import RecordQuery
from papyra.persistence.retention import RetentionPolicy
from papyra.testing import ManualClock
from papyra.testing.clock import START
from papyra.testing.faults import FaultyFs
from papyra.testing.promises.sharing import turns
from tests.faults_files.test_times import YEAR, SlowFs
from tests.faults_files.works import RUBBISH, TORN
from tests.unit.files.sets import contents, files, filled, known, opened, quarantined, recovered, seqs, words
from tests.unit.files.stores import REPAIR, QuickFs, fresh

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.persistence.backends.rotating import RotatingFilePersistence

SHARED = pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root" / "log"


async def damaged(path: Path) -> None:
    """Leave rubbish in the oldest segment, and the newest one torn."""
    await filled(path)
    oldest, *_, newest = files(path)
    lines = oldest.read_bytes().splitlines(keepends=True)
    oldest.write_bytes(b"".join([*lines[:2], RUBBISH, *lines[2:]]))
    newest.write_bytes(newest.read_bytes() + TORN)


async def test_trial_3_zeros_at_the_end_of_a_segment_cost_nothing(path: Path) -> None:
    path.mkdir()
    for size in (1, 512, 4096, 100_000):
        await filled(path / str(size))
        newest = files(path / str(size))[-1]
        newest.write_bytes(newest.read_bytes() + bytes(size))
        assert await words(path / str(size)) == ["nul_tail"]
        async with opened(path / str(size)) as store:
            await store.append(known(RecordKind.EVENT, 21, 21))
        await recovered(path / str(size))
        assert await seqs(path / str(size)) == list(range(1, 22))
        assert await words(path / str(size)) == []


async def test_trial_7_old_damage_stops_no_compaction_of_segments(path: Path) -> None:
    await damaged(path)
    async with opened(path) as store:
        for keep in (12, 6, 2):
            await store.compact(RetentionPolicy(max_records=keep))
            await store.append(known(RecordKind.EVENT, 33 - keep, 33 - keep))
    assert RUBBISH[:20] not in b"".join(contents(path).values())
    assert quarantined(path)


@SHARED
@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES])
async def test_trial_10_a_folder_of_segments_that_becomes_read_only_costs_nothing(
    path: Path, error: int, *, shared: bool
) -> None:
    fs = FaultyFs(path.parent)
    async with opened(path, fs=fs, shared=shared) as store:
        for number in range(1, 13):
            await store.append(known(RecordKind.EVENT, number, number))
        for call in ("create", "make_folder", "replace", "remove", "open lock"):
            fs.fail(call, error)
        stored = 12
        with suppress(StoreUnavailableError):
            while stored < 40:  # up to the next rotation
                await store.append(known(RecordKind.EVENT, stored + 1, stored + 1))
                stored += 1
        assert stored < 40
        before = contents(path)
        for work in (store.compact(RetentionPolicy(max_records=2)), store.recover(REPAIR)):
            with suppress(StoreUnavailableError):
                await work
        assert {name: text for name, text in contents(path).items() if name in before} == before
        assert len(await store.list_events()) == stored
        fs.heal()
        await store.append(known(RecordKind.EVENT, stored + 1, 50))
    assert await seqs(path, shared=shared) == list(range(1, 51))


async def test_trial_11_an_error_of_any_read_of_a_segment_is_never_taken_for_the_end(path: Path) -> None:
    await damaged(path)
    saved = {file: file.read_bytes() for file in path.iterdir() if file.is_file()}
    number = 0
    while number < 2_000:
        number += 1 + number // 6
        for file in path.iterdir():
            file.unlink()
        for file, content in saved.items():
            file.write_bytes(content)
        fs = FaultyFs(path.parent)
        fs.fail("pread", errno.EIO, after=number, times=1)
        was_told = False
        async with opened(path, fs=fs) as store:
            append = store.append(known(RecordKind.EVENT, 21, 21))
            for work in (append, store.scan(), store.recover(REPAIR)):
                try:
                    await work
                except PersistenceError:
                    was_told = True
        assert await seqs(path) in (list(range(1, 21)), list(range(1, 22))), number
        if not was_told:
            return
    pytest.fail("there is no end to its reads")


@SHARED
async def test_trial_18_segments_whose_every_write_is_short_come_to_their_ends(
    path: Path, *, shared: bool
) -> None:
    class Half(QuickFs):
        def write(self, fd: int, data: bytes | memoryview) -> int:
            return os.write(fd, data[: max(1, len(data) // 2)])

    async with opened(path, fs=Half(), shared=shared) as store:
        await store.append(known(RecordKind.EVENT, 1, 39))
        await store.compact(RetentionPolicy(max_records=30))
        left = await seqs(path, shared=shared)
    assert left[-30:] == list(range(10, 40))
    assert await words(path, shared=shared) == []


@SHARED
async def test_trial_23_poison_costs_its_batch_nothing_in_segments(path: Path, *, shared: bool) -> None:
    payloads: dict[int, object] = {7: "\x00", 77: "\udc00", 500: math.nan, 800: 2**70}
    batch = [
        PersistedEvent("orders", "a:1", "Poison", payloads.get(number, number), 1.0) for number in range(1000)
    ]
    batch[900] = replace(batch[900], timestamp=math.nan)
    async with opened(path, max_files=None, shared=shared) as store:
        with pytest.raises(AppendError) as caught:
            await store.append(batch)
        assert [position for position, _ in caught.value.refused] == [900]
        found = await events_of(store)
    assert len(found) == 999
    for number, payload in payloads.items():
        assert found[number].payload == payload or payload != payload  # noqa: PLR0124  # NaN is not itself
    assert await words(path, shared=shared) == []


async def events_of(store: RotatingFilePersistence) -> list[PersistedEvent]:
    query = RecordQuery(kind=RecordKind.EVENT, newest_first=False)
    return [one async for one in store.iterate(query) if isinstance(one, PersistedEvent)]


@SHARED
@pytest.mark.parametrize("jumps", [[-3600.0], [10 * YEAR, -10 * YEAR], [0.0], [1e-6, -1e-6]], ids=str)
async def test_f12_a_clock_that_jumps_costs_segments_nothing(
    path: Path, jumps: list[float], *, shared: bool
) -> None:
    now, written = START, 0
    for jump in [0.0, *jumps, 0.0]:
        now += jump
        async with opened(path, clock=ManualClock(now), shared=shared) as store:
            for _ in range(9):
                written += 1
                await store.append([replace(fresh(written), timestamp=now)])
            assert (await store.scan()).anomalies == ()
            await store.recover(REPAIR)
    async with opened(path, clock=ManualClock(now), shared=shared) as store:
        found = [event for event in await events_of(store) if event.event_type == "ActorStarted"]
        assert (await store.scan()).anomalies == ()
    assert sorted(event.payload["number"] for event in found) == list(range(1, written + 1))  # type: ignore[index]
    assert len({(event.incarnation, event.seq) for event in found}) == written


@SHARED
async def test_f9_a_sync_of_a_segment_that_takes_long_holds_up_its_callers_and_nothing_else(
    path: Path, *, shared: bool
) -> None:
    fs = SlowFs()
    async with opened(path, fs=fs, shared=shared) as store:
        batches = [known(RecordKind.EVENT, seq, seq) for seq in range(1, 30)]
        writing = [asyncio.create_task(store.append(batch)) for batch in batches]
        await asyncio.to_thread(fs.is_syncing.wait, 20)
        async with turns() as turned:
            for _ in range(50):
                await asyncio.sleep(0)
        were_done = [task for task in writing if task.done()]
        fs.may_go_on.set()
        await asyncio.gather(*writing)
        assert turned[0] >= 50
        assert were_done == [], "acknowledged before the medium had it"
    assert await seqs(path, shared=shared) == list(range(1, 30))
