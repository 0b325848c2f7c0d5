from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from papyra.persistence.backends.memory import InMemoryPersistence
from papyra.persistence.models import RecordKind
from papyra.persistence.query import RecordQuery
from papyra.persistence.retention import UNLIMITED, RetentionPolicy
from papyra.testing import ManualClock
from papyra.testing.records import INCARNATION, audit, contents, event, letter, numbers

if TYPE_CHECKING:
    from papyra.persistence.models import Record


async def test_r5_ten_thousand_of_each_kind_are_kept_by_default_and_little_more_is_held() -> None:
    memory = InMemoryPersistence()
    await memory.append([letter(1)])
    for start in range(0, 12_500, 500):
        await memory.append([event(number) for number in range(start, start + 500)])
        assert (await memory.counts())[RecordKind.EVENT] <= 11_000
    assert numbers(memory.events) == list(range(2_500, 12_500))
    assert numbers(memory.dead_letters) == [1]


async def test_the_published_properties_show_what_is_kept_oldest_first() -> None:
    memory = InMemoryPersistence(RetentionPolicy(max_records=2))
    await memory.append([*(event(number) for number in range(4)), audit(1), letter(2)])
    assert numbers(memory.events) == [2, 3]
    assert contents(memory.audits) == [audit(1)]
    assert contents(memory.dead_letters) == [letter(2)]
    await memory.aclose()
    assert numbers(memory.events) == [2, 3], "a closed one can still be looked at"


async def test_clearing_forgets_everything_even_identities() -> None:
    memory = InMemoryPersistence()
    record = event(1, incarnation=INCARNATION, seq=1)
    await memory.append([record])
    memory.clear()
    assert not memory.events
    await memory.append([record])
    assert memory.events == (record,)


async def test_age_is_judged_by_the_clock_it_was_given() -> None:
    clock = ManualClock()
    memory = InMemoryPersistence(RetentionPolicy(max_age_seconds=60), clock=clock)
    await memory.append([event(1, timestamp=clock.now())])
    clock.advance(60)
    assert len(memory.events) == 1
    clock.advance(1)
    assert len(memory.events) == 0


async def test_i8_reading_through_a_long_history_lets_the_loop_turn() -> None:
    memory = InMemoryPersistence(UNLIMITED)
    for start in range(0, 20_000, 1_000):
        await memory.append([event(number) for number in range(start, start + 1_000)])
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(count())
    await asyncio.sleep(0)
    for use in (memory.read(RecordQuery(kind=RecordKind.EVENT, type="nothing")), memory.stats()):
        turns = 0
        await use
        assert turns >= 4
    counter.cancel()


async def test_a_page_costs_no_more_in_a_long_history() -> None:
    memory = InMemoryPersistence(UNLIMITED)
    await memory.append([event(number) for number in range(5_000)])
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(count())
    await asyncio.sleep(0)
    turns = 0
    page = await memory.read(RecordQuery(kind=RecordKind.EVENT, limit=10))
    await memory.read(RecordQuery(kind=RecordKind.EVENT, limit=10, cursor=page.cursor))
    counter.cancel()
    assert turns <= 6


async def test_records_that_come_while_a_page_is_read_are_not_half_in_it() -> None:
    memory = InMemoryPersistence(UNLIMITED)
    await memory.append([event(number) for number in range(1_000)])

    async def read() -> list[Record]:
        page = await memory.read(RecordQuery(kind=RecordKind.EVENT, limit=5_000, newest_first=False))
        return list(page.records)

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    await memory.append([event(number) for number in range(1_000, 1_050)])
    await memory.compact(RetentionPolicy(max_records=900))
    found = numbers(await reading)
    assert found == sorted(set(found))
    assert found[-1] == 999
