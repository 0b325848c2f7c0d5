from __future__ import annotations

import asyncio
import os
import shutil
import threading
from typing import TYPE_CHECKING

import pytest

from papyra.clock import mint_incarnation
from papyra.exceptions import AppendError, BackendClosedError, RecordConflictError, StoreLockedError
from papyra.node import this_node
from papyra.persistence import codec, run_sync
from papyra.persistence._files import known as identities
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import RecordKind
from papyra.testing.clock import ManualClock
from papyra.testing.faults import FaultyFs
from tests.unit.files.stores import (
    HEADER,
    REPAIR,
    everything,
    fresh,
    known,
    line,
    named,
    numbers,
    opened,
)

if TYPE_CHECKING:
    from pathlib import Path

LEGACY = b'{"kind":"event","system_id":"local","payload":{"b":2, "a":1.50},"timestamp":1837.5}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.ndjson"


async def test_opening_reading_and_scanning_create_nothing(path: Path) -> None:
    async with opened(path) as store:
        assert await store.list_events() == ()
        assert (await store.stats()).total_bytes == 0
        assert not (await store.scan()).has_anomalies
        assert (await store.compact(dry_run=True)).before_records == 0
    assert list(path.parent.iterdir()) == []


async def test_the_first_append_writes_a_header_also_into_an_empty_file(path: Path) -> None:
    for is_there in (False, True):
        path.unlink(missing_ok=True)
        if is_there:
            path.touch()
        async with opened(path) as store:
            await store.append([fresh(1)])
        header, first, *rest = path.read_bytes().splitlines()
        assert (codec.decode_header(header).format, rest) == (codec.FORMAT, [])
        assert codec.decode_head(first).seq == 1


async def test_a_new_file_is_in_its_folder_for_good_before_the_first_acknowledgement(path: Path) -> None:
    fs = FaultyFs(path.parent)
    async with opened(path, fs=fs) as store:
        await store.append([fresh(1)])
        assert fs.calls.index("create") < fs.calls.index("sync_folder")
        assert fs.calls[-2:] == ["write", "sync"]


async def test_a_batch_is_one_write_and_one_sync(path: Path) -> None:
    fs = FaultyFs(path.parent)
    async with opened(path, fs=fs) as store:
        await store.append([fresh(1)])
        before = len(fs.calls)
        await asyncio.gather(*(store.append([fresh(number)]) for number in range(2, 50)))
        assert fs.calls[before:].count("write") == fs.calls[before:].count("sync") <= 3


async def test_i1_repeating_an_append_stores_it_once(path: Path) -> None:
    records = [known(1), known(1, kind=RecordKind.AUDIT), known(2)]
    async with opened(path) as store:
        await store.append(records)
        await store.append(records)
        await store.append([known(3), known(3)])
    once = path.read_bytes()
    async with opened(path) as store:
        await store.append([*records, known(3)])
    assert path.read_bytes() == once
    assert await named(path) == []


async def test_other_bytes_under_a_stored_identity_are_refused_and_the_rest_is_stored(path: Path) -> None:
    for reopen in (False, True):
        path.unlink(missing_ok=True)
        async with opened(path) as store:
            await store.append([known(1), known(2)])
            if not reopen:
                await refuses_second(store)
        if reopen:
            async with opened(path) as store:
                await refuses_second(store)
        assert await numbers(path) == [1, 2, 3]
        assert await named(path) == []


async def refuses_second(store: JsonFilePersistence) -> None:
    with pytest.raises(AppendError) as caught:
        await store.append([known(2, event_type="Other"), known(3)])
    assert [(at, type(error)) for at, error in caught.value.refused] == [(0, RecordConflictError)]


async def test_i1_a_late_record_below_the_highest_is_stored_and_not_taken_for_a_repetition(
    path: Path,
) -> None:
    async with opened(path) as store:
        await store.append([known(1), known(3)])
        await store.append([known(2)])
        assert sorted(event.seq for event in await store.list_events()) == [1, 2, 3]
        await store.recover(REPAIR)
    assert await numbers(path) == [1, 2, 3]
    assert await named(path) == []


async def test_a_fresh_process_does_not_read_the_file_to_append(path: Path) -> None:
    path.write_bytes(HEADER + b"".join(line(seq) for seq in range(1, 2000)))
    os.utime(path, (1_790_000_000, 1_790_000_000))

    class Reading(FaultyFs):
        read = 0

        def pread(self, fd: int, length: int, offset: int) -> bytes:
            self.read += length
            return super().pread(fd, length, offset)

    fs = Reading(path.parent)
    async with opened(path, fs=fs) as store:
        await store.append([fresh(1), known(1, incarnation=mint_incarnation(1_800_000_000.0))])
        assert fs.read < 20_000
        await store.append([known(1999)])
        assert fs.read > path.stat().st_size / 2
    assert len(await numbers(path)) == 2001


async def test_r5_a_writer_remembers_a_bounded_number_of_records_and_looks_older_ones_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "MAX_REMEMBERED", 10)
    records = [known(seq) for seq in range(1, 36)]
    async with opened(path) as store:
        for record in records:
            await store.append([record])
        whole = path.read_bytes()
        await store.append(records)
        assert path.read_bytes() == whole
        with pytest.raises(AppendError):
            await store.append([known(5, event_type="Other")])


async def test_legacy_lines_stay_byte_for_byte_and_are_followed_by_framed_ones(path: Path) -> None:
    path.write_bytes(LEGACY + LEGACY[:-1])
    async with opened(path) as store:
        await store.append([fresh(1)])
        await store.recover(REPAIR)
        found = (await everything(store))["event"]
    assert [(event.incarnation != "", event.timestamp) for event in found][:2] == [(False, 1837.5)] * 2
    assert path.read_bytes().startswith(LEGACY * 2 + b'{"seq":1,')
    assert await named(path) == []


