"""Guards that only a fault at the right moment shows: each test is here because a mutant lived without it."""

from __future__ import annotations

import errno
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import PersistenceError, StoreFailedError, StoreFullError
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import RecordKind, ScanDepth
from papyra.persistence.query import RecordQuery
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.faults import Crash, FaultyFs, PowerLoss
from tests.faults_files.works import DAMAGED, NAME, RUBBISH, SOUND, TORN
from tests.unit.files.sets import files, filled, is_clean_after_repair, words
from tests.unit.files.stores import QUARANTINE, REPAIR, known, line, named, opened, quarantine_of, recovered

if TYPE_CHECKING:
    from pathlib import Path

ROTTEN_LAST = SOUND + line(6).replace(b"Started", b"Stopped")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / NAME


async def test_i3_a_full_disk_between_a_cut_and_its_note_leaves_no_loss_untold(path: Path) -> None:
    refusals = 0
    for room in range(0, 2_000, 40):
        path.write_bytes(ROTTEN_LAST)
        fs = FaultyFs(path.parent)
        async with opened(path, fs=fs) as store:
            await store.compact()  # takes the lock
            fs.fill(room)
            try:
                await store.recover(REPAIR)
            except StoreFullError:
                refusals += 1
            fs.fill(None)
            await store.recover(REPAIR)
            notes = [event for event in await store.list_events() if event.event_type == "RecordsLost"]
        assert [note.payload["first"] for note in notes] == [6]  # type: ignore[index]
        assert await named(path) == []
    assert refusals > 10


@pytest.mark.parametrize("config", [REPAIR, QUARANTINE], ids=["repair", "quarantine"])
async def test_a_full_disk_leaves_nothing_half_written_in_quarantine(path: Path, config: object) -> None:
    entries = quarantine_of(path) / "quarantine.ndjson"
    entries.parent.mkdir()
    entries.write_bytes(b'{"an": "older entry"}\n')
    path.write_bytes(DAMAGED)
    for room in range(0, 6_000, 90):
        fs = FaultyFs(path.parent)
        async with opened(path, fs=fs) as store:
            await store.compact()
            fs.fill(room)
            try:
                await store.recover(config)  # type: ignore[arg-type]
            except StoreFullError:
                assert entries.read_bytes().count(b"\n") in {1, 3}
                assert entries.read_bytes().endswith(b"\n")
                assert not list(entries.parent.glob("*.tmp"))
            else:
                return
    pytest.fail("there was never room enough")


async def test_a_full_disk_after_the_cut_of_a_torn_tail_leaves_whole_lines_only(path: Path) -> None:
    path.write_bytes(SOUND + TORN)
    await recovered(path)  # so that quarantine has it already, and all the room is for the note
    refusals = 0
    for room in range(0, 600, 30):
        path.write_bytes(SOUND + TORN)
        fs = FaultyFs(path.parent)
        async with opened(path, fs=fs) as store:
            await store.compact()  # takes the lock
            fs.fill(room)
            try:
                await store.recover(REPAIR)
            except StoreFullError:
                refusals += path.read_bytes() != SOUND + TORN
                assert path.read_bytes() in {SOUND, SOUND + TORN}
    assert refusals > 5


async def test_a_rotten_mark_of_a_clean_end_ends_no_look_at_the_tail(path: Path) -> None:
    end = line(6, event_type="SystemStopped", payload={"why": "told to"})
    path.write_bytes(SOUND + b"rubbish\n" + end.replace(b"told to", b"told it"))
    assert await named(path, ScanDepth.TAIL) == ["bad_checksum", "garbage"]


@pytest.mark.parametrize("loss", [None, *PowerLoss])
async def test_i4_ended_in_any_call_the_leftover_of_a_rewrite_is_moved_and_never_lost(
    path: Path, loss: PowerLoss | None
) -> None:
    leftover = path.with_name(f"{NAME}.rewrite.tmp")
    for number in range(60):
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        path.write_bytes(SOUND)
        leftover.write_bytes(RUBBISH)
        fs = FaultyFs(path.parent)
        fs.crash_at(number)
        store = JsonFilePersistence(path, fs=fs)
        with suppress(Crash, PersistenceError):
            await store.recover(REPAIR)
        is_done = not fs.is_dead
        fs.abandon() if loss is None else fs.cut_power(loss)
        with suppress(Crash, PersistenceError):
            await store.aclose()
        kept = [file.read_bytes() for file in quarantine_of(path).glob(f"{leftover.name}.*")]
        assert leftover.exists() or RUBBISH in kept
        if is_done:
            assert await named(path) == []
            return
    pytest.fail("it never came to its end")


