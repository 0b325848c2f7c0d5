"""F1, F4: segments torn, missing, doubled, renamed, emptied, from elsewhere, and strangers beside them."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import ConfigurationError, ForeignStoreError
from papyra.persistence import codec
from papyra.persistence.backends.rotating import RotatingFilePersistence
from papyra.persistence.models import EventType, LossNote, PersistenceAnomalyType, RecordKind, ScanDepth
from papyra.testing.records import INCARNATION, event
from tests.unit.files.sets import (
    SMALL,
    contents,
    files,
    filled,
    is_clean_after_repair,
    known,
    opened,
    quarantined,
    recovered,
    scanned,
    seqs,
    words,
)
from tests.unit.files.stores import QUARANTINE

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.asyncio
_OF_A_TEAR = {
    PersistenceAnomalyType.TORN_TAIL,
    PersistenceAnomalyType.MISSING_NEWLINE,
    PersistenceAnomalyType.MISSING_RECORDS,
    PersistenceAnomalyType.GARBAGE,
}
"""The record after the tear is of the same incarnation and leaves a hole."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def range_of(file: Path) -> list[int]:
    """Return the numbers of the records in a file."""
    lines = file.read_bytes().splitlines()
    return [head.seq for head in map(codec.decode_head, lines) if head.seq]


async def test_segments_say_in_names_and_footers_what_they_hold(path: Path) -> None:
    events = await filled(path)
    assert len(events) >= 4
    base = 1
    for number, file in enumerate(events, start=1):
        assert file.name == f"event-{number:08d}-{base:020d}.ndjson"
        assert file.stat().st_size <= SMALL
        base += len(range_of(file))
    for depth in ScanDepth:
        assert (await scanned(path, depth)).anomalies == ()
    assert await seqs(path) == list(range(1, 21))


