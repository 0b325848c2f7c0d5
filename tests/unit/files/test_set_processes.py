"""F11, F14: several processes at one folder of segments, killed or not, readers beside them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from papyra.exceptions import BackendClosedError, StoreLockedError, StoreUnavailableError
from papyra.persistence import run_sync
from papyra.persistence.backends.rotating import RotatingFilePersistence
from papyra.persistence.models import PersistedEvent, PersistenceAnomalyType, RecordKind, ScanDepth
from papyra.persistence.query import RecordQuery
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.records import event, letter
from tests.unit.files.sets import contents, files, filled, fresh, known, opened, seqs_in, words
from tests.unit.files.stores import REPAIR

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.asyncio
ROOT = Path(__file__).parents[3]

WRITER = """
import asyncio, itertools, sys
from papyra.persistence.backends.rotating import RotatingFilePersistence
from papyra.testing.records import event, letter

async def main():
    options = {"max_bytes": 20_000, "max_files": int(sys.argv[3]), "shared": sys.argv[2] == "shared"}
    name = sys.argv[4]
    async with RotatingFilePersistence(sys.argv[1], **options) as store:
        for number in itertools.count():
            await store.append([event(number, actor_path=name, payload="x" * (number % 900)), letter(number)])
            print(number, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


class Writer:
    """A process that appends until it is killed and says what was acknowledged."""

    def __init__(self, path: Path, how: str, name: str, max_files: int = 1000) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), how, str(max_files), name],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.name = name

    def until(self, count: int) -> int:
        """Return the last number acknowledged, once there are so many."""
        assert self.process.stdout is not None
        last = -1
        while last < count:
            last = int(self.process.stdout.readline())
        return last

    def end(self) -> int:
        """Kill it, and return the last number that was acknowledged."""
        self.process.send_signal(signal.SIGKILL)
        assert self.process.stdout is not None
        lines = self.process.stdout.read().split("\n")
        self.process.wait()
        self.process.stdout.close()
        return max((int(line) for line in lines[:-1] if line), default=-1)


@pytest.fixture
def writers() -> Iterator[list[Writer]]:
    started: list[Writer] = []
    yield started
    for writer in started:
        if writer.process.poll() is None:
            writer.end()


async def by_writer(path: Path) -> dict[str, list[int]]:
    """Return the numbers that each writer's events have, in store order."""
    found: dict[str, list[int]] = {}
    async with RotatingFilePersistence(path, shared=True) as store:
        query = RecordQuery(kind=RecordKind.EVENT, newest_first=False)
        async for record in store.iterate(query):
            if isinstance(record, PersistedEvent) and record.actor_path:
                number = int(record.actor_address.partition(":")[2])
                found.setdefault(record.actor_path, []).append(number)
    return found


async def test_i1_four_processes_share_a_folder_and_killed_ones_leave_what_they_acknowledged(
    path: Path, writers: list[Writer]
) -> None:
    writers += [Writer(path, "shared", f"/{name}") for name in range(4)]
    for writer in writers:
        writer.until(60)
    async with RotatingFilePersistence(path, shared=True) as store:
        for depth in ScanDepth:
            assert (await store.scan(depth)).anomalies == (), "beside four writers"
        await store.append([event(1, actor_path="/mine")])
        await store.recover(REPAIR)
        last = {writer.name: max(writer.until(90), writer.end()) for writer in writers[:2]}
        assert not (await store.scan()).has_damage
        await store.recover(REPAIR)
        assert (await store.scan()).anomalies == ()
    last |= {writer.name: max(writer.until(100), writer.end()) for writer in writers[2:]}
    found = await by_writer(path)
    assert found.pop("/mine") == [1]
    for name, numbers in found.items():
        assert numbers == list(range(len(numbers)))
        assert numbers[-1] >= last[name]
    async with RotatingFilePersistence(path, shared=True) as store:
        await store.recover(REPAIR)
        for depth in ScanDepth:
            assert (await store.scan(depth)).anomalies == ()


async def test_a_living_writers_files_are_nobody_elses_to_compact_and_a_dead_ones_are(
    path: Path, writers: list[Writer]
) -> None:
    writers.append(Writer(path, "shared", "/dead"))
    writers[0].until(60)
    writers[0].end()
    async with RotatingFilePersistence(path, shared=True) as living:
        await living.append([fresh(number) for number in range(50)])
        mine = {name: content for name, content in contents(path).items() if content}
        async with RotatingFilePersistence(path, shared=True) as other:
            planned = await other.compact(RetentionPolicy(max_records=0), dry_run=True)
            done = await other.compact(RetentionPolicy(max_records=0))
            assert (planned.removed, planned.after_records) == (done.removed, done.after_records)
            assert done.after_records == 50
        kept = contents(path)
        assert {name for name in kept if name.startswith("event.")} < set(mine)
        assert len(await living.list_events()) == 50
        assert (await living.scan()).anomalies == ()
    assert not list(path.glob("writer.*.lock")), "what the dead left is tidied up"


