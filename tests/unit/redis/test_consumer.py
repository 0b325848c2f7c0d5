"""A consumer group hands out every entry, to one at a time, whoever dies, stops or is slow."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from papyra.clock import pause
from papyra.persistence.backends.redis import RedisConsumerGroupConfig
from papyra.persistence.models import RecordKind
from tests.unit.redis.consumers import (
    SECONDS,
    joined,
    left_pending,
    numbers,
    one,
    pending,
    take,
    take_some,
    until,
    until_blocked,
)
from tests.unit.redis.stores import EVENTS, mine, opened

if TYPE_CHECKING:
    from papyra.persistence._redis.consumer import Consumer
    from tests.services.redisserver import RedisPlace

CRASHES_AT_3 = """
import asyncio, os, sys
from papyra.persistence.backends.redis import *

async def main():
    async with RedisStreamsPersistence(RedisStreamsConfig(sys.argv[1], system_id="orders")) as store:
        cfg = RedisConsumerGroupConfig("workers", sys.argv[2], min_idle_ms=20, max_deliveries=2, block_ms=20)
        async with store.consumer(kind="events", cfg=cfg) as consumer:
            async for entry in consumer:
                if entry.record.seq == 3:
                    os._exit(9)
                if entry.record.seq == 20:
                    consumer.stop()