@pytest.mark.parametrize("name", ["max_bytes", "max_files"])
@pytest.mark.parametrize("value", [0, -1, True, 1.5])
async def test_a_bound_that_is_none_is_refused(path: Path, name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be a whole number above 0"):
        RotatingFilePersistence(path, **{name: value})  # type: ignore[arg-type]


async def test_f1_a_last_segment_torn_at_any_byte_costs_at_most_one_record(path: Path) -> None:
    last = (await filled(path))[-1]
    sound = contents(path)
    whole = last.read_bytes()
    start = whole.index(b"\n") + 1
    for end in [*range(start), *range(start, len(whole), 7)]:
        for name, content in sound.items():
            (path / name).write_bytes(content)
        last.write_bytes(whole[:end])
        kept = await seqs(path)
        assert not (await scanned(path)).has_damage
        async with opened(path) as store:
            await store.append(known(RecordKind.EVENT, 100, 100))
        assert await seqs(path) == [*kept, 100]
        report = await scanned(path)
        assert report.counts.keys() <= _OF_A_TEAR, (end, report.anomalies)
        shutil.rmtree(path.with_name("log.quarantine"), ignore_errors=True)
        await is_clean_after_repair(path)
        assert await seqs(path) == [*kept, 100]
        for file in files(path):
            file.unlink()


async def test_f1_a_footer_torn_at_any_byte_is_a_crash_trace_and_costs_nothing(path: Path) -> None:
    await filled(path)
    events = files(path)
    sound = contents(path)
    for victim, is_last in ((events[1], False), (events[-2], True)):
        whole = sound[victim.name]
        start = whole.rindex(b"\n", 0, -1) + 1
        for end in range(start, len(whole), 11):
            for file in files(path):
                file.unlink()
            for name, content in sound.items():
                (path / name).write_bytes(content)
            if is_last:
                events[-1].unlink()
            victim.write_bytes(whole[:end])
            before = await seqs(path)
            report = await scanned(path)
            assert not report.has_damage
            assert is_last or PersistenceAnomalyType.UNCLEAN_SEAL in report.counts
            if is_last:
                async with opened(path) as store:
                    await store.append(known(RecordKind.EVENT, before[-1] + 1, before[-1] + 1))
                before.append(before[-1] + 1)
            await is_clean_after_repair(path)
            assert await seqs(path) == before


async def test_f4_a_missing_segment_is_told_with_its_range_and_noted(path: Path) -> None:
    events = await filled(path)
    lost = range_of(events[2])
    events[2].unlink()
    for depth in ScanDepth:
        found = (await scanned(path, depth)).anomalies
        (told,) = [anomaly for anomaly in found if anomaly.path == str(events[2])]
        assert told.type is PersistenceAnomalyType.MISSING_RECORDS
        assert f"records {lost[0]} to {lost[-1]}" in (told.detail or "")
    report = await is_clean_after_repair(path)
    assert report.losses == (LossNote(INCARNATION, "event", lost[0], lost[-1], "missing"),)
    assert await seqs(path) == [seq for seq in range(1, 21) if seq not in lost]


async def test_f4_two_missing_segments_in_a_row_are_told_at_once(path: Path) -> None:
    events = await filled(path, 40)
    lost = [*range_of(events[2]), *range_of(events[3])]
    events[2].unlink()
    events[3].unlink()
    await is_clean_after_repair(path)
    assert await seqs(path) == [seq for seq in range(1, 41) if seq not in lost]
    async with opened(path) as store:
        await store.append(known(RecordKind.EVENT, 41, 60))
    assert (await scanned(path)).anomalies == ()


async def test_f4_the_oldest_segments_gone_are_retention(path: Path) -> None:
    events = await filled(path)
    events[0].unlink()
    events[1].unlink()
    assert await words(path) == []


async def test_f4_a_doubled_segment_is_told_read_once_and_set_aside(path: Path) -> None:
    events = await filled(path)
    for name in (
        events[1].name.replace("00000002-", "00000033-"),
        events[1].name.replace("-0000000000", "-0000000077"),
    ):
        copy = path / name
        shutil.copy(events[1], copy)
        assert await words(path) == ["bad_header"]
        assert await seqs(path) == list(range(1, 21))
        await is_clean_after_repair(path)
        assert not copy.exists()
        assert events[1].read_bytes() in quarantined(path)
        assert await seqs(path) == list(range(1, 21))


async def test_f4_a_renamed_segment_gets_its_name_back(path: Path) -> None:
    events = await filled(path)
    before = contents(path)
    events[1].rename(path / events[1].name.replace("00000002-", "00000050-"))
    assert set(await words(path)) == {"bad_header", "missing_records", "unclean_seal"}
    assert sorted(await seqs(path)) == list(range(1, 21))
    await is_clean_after_repair(path)
    assert before.items() - contents(path).items() <= {(events[-1].name, before[events[-1].name])}
    assert await seqs(path) == list(range(1, 21))


@pytest.mark.parametrize("at", [0, 1, -2])
async def test_f4_a_segment_cut_to_nothing_is_told_and_stands_in_for_itself(path: Path, at: int) -> None:
    events = await filled(path)
    lost = range_of(events[at])
    events[at].write_bytes(b"")
    for depth in (ScanDepth.FOOTERS, ScanDepth.FULL):
        found = await scanned(path, depth)
        assert PersistenceAnomalyType.MISSING_RECORDS in found.counts
    await is_clean_after_repair(path)
    assert await seqs(path) == [seq for seq in range(1, 21) if seq not in lost]
    async with opened(path) as store:
        await store.append(known(RecordKind.EVENT, 21, 40))
    assert (await scanned(path)).anomalies == ()


async def test_f4_a_segment_of_another_store_is_refused_and_left_alone(path: Path, tmp_path: Path) -> None:
    events = await filled(path)
    other = await filled(tmp_path / "other")
    events[1].write_bytes(other[1].read_bytes())
    before = contents(path)
    for depth in (ScanDepth.FOOTERS, ScanDepth.FULL):
        assert PersistenceAnomalyType.FOREIGN_FILE in (await scanned(path, depth)).counts
    with pytest.raises(ForeignStoreError):
        await recovered(path)
    assert contents(path) == before


@pytest.mark.parametrize("what", ["folder", "fifo", "link", "file"])
async def test_f4_what_is_no_segment_is_told_and_never_touched(path: Path, tmp_path: Path, what: str) -> None:
    events = await filled(path)
    lost = [] if what == "file" else range_of(events[1])
    target = tmp_path / "elsewhere"
    target.write_bytes(events[1].read_bytes())
    stranger = path / "notes.txt" if what == "file" else events[1]
    if what != "file":
        events[1].unlink()
    match what:
        case "folder":
            stranger.mkdir()
        case "fifo":
            os.mkfifo(stranger)
        case "link":
            stranger.symlink_to(target)
        case _:
            stranger.write_text("mine")
    found = await scanned(path)
    assert str(stranger) in {
        anomaly.path for anomaly in found.anomalies if anomaly.type is PersistenceAnomalyType.FOREIGN_FILE
    }
    before = os.lstat(stranger)
    report = await recovered(path)
    assert [anomaly.path for anomaly in report.left] == [str(stranger)]
    after = os.lstat(stranger)
    assert (after.st_ino, after.st_mtime_ns, after.st_mode) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_mode,
    )
    assert await words(path) == ["foreign_file"]
    again = await recovered(path)
    assert again.repaired_files == ()
    assert await seqs(path) == [seq for seq in range(1, 21) if seq not in lost]
    async with opened(path) as store:
        await store.append(known(RecordKind.EVENT, 21, 40))
    assert await words(path) == ["foreign_file"]


