from __future__ import annotations

import asyncio
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import BackendClosedError, StoreLockedError
from papyra.persistence import run_sync
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import ScanDepth
from papyra.persistence.retention import RetentionPolicy
from tests.unit.files.stores import (
    REPAIR,
    QuickFs,
    everything,
    fresh,
    known,
    named,
    numbers,
    opened,
    recovered,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]

WRITER = """
import asyncio, itertools, sys
from papyra.persistence.json import JsonFilePersistence
from papyra.testing.records import event, letter

async def main():
    async with JsonFilePersistence(sys.argv[1]) as store:
        for number in itertools.count(int(sys.argv[2])):
            batch = [event(number), letter(number, payload={"number": number, "text": "x" * (number % 9000)})]
            await store.append(batch)
            print(number, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.ndjson"


class Writer:
    """A process that appends until it is killed and says what was acknowledged."""

    def __init__(self, path: Path, first: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(first)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.pid = self._process.pid

    def acknowledged(self, count: int) -> list[int]:
        assert self._process.stdout is not None
        return [int(self._process.stdout.readline()) for _ in range(count)]

    def kill(self) -> list[int]:
        self._process.send_signal(signal.SIGKILL)
        rest, _ = self._process.communicate(timeout=10)
        return [int(text) for text in rest.split("\n")[:-1]]


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    process = Writer(path, 0)
    process.acknowledged(5)
    yield process
    process.kill()


async def test_i1_i5_killed_again_and_again_a_writer_loses_nothing_it_acknowledged(path: Path) -> None:
    acknowledged: list[int] = []
    for life in range(4):
        process = Writer(path, life * 100_000)
        acknowledged += process.acknowledged(20 + 7 * life)
        acknowledged += process.kill()
        if life % 2:
            await recovered(path)
            assert await named(path) == []
    await recovered(path)
    assert await named(path) == []
    async with opened(path) as store:
        found = await everything(store)
    for kind in ("event", "dead_letter"):
        numbers = [record.payload["number"] for record in found[kind]]  # type: ignore[union-attr, index]
        assert [number for number in numbers if number in set(acknowledged)] == acknowledged
        assert len(numbers) == len(set(numbers))


async def test_i3_a_scan_beside_a_live_writer_gives_no_false_alarm(path: Path, writer: Writer) -> None:
    async with JsonFilePersistence(path) as store:
        for _ in range(25):
            for depth in ScanDepth:
                report = await store.scan(depth)
                assert not report.has_anomalies, report.anomalies
        seen = [event.payload["number"] for event in await store.list_events()]  # type: ignore[index]
    assert seen == list(range(len(seen)))
    assert writer.pid


async def test_i3_a_scan_beside_a_repair_gives_no_false_alarm_once_it_is_done(path: Path) -> None:
    async with opened(path) as writer, opened(path) as watcher:
        for number in range(30):
            await writer.append([fresh(number), fresh(number + 1)])
            with path.open("ab") as file:
                file.write(b'{"seq":1,"kind":"ev')
            repair = asyncio.ensure_future(writer.recover(REPAIR))
            found = (await watcher.scan()).anomalies
            assert {anomaly.type.value for anomaly in found} <= {"torn_tail"}
            await repair
            assert not (await watcher.scan()).has_anomalies


async def test_a_second_process_reads_and_scans_and_may_not_write(path: Path, writer: Writer) -> None:
    async with JsonFilePersistence(path) as store:
        assert len(await store.list_events(limit=3)) == 3
        rehearsed = await store.compact(RetentionPolicy(max_records=1), dry_run=True)
        assert rehearsed.removed_records > 0
        for task in (store.compact, store.append, store.recover):
            argument = {"compact": None, "append": [fresh(1)], "recover": REPAIR}[task.__name__]
            with pytest.raises(StoreLockedError, match=rf"process {writer.pid} on .*scan"):
                await task(argument)  # type: ignore[arg-type]
        writer.kill()
        await store.append([fresh(1)])


async def test_the_commands_that_a_refusal_names_can_be_typed_as_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "a b's" / "$log.ndjson"
    path.parent.mkdir()
    async with opened(path) as live, opened(path) as store:
        await live.append([fresh(1)])
        with pytest.raises(StoreLockedError) as refusal:
            await store.append([fresh(2)])
    commands = [shlex.split(part.partition(",")[0]) for part in str(refusal.value).split("papyra ")[1:]]
    assert [command[-2:] for command in commands] == [["--path", str(path)]] * 2


async def test_a_half_written_line_of_a_live_writer_is_waited_for_and_not_called_torn(path: Path) -> None:
    async with opened(path) as live:
        await live.append([fresh(1)])
        whole = path.read_bytes()
        with path.open("ab") as file:
            file.write(whole[-100:-50])
            file.flush()
            async with opened(path) as store:
                scan = asyncio.ensure_future(store.scan())
                await asyncio.sleep(0.05)  # some of its looks pass
                assert not scan.done()
                file.write(b"\n")
                file.flush()
                assert (await scan).has_anomalies
    path.write_bytes(whole + whole[-100:-50])
    assert (await named(path)) == ["garbage"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_after_a_fork_the_child_is_told_to_open_anew_and_the_parent_keeps_the_lock(path: Path) -> None:
    store = JsonFilePersistence(path)
    run_sync(store.append([fresh(1)]))
    child = os.fork()
    if child == 0:
        os._exit(outcome_in_child(store, path))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    run_sync(store.append([fresh(2)]))
    other = JsonFilePersistence(path)
    with pytest.raises(StoreLockedError):
        run_sync(other.append([fresh(3)]))
    run_sync(store.aclose())
    run_sync(other.append([fresh(3)]))
    run_sync(other.aclose())


def outcome_in_child(store: JsonFilePersistence, path: Path) -> int:
    try:
        for task in (store.append([fresh(9)]), store.list_events()):
            try:
                run_sync(task)
            except BackendClosedError:
                continue
            return 1
        run_sync(store.aclose())
        mine = JsonFilePersistence(path)
        if len(run_sync(mine.list_events())) != 1:
            return 2
        try:
            run_sync(mine.append([fresh(9)]))
        except StoreLockedError:
            return 0
        else:
            return 3
    except BaseException:  # noqa: BLE001  # a child must not run the parent's tests
        return 4


async def test_f11_after_its_lock_was_deleted_a_writer_gives_way_until_the_other_has_gone(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lock = path.with_name(f"{path.name}.lock")
    async with opened(path) as first:
        await first.append([known(1)])
        lock.unlink()
        async with opened(path) as second:
            await second.append([known(2)])
            for _ in range(2):
                with pytest.raises(StoreLockedError):
                    await first.append([known(3)])
            with pytest.raises(StoreLockedError):
                await first.compact(RetentionPolicy(max_records=0))
            assert first.state.condition == "degraded"
        await first.append([known(2), known(3)])
        assert first.state.is_ok
        assert "deleted while it was held" in caplog.text
        async with opened(path) as third:
            with pytest.raises(StoreLockedError):
                await third.append([known(4)])
    assert await numbers(path) == [1, 2, 3]


async def test_a_lock_file_that_is_removed_as_it_is_taken_is_not_taken_for_the_lock(path: Path) -> None:
    class Meddled(QuickFs):
        is_meddling = True

        def lock(self, fd: int, *, shared: bool = False) -> bool:
            if self.is_meddling:
                self.is_meddling = False
                path.with_name(f"{path.name}.lock").unlink()
            return super().lock(fd, shared=shared)

    async with opened(path, fs=Meddled()) as first, opened(path) as second:
        await first.append([known(1)])
        with pytest.raises(StoreLockedError):
            await second.append([known(2)])
