"""A store can be followed: from now, from the beginning or behind a cursor, each record once, in order."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from papyra.persistence.following import follow
from papyra.persistence.models import PersistedEvent, RecordKind
from papyra.persistence.query import RecordQuery
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.promises.harness import Harness
from papyra.testing.records import audit, event, numbers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from papyra.persistence.base import BasePersistence
    from papyra.persistence.models import Record
    from papyra.persistence.query import Page

EVENTS = RecordQuery(kind=RecordKind.EVENT, limit=3)


class Tail:
    """Collects what `follow` yields, in a task of its own."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self._came = asyncio.Event()

    async def collect(self, records: AsyncIterator[Record]) -> None:
        async for record in records:
            if isinstance(record, PersistedEvent) and record.event_type == "ActorStarted":
                self.seen.append(record.payload["number"])  # type: ignore[index]
                self._came.set()

    async def until(self, number: int) -> list[int]:
        """Wait until the record with this number was seen; returns all that were."""
        async with asyncio.timeout(60):
            while number not in self.seen:
                self._came.clear()
                await self._came.wait()
        return self.seen


class _Watched:
    """Says when the first page behind the place to begin at was read."""

    def __init__(self, store: BasePersistence, has_begun: asyncio.Event) -> None:
        self._store = store
        self._has_begun = has_begun

    async def read(self, query: RecordQuery) -> Page[Record]:
        page = await self._store.read(query)
        if not query.newest_first:
            self._has_begun.set()
        return page


@asynccontextmanager
async def following(
    store: BasePersistence, query: RecordQuery = EVENTS, *, from_now: bool = True
) -> AsyncIterator[Tail]:
    """Follow ``store`` for the time of a block, which begins once it is known where that begins."""
    tail, has_begun = Tail(), asyncio.Event()
    records = follow(_Watched(store, has_begun), query, poll_seconds=0.005, from_now=from_now)
    task = asyncio.ensure_future(tail.collect(records))
    begun = asyncio.ensure_future(has_begun.wait())
    await asyncio.wait({task, begun}, return_when=asyncio.FIRST_COMPLETED)
    try:
        yield tail
    finally:
        task.cancel()
        begun.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()


class Following(Harness):
    """What `BasePersistence.follow` yields."""

    async def test_it_begins_now_or_at_the_beginning_or_behind_a_cursor(self) -> None:
        async with self.opened() as backend:
            await backend.append([event(number) for number in range(1, 6)])
            await backend.append([audit(9)])
            async with self.reopened(backend) as reader:
                page = await reader.read(RecordQuery(kind=RecordKind.EVENT, limit=2, newest_first=False))
                behind = RecordQuery(kind=RecordKind.EVENT, cursor=page.cursor)
                async with (
                    following(reader) as now,
                    following(reader, from_now=False) as whole,
                    following(reader, behind) as rest,
                ):
                    await backend.append([event(6)])
                    assert await now.until(6) == [6]
                    assert await whole.until(6) == [1, 2, 3, 4, 5, 6]
                    assert await rest.until(6) == [3, 4, 5, 6]
                assert numbers([await anext(aiter(reader.follow(behind)))]) == [3]

    async def test_an_empty_store_is_followed_from_its_first_record(self) -> None:
        async with self.opened() as backend, self.reopened(backend) as reader, following(reader) as tail:
            await backend.append([event(1)])
            await backend.append([event(2)])
            assert await tail.until(2) == [1, 2]

    async def test_retention_on_the_medium_repeats_and_skips_nothing(self) -> None:
        async with (
            self.opened() as backend,
            self.reopened(backend) as reader,
            following(reader, from_now=False) as tail,
        ):
            for number in range(1, 13):
                await backend.append([event(number)])
                if number % 3 == 0:
                    await tail.until(number)
                    await backend.compact(RetentionPolicy(max_records=number % 4))
            assert await tail.until(12) == [*range(1, 13)]
