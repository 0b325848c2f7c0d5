"""A consumer follows its store to the replica that takes over, and waits for a server to be there."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import StoreUnavailableError
from tests.services.proxy import Proxy
from tests.unit.redis.consumers import SECONDS, joined, numbers, take, until
from tests.unit.redis.stores import mine, opened
from tests.unit.redis.test_ways import sentinel

errors = pytest.importorskip("redis.exceptions")

if TYPE_CHECKING:
    from redis.sentinel import Sentinel

    from papyra.persistence.backends.redis import RedisStreamsPersistence
    from tests.services.redisfixtures import StartRedis
    from tests.services.redisserver import RedisPlace, RedisServer


async def appended(store: RedisStreamsPersistence, *seqs: int) -> None:
    """Append as soon as somebody takes it."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return await store.append(mine(*seqs))
            except StoreUnavailableError:
                await asyncio.sleep(0.05)


def asked_for_failover(watching: Sentinel) -> bool:
    try:
        watcher = watching.sentinels[0]
        return bool(watcher.execute_command("SENTINEL FAILOVER", "orders"))  # type: ignore[no-untyped-call]
    except errors.ResponseError:  # it does not know the replica well enough yet
        return False


def is_primary(server: RedisServer) -> bool:
    with (
        server.client() as client,
        suppress(errors.ConnectionError),
    ):  # who asks just then is cut off
        return str(client.info("replication")["role"]) == "master"
    return False


async def test_a_consumer_goes_on_with_the_replica_that_was_promoted(
    start_redis: StartRedis,
) -> None:
    primary = start_redis()
    replica = start_redis(replicaof=f"127.0.0.1 {primary.port}")
    with replica.client() as client:
        await until(lambda: client.info("replication")["master_link_status"] == "up")
    with sentinel(primary) as watching:
        client = watching.master_for("orders")  # type: ignore[no-untyped-call]
        async with opened("", client=client) as store, joined(store, count=10) as consumer:
            await appended(store, *range(1, 31))
            taken: list[int] = []
            async with asyncio.timeout(SECONDS):
                async for entry in consumer:
                    taken.append(entry.record.seq)
                    if len(taken) == 15:
                        await until(lambda: asked_for_failover(watching))
                        await until(lambda: is_primary(replica))
                        primary.kill()
                        await appended(store, *range(31, 41))
                    if entry.record.seq == 40:
                        consumer.stop()
        assert set(taken) == set(range(1, 41))
        client.close()
        for each in watching.sentinels:
            each.close()


async def test_a_consumer_that_begins_while_the_server_is_away_waits_for_it(valkey: RedisPlace) -> None:
    with Proxy(valkey.url) as proxy:
        proxy.refuse()
        async with opened(valkey.url) as store, opened(proxy.url) as far, joined(far) as consumer:
            await store.append(mine(1, 2))
            taking = asyncio.ensure_future(take(consumer, 2))
            await until(lambda: consumer.stats.outages == 1)
            proxy.accept()
            assert numbers(await taking) == [1, 2]


async def test_who_stops_while_the_server_is_away_is_not_held_up(valkey: RedisPlace) -> None:
    with Proxy(valkey.url) as proxy:
        async with opened(proxy.url) as store:
            await store.append(mine(1, 2))
            async with joined(store) as consumer, asyncio.timeout(SECONDS):
                async for _ in consumer:
                    proxy.refuse()
                    consumer.stop()
            assert consumer.stats.acknowledged == 0
            proxy.accept()
            async with joined(store, min_idle_ms=1) as other:
                assert sorted(numbers(await take(other, 2))) == [1, 2]
