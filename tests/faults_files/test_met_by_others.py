"""What other stores lost, by their own bug reports, each tried here with the right outcome."""

from __future__ import annotations

import asyncio
import errno
import math
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import AppendError, PersistenceError, StoreFailedError, StoreUnavailableError
from papyra.persistence.models import PersistedEvent, RecordKind
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.faults import FaultyFs
from tests.faults_files.processes import HOLDER, numbers_of, started
from tests.faults_files.works import BEFORE, DAMAGED, NAME, RUBBISH, SOUND
from tests.unit.files.stores import (
    REPAIR,
    QuickFs,
    entries_of,
    everything,
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
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / NAME


async def test_trial_1_a_letter_cut_in_two_swallows_no_append(path: Path) -> None:
    torn = '{"kind":"event","payload":"€'.encode()[:-1]
    path.write_bytes(b'{"kind":"event","timestamp":1.5}\n' + torn)
    async with opened(path) as store:
        await store.append([known(3)])
        assert [event.seq for event in await store.list_events()] == [0, 3]
        found = (await store.scan()).anomalies
    assert [(anomaly.type.value, anomaly.offset) for anomaly in found] == [("torn_tail", 33)]


async def test_trial_2_what_was_appended_behind_a_tear_survives_a_kill(path: Path) -> None:
    path.write_bytes(SOUND + line(6)[:60])
    holder = started(HOLDER, path, "behind", "1")
    assert holder.stdout is not None
    assert [holder.stdout.readline() for _ in range(2)] == ["0\n", "1\n"]
    holder.send_signal(signal.SIGKILL)
    holder.communicate(timeout=10)
    assert await asyncio.to_thread(numbers_of, path) == {
        "": [event.seq for event in BEFORE if event.kind is RecordKind.EVENT],
        "behind": [0, 1],
    }
    await recovered(path)
    assert await named(path) == []


@pytest.mark.parametrize("size", [1, 512, 4096, 100_000])
async def test_trial_3_zeros_at_the_end_cost_nothing(path: Path, size: int) -> None:
    path.write_bytes(SOUND + bytes(size))
    assert await named(path) == ["nul_tail"]
    async with opened(path) as store:
        await store.append([known(6)])
    assert await numbers(path) == [1, 2, 3, 4, 5, 6]
    await recovered(path)
    assert await numbers(path) == [1, 2, 3, 4, 5, 6]
    assert await named(path) == []
    assert bytes(size) in b"".join(entry["content"] for entry in entries_of(quarantine_of(path)))


async def test_trial_7_old_damage_stops_no_compaction(path: Path) -> None:
    path.write_bytes(DAMAGED)
    async with opened(path) as store:
        for keep in (4, 3, 2):
            await store.compact(RetentionPolicy(max_records=keep))
            await store.append([fresh(keep)])
    assert RUBBISH in [entry["content"] for entry in entries_of(quarantine_of(path))]
    assert len(await numbers(path)) == 3


@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES])
async def test_trial_10_a_folder_that_becomes_read_only_costs_nothing(path: Path, error: int) -> None:
    path.write_bytes(DAMAGED)
    fs = FaultyFs(path.parent)
    async with opened(path, fs=fs) as store:
        await store.append([known(6)])
        before = path.read_bytes()
        for call in ("create", "make_folder", "replace", "remove", "open lock"):
            fs.fail(call, error)
        for work in (store.compact(RetentionPolicy(max_records=2)), store.recover(REPAIR)):
            with pytest.raises(StoreUnavailableError):
                await work
        assert path.read_bytes() == before
        assert len(await store.list_events()) == 6
        fs.heal()
        await store.append([known(7)])
        await store.recover(REPAIR)
    assert await numbers(path) == [1, 2, 3, 4, 5, 6, 7]


async def test_trial_11_an_error_of_any_read_is_never_taken_for_the_end(path: Path) -> None:
    for number in range(40):
        path.write_bytes(DAMAGED)
        fs = FaultyFs(path.parent)
        fs.fail("pread", errno.EIO, after=number, times=1)
        was_told = False
        async with opened(path, fs=fs) as store:
            for work in (
                lambda store=store: store.append([known(6)]),
                store.scan,
                lambda store=store: store.recover(REPAIR),
            ):
                with suppress(PersistenceError):
                    await work()
                    continue
                was_told = True
        found = await numbers(path)
        assert found in ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]), number
        if not was_told:
            return
    pytest.fail("there is no end to its reads")


async def test_trial_18_a_write_that_is_always_short_comes_to_its_end(path: Path) -> None:
    class Half(QuickFs):
        def write(self, fd: int, data: bytes | memoryview) -> int:
            return os.write(fd, data[: max(1, len(data) // 2)])

    async with opened(path, fs=Half()) as store:
        await store.append([known(seq) for seq in range(1, 40)])
        await store.compact(RetentionPolicy(max_records=30))
    assert await numbers(path) == list(range(10, 40))
    assert await named(path) == []


async def test_trial_23_poison_costs_its_batch_nothing(path: Path) -> None:
    payloads: dict[int, object] = {7: "\x00", 77: "\udc00", 500: math.nan, 800: 2**70}
    batch: list[PersistedEvent] = []
    for number in range(1000):
        one = fresh(number)
        batch.append(PersistedEvent(one.system_id, "a:1", "Poison", payloads.get(number, number), 1.0))
    batch[900] = PersistedEvent("orders", "a:1", "Poison", 0, math.nan)
    async with opened(path) as store:
        with pytest.raises(AppendError) as caught:
            await store.append(batch)
        assert [position for position, _ in caught.value.refused] == [900]
        found = [event.payload for event in (await everything(store))["event"]]  # type: ignore[union-attr]
    assert len(found) == 999
    for number, payload in payloads.items():
        assert found[number] == payload or payload != payload  # noqa: PLR0124  # NaN is not itself
    assert await named(path) == []


async def test_a_disk_that_never_answers_again_is_told_once_and_for_all(path: Path) -> None:
    fs = FaultyFs(path.parent)
    async with opened(path, fs=fs) as store:
        await store.append([known(1)])
        fs.fail(None, errno.EIO)
        for _ in range(3):
            with pytest.raises(StoreFailedError):
                await store.append([known(2)])
        assert [event.seq for event in await store.list_events()] == [1]
    assert await numbers(path) == [1]
