"""What of a set of segments goes when it is told to, and what is only read."""

from __future__ import annotations

import shutil
from itertools import count
from typing import TYPE_CHECKING

import pytest

from papyra.persistence.models import RecordKind, ScanDepth
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.records import event
from tests.unit.files.sets import contents, files, filled, known, opened, seqs, words
from tests.unit.files.stores import HEADER, QUARANTINE, QuickFs, line

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.persistence._files.fs import FileInfo

pytestmark = pytest.mark.asyncio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


async def test_compaction_leaves_small_remainders_alone_and_says_so_beforehand(path: Path) -> None:
    pad = {"pad": "x" * 2_000}
    async with opened(path, max_bytes=200_000) as store:
        await store.append([event(number, payload=pad) for number in range(150)])
        before = contents(path)
        policy = RetentionPolicy(max_records=145)
        planned = await store.compact(policy, dry_run=True)
        done = await store.compact(policy)
        assert (planned.removed_records, done.removed_records) == (0, 0)
        assert contents(path) == before
        policy = RetentionPolicy(max_records=20)
        planned = await store.compact(policy, dry_run=True)
        done = await store.compact(policy)
        assert (planned.after_bytes, planned.after_records) == (done.after_bytes, done.after_records)
        assert done.after_bytes == sum(map(len, contents(path).values()))
        assert done.after_records == 20
        assert (await store.scan()).anomalies == ()


async def test_a_published_set_is_read_as_the_oldest_part_and_never_changed(path: Path) -> None:
    legacy = {
        path.with_name("log.2"): b'{"kind":"event","payload":{"number":1},"timestamp":1.0}\n',
        path.with_name("log.1"): b'{"kind":"event","payload":{"number":2},"timestamp":2.0}\n',
        path: b'{"kind":"event","payload":{"number":3},"timestamp":3.0}\n{"kind":"event","pay',
    }
    for file, content in legacy.items():
        file.write_bytes(content)
    async with opened(path) as store:
        assert [record.payload for record in await store.list_events()] == [{"number": n} for n in (1, 2, 3)]
        await store.append([event(4)])
        found = await store.list_events()
        assert [record.payload for record in found] == [{"number": n} for n in (1, 2, 3, 4)]
        assert (await store.scan(ScanDepth.TAIL)).anomalies == ()
        report = await store.recover(QUARANTINE)
        assert [anomaly.type.value for anomaly in report.left] == ["torn_tail"]
        await store.compact(RetentionPolicy(max_records=1))
        assert [record.payload for record in await store.list_events()] == [{"number": 4}]
    assert not path.with_name("log.2").exists(), "all its records had to go"
    assert path.with_name("log.segments").is_dir()


async def test_a_newer_lines_and_a_single_file_are_no_segments(path: Path) -> None:
    path.mkdir()
    (path / "event-1-1.ndjson").write_bytes(HEADER + line(1))
    assert await words(path) == ["foreign_file"]
    assert await seqs(path) == []


async def test_rotation_drops_segments_that_retention_keeps_nothing_of(path: Path) -> None:
    policies = (RetentionPolicy(max_records=7), RetentionPolicy(max_total_bytes=3_000))
    for policy in policies:
        async with opened(path, retention_policy=policy) as store:
            shown: list[int] = []
            for number in range(1, 60):
                await store.append(known(RecordKind.EVENT, number, number))
                now = [record.seq for record in await store.list_events()]
                assert set(now) >= set(shown) - set(range(now[0])), "no more than reads hide already"
                shown = now
            assert len(files(path)) < 8, "of twelve"
            assert (await store.scan()).anomalies == ()
        shutil.rmtree(path)


class Dropping(QuickFs):
    """Takes away the oldest segment, as another process may, right after it was looked at."""

    def __init__(self, folder: Path, after: int) -> None:
        self.folder = folder
        self.after = after

    def lstat(self, path: Path) -> FileInfo:
        found = super().lstat(path)
        self.after -= 1
        if self.after == -1:
            min(self.folder.glob("event.*")).unlink()
        return found


async def test_f14_whenever_retention_takes_a_segment_nobody_who_looks_or_shares_stumbles(path: Path) -> None:
    await filled(path, 12, shared=True)
    saved = path.with_name("saved")
    shutil.copytree(path, saved)
    for shared in (False, True):
        for after in count():
            shutil.rmtree(path)
            shutil.copytree(saved, path)
            fs = Dropping(path, after)
            async with opened(path, fs=fs, shared=shared) as store:
                for depth in ScanDepth:
                    assert (await store.scan(depth)).anomalies == ()
                numbers = [record.seq for record in await store.list_events()]
                assert numbers == list(range(numbers[0], 13))
                await store.stats()
                if shared:
                    await store.append(known(RecordKind.EVENT, 12, 14))
            if fs.after >= 0:
                break
        assert after > 10
