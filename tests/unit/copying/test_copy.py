"""A copy holds what the source held, and says so only after it was read back."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from papyra.persistence import codec
from papyra.persistence.copied import CopySelection
from papyra.persistence.copying import copy
from papyra.persistence.models import LossNote, RecordKind
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.records import EPOCH, INCARNATION, OTHER_INCARNATION, event, full_records
from tests.unit.copying.stores import (
    FORMS,
    files_of,
    fill,
    lines,
    named,
    opened,
    path_of,
    records,
    seqs,
    url,
)
from tests.unit.files.stores import HEADER, line

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.persistence.copied import CopyReport
    from papyra.persistence.models import Record

pytestmark = [
    pytest.mark.parametrize("source_form", FORMS),
    pytest.mark.parametrize("target_form", FORMS),
]


@pytest.fixture
def source(tmp_path: Path, source_form: str) -> str:
    return url(source_form, tmp_path, "source")


@pytest.fixture
def target(tmp_path: Path, target_form: str) -> str:
    return url(target_form, tmp_path, "target")


async def copied(source: str, target: str, selection: CopySelection | None = None, **how: Any) -> CopyReport:
    async with opened(source) as origin, opened(target) as destination:
        return await copy(origin, destination, selection or CopySelection(), **how)


async def test_every_record_comes_along_with_its_bytes_and_identity(source: str, target: str) -> None:
    full = [
        replace(record, incarnation=INCARNATION, seq=number)
        for number, record in enumerate(full_records(), start=200)
    ]
    await fill(
        source,
        *(records(range(1, 200), kind=kind) for kind in RecordKind),
        records(range(5, 9), incarnation=OTHER_INCARNATION),
        full,
    )
    report = await copied(source, target)
    assert not report.differs
    assert report.is_verified
    for kind in RecordKind:
        assert await lines(target, kind) == await lines(source, kind)
        assert report.kinds[kind].source_fingerprint == report.kinds[kind].target_fingerprint
        assert report.kinds[kind].missing == 0
    assert sum(kind.copied for kind in report.kinds.values()) == 199 * 3 + 4 + 3


async def test_an_empty_store_is_copied(source: str, target: str) -> None:
    report = await copied(source, target)
    assert not report.differs
    assert all(kind.selected == 0 for kind in report.kinds.values())


async def test_a_copy_done_again_reads_only_what_is_new(source: str, target: str) -> None:
    await fill(source, records(range(1, 501)), records(range(1, 10), kind=RecordKind.AUDIT))
    await copied(source, target)
    await fill(source, records(range(501, 511)))
    report = await copied(source, target)
    events = report.kinds[RecordKind.EVENT]
    assert events.resumed_after == (INCARNATION, "event", 500)
    assert (events.copied, events.present, events.compared, events.late) == (10, 500, 10, 0)
    assert report.kinds[RecordKind.AUDIT].present == 9
    assert await lines(target) == await lines(source)


async def test_a_recheck_compares_everything(source: str, target: str) -> None:
    await fill(source, records(range(1, 301)))
    await copied(source, target)
    report = await copied(source, target, recheck=True)
    events = report.kinds[RecordKind.EVENT]
    assert (events.copied, events.present, events.compared) == (0, 300, 300)
    assert events.resumed_after is None
    assert events.source_fingerprint == events.target_fingerprint != "0" * 32


async def test_a_copy_of_a_part_is_never_taken_for_the_beginning_of_the_whole(
    source: str, target: str
) -> None:
    await fill(source, records(range(1, 301)))
    part = await copied(source, target, CopySelection(since=EPOCH + 200))
    assert part.kinds[RecordKind.EVENT].copied == 101
    report = await copied(source, target)
    events = report.kinds[RecordKind.EVENT]
    assert (events.copied, events.present) == (199, 101)
    assert events.late == 199
    assert sorted(await seqs(target)) == list(range(1, 301))


async def test_a_hole_in_the_target_is_found_although_both_ends_agree(source: str, target: str) -> None:
    await fill(source, records(range(1, 301)))
    await fill(target, records([*range(1, 100), *range(101, 301)]))
    report = await copied(source, target)
    assert report.kinds[RecordKind.EVENT].copied == 1
    assert sorted(await seqs(target)) == list(range(1, 301))


async def test_what_else_the_target_holds_stays_and_is_not_counted(source: str, target: str) -> None:
    await fill(target, records(range(1, 20), incarnation=OTHER_INCARNATION))
    await fill(source, records(range(1, 20)))
    for copied_now in (19, 0):
        report = await copied(source, target)
        assert report.kinds[RecordKind.EVENT].copied == copied_now
        assert not report.differs
    assert len(await seqs(target)) == 38


async def test_another_record_under_the_same_identity_is_reported_and_stays(source: str, target: str) -> None:
    mine = cast("Record", event(3, payload="mine", incarnation=INCARNATION, seq=3))
    await fill(target, [mine])
    await fill(source, records(range(1, 11)))
    report = await copied(source, target)
    assert report.differs
    (difference,) = report.differences
    assert (difference.what, difference.id) == ("conflicting", (INCARNATION, "event", 3))
    assert report.kinds[RecordKind.EVENT].copied == 9
    assert b'"mine"' in b"".join(await lines(target))


async def test_kind_and_times_choose(source: str, target: str) -> None:
    await fill(source, *(records(range(1, 101), kind=kind) for kind in RecordKind))
    selection = CopySelection(kinds=(RecordKind.AUDIT,), since=EPOCH + 10, until=EPOCH + 20)
    for copied_now in (10, 0):
        report = await copied(source, target, selection)
        assert list(report.kinds) == [RecordKind.AUDIT]
        assert report.kinds[RecordKind.AUDIT].copied == copied_now
    assert await seqs(target, RecordKind.AUDIT) == list(range(10, 20))
    assert await seqs(target) == []


async def test_a_dry_run_tells_and_changes_nothing(source: str, target: str, tmp_path: Path) -> None:
    await fill(source, records(range(1, 101)))
    await fill(target, records(range(1, 41)))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    report = await copied(source, target, dry_run=True)
    events = report.kinds[RecordKind.EVENT]
    assert (events.copied, events.present) == (60, 40)
    assert not report.differs
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


async def test_loss_notes_come_along_so_that_the_copy_is_as_clean_as_the_source(
    source: str, target: str
) -> None:
    note = LossNote(INCARNATION, "event", 3, 5, "damaged").to_payload()
    kept = records([1, 2, 6, 7])
    told = cast("Record", event(8, event_type="RecordsLost", payload=note, incarnation=INCARNATION, seq=8))
    await fill(source, [*kept, told])
    await copied(source, target)
    assert await named(target) == set()


async def test_what_retention_hides_is_left_behind(source: str, target: str) -> None:
    await fill(source, records(range(1, 101)))
    async with opened(source) as origin, opened(target) as destination:
        await origin.compact(RetentionPolicy(max_records=30))
        report = await copy(origin, destination)
    assert report.kinds[RecordKind.EVENT].copied == 30
    assert await named(target) == set()


class TestFiles:
    async def test_a_damaged_source_gives_what_can_be_read_and_is_called_damaged(
        self, source: str, target: str
    ) -> None:
        place = path_of(source)
        place.write_bytes(HEADER + line(1) + line(2) + b"rubbish\n" + line(4) + line(5))
        report = await copied(source, target)
        assert report.lacks_source_records
        assert not report.differs
        assert report.scan is not None
        assert report.scan.has_damage
        assert await seqs(target) == [1, 2, 4, 5]

    async def test_records_of_a_newer_kind_are_left_out_and_counted(self, source: str, target: str) -> None:
        newer = line(3).replace(b'"kind":"event"', b'"kind":"mood!"')[: -len(',"crc":"12345678"}\n')]
        framed = newer + b',"crc":"%08x"}\n' % zlib.crc32(newer)
        path_of(source).write_bytes(HEADER + line(1) + framed + line(2))
        report = await copied(source, target)
        assert report.unknown == 1
        assert report.lacks_source_records
        assert await seqs(target) == [1, 2]

    async def test_records_of_the_published_package_get_an_identity_that_is_always_the_same(
        self, source: str, target: str
    ) -> None:
        plain = [
            {
                "kind": "event",
                "system_id": "orders",
                "actor_address": "orders:1",
                "event_type": "ActorStarted",
                "payload": {"n": number // 2},
                "timestamp": EPOCH + number // 2,
            }
            for number in range(300)
        ]
        text = "".join(json.dumps(one) + "\n" for one in plain).encode()
        path_of(source).write_bytes(text)
        first = await copied(source, target)
        assert (first.kinds[RecordKind.EVENT].copied, first.kinds[RecordKind.EVENT].numbered) == (300, 300)
        again = await copied(source, target)
        assert (again.kinds[RecordKind.EVENT].copied, again.kinds[RecordKind.EVENT].present) == (0, 300)
        path_of(source).write_bytes(text + HEADER + line(1) + line(2))
        more = await copied(source, target)
        assert more.kinds[RecordKind.EVENT].copied == 2
        last = await copied(source, target)
        assert last.kinds[RecordKind.EVENT].resumed_after == (INCARNATION, "event", 2)
        assert await seqs(target) == [*range(1, 301), 1, 2]
        assert await named(target) == set()
        part = await copied(source, target, CopySelection(since=EPOCH + 100))
        assert part.kinds[RecordKind.EVENT].copied == 0

    async def test_every_line_of_the_copy_is_framed_and_sound(self, source: str, target: str) -> None:
        await fill(source, records(range(1, 50)))
        await copied(source, target)
        for text in b"".join(place.read_bytes() for place in files_of(target)).splitlines():
            assert codec.is_framed(text)
            assert codec.has_sound_checksum(text)