async def test_a_doubt_outlives_a_loss_of_power(path: Path) -> None:
    fs = FaultyFs(path.parent)
    store = JsonFilePersistence(path, fs=fs)
    await store.append([known(1)])
    fs.fail("sync", errno.EIO, times=1)
    fs.fail("sync_all", errno.EIO)  # nor does a new file in its place become durable
    with pytest.raises(StoreFailedError):
        await store.append([known(2)])
    fs.cut_power(PowerLoss.ALL_GONE)
    with suppress(Crash, PersistenceError):
        await store.aclose()
    before = path.stat().st_ino
    async with opened(path) as other:
        await other.append([known(3)])
    assert path.stat().st_ino != before


async def test_a_doubt_is_forgotten_only_once_the_new_file_has_its_name_for_good(path: Path) -> None:
    path.write_bytes(SOUND)
    path.with_name(f"{NAME}.lock").write_text('{"doubtful_from": 0}')
    fs = FaultyFs(path.parent)
    async with opened(path, fs=fs) as store:
        await store.compact()
        after = fs.calls[fs.calls.index("replace") + 1 :]
    assert after[:3] == ["sync_folder", "truncate", "write"]


async def test_a_page_that_was_lost_is_never_another_one_that_looks_like_it(path: Path) -> None:
    texts = ["1", "2", "the same", "4", "5", "6", "the same", "8"]
    path.write_bytes(
        b"".join(b'{"kind":"event","timestamp":1.5,"system_id":"%s"}\n' % text.encode() for text in texts)
    )
    query = RecordQuery(kind=RecordKind.EVENT, limit=6)
    async with opened(path) as store:
        page = await store.read(query)
        assert [event.system_id for event in page.records] == [*reversed(texts[2:])]
        await store.compact(RetentionPolicy(max_records=3))
        with pytest.raises(PersistenceError, match="begin again"):
            await store.read(RecordQuery(kind=RecordKind.EVENT, limit=6, cursor=page.cursor))


async def test_lives_that_ended_one_after_the_other_in_their_first_write_are_crashes_and_no_damage(
    path: Path,
) -> None:
    lives = [f"01JDGH5Q7W000000000000LF0{number}" for number in range(1, 4)]
    for lengths in ((95, 95, 95), (95, 30, 95), (95, 95, 7), (120, 9, 60)):
        torn = [line(1, incarnation=life)[:at] for life, at in zip(lives, lengths, strict=True)]
        path.write_bytes(SOUND + b"".join(text + b"\n" for text in torn))
        assert await named(path) == ["torn_tail"]
        await recovered(path)
        assert await named(path) == []


@pytest.mark.parametrize("lengths", [(95,), (95, 95), (95, 40, 120), (120, 40, 95)])
@pytest.mark.parametrize("is_whole_at_last", [True, False])
async def test_a_batch_that_is_sent_again_after_each_crash_leaves_crashes_and_no_damage(
    path: Path, lengths: tuple[int, ...], *, is_whole_at_last: bool
) -> None:
    life = "01JDGH5Q7W000000000000LF01"
    last, again = line(1, incarnation=life), line(2, incarnation=life)
    torn = b"".join(again[:at] + b"\n" for at in lengths)
    path.write_bytes(SOUND + last + torn + (again if is_whole_at_last else b""))
    assert await named(path) == ["torn_tail"]
    await recovered(path)
    assert await named(path) == []


async def test_a_life_that_ended_in_its_header_and_one_that_ended_after_it_are_crashes_and_no_damage(
    path: Path,
) -> None:
    first, header = line(1), SOUND[: SOUND.index(b"\n")]
    for left in (12, 60, len(header) - 1):
        for torn in (9, 30, 90):
            path.write_bytes(header[:left] + b"\n" + first[:torn])
            assert await named(path) == ["torn_tail"], (left, torn)
            path.write_bytes(header[:left] + b"\n" + first[:torn] + b"\n" + first)
            await recovered(path)
            assert await named(path) == []


async def test_a_life_that_ended_in_a_record_and_one_that_ended_in_a_footer_are_crashes_and_no_damage(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "set"
    [file, *_] = await filled(folder, 12)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:-1], line(1)[:90], b"\n", lines[-1][:100]]))
    for later in files(folder)[1:]:
        later.unlink()
    assert await words(folder) == ["torn_tail"]
    await is_clean_after_repair(folder)