asyncio.run(main())
"""


@pytest.mark.parametrize("name", ["worker", ""])
async def test_of_a_process_that_dies_again_and_again_only_the_entry_that_kills_it_is_suspected(
    valkey: RedisPlace, name: str
) -> None:
    async with opened(valkey.url) as store:
        await store.append(mine(*range(1, 21)))
        ends: list[int] = []
        while 0 not in ends:
            assert len(ends) < 3
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", CRASHES_AT_3, valkey.url, name)
            )
            async with asyncio.timeout(SECONDS):
                ends.append(await process.wait())
        assert ends == [9, 9, 0]
        assert await pending(store) == 0
        (apart,) = [each async for each in store.quarantined()]
        (page,) = [each async for each in store.read_quarantined(apart)]
        assert [record.seq for record, _ in page.records] == [3]


async def test_several_share_the_entries_and_each_goes_to_one(valkey: RedisPlace) -> None:
    done: list[int] = []
    async with opened(valkey.url) as store, AsyncExitStack() as stack:
        await store.append(mine(*range(1, 301)))
        members = [await stack.enter_async_context(joined(store, count=5)) for _ in range(3)]

        async def work(member: Consumer) -> None:
            async for entry in member:
                done.append(entry.record.seq)
                await asyncio.sleep(0)
                if len(done) == 300:
                    for each in members:
                        each.stop()

        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*map(work, members))
        assert sorted(done) == list(range(1, 301))
        assert all(member.stats.received >= 5 for member in members)
        assert sum(member.stats.acknowledged for member in members) == 300
        assert await store.pending_summary(kind="events", group="workers") == {
            "raw": {"pending": 0, "min": None, "max": None, "consumers": []},
            "lag": 0,
        }


async def test_what_a_dead_consumer_left_is_taken_over_to_the_last(valkey: RedisPlace) -> None:
    async with opened(valkey.url) as store:
        await store.append(mine(*range(1, 1_001)))
        left_pending(valkey, 990)
        async with joined(store, count=7, min_idle_ms=20) as consumer:
            taken = await take(consumer, 1_000)
        assert sorted(numbers(taken)) == list(range(1, 1_001))
        assert {entry.deliveries for entry in taken if entry.record.seq <= 990} == {2}
        assert (consumer.stats.taken_over, await pending(store)) == (990, 0)


async def test_a_living_consumer_keeps_what_it_has_however_slow_it_is(valkey: RedisPlace) -> None:
    async with opened(valkey.url) as store, joined(store, min_idle_ms=300) as slow:
        await store.append(mine(*range(1, 11)))
        async with joined(store, min_idle_ms=1_500) as other:
            assert (await one(slow)).record.seq == 1
            idle = asyncio.ensure_future(take(other, 10))
            now = asyncio.get_running_loop().time
            long_enough = now() + 2.5
            await until(lambda: now() > long_enough)
            assert (other.stats.received, slow.stats.received) == (0, 10)
            await slow.aclose()
            taken = [(entry.record.seq, entry.deliveries) for entry in await idle]
            assert taken == [(1, 2), *((seq, 1) for seq in range(2, 11))]


async def test_who_was_held_up_hands_out_nothing_that_others_were_given_meanwhile(valkey: RedisPlace) -> None:
    async with opened(valkey.url) as store, joined(store, min_idle_ms=100, acknowledges=False) as consumer:
        await store.append(mine(*range(1, 11)))
        entries = aiter(consumer)
        assert (await anext(entries)).record.seq == 1
        pause(0.2)
        with valkey.client() as client:
            assert len(client.xautoclaim(EVENTS, "workers", "other", 100, justid=True)) == 10
            client.xadd(EVENTS, client.xrange(EVENTS)[0][1])
            async with asyncio.timeout(SECONDS):
                assert (await anext(entries)).record.seq == 1
        await entries.aclose()


async def test_what_was_not_handed_out_or_not_through_is_given_back_at_once(valkey: RedisPlace) -> None:
    async with opened(valkey.url) as store:
        await store.append(mine(1, 2, 3))
        async with joined(store) as first:
            assert (await one(first)).record.seq == 1
        async with joined(store) as second:
            taken = await take(second, 3)
        assert [(entry.record.seq, entry.deliveries) for entry in taken] == [(1, 2), (2, 1), (3, 1)]


async def test_a_consumer_that_comes_back_under_its_name_goes_on_where_it_died(valkey: RedisPlace) -> None:
    async with opened(valkey.url) as store:
        await store.append(mine(*range(1, 11)))
        left_pending(valkey, 8, "worker-1")
        async with joined(store, "worker-1", count=3) as consumer:
            assert numbers(await take(consumer, 10)) == list(range(1, 11))


async def test_an_entry_that_kills_whoever_has_it_goes_into_quarantine(valkey: RedisPlace) -> None:
    async with opened(valkey.url) as store:
        await store.append(mine(1, 2, 3))
        for attempt in (1, 2, 3):
            async with joined(store, max_deliveries=3) as consumer:
                entry = await one(consumer)
            assert (entry.record.seq, entry.deliveries) == (1, attempt)
        async with joined(store, max_deliveries=3) as consumer:
            assert numbers(await take(consumer, 2)) == [2, 3]
        assert (consumer.stats.quarantined, await pending(store)) == (1, 0)
        (apart,) = [each async for each in store.quarantined()]
        assert (apart.reason, apart.store, apart.is_intact) == ("poison", EVENTS, True)
        (page,) = [each async for each in store.read_quarantined(apart)]
        assert [record.seq for record, _ in page.records] == [1]
        assert [record.seq for record in await store.list_events()] == [1, 2, 3]
        assert not (await store.scan()).has_anomalies


@pytest.mark.parametrize("fields", [{"noise": "1"}, {"data": "[1]"}, {"body": "x", "crc": "y"}])
async def test_what_is_no_record_stays_pending_with_nobody(
    valkey: RedisPlace, fields: dict[str, Any]
) -> None:
    async with opened(valkey.url) as store:
        await store.append(mine(1))
        with valkey.client() as client:
            client.xadd(EVENTS, fields)
        await store.append(mine(2))
        async with joined(store) as consumer:
            assert numbers(await take(consumer, 2)) == [1, 2]
        found = await store.consume(kind="events", cfg=RedisConsumerGroupConfig("others", "one"))
        assert numbers(list(found)) == [1, 2]
        for group in ("workers", "others"):
            summary = await store.pending_summary(kind="events", group=group)
            assert summary["raw"]["pending"] == (2 if group == "others" else 0)
        assert [each.reason async for each in store.quarantined()] == ["garbage", "garbage"]


async def test_stopping_while_it_waits_ends_the_loop_and_keeps_nothing_back(valkey: RedisPlace) -> None:
    async with opened(valkey.url) as store, joined(store, block_ms=700) as consumer:
        waiting = asyncio.ensure_future(one(consumer))
        await until_blocked(valkey)
        consumer.stop()
        with pytest.raises(AssertionError, match="stopped"):
            await waiting
        await store.append(mine(1, 2))
        await consumer.aclose()
        async with joined(store) as other:
            taken = await take(other, 2)
        assert [(entry.record.seq, entry.deliveries) for entry in taken] == [(1, 1), (2, 1)]


async def test_who_is_cancelled_while_waiting_loses_nothing(valkey: RedisPlace) -> None:
    async with opened(valkey.url) as store, joined(store, block_ms=20_000) as consumer:
        for seq in (1, 2, 3):
            waiting = asyncio.ensure_future(one(consumer))
            await until_blocked(valkey)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await store.append(mine(seq))
            (entry,) = await take_some(consumer, 1)
            assert (entry.record.seq, entry.deliveries) == (seq, 1)


async def test_batches_are_acknowledged_together_and_by_hand_only_if_asked(valkey: RedisPlace) -> None:
    async with opened(valkey.url) as store:
        await store.append(mine(*range(1, 31)))
        async with joined(store, "a", count=10) as consumer, asyncio.timeout(SECONDS):
            async for batch in consumer.batches():
                assert len(batch) == 10
                if batch[-1].record.seq == 30:
                    consumer.stop()
        assert await pending(store) == 0
        await store.append(mine(*range(31, 41)))
        async with joined(store, "b", acknowledges=False) as consumer:
            taken = await take(consumer, 10)
            assert await pending(store) == 10
            assert await consumer.ack(*taken[:4]) == 4
            assert await consumer.ack(*taken[:5]) == 1
        summary = await store.pending_summary(kind=RecordKind.EVENT, group="workers")
        assert summary["raw"]["consumers"] == [{"name": "b", "pending": 5}]