async def test_the_bound_holds_over_all_writers_and_takes_the_oldest_of_the_dead_first(path: Path) -> None:
    for _ in range(6):
        async with RotatingFilePersistence(path, shared=True, max_bytes=3_000, max_files=4) as store:
            await store.append([fresh(number) for number in range(20)])
            assert len(files(path)) <= 4 + 1
            assert (await store.scan()).anomalies == ()
    async with RotatingFilePersistence(path, shared=True, max_bytes=3_000, max_files=4) as store:
        await store.append([fresh(number) for number in range(200, 240)])
        newest = [int(record.actor_address.partition(":")[2]) for record in await store.list_events()]
        assert newest == list(range(newest[0], 240))
        assert len(files(path)) <= 4


async def test_sharing_and_not_sharing_keep_out_of_each_others_way(path: Path) -> None:
    async with opened(path) as alone:
        await alone.append([fresh(1)])
        async with RotatingFilePersistence(path, shared=True) as shared:
            with pytest.raises(StoreLockedError):
                await shared.append([fresh(2)])
        await alone.append([fresh(3)])
    async with RotatingFilePersistence(path, shared=True) as shared:
        await shared.append([fresh(4)])
        async with opened(path) as alone:
            with pytest.raises(StoreUnavailableError, match="shared=True"):
                await alone.append([fresh(5)])
            assert len(await alone.list_events()) == 3
        assert len(await shared.list_events()) == 3
        assert (await shared.scan()).anomalies == ()


@pytest.mark.parametrize("shared", [False, True])
async def test_f11_after_its_lock_was_deleted_a_writer_gives_way_until_the_other_has_gone(
    path: Path, caplog: pytest.LogCaptureFixture, *, shared: bool
) -> None:
    async with opened(path) as first:
        await first.append(known(RecordKind.EVENT, 1, 1))
        for lock in path.glob("*.lock"):
            lock.unlink()
        async with opened(path, shared=shared) as second:
            await second.append(known(RecordKind.EVENT, 2, 2))
            for _ in range(2):
                with pytest.raises(StoreLockedError):
                    await first.append(known(RecordKind.EVENT, 3, 3))
            with pytest.raises(StoreLockedError):
                await first.compact(RetentionPolicy(max_records=0))
            assert first.state.condition == "degraded"
        await first.append(known(RecordKind.EVENT, 2, 3))
        assert first.state.is_ok
        assert "deleted while it was held" in caplog.text
        async with opened(path) as third:
            with pytest.raises(StoreUnavailableError):
                await third.append([fresh(4)])
        assert await seqs_in(first) == [1, 2, 3]


async def test_f11_a_shared_writer_whose_lock_was_deleted_is_soon_known_to_live_again(path: Path) -> None:
    async with opened(path, shared=True) as first, opened(path, shared=True) as second:
        await first.append(known(RecordKind.EVENT, 1, 1))
        for lock in path.glob("writer.*.lock"):
            lock.unlink()
        await first.append(known(RecordKind.EVENT, 2, 2))
        await second.append([fresh(1)])
        await second.compact(RetentionPolicy(max_records=0))
        assert await seqs_in(second) == [1, 2], "a living writer's files are nobody else's to compact"
        assert len(list(path.glob("writer.*.lock"))) == 2


async def test_pages_of_several_writers_are_complete_while_all_of_them_write(path: Path) -> None:
    options: dict[str, Any] = {"shared": True, "max_bytes": 3_000}
    async with (
        RotatingFilePersistence(path, **options) as first,
        RotatingFilePersistence(path, **options) as second,
    ):
        for number in range(0, 40, 2):
            await first.append([fresh(number)])
            await second.append([fresh(number + 1)])
        seen: list[int] = []
        cursor = None
        while True:
            query = RecordQuery(kind=RecordKind.EVENT, limit=7, cursor=cursor)
            page = await first.read(query)
            seen += [int(getattr(record, "actor_address", "").partition(":")[2]) for record in page.records]
            cursor = page.cursor
            if cursor is None:
                break
            await second.append([fresh(100 + len(seen))])
        assert seen == list(range(40))[::-1]