async def test_a_flipped_byte_in_a_sealed_segment_costs_its_record_and_is_sealed_again(path: Path) -> None:
    events = await filled(path)
    content = bytearray(events[1].read_bytes())
    place = content.index(b'"ActorStarted"')
    content[place + 2] ^= 1
    events[1].write_bytes(bytes(content))
    lost = [range_of(events[0])[-1] + 1]
    assert await words(path) == ["bad_checksum"]
    report = await is_clean_after_repair(path)
    assert [(note.first, note.last) for note in report.losses] == [(lost[0], lost[0])]
    assert await seqs(path) == [seq for seq in range(1, 21) if seq not in lost]


async def test_a_line_taken_out_of_a_sealed_segment_is_told_by_its_footer_too(path: Path) -> None:
    events = await filled(path)
    lines = events[1].read_bytes().splitlines(keepends=True)
    events[1].write_bytes(b"".join([*lines[:2], *lines[3:]]))
    assert await words(path) == ["bad_footer", "missing_records"]
    assert "bad_footer" in await words(path, ScanDepth.FOOTERS) or "unclean_seal" in await words(
        path, ScanDepth.FOOTERS
    )
    await is_clean_after_repair(path)


async def test_other_bytes_than_were_sealed_are_told_though_every_line_is_sound(path: Path) -> None:
    events = await filled(path)
    lines = events[1].read_bytes().splitlines(keepends=True)
    head = codec.decode_head(lines[1][:-1])
    lines[1] = codec.encode_record(event(head.seq + 900), incarnation=INCARNATION, seq=head.seq)
    forged = b"".join(lines)
    if len(forged) == events[1].stat().st_size:
        assert await words(path, ScanDepth.FOOTERS) == []
    events[1].write_bytes(forged)
    assert await words(path) == ["bad_footer"]
    await is_clean_after_repair(path)


