"""Guards of segments and of spills that only a fault at the right moment shows; see `test_guards.py`."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import zlib
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from papyra.clock import mint_incarnation
from papyra.exceptions import (
    ForeignStoreError,
    NewerFormatError,
    PersistenceError,
    StoreFailedError,
    StoreFullError,
    StoreLockedError,
)
from papyra.persistence import codec
from papyra.persistence._files.carrying import find_notes
from papyra.persistence._files.folder import Folder, read_footer, writer_lock
from papyra.persistence.backends.rotating import RotatingFilePersistence
from papyra.persistence.models import RecordKind
from papyra.persistence.retention import RetentionPolicy
from papyra.persistence.stores import NewFile
from papyra.testing import ManualClock
from papyra.testing.faults import Crash, FaultyFs, PowerLoss
from tests.faults_files.works import RUBBISH
from tests.unit.files.sets import contents, files, filled, known, opened, quarantined, seqs, words
from tests.unit.files.spills import Target, drain, entries, spill_in
from tests.unit.files.stores import REPAIR, note

if TYPE_CHECKING:
    from pathlib import Path

OTHER = codec.encode_header(store="another", family="event", segment=1)
_BODY = re.sub(rb'"format":[0-9]+', b'"format":99', OTHER).rpartition(b',"crc"')[0]
NEWER = b'%b,"crc":"%08x"}\n' % (_BODY, zlib.crc32(_BODY))
SHARED = pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root" / "log"


async def cut(store: RotatingFilePersistence, fs: FaultyFs, loss: PowerLoss = PowerLoss.ALL_GONE) -> None:
    fs.cut_power(loss)
    with suppress(PersistenceError, Crash):
        await store.aclose()


@SHARED
async def test_i1_the_first_record_of_a_new_folder_outlives_a_loss_of_power(
    path: Path, *, shared: bool
) -> None:
    fs = FaultyFs(path.parent)
    store = RotatingFilePersistence(path, fs=fs, shared=shared)
    await store.append(known(RecordKind.EVENT, 1, 1))
    await cut(store, fs)
    assert await seqs(path, shared=shared) == [1]


@SHARED
@pytest.mark.parametrize("room", range(0, 700, 50))
async def test_a_store_that_found_no_room_to_begin_begins_as_one_store_of_one_writer(
    path: Path, room: int, *, shared: bool
) -> None:
    fs = FaultyFs(path.parent)
    async with opened(path, fs=fs, shared=shared) as store:
        fs.fill(room)
        with suppress(StoreFullError):
            await store.append(known(RecordKind.EVENT, 1, 1))
        fs.fill(None)
        for kind in RecordKind:
            await store.append(known(kind, 1, 2))
        locks = {lock.name.split(".")[1] for lock in path.glob("writer.*.lock")}
    begun = {name: text for name, text in contents(path).items() if text}
    assert {name.split(".")[1].partition("-")[0] for name in begun if shared} == locks
    assert len({codec.decode_header(text.split(b"\n")[0]).store for text in begun.values()}) == 1
    assert await words(path, shared=shared) == []
    assert await seqs(path, shared=shared) == [1, 2]


@SHARED
async def test_a_sync_follows_by_itself_within_the_interval(path: Path, *, shared: bool) -> None:
    fs = FaultyFs(path.parent)
    store = RotatingFilePersistence(path, fs=fs, fsync="interval", fsync_interval_seconds=0.2, shared=shared)
    await store.append(known(RecordKind.EVENT, 1, 3))
    written = len(fs.calls) - fs.calls[::-1].index("write")
    async with asyncio.timeout(10):
        while "sync" not in fs.calls[written:]:  # noqa: ASYNC110  # a thread of the store's own does it
            await asyncio.sleep(0)
    await store.append(known(RecordKind.EVENT, 1, 3))  # waits until that has come to its end
    await cut(store, fs)
    assert await seqs(path, shared=shared) == [1, 2, 3]


@SHARED
@pytest.mark.parametrize("policy", ["os", "interval"])
async def test_i1_what_was_sealed_and_closed_outlives_a_loss_of_power(
    path: Path, policy: str, *, shared: bool
) -> None:
    fs = FaultyFs(path.parent)
    options: dict[str, Any] = {"fsync": policy, "fsync_interval_seconds": 3600, "shared": shared}
    async with opened(path, fs=fs, **options) as store:
        for number in range(1, 31):
            await store.append(known(RecordKind.EVENT, number, number))
    fs.cut_power(PowerLoss.ALL_GONE)
    assert len(list(path.glob("event*.ndjson"))) > 2
    assert await seqs(path, shared=shared) == list(range(1, 31))


@SHARED
async def test_i1_what_is_written_again_after_a_failed_sync_outlives_a_loss_of_power(
    path: Path, *, shared: bool
) -> None:
    fs = FaultyFs(path.parent)
    store = RotatingFilePersistence(path, fs=fs, shared=shared)
    await store.append(known(RecordKind.EVENT, 1, 1))
    fs.fail("sync", errno.EIO, times=1)
    await store.append(known(RecordKind.EVENT, 2, 2))
    await cut(store, fs)
    assert await seqs(path, shared=shared) == [1, 2]


@SHARED
async def test_a_sync_that_fails_as_a_compaction_begins_is_not_taken_for_another_program(
    path: Path, *, shared: bool
) -> None:
    fs = FaultyFs(path.parent)
    async with opened(path, fs=fs, fsync="os", shared=shared) as store:
        await store.append(known(RecordKind.EVENT, 1, 5))
        fs.fail("sync", errno.EIO, times=1)
        await store.compact(RetentionPolicy(max_records=4))
    assert await seqs(path, shared=shared) in ([1, 2, 3, 4, 5], [2, 3, 4, 5])


async def test_i1_a_disk_that_is_full_only_when_it_is_asked_to_sync_is_not_believed_again(path: Path) -> None:
    fs = FaultyFs(path.parent)
    store = RotatingFilePersistence(path, fs=fs)
    await store.append(known(RecordKind.EVENT, 1, 1))
    fs.fail("sync", errno.ENOSPC, times=1)
    with suppress(StoreFullError):
        await store.append(known(RecordKind.EVENT, 2, 2))
    await store.append(known(RecordKind.EVENT, 2, 3))
    await cut(store, fs)
    assert await seqs(path) == [1, 2, 3]


@pytest.mark.parametrize("policy", ["always", "os"])
async def test_after_a_failed_sync_every_line_stands_in_one_segment(path: Path, policy: str) -> None:
    fs = FaultyFs(path.parent)
    async with opened(path, fs=fs, fsync=policy) as store:
        for number in range(1, 5):
            await store.append(known(RecordKind.EVENT, number, number))
        fs.fail("sync", errno.EIO, times=1)
        await store.append(known(RecordKind.EVENT, 5, 5))
    lines = Counter(
        line for text in contents(path).values() for line in text.splitlines() if b"Actor" in line
    )
    assert sorted(lines.values()) == [1] * 5
    assert len(files(path)) == 2


async def test_a_doubtful_set_is_written_anew_though_an_earlier_rewrite_left_something(path: Path) -> None:
    async with opened(path) as store:
        await store.append(known(RecordKind.EVENT, 1, 3))
    (path / "store.lock").write_text('{"doubtful_from": 0}')
    (segment,) = files(path)
    leftover = segment.with_name(f"{segment.name}.rewrite.tmp")
    leftover.write_bytes(RUBBISH)
    doubted = segment.stat().st_ino
    async with opened(path) as store:
        await store.append(known(RecordKind.EVENT, 4, 4))
    assert segment.stat().st_ino != doubted
    assert not leftover.exists()
    assert RUBBISH in quarantined(path)
    assert await seqs(path) == [1, 2, 3, 4]


async def test_what_another_program_adds_to_a_segment_swallows_no_record(path: Path) -> None:
    async with opened(path) as store:
        await store.append(known(RecordKind.EVENT, 1, 1))
        with files(path)[0].open("ab") as file:
            file.write(b"half a line of somebody")
        for number in range(2, 20):
            await store.append(known(RecordKind.EVENT, number, number))
    assert await seqs(path) == list(range(1, 20))
    assert await words(path) == ["garbage"]


async def test_a_segment_that_somebody_takes_away_takes_nothing_along_that_comes_after(path: Path) -> None:
    async with opened(path) as store:
        await store.append(known(RecordKind.EVENT, 1, 1))
        files(path)[0].unlink()
        await store.append(known(RecordKind.EVENT, 2, 2))
    assert await seqs(path) == [2]


async def test_who_does_not_share_keeps_out_while_a_writer_is_only_about_to_begin(path: Path) -> None:
    async with opened(path) as store:
        await store.append(known(RecordKind.EVENT, 1, 1))
    folder = Folder("rotating", FaultyFs(path.parent), path, ManualClock())
    lock = writer_lock(folder, mint_incarnation(1.0))
    lock.acquire()
    lock.sign(1.0)
    async with opened(path) as store:
        with pytest.raises(StoreLockedError):
            await store.append(known(RecordKind.EVENT, 2, 2))
        lock.release()
        await store.append(known(RecordKind.EVENT, 2, 2))
    assert await seqs(path) == [1, 2]


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_compaction_leaves_a_newer_store_and_one_of_two_stores_alone(
    path: Path, *, dry_run: bool
) -> None:
    await filled(path)
    segments = files(path)
    for wrong, error in ((NEWER, NewerFormatError), (OTHER, ForeignStoreError)):
        before = segments[0].read_bytes()
        first, *rest = before.splitlines(keepends=True)
        segments[0].write_bytes(b"".join([first, *rest[:2], wrong, *rest[2:]]))
        changed = contents(path)
        async with opened(path) as store:
            with pytest.raises(error):
                await store.compact(RetentionPolicy(max_records=1), dry_run=dry_run)
            with pytest.raises(error):
                await store.recover(REPAIR)
        assert contents(path) == changed
        segments[0].write_bytes(before)


async def test_a_name_of_a_compaction_and_one_that_is_dropped_last_before_it_says_so(path: Path) -> None:
    await filled(path, 40)
    fs = FaultyFs(path.parent)
    async with opened(path, fs=fs) as store:
        await store.compact(RetentionPolicy(max_records=17))
        calls = fs.calls[:]
    assert "remove" in calls
    for call in ("remove", "replace"):
        last = len(calls) - 1 - calls[::-1].index(call)
        assert "sync_folder" in calls[last:], call


async def test_segments_that_a_compaction_drops_whole_are_gone_for_good_when_it_returns(path: Path) -> None:
    await filled(path)
    kept = 21 - int(files(path)[-1].stem.rsplit("-", 1)[1])
    fs = FaultyFs(path.parent)
    store = RotatingFilePersistence(path, fs=fs)
    await store.compact(RetentionPolicy(events=RetentionPolicy(max_records=kept)))
    assert len(files(path)) == 1
    await cut(store, fs, PowerLoss.CONTENTS_KEPT)
    assert len(files(path)) == 1


async def test_a_segment_beyond_the_bound_is_gone_for_good_before_its_append_returns(path: Path) -> None:
    fs = FaultyFs(path.parent)
    async with opened(path, fs=fs, max_files=2) as store:
        number = 0
        while "remove" not in fs.calls:
            number += 1
            await store.append(known(RecordKind.EVENT, number, number))
        last = len(fs.calls) - 1 - fs.calls[::-1].index("remove")
        assert "sync_folder" in fs.calls[last:]


@SHARED
async def test_i6_names_that_a_recovery_put_right_and_what_it_took_away_stay_so_without_power(
    path: Path, *, shared: bool
) -> None:
    async with opened(path, shared=shared) as store:
        for number in range(1, 21):
            await store.append(known(RecordKind.EVENT, number, number))
    (path / f"{min(path.glob('event*.ndjson')).name}.rewrite.tmp").write_bytes(RUBBISH)
    segment = max(path.glob("event*.ndjson"))
    head, last, base = segment.stem.rsplit("-", 2)
    segment.rename(segment.with_name(f"{head}-{int(last) + 1:08d}-{base}.ndjson"))
    assert {"bad_header", "leftover_file"} <= set(await words(path, shared=shared))
    fs = FaultyFs(path.parent)
    store = RotatingFilePersistence(path, fs=fs, max_files=100, shared=shared)
    await store.recover(REPAIR)
    await cut(store, fs, PowerLoss.CONTENTS_KEPT)
    assert set(await words(path, shared=shared)) <= {"torn_tail"}
    assert await seqs(path, shared=shared) == list(range(1, 21))


async def test_i6_what_stands_in_for_a_missing_segment_stays_without_power(path: Path) -> None:
    await filled(path)
    files(path)[1].unlink()
    fs = FaultyFs(path.parent)
    store = RotatingFilePersistence(path, fs=fs)
    await store.recover(REPAIR)
    await cut(store, fs, PowerLoss.CONTENTS_KEPT)
    assert set(await words(path)) <= {"torn_tail"}


async def test_nobody_takes_a_living_writer_s_segment_away_for_the_bound(path: Path) -> None:
    async with (
        opened(path, shared=True, max_files=2) as first,
        opened(path, shared=True, max_files=2) as other,
    ):
        await first.append(known(RecordKind.EVENT, 1, 1))
        os.utime(min(path.glob("event*.ndjson")), (1, 1))  # as if it had been silent for long
        for number in range(2, 60):
            await other.append(known(RecordKind.EVENT, number, number))
        await first.append(known(RecordKind.EVENT, 60, 60))
        left = await seqs(path, shared=True)
    assert {1, 59, 60} <= set(left)
    assert len(left) < 40


def test_a_damaged_note_of_a_loss_explains_nothing() -> None:
    line = note(9, {"incarnation": "I" * 26, "kind": "event", "first": 3, "last": 4, "cause": "damaged"})
    for text, found in ((line, 1), (line.replace(b'"last":4', b'"last":8'), 0)):
        source = lambda length, offset, text=text: text[offset : offset + length]  # noqa: E731  # short
        assert len(list(find_notes(source, len(text)))) == found


async def test_a_footer_that_is_damaged_or_not_the_end_is_none(path: Path) -> None:
    await filled(path)
    text = files(path)[0].read_bytes()
    at = text.rindex(b'"records":') + len(b'"records":')
    digit = b"9" if text[at : at + 1] != b"9" else b"8"
    damaged = text[:at] + digit + text[at + 1 :]
    for content, is_footer in ((text, True), (damaged, False), (text[:-1] + b"X", False), (text[:-1], False)):
        source = lambda length, offset, content=content: content[offset : offset + length]  # noqa: E731
        assert (read_footer(source, len(content)) is not None) is is_footer


def test_an_exported_file_is_there_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = FaultyFs(tmp_path)
    monkeypatch.setattr("papyra.persistence.stores.LOCAL_FS", fs)
    with NewFile(str(tmp_path / "export.ndjson")) as file:
        file.write(b"all of it\n")
    fs.cut_power(PowerLoss.ALL_GONE)
    assert (tmp_path / "export.ndjson").read_bytes() == b"all of it\n"


def test_i1_a_spill_whose_sync_failed_is_not_gone_on_with_by_the_next_process(tmp_path: Path) -> None:
    fs = FaultyFs(tmp_path)
    spill = spill_in(tmp_path / "spill", fs=fs)
    spill.append(entries([1]))
    fs.fail("sync", errno.EIO)
    with pytest.raises(StoreFailedError):
        spill.append(entries([2]))
    spill.close()
    fs.heal()
    spill = spill_in(tmp_path / "spill", fs=fs)
    spill.append(entries([3]))
    fs.cut_power(PowerLoss.ALL_GONE)
    target, again = Target(), spill_in(tmp_path / "spill")
    drain(again, target)
    again.close()
    assert {1, 3} <= set(target.seqs())


def test_a_spill_of_a_newer_version_is_told_to_nobody_and_stays(tmp_path: Path) -> None:
    spill = spill_in(tmp_path / "spill")
    spill.append(entries([1]))
    spill.close()
    (segment,) = (tmp_path / "spill").glob("spill-*.ndjson")
    newer = NEWER + segment.read_bytes().split(b"\n", 1)[1]
    segment.write_bytes(newer)
    target, again = Target(), spill_in(tmp_path / "spill")
    with pytest.raises(NewerFormatError):
        again.replay(target)
    again.close()
    assert target.seqs() == []
    assert segment.read_bytes() == newer


@pytest.mark.parametrize("loss", PowerLoss)
def test_what_a_spill_has_told_is_not_told_again_after_a_loss_of_power(
    tmp_path: Path, loss: PowerLoss
) -> None:
    fs = FaultyFs(tmp_path)
    spill, target = spill_in(tmp_path / "spill", fs=fs), Target()
    spill.append(entries([1, 2]))
    spill.append(entries([3]))
    drain(spill, target)
    fs.cut_power(loss)
    target, again = Target(), spill_in(tmp_path / "spill")
    drain(again, target)
    again.close()
    assert target.batches == []
