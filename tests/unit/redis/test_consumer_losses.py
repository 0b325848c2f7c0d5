"""A consumer outlives the loss of its group, its stream, its server, and of replies on their way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import BackendClosedError, InvalidQueryError
from papyra.persistence.backends.redis import RedisConsumerGroupConfig
from papyra.persistence.retention import RetentionPolicy
from tests.services.proxy import Proxy
from tests.unit.redis.consumers import (
    SECONDS,
    joined,
    left_pending,
    numbers,
    one,
    pending,
    take,
    until,
    until_asked,
    until_blocked,
)
from tests.unit.redis.stores import EVENTS, mine, opened

if TYPE_CHECKING:
    from papyra.persistence.backends.redis import RedisStreamEntry
    from tests.services.redisfixtures import StartRedis
    from tests.services.redisserver import RedisPlace

CLAIMING = RedisConsumerGroupConfig("workers", "claimer", min_idle_ms=1)


async def test_a_reply_lost_on_its_way_to_quarantine_sets_nothing_apart_twice(valkey: RedisPlace) -> None:
    with Proxy(valkey.url) as proxy, valkey.client() as client:
        async with opened(valkey.url) as store, opened(proxy.url) as far:
            await store.append(mine(1))
            client.xadd(EVENTS, {"noise": "1"})
            await store.append(mine(2))
            async with joined(far) as consumer:
                lost = proxy.lose_reply(b'"fields"')
                assert numbers(await take(consumer, 2)) == [1, 2]
                assert lost.is_met
            assert len([each async for each in store.quarantined()]) == 1
            assert await pending(store) == 0


async def test_a_full_server_holds_up_nothing_that_is_sound(start_redis: StartRedis) -> None:
    server = start_redis(maxmemory_policy="noeviction")
    with server.client() as client:
        async with opened(server.url) as store:
            await store.append(mine(1))
            client.xadd(EVENTS, {"noise": "1"})
            await store.append(mine(2))
            left_pending(server, 3)
            client.config_set("maxmemory", 1)
            async with joined(store, min_idle_ms=20, max_deliveries=3) as consumer:
                assert numbers(await take(consumer, 2)) == [1, 2]
                assert consumer.stats.quarantined == 0
            client.config_set("maxmemory", 0)
            await store.append(mine(3))
            async with joined(store, min_idle_ms=20) as consumer:
                assert numbers(await take(consumer, 1)) == [3]
            assert await store.auto_claim("events", cfg=CLAIMING) == ()
            assert await pending(store) == 0
            assert len([each async for each in store.quarantined()]) == 1


async def test_a_group_that_was_destroyed_goes_on_behind_what_is_done(
    valkey: RedisPlace, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(valkey.url) as store, joined(store, count=10) as consumer:
        await store.append(mine(*range(1, 51)))
        taken: list[RedisStreamEntry] = []
        async with asyncio.timeout(SECONDS):
            async for entry in consumer:
                taken.append(entry)
                if len(taken) == 20:
                    with valkey.client() as client:
                        client.xgroup_destroy(EVENTS, "workers")
                if entry.record.seq == 50:
                    consumer.stop()
        assert numbers(taken) == [*range(1, 21), *range(20, 51)]
        assert consumer.stats.recreated == 1
        assert "has lost its consumer group workers" in caplog.text


async def test_who_had_nothing_to_do_knows_how_far_the_others_are_when_the_group_is_lost(
    valkey: RedisPlace,
) -> None:
    async with opened(valkey.url) as store, joined(store, min_idle_ms=200) as consumer:
        following = asyncio.ensure_future(one(consumer))
        await until_blocked(valkey)
        with valkey.client() as client:
            with client.pipeline() as together:  # before whoever waits is served
                together.xadd(EVENTS, {"noise": "1"})
                together.xreadgroup("workers", "other", {EVENTS: ">"})
                _, read = together.execute()
            client.xack(EVENTS, "workers", read[0][1][0][0])
            await until_asked(valkey, "xinfo|groups", 2)
            client.xgroup_destroy(EVENTS, "workers")
            await store.append(mine(1))
            assert (await following).record.seq == 1
        assert (consumer.stats.recreated, consumer.stats.quarantined) == (1, 0)


@pytest.mark.parametrize("loss", ["delete", "flushall"])
async def test_a_stream_that_vanishes_while_somebody_waits_for_it_is_read_anew(
    valkey: RedisPlace, loss: str
) -> None:
    async with opened(valkey.url) as store, joined(store, block_ms=20_000) as consumer:
        await store.append(mine(*range(1, 11)))
        entries = aiter(consumer)
        with valkey.client() as client:
            async with asyncio.timeout(SECONDS):
                for seq in range(1, 11):
                    assert (await anext(entries)).record.seq == seq
                following = asyncio.ensure_future(anext(entries))
                await until_blocked(valkey)
                client.delete(EVENTS) if loss == "delete" else client.flushall()
                async with opened(valkey.url) as fresh:
                    await fresh.append(mine(11))
                assert (await following).record.seq == 11
        assert consumer.stats.recreated == 1
        await entries.aclose()


async def test_a_stream_that_begins_again_with_smaller_ids_is_read_from_its_first(
    valkey: RedisPlace,
) -> None:
    with valkey.client() as client:
        async with opened(valkey.url) as store, joined(store) as consumer:
            await store.append(mine(1))
            client.xadd(EVENTS, client.xrange(EVENTS)[0][1], id="9999999999999-0")
            entries = aiter(consumer)
            async with asyncio.timeout(SECONDS):
                assert [(await anext(entries)).record.seq for _ in range(2)] == [1, 1]
                following = asyncio.ensure_future(anext(entries))
                await until(lambda: consumer.stats.acknowledged == 2)
                client.flushall()
                async with opened(valkey.url) as fresh:
                    await fresh.append(mine(2))
                assert (await following).record.seq == 2
            await entries.aclose()


async def test_without_ensure_group_a_lost_group_is_told(valkey: RedisPlace) -> None:
    async with opened(valkey.url) as store:
        await store.append(mine(1))
        async with joined(store, ensure_group=False) as consumer:
            with pytest.raises(InvalidQueryError, match="ensure_consumer_group"):
                await one(consumer)


@pytest.mark.parametrize("keeps", [True, False])
async def test_a_server_that_is_killed_and_comes_back_is_gone_on_with(
    start_redis: StartRedis, *, keeps: bool
) -> None:
    yes = "yes" if keeps else "no"
    server = start_redis(appendonly=yes, appendfsync="always")
    async with opened(server.url) as store, joined(store, count=10) as consumer:
        await store.append(mine(*range(1, 31)))
        taken: list[int] = []
        async with asyncio.timeout(SECONDS):
            async for entry in consumer:
                taken.append(entry.record.seq)
                if taken == [*range(1, 16)]:
                    server.kill()
                    server.start()
                    await store.append(mine(*range(31, 41)))
                if entry.record.seq == 40:
                    consumer.stop()
        assert set(taken) == {*range(1, 41)}
        if keeps:
            assert (taken, consumer.stats.recreated) == ([*range(1, 41)], 0)


async def test_what_a_lost_reply_had_in_it_is_handed_out_before_what_is_newer(valkey: RedisPlace) -> None:
    with Proxy(valkey.url) as proxy:
        async with opened(valkey.url) as store, opened(proxy.url) as far:
            await store.append(mine(*range(1, 31)))
            async with joined(far, count=10) as consumer:
                lost = proxy.lose_reply(b"XREADGROUP", spared=1)
                assert numbers(await take(consumer, 30)) == list(range(1, 31))
            assert lost.is_met
            assert consumer.stats.outages == 1


async def test_an_acknowledgement_waits_for_the_server_and_is_not_forgotten(valkey: RedisPlace) -> None:
    with Proxy(valkey.url) as proxy:
        async with opened(valkey.url) as store, opened(proxy.url) as far, joined(far) as consumer:
            await store.append(mine(1, 2))
            async with asyncio.timeout(SECONDS):
                async for entry in consumer:
                    if entry.record.seq == 2:
                        consumer.stop()
                    else:
                        proxy.refuse()
                        asyncio.get_running_loop().call_later(0.3, proxy.accept)
            assert consumer.stats.acknowledged == 2
            assert await pending(store) == 0


async def test_what_retention_removed_before_anybody_was_through_is_told_and_pending_no_more(
    valkey: RedisPlace,
) -> None:
    async with opened(valkey.url, max_retained_for_groups=0) as store:
        await store.append(mine(*range(1, 11)))
        left_pending(valkey, 8)
        await store.compact(RetentionPolicy(max_records=3))
        async with joined(store, min_idle_ms=1) as consumer:
            assert sorted(numbers(await take(consumer, 3))) == [8, 9, 10]
        assert (consumer.stats.removed, await pending(store)) == (7, 0)


async def test_a_closed_store_ends_its_consumers_with_an_error(valkey: RedisPlace) -> None:
    async with opened(valkey.url) as store:
        consumer = store.consumer(kind="events", cfg=RedisConsumerGroupConfig("workers", block_ms=50))
        waiting = asyncio.ensure_future(one(consumer))
        await until_blocked(valkey)
    with pytest.raises(BackendClosedError):
        await waiting
