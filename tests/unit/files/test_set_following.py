from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from papyra.persistence.models import RecordKind
from papyra.persistence.query import RecordQuery
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.promises.following import following
from papyra.testing.records import EPOCH, INCARNATION, OTHER_INCARNATION, event
from tests.unit.files.sets import files, opened
from tests.unit.files.stores import REPAIR, line

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.mark.parametrize("shared", [False, True])
async def test_it_goes_on_across_segments_that_begin_and_that_go(path: Path, *, shared: bool) -> None:
    async with (
        opened(path, shared=shared, max_bytes=1_500, max_files=6) as writer,
        opened(path, shared=shared) as reader,
        following(reader) as tail,
    ):
        for number in range(1, 61):
            await writer.append([event(number)])
            if number % 4 == 0:
                await tail.until(number)
        assert await tail.until(60) == [*range(1, 61)]
    assert len([*path.glob("event*.ndjson")]) == 6


@pytest.mark.parametrize("shared", [False, True])
async def test_it_goes_on_across_writers_compactions_and_repairs(path: Path, *, shared: bool) -> None:
    async with opened(path, shared=shared) as reader, following(reader, from_now=False) as tail:
        for number in range(1, 31):
            async with opened(path, shared=shared) as writer:
                await writer.append([event(number)])
                await tail.until(number)
                if number % 4 == 0:
                    await writer.compact(RetentionPolicy(max_records=number % 3))
                if number % 7 == 0:
                    newest = max(path.glob("event*.ndjson"), key=lambda file: file.stat().st_mtime_ns)
                    await writer.recover(REPAIR)
                    assert newest.exists()
        assert await tail.until(30) == [*range(1, 31)]


async def test_what_another_writer_stores_late_with_an_earlier_time_is_seen_once(path: Path) -> None:
    async with (
        opened(path, shared=True) as one,
        opened(path, shared=True) as other,
        opened(path, shared=True) as reader,
        following(reader, from_now=False) as tail,
    ):
        for number in range(1, 20):
            await one.append([event(100 + number, timestamp=EPOCH + 100 + number)])
            await tail.until(100 + number)
            await other.append([event(number, timestamp=EPOCH + number)])
            await tail.until(number)
        async with opened(path, shared=True) as third:
            await third.append([event(50, timestamp=EPOCH)])
            await tail.until(50)
        assert sorted(tail.seen) == [*range(1, 20), 50, *range(101, 120)]


async def test_pages_of_several_writers_are_complete_though_writers_come_and_old_segments_go(
    path: Path,
) -> None:
    async with opened(path, shared=True) as one, opened(path, shared=True) as other:
        for number in range(1, 21):
            await one.append([event(2 * number, timestamp=EPOCH + 2 * number)])
            await other.append([event(2 * number + 1, timestamp=EPOCH + 2 * number + 1)])
        for newest_first in (True, False):
            query = RecordQuery(kind=RecordKind.EVENT, limit=3, newest_first=newest_first)
            found: list[float] = []
            cursor, is_over = None, False
            while not is_over:
                page = await other.read(
                    RecordQuery(kind=query.kind, limit=3, newest_first=newest_first, cursor=cursor)
                )
                found += [record.timestamp - EPOCH for record in page.records]
                cursor, is_over = page.cursor, page.cursor is None
                if newest_first:
                    async with opened(path, shared=True) as third:
                        await third.append([event(500, timestamp=EPOCH + 500)])
            wanted = [*range(2, 42)]
            if newest_first:
                assert found == wanted[::-1]
            else:
                assert found[:40] == wanted


async def test_a_record_that_stands_in_two_files_is_followed_once(path: Path) -> None:
    async with opened(path, max_bytes=900) as writer:
        await writer.append([event(number, incarnation=INCARNATION, seq=number) for number in range(1, 8)])
    first, *_, last = files(path)
    async with opened(path) as reader, following(reader, from_now=False) as tail:
        await tail.until(7)
        with last.open("ab") as file:
            file.write(first.read_bytes().splitlines(keepends=True)[1])
            file.write(line(20, incarnation=OTHER_INCARNATION))
        assert await tail.until(20) == [*range(1, 8), 20]