async def test_the_note_of_a_loss_outlives_a_footer_that_stands_in_the_wrong_place(path: Path) -> None:
    first, *_, last = await filled(path)
    footer = first.read_bytes().splitlines(keepends=True)[-1]
    with last.open("ab") as file:
        file.write(codec.encode_record(event(25), incarnation=INCARNATION, seq=25))
        file.write(footer[:77] + b"\n" + footer)
    report = await is_clean_after_repair(path)
    assert [(note.first, note.last) for note in report.losses] == [(21, 24)]
    assert await seqs(path) == [*range(1, 21), 25]


@pytest.mark.parametrize("end", [b"", b"\x1a", b"\r\n", b"\n\n"])
async def test_a_footer_whose_line_ends_otherwise_leaves_no_blank_line(path: Path, end: bytes) -> None:
    first = (await filled(path))[0]
    whole = first.read_bytes()
    first.write_bytes(whole[:-1] + end)
    await is_clean_after_repair(path)
    assert first.read_bytes() == whole


@pytest.mark.parametrize("footer", [b"", b'{"seq":0,"kind":"footer"}\n', b"not one at all\n"])
async def test_a_footer_that_is_none_is_told_and_written_again(path: Path, footer: bytes) -> None:
    events = await filled(path)
    body = events[1].read_bytes()
    events[1].write_bytes(body[: body.rindex(b"\n", 0, -1) + 1] + footer)
    assert await words(path) != []
    report = await is_clean_after_repair(path)
    assert report.losses == ()
    assert await seqs(path) == list(range(1, 21))


async def test_a_header_that_is_damaged_or_gone_is_told_and_written_again(path: Path) -> None:
    for header in (b"", b'{"seq":0,"kind":"header","format":1,"crc":"00000000"}\n'):
        events = await filled(path)
        for at in (1, -1):
            body = events[at].read_bytes()
            events[at].write_bytes(header + body[body.index(b"\n") + 1 :])
        assert "bad_header" in await words(path)
        report = await is_clean_after_repair(path)
        assert report.losses == ()
        assert await seqs(path) == list(range(1, 21))
        shutil.rmtree(path)


async def test_a_loss_note_covers_a_hole_of_another_kind_at_every_depth(path: Path) -> None:
    note = LossNote(INCARNATION, "dead_letter", 3, 4, "overflow").to_payload()
    async with opened(path) as store:
        await store.append([event(0, event_type=EventType.RECORDS_DROPPED, payload=note)])
        await store.append([*known(RecordKind.DEAD_LETTER, 1, 2), *known(RecordKind.DEAD_LETTER, 5, 6)])
        for number in range(1, 30):
            await store.append(known(RecordKind.EVENT, number, number))
        await store.append([event(0, event_type=EventType.SYSTEM_STOPPED, incarnation=INCARNATION, seq=30)])
    for depth in ScanDepth:
        assert (await scanned(path, depth)).anomalies == ()


async def test_i4_quarantine_sets_each_damaged_segment_aside_whole(path: Path) -> None:
    events = await filled(path)
    damaged = []
    for at in (0, 2):
        lines = events[at].read_bytes().splitlines(keepends=True)
        events[at].write_bytes(b"".join([*lines[:2], b"noise\n", *lines[2:]]))
        damaged.append(events[at].read_bytes())
    report = await is_clean_after_repair(path)
    assert report.quarantined_bytes == 2 * len(b"noise\n")
    for at, content in zip((0, 2), damaged, strict=True):
        events[at].write_bytes(content)
    await recovered(path, QUARANTINE)
    assert all(content in quarantined(path) for content in damaged)


async def test_a_torn_header_of_the_newest_segment_of_all_does_not_make_a_store_another(path: Path) -> None:
    async with opened(path) as store:
        for number in range(1, 12):
            await store.append(known(RecordKind.EVENT, number, number))
    last = files(path)[-1]
    last.write_bytes(last.read_bytes()[:70])
    kept = await seqs(path)
    async with opened(path) as store:
        await store.append(known(RecordKind.DEAD_LETTER, 1, 2))
    report = await is_clean_after_repair(path)
    assert not report.scan.has_damage
    assert await seqs(path) == kept
