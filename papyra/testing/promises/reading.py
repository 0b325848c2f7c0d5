"""I9: a question has one answer, whichever store is asked; filters come before limits, pages are complete."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from papyra.exceptions import InvalidQueryError
from papyra.persistence.models import RecordKind
from papyra.persistence.query import RecordQuery
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.promises.harness import Harness, everything
from papyra.testing.records import (
    EPOCH,
    INCARNATION,
    MAKERS,
    OTHER_INCARNATION,
    audit,
    event,
    letter,
    numbers,
)

if TYPE_CHECKING:
    from papyra.persistence.base import BasePersistence
    from papyra.persistence.models import Record


class Listing(Harness):
    """The published questions."""

    async def test_lists_show_the_newest_oldest_first(self) -> None:
        async with self.opened() as backend:
            await backend.append([make(number) for number in range(7) for make in MAKERS.values()])
            async with self.reopened(backend) as reader:
                for ask in (reader.list_events, reader.list_audits, reader.list_dead_letters):
                    assert numbers(await ask()) == [0, 1, 2, 3, 4, 5, 6]
                    assert numbers(await ask(limit=3)) == [4, 5, 6]
                    assert numbers(await ask(limit=100)) == [0, 1, 2, 3, 4, 5, 6]
                    assert numbers(await ask(limit=1, since=EPOCH + 2)) == [6]
                    assert numbers(await ask(since=EPOCH + 5)) == [5, 6]
                    assert await ask(limit=0) == ()
                    assert await ask(since=EPOCH + 7) == ()

    async def test_lists_without_a_limit_show_everything(self) -> None:
        async with self.opened() as backend:
            await backend.append([event(number) for number in range(2_500)])
            async with self.reopened(backend) as reader:
                assert numbers(await reader.list_events()) == list(range(2_500))
                assert numbers(await reader.list_events(limit=1_700)) == list(range(800, 2_500))

    @pytest.mark.parametrize("limit", [-1, True, 2.0, "3"])
    async def test_a_limit_that_is_none_is_refused(self, limit: Any) -> None:
        async with self.opened() as backend:
            with pytest.raises(ValueError, match="limit"):
                await backend.list_events(limit=limit)

    @pytest.mark.parametrize("since", [math.nan, math.inf])
    async def test_a_time_that_is_none_is_refused(self, since: float) -> None:
        async with self.opened() as backend:
            with pytest.raises(ValueError, match="since"):
                await backend.list_events(since=since)

    async def test_an_empty_store_answers_with_nothing(self) -> None:
        async with self.opened() as backend, self.reopened(backend) as reader:
            for kind in RecordKind:
                page = await reader.read(RecordQuery(kind=kind))
                assert (list(page.records), page.cursor) == ([], None)
                assert await everything(reader, kind) == []
            assert await reader.list_events() == ()


def history() -> list[Record]:
    """Return records that differ in everything that can be asked for, with times that are not in order."""
    return [
        event(5, incarnation=INCARNATION, seq=1, actor_path="/desk", actor_address="orders:1"),
        event(1, incarnation=INCARNATION, seq=2, actor_path="/desk/stock", event_type="ActorCrashed"),
        event(9, incarnation=OTHER_INCARNATION, seq=1, actor_path="/desk", system_id="payments"),
        event(2, incarnation=OTHER_INCARNATION, seq=2, actor_path="/desk", event_type="ActorCrashed"),
        event(9, incarnation=INCARNATION, seq=3, actor_path="", actor_address="/desk"),
        letter(3, incarnation=INCARNATION, seq=1, target_path="/desk", reason="expired"),
        letter(8, incarnation=INCARNATION, seq=2, target="orders:1", reason="overflow"),
        letter(4, incarnation=OTHER_INCARNATION, seq=1, message_type="str", reason="overflow"),
        audit(6, incarnation=INCARNATION, seq=1),
        audit(3, incarnation=OTHER_INCARNATION, seq=1, system_id="payments"),
    ]


FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"system_id": "payments"},
    {"system_id": "nobody"},
    {"incarnation": OTHER_INCARNATION},
    {"incarnation": ""},
    {"actor": "/desk"},
    {"actor": "orders:1"},
    {"actor": "/desk/stock"},
    {"actor": "/des%"},
    {"actor": ""},
    {"type": "ActorCrashed"},
    {"type": "actorcrashed"},
    {"type": "str"},
    {"reason": "overflow"},
    {"since": EPOCH + 3},
    {"until": EPOCH + 3},
    {"since": EPOCH + 2, "until": EPOCH + 9},
    {"since": EPOCH + 9, "until": EPOCH + 2},
    {"since": -1e300, "until": 1e300},
    {"actor": "/desk", "type": "ActorCrashed", "since": EPOCH + 2, "incarnation": OTHER_INCARNATION},
    {"actor": "orders:1", "reason": "overflow", "system_id": "orders"},
)


class Filtering(Harness):
    """Every word of a query."""

    @pytest.mark.parametrize("filters", FILTERS, ids=str)
    async def test_i9_a_filter_finds_exactly_what_it_says(self, filters: dict[str, Any]) -> None:
        async with self.opened() as backend:
            await backend.append(history())
            async with self.reopened(backend) as reader:
                for kind in RecordKind:
                    query = RecordQuery(kind=kind, **filters)
                    expected = [record for record in history() if query.matches(record)]
                    assert list((await reader.read(query)).records) == expected[::-1]
                    assert list((await reader.read(replace(query, newest_first=False))).records) == expected

    async def test_a_limit_counts_what_passed_the_filters(self) -> None:
        types = ("rare" if number % 50 == 7 else "common" for number in range(300))
        async with self.opened() as backend:
            await backend.append([event(number, event_type=type_) for number, type_ in enumerate(types)])
            async with self.reopened(backend) as reader:
                page = await reader.read(RecordQuery(kind=RecordKind.EVENT, type="rare", limit=3))
                assert numbers(page.records) == [257, 207, 157]
                rest = await reader.read(
                    RecordQuery(kind=RecordKind.EVENT, type="rare", limit=3, cursor=page.cursor)
                )
                assert (numbers(rest.records), rest.cursor) == ([107, 57, 7], None)

    async def test_since_is_inclusive_and_until_is_not(self) -> None:
        async with self.opened() as backend:
            await backend.append([event(0, timestamp=EPOCH + 0.000001 * tick) for tick in range(4)])
            found = await everything(backend, since=EPOCH + 0.000001, until=EPOCH + 0.000003)
            assert [record.timestamp for record in found] == [EPOCH + 0.000001, EPOCH + 0.000002]


class Paging(Harness):
    """From page to page."""

    @pytest.mark.parametrize("newest_first", [True, False])
    @pytest.mark.parametrize("limit", [1, 7, 20, 60, 61])
    async def test_pages_are_complete_without_repeat_or_skip(self, limit: int, *, newest_first: bool) -> None:
        async with self.opened() as backend:
            await backend.append([make(number) for number in range(60) for make in MAKERS.values()])
            expected = list(range(60))[:: -1 if newest_first else 1]
            query = RecordQuery(kind=RecordKind.EVENT, limit=limit, newest_first=newest_first)
            async with self.reopened(backend) as reader:
                pages = await self._pages(reader, query)
            assert [number for page in pages for number in page] == expected
            assert all(len(page) == limit for page in pages[:-1])
            assert len(pages) == -(-60 // limit), "a cursor is None where nothing follows"

    async def _pages(self, reader: BasePersistence, query: RecordQuery) -> list[list[int]]:
        pages = []
        while True:
            page = await reader.read(query)
            pages.append(numbers(page.records))
            assert len(pages) <= 100, "pages without end"
            if page.cursor is None:
                return pages
            query = replace(query, cursor=page.cursor)

    @pytest.mark.parametrize("newest_first", [True, False])
    async def test_pages_stay_complete_while_records_come(self, *, newest_first: bool) -> None:
        async with self.opened() as backend:
            await backend.append([event(number) for number in range(40)])
            query = RecordQuery(kind=RecordKind.EVENT, limit=6, newest_first=newest_first)
            seen: list[int] = []
            coming = iter(range(40, 1000))
            async with self.reopened(backend) as reader:
                while True:
                    page = await reader.read(query)
                    seen += numbers(page.records)
                    if page.cursor is None or len(seen) > 300:
                        break
                    await backend.append([event(next(coming)) for _ in range(3)])
                    query = replace(query, cursor=page.cursor)
            last = next(coming) - 1
            assert seen == (list(range(40))[::-1] if newest_first else list(range(last + 1)))

    @pytest.mark.parametrize("newest_first", [True, False])
    async def test_pages_stay_complete_while_compaction_takes_the_oldest(self, *, newest_first: bool) -> None:
        async with self.opened() as backend:
            await backend.append([make(number) for number in range(60) for make in MAKERS.values()])
            query = RecordQuery(kind=RecordKind.EVENT, limit=10, newest_first=newest_first)
            first = await backend.read(query)
            await backend.compact(RetentionPolicy(max_records=40))
            await backend.append([event(60)])
            rest = await everything(
                backend, RecordKind.EVENT, cursor=first.cursor, newest_first=newest_first, limit=10
            )
            expected = range(49, 19, -1) if newest_first else range(20, 61)
            assert numbers(rest) == list(expected)

    async def test_a_cursor_holds_in_another_opening(self) -> None:
        if not self.survives_reopen:
            pytest.skip("this store ends with its object")
        async with self.opened() as backend:
            await backend.append([event(number) for number in range(20)])
            page = await backend.read(RecordQuery(kind=RecordKind.EVENT, limit=5))
        async with self.opened() as backend:
            await backend.append([event(20)])
            assert numbers(await everything(backend, cursor=page.cursor, newest_first=True, limit=4)) == list(
                range(14, -1, -1)
            )

    @pytest.mark.parametrize("cursor", ["nonsense", "", "-1", "1.5", "٣", "9" * 5_000, '{"a":1}', "\x00"])
    async def test_a_cursor_of_another_store_is_refused_or_leads_nowhere(self, cursor: str) -> None:
        async with self.opened() as backend:
            await backend.append([event(1)])
            with suppress(InvalidQueryError):
                await backend.read(RecordQuery(kind=RecordKind.EVENT, cursor=cursor))
            assert numbers(await self.stored(backend)) == [1]

    async def test_iterating_ends_where_it_was_told_to(self) -> None:
        async with self.opened() as backend:
            await backend.append([event(number) for number in range(10)])
            query = RecordQuery(kind=RecordKind.EVENT, limit=4)
            for total, expected in ((0, []), (1, [9]), (4, [9, 8, 7, 6]), (5, [9, 8, 7, 6, 5])):
                assert numbers([record async for record in backend.iterate(query, total=total)]) == expected