async def test_one_writer_at_a_time_where_it_is_not_shared(path: Path, writers: list[Writer]) -> None:
    writers.append(Writer(path, "alone", "/first"))
    writers[0].until(3)
    async with opened(path) as store:
        with pytest.raises(StoreLockedError, match=rf"process {writers[0].process.pid} on .*scan"):
            await store.append([fresh(1)])
        writers[0].end()
        await store.append([fresh(1)])


async def test_f14_scans_and_reads_beside_a_writer_that_rotates_and_drops_raise_no_alarm(
    path: Path, writers: list[Writer]
) -> None:
    writers.append(Writer(path, "alone", "/writer", max_files=3))
    writers[0].until(300)
    async with opened(path) as reader:
        first_seen = set()
        for turn in range(200):
            for depth in ScanDepth:
                assert (await reader.scan(depth)).anomalies == ()
            numbers = [int(record.actor_address.partition(":")[2]) for record in await reader.list_events()]
            assert numbers == list(range(numbers[0], numbers[-1] + 1)), turn
            first_seen.add(numbers[0])
            await reader.stats()
            if len(first_seen) > 5:
                break
        assert len(files(path)) <= 4
    last = max(writers[0].until(301), writers[0].end())
    async with opened(path) as store:
        newest = (await store.list_events(limit=1))[0]
        assert int(newest.actor_address.partition(":")[2]) >= last
        await store.recover(REPAIR)
    assert await words(path) == []
    assert len(first_seen) > 1, "it rotated meanwhile"


@pytest.mark.parametrize("shared", [False, True])
async def test_a_forked_child_is_told_to_open_anew_and_takes_nothing_along(
    path: Path, *, shared: bool
) -> None:
    store = RotatingFilePersistence(path, shared=shared)
    await store.append([fresh(1)])
    pid = await asyncio.to_thread(_forked, store)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    await store.append([fresh(2), letter(3)])
    assert len(await store.list_events()) == 2
    await store.aclose()


def _forked(store: RotatingFilePersistence) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        run_sync(store.append([fresh(9)]))
    except BackendClosedError:
        run_sync(store.aclose())
        code = 0
    finally:
        os._exit(code)


async def test_opening_and_looking_write_nothing(path: Path) -> None:
    async with opened(path) as store:
        assert await store.list_events() == ()
        assert (await store.scan()).anomalies == ()
        await store.stats()
    assert not path.exists()
    await filled(path)
    before = {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in path.rglob("*")}
    async with opened(path) as store:
        await store.list_events()
        for depth in ScanDepth:
            await store.scan(depth)
        await store.compact(RetentionPolicy(max_records=1), dry_run=True)
    assert {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in path.rglob("*")} == before


async def test_i8_numbers_of_what_was_not_stored_are_given_again(path: Path) -> None:
    async with opened(path) as store:
        await store.append(known(RecordKind.EVENT, 1, 1))
        for kind in ("audit", "dead_letter"):
            (path / f"{kind}-00000001-00000000000000000001.ndjson").mkdir()
        await store.append([event(1), event(2)])
        await store.append([letter(5), event(3)])
        assert (await store.scan()).counts.keys() == {"foreign_file"}


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
async def test_a_half_written_line_of_a_live_writer_is_waited_for_and_not_called_torn(
    path: Path, *, shared: bool
) -> None:
    async with opened(path, shared=shared) as live:
        await live.append(known(RecordKind.EVENT, 1, 1))
        (segment,) = path.glob("event*.ndjson")
        middle = segment.read_bytes()[-100:-50]
        async with opened(path, shared=shared) as store:
            with segment.open("ab", buffering=0) as file:
                file.write(middle)
                scan = asyncio.ensure_future(store.scan())
                await asyncio.sleep(0.05)  # some of its looks pass
                assert not scan.done()
                file.write(b"\n")
            assert (await scan).counts == {PersistenceAnomalyType.GARBAGE: 1}


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
async def test_a_rewrite_at_work_is_called_left_over_only_once_no_writer_lives(
    path: Path, *, shared: bool
) -> None:
    async with opened(path, shared=shared) as live, opened(path, shared=shared) as store:
        await live.append(known(RecordKind.EVENT, 1, 1))
        (segment,) = path.glob("event*.ndjson")
        segment.with_name(f"{segment.name}.rewrite.tmp").write_bytes(segment.read_bytes())
        assert (await store.scan()).anomalies == ()
        await live.aclose()
        assert (await store.scan()).counts == {PersistenceAnomalyType.LEFTOVER_FILE: 1}