async def test_the_second_writer_is_told_who_the_first_is_and_what_works_meanwhile(path: Path) -> None:
    async with opened(path) as first, opened(path) as second:
        await first.append([fresh(1)])
        for task in (second.append([fresh(2)]), second.recover(REPAIR)):
            with pytest.raises(
                StoreLockedError, match=rf"process {os.getpid()} on .*papyra persistence scan"
            ):
                await task
        assert len(await second.list_events()) == 1
        assert not (await second.scan()).has_anomalies
        await first.aclose()
        await second.append([fresh(2)])
    assert len(await numbers(path)) == 2
    assert path.with_name("log.ndjson.lock").exists()


async def test_a_link_shares_the_lock_of_its_target_and_stays_a_link(path: Path) -> None:
    path.write_bytes(HEADER + line(1) + b"rubbish\n")
    path.chmod(0o640)
    link = path.parent / "links" / "log"
    link.parent.mkdir()
    link.symlink_to(path)
    async with opened(path) as first, opened(link) as second:
        await first.append([fresh(1)])
        with pytest.raises(StoreLockedError):
            await second.append([fresh(2)])
        await first.aclose()
        await second.recover(REPAIR)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert await named(path) == []
    assert [entry.name for entry in link.parent.iterdir()] == ["log"]


async def test_a_file_that_was_moved_or_cut_under_the_writer_gets_no_records_lost(path: Path) -> None:
    async with opened(path) as store:
        await store.append([fresh(1)])
        shutil.move(path, path.with_name("log.1"))
        await store.append([fresh(2)])
        assert [event.payload for event in await store.list_events()] == [{"number": 2}]
        path.write_bytes(b"")
        await store.append([fresh(3)])
        assert [event.payload for event in await store.list_events()] == [{"number": 3}]
    assert await named(path) == []


def test_several_threads_and_loops_use_one_store(path: Path) -> None:
    store = JsonFilePersistence(path)

    def write(thread: int) -> None:
        for number in range(10):
            run_sync(store.append([fresh(thread * 100 + number)]))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(run_sync(store.list_events())) == 40
    run_sync(store.aclose())
    assert run_sync(numbers(path)) == list(range(1, 41))


async def test_closing_stores_what_was_accepted_and_frees_the_lock(path: Path) -> None:
    store = JsonFilePersistence(path)
    appends = [asyncio.ensure_future(store.append([fresh(number)])) for number in range(100)]
    await asyncio.sleep(0)
    await store.aclose()
    await asyncio.gather(*appends)
    assert len(await numbers(path)) == 100
    with pytest.raises(BackendClosedError):
        await store.append([fresh(1)])
    with pytest.raises(BackendClosedError):
        await store.list_events()
    await store.aclose()
    async with opened(path) as other:
        await other.append([fresh(1)])


async def test_i8_the_loop_runs_on_while_the_disk_takes_its_time(path: Path) -> None:
    released = threading.Event()

    class Slow(FaultyFs):
        def sync(self, fd: int) -> None:
            released.wait(5)
            super().sync(fd)

    async with opened(path, fs=Slow(path.parent)) as store:
        append = asyncio.ensure_future(store.append([fresh(1)]))
        reads = [await store.list_events() for _ in range(3)]
        assert not append.done()
        released.set()
        await append
    assert len(reads) == 3


async def test_recovery_and_compaction_serialise_with_live_appends(path: Path) -> None:
    path.write_bytes(HEADER + line(1) + b"rubbish\n" + line(2))
    done = asyncio.Event()
    async with opened(path) as store:

        async def append(offset: int) -> int:
            count = 0
            while not done.is_set():
                await store.append([fresh(offset + count)])
                count += 1
            return count

        writers = [asyncio.ensure_future(append(number * 10_000)) for number in range(8)]
        for _ in range(5):
            await store.recover(REPAIR)
            await store.compact()
            assert not (await store.scan()).has_anomalies
        done.set()
        written = sum(await asyncio.gather(*writers))
    assert len(await numbers(path)) == written + 2
    assert await named(path) == []


async def test_a_recovery_that_ignores_takes_no_lock_and_changes_nothing(path: Path) -> None:
    path.write_bytes(HEADER + line(1) + b"rubbish\n")
    before = path.read_bytes()
    async with opened(path) as store:
        report = await store.recover()
        assert [anomaly.type.value for anomaly in report.left] == ["garbage"]
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


async def test_a_lost_incarnation_is_closed_by_a_repair_and_a_living_one_is_not(path: Path) -> None:
    clock = ManualClock()
    alive = this_node().to_dict()
    gone = {**alive, "pid": 2**22 - 1}
    silent = {**alive, "host": "another"}
    started = [
        line(
            1, incarnation=f"life-{name}", event_type="SystemStarted", payload={"node": node}, timestamp=when
        )
        for name, node, when in (
            ("alive", alive, clock.now() - 1000),
            ("gone", gone, clock.now()),
            ("silent", silent, clock.now() - 181),
            ("recent", silent, clock.now() - 179),
        )
    ]
    path.write_bytes(HEADER + b"".join(started))
    async with opened(path, clock=clock) as store:
        report = await store.scan()
        assert [str(anomaly.detail).split()[1] for anomaly in report.anomalies] == [
            "life-gone",
            "life-silent",
        ]
        assert not report.has_damage
        await store.recover(REPAIR)
        assert not (await store.scan()).has_anomalies
        notes = [event for event in await store.list_events() if event.event_type == "IncarnationLost"]
        assert [event.payload["closes"] for event in notes] == ["life-gone", "life-silent"]  # type: ignore[index]
        assert {event.system_id for event in notes} == {"orders"}
