"""What the files of the published papyra 0.3.0 lost, as it was reproduced there, with the right outcome."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from papyra.exceptions import StoreFullError
from papyra.payloads import Unstorable
from papyra.persistence.json import FsyncPolicy, JsonFilePersistence
from papyra.persistence.models import PersistenceRecoveryConfig, PersistenceRecoveryMode
from papyra.persistence.retention import RetentionPolicy
from papyra.system import ActorSystem
from papyra.testing.faults import FaultyFs
from tests.faults_files.works import BEFORE, DAMAGED, NAME, RUBBISH, SOUND, TORN
from tests.unit.files.stores import (
    QUARANTINE,
    REPAIR,
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

NO_AUDITS = RetentionPolicy(audits=RetentionPolicy(0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / NAME


async def test_p1_an_age_of_thirty_days_keeps_what_was_recorded_today(path: Path) -> None:
    policy = RetentionPolicy(max_age_seconds=30 * 86_400)
    async with ActorSystem(persistence=JsonFilePersistence(path, policy)):
        pass
    async with opened(path, retention_policy=policy) as store:
        before = await store.list_events()
        assert len(before) >= 2
        report = await store.compact()
        assert report.removed_records == 0
        assert await store.list_events() == before
        assert await store.list_events(since=before[0].timestamp - 3600) == before


@pytest.mark.parametrize("policy", FsyncPolicy)
async def test_p2_every_policy_of_syncing_works(path: Path, policy: FsyncPolicy) -> None:
    async with JsonFilePersistence(path, fsync=policy) as store:
        for number in range(1, 6):
            await store.append([known(number)])
        assert store.metrics.snapshot()["write_errors"] == 0
    assert await numbers(path) == [1, 2, 3, 4, 5]


async def test_p4_without_a_policy_neither_a_repair_nor_a_compaction_takes_a_record(path: Path) -> None:
    path.write_bytes(SOUND.replace(line(3), line(3) + RUBBISH))
    async with opened(path) as store:
        await store.recover(REPAIR)
        report = await store.compact()
        assert report.removed_records == 0
        assert sum(map(len, (await everything(store)).values())) == len(BEFORE)


async def test_p7_a_repair_keeps_a_last_record_that_lacks_its_newline_and_one_behind_zeros(
    path: Path,
) -> None:
    path.write_bytes(SOUND + bytes(512) + b"\n" + line(6)[:-1])
    assert (await numbers(path))[-1] == 6
    await recovered(path)
    assert await numbers(path) == [1, 2, 3, 4, 5, 6]
    assert await named(path) == []


@pytest.mark.parametrize("work", ["recover", "compact"])
async def test_p9_what_is_acknowledged_during_a_repair_or_compaction_is_there(path: Path, work: str) -> None:
    path.write_bytes(DAMAGED)
    acknowledged = [1, 2, 3, 4, 5]
    async with opened(path) as store:

        async def write(first: int) -> None:
            for seq in range(first, first + 50):
                await store.append([fresh(seq)])
                acknowledged.append(seq)

        async def rewrite() -> None:
            for _ in range(20):
                with path.open("ab") as file:
                    file.write(TORN + b"\n")
                await (store.recover(REPAIR) if work == "recover" else store.compact(NO_AUDITS))

        await asyncio.gather(write(100), write(200), rewrite())
        found = [
            event.payload["number"]  # type: ignore[index]
            for event in await store.list_events()
            if event.event_type == "ActorStarted" and not event.actor_path and event.payload
        ]
    assert sorted(found) == sorted(acknowledged)


async def test_p12_a_line_that_lacks_fields_reads_as_empty_and_stops_nobody(path: Path) -> None:
    path.write_bytes(b'{"kind":"event"}\n{"kind":"event","timestamp":"noon"}\n{"kind":"dead_letter"}\n')
    async with opened(path) as store:
        assert len(await store.list_events()) == 2
        assert len(await store.list_events(since=1.0)) <= 2
        assert len(await store.list_dead_letters()) == 1
        assert (await store.scan()).anomalies == ()


async def test_p13_quarantine_on_another_file_system_gets_the_bytes_and_only_those(path: Path) -> None:
    elsewhere = Path("/dev/shm")  # noqa: S108  # another file system is the point
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == path.parent.stat().st_dev:
        pytest.skip("there is no second file system here")
    path.write_bytes(DAMAGED)
    with tempfile.TemporaryDirectory(dir=elsewhere) as folder:
        for mode in (PersistenceRecoveryMode.REPAIR, PersistenceRecoveryMode.QUARANTINE):
            await recovered(path, PersistenceRecoveryConfig(mode, folder))
            assert [entry["content"] for entry in entries_of(Path(folder))][:2] == [RUBBISH, TORN]
            assert len(await numbers(path)) == 5
            assert await named(path) == []


@pytest.mark.parametrize("work", ["repair", "quarantine", "compact"])
async def test_p15_a_full_disk_leaves_no_temporary_file_behind(path: Path, work: str) -> None:
    policy = RetentionPolicy(max_records=2)
    for room in range(0, 6_000, 250):
        path.write_bytes(DAMAGED)
        fs = FaultyFs(path.parent)
        async with opened(path, fs=fs) as store:
            await store.scan()
            fs.fill(room)
            try:
                if work == "compact":
                    await store.compact(policy)
                else:
                    await store.recover(REPAIR if work == "repair" else QUARANTINE)
            except StoreFullError:
                assert list(path.parent.rglob("*.tmp")) == []
                assert path.read_bytes()[: len(SOUND)] == DAMAGED[: len(SOUND)]
            else:
                return
    pytest.fail("there was never room enough")


async def test_p18_lines_of_json_that_are_no_record_are_told_and_kept_aside(path: Path) -> None:
    path.write_bytes(SOUND + b'\n42\n"str"\n[]\n')
    assert await named(path) == ["blank_line", "garbage"]
    await recovered(path)
    kept = b"".join(entry["content"] for entry in entries_of(quarantine_of(path)))
    assert kept == b'\n42\n"str"\n[]\n'
    assert len(await numbers(path)) == 5


async def test_p20_what_json_cannot_say_reads_back_equal_or_says_that_it_does_not(path: Path) -> None:
    async with opened(path) as store:
        await store.append(
            [replace(fresh(1), payload={"time": float("inf"), "what": object(), "raw": b"\xff"})]
        )
        (found,) = await store.list_events()
    assert b"NaN" not in path.read_bytes()
    payload = found.payload
    assert isinstance(payload, dict)
    assert (payload["time"], payload["raw"]) == (float("inf"), b"\xff")
    assert isinstance(payload["what"], Unstorable)


async def test_p21_a_record_that_is_handed_in_twice_is_there_once_and_a_double_is_found(path: Path) -> None:
    async with opened(path) as store:
        await store.append([known(1)])
        await store.append([known(1), known(2)])
        assert [event.seq for event in await store.list_events()] == [1, 2]
    with path.open("ab") as file:
        file.write(line(1))
    assert await numbers(path) == [1, 2]
    assert await named(path) == ["duplicate_record"]
