from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import PersistenceError, PlaceLostError
from papyra.persistence.backends.memory import InMemoryPersistence
from papyra.persistence.following import follow
from papyra.persistence.models import RecordKind
from papyra.persistence.query import Page, RecordQuery
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.clock import ManualClock
from papyra.testing.promises.following import EVENTS, following
from tests.unit.files.stores import HEADER, REPAIR, fresh, known, line, opened

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.persistence.models import Record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.ndjson"


async def test_what_a_filter_passes_over_is_looked_at_once(path: Path) -> None:
    queries: list[RecordQuery] = []

    async with opened(path) as store:
        await store.append([fresh(1)])

        class Spy:
            async def read(self, query: RecordQuery) -> Page[Record]:
                queries.append(query)
                if len(queries) > 8:
                    raise asyncio.CancelledError
                return await store.read(query)

        query = RecordQuery(kind=RecordKind.EVENT, type="Never")
        with pytest.raises(asyncio.CancelledError):
            async for _ in follow(Spy(), query, poll_seconds=0.001, from_now=False):
                pass
    assert queries[0].cursor is None
    assert queries[1].cursor is not None


async def test_it_goes_on_across_writers_compactions_and_another_process(path: Path) -> None:
    async with opened(path) as reader, following(reader) as tail:
        for number in range(1, 40):
            async with opened(path) as writer:
                await writer.append([fresh(number)])
                if number % 3 == 0:
                    await tail.until(number)
                    await writer.compact(RetentionPolicy(max_records=number % 4))
            if number % 5 == 0:
                await tail.until(number)
        assert await tail.until(39) == [*range(1, 40)]


async def test_a_repair_that_took_the_last_record_or_changed_the_order_repeats_and_skips_nothing(
    path: Path,
) -> None:
    path.write_bytes(HEADER + b"".join(line(seq) for seq in (1, 2, 3, 5)))
    async with opened(path) as reader, following(reader, from_now=False) as tail:
        await tail.until(5)
        with path.open("ab") as file:
            file.write(line(7))
        await tail.until(7)
        path.write_bytes(path.read_bytes().replace(b'{"number":7}', b'{"number":6}') + line(8))
        async with opened(path) as writer:
            await writer.recover(REPAIR)
        await tail.until(8)
        with path.open("ab") as file:
            file.write(line(12) + line(11))
        assert (await tail.until(11))[-2:] == [12, 11]
        async with opened(path) as writer:
            await writer.recover(REPAIR)
            await writer.append([known(13)])
        assert await tail.until(13) == [1, 2, 3, 5, 7, 8, 12, 11, 13]


async def test_a_record_that_was_taken_back_does_not_make_it_begin_again(path: Path) -> None:
    path.write_bytes(HEADER + line(1) + line(2))
    async with opened(path) as reader, following(reader) as tail:
        before = path.read_bytes()
        path.write_bytes(before + line(3, incarnation="other"))
        await tail.until(3)
        path.write_bytes(before)
        async with opened(path) as writer:
            await writer.append([known(4)])
        assert await tail.until(4) == [3, 4]


async def test_a_place_that_is_lost_for_good_is_an_error(path: Path) -> None:
    path.write_bytes(HEADER + b"".join(line(seq) for seq in range(1, 6)))
    async with opened(path) as reader:
        page = await reader.read(RecordQuery(kind=RecordKind.EVENT, limit=3, newest_first=False))
        path.write_bytes(path.read_bytes().replace(b'{"number":3}', b'{"number":9}'))
        async with opened(path) as writer:
            await writer.recover(REPAIR)
        lost = RecordQuery(kind=RecordKind.EVENT, cursor=page.cursor)
        with pytest.raises(PlaceLostError, match="begin again"):
            await anext(aiter(reader.follow(lost)))


async def test_a_store_that_tells_no_end_is_refused_with_words() -> None:
    class Endless:
        async def read(self, query: RecordQuery) -> Page[Record]:
            del query
            return Page((fresh(1),), None)

    with pytest.raises(PersistenceError, match="cannot be followed"):
        await anext(aiter(follow(Endless(), EVENTS, from_now=False)))
    with pytest.raises(ValueError, match="poll_seconds"):
        await anext(aiter(follow(Endless(), EVENTS, poll_seconds=0)))


async def test_what_memory_forgets_is_no_end_of_following() -> None:
    async with InMemoryPersistence() as store, following(store, from_now=False) as tail:
        await store.append([fresh(1), fresh(2)])
        await tail.until(2)
        store.clear()
        await store.append([fresh(3)])
        assert await tail.until(3) == [1, 2, 3]


async def test_retention_that_lets_everything_go_does_not_hide_what_comes(path: Path) -> None:
    policy, clock = RetentionPolicy(max_age_seconds=50), ManualClock()
    async with opened(path, retention_policy=policy, clock=clock) as store:
        await store.append([fresh(1), fresh(2)])
        async with following(store) as tail:
            await store.append([known(3, timestamp=clock.now())])
            assert await tail.until(3) == [3]
