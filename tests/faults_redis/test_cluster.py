"""Three nodes on loopback: every key of a system in one slot, wherever that lies or moves to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import StoreUnavailableError
from papyra.persistence.backends.redis import RedisStreamsConfig, RedisStreamsPersistence
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.promises.harness import everything
from tests.budget import BUDGET, Budget
from tests.faults_redis.stores import REPAIR, key, numbered

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from redis import RedisCluster

    from tests.services.redisserver import RedisServer

pytestmark = pytest.mark.skipif(BUDGET is not Budget.WHOLE, reason="make faults")
SYSTEMS = [f"system-{number}" for number in range(8)]


@pytest.fixture
def client(redis_cluster: Sequence[RedisServer]) -> Iterator[RedisCluster]:
    from redis import RedisCluster  # noqa: PLC0415  # an extra

    with RedisCluster.from_url(redis_cluster[0].url) as connected:
        yield connected


def on(client: RedisCluster, system_id: str) -> RedisStreamsPersistence:
    return RedisStreamsPersistence(RedisStreamsConfig(system_id=system_id, client=client))


async def test_every_system_works_whichever_node_has_it(
    client: RedisCluster, redis_cluster: Sequence[RedisServer]
) -> None:
    for system_id in SYSTEMS:
        records = numbered(range(1, 31), system_id=system_id)
        async with on(client, system_id) as store:
            await store.append(records)
            await store.append(records)
            assert await everything(store) == records
            assert (await store.scan()).anomalies == ()
            await store.compact(RetentionPolicy(max_records=10))
            await store.recover(REPAIR)
            assert [one.seq for one in await everything(store)] == list(range(21, 31))
    for server in redis_cluster:
        with server.client() as direct:
            assert direct.dbsize() > 0


async def test_a_node_that_was_killed_and_came_back_has_everything(
    client: RedisCluster, redis_cluster: Sequence[RedisServer]
) -> None:
    records = numbered(range(1, 41))
    async with on(client, "orders") as store:
        await store.append(records[:20])
        port = client.get_node_from_key(key("events")).port  # type: ignore[no-untyped-call]
        (server,) = [server for server in redis_cluster if server.port == port]
        server.restart()
        server.log.wait_for("Cluster state changed: ok")
        await store.append(records[20:])
        assert await everything(store) == records
        assert (await store.scan()).anomalies == ()


async def test_a_cluster_that_is_away_is_told_and_used_again(
    client: RedisCluster, redis_cluster: Sequence[RedisServer]
) -> None:
    records = numbered(range(1, 4))
    async with on(client, "orders") as store:
        await store.append(records[:1])
        for server in redis_cluster:
            server.kill()
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                await store.append(records[1:])
        for server in redis_cluster:
            server.start()
        for server in redis_cluster:
            server.log.wait_for("Cluster state changed: ok")
        await store.append(records[1:])
        assert await everything(store) == records


async def test_a_slot_that_moves_takes_its_system_along(
    client: RedisCluster, redis_cluster: Sequence[RedisServer]
) -> None:
    records = numbered(range(1, 41))
    async with on(client, "orders") as store:
        await store.append(records[:20])
        move_slot(client, redis_cluster, key("events"))
        await store.append(records[20:])
        assert await everything(store) == records
        assert (await store.scan()).anomalies == ()


def move_slot(client: RedisCluster, servers: Sequence[RedisServer], name: str) -> None:
    """Give the slot of ``name`` to another node, as redis-cli does it."""
    slot = client.keyslot(name)  # type: ignore[no-untyped-call]
    port = client.get_node_from_key(name).port  # type: ignore[no-untyped-call]
    (source,) = [server for server in servers if server.port == port]
    target = next(server for server in servers if server.port != port)
    with source.client() as old, target.client() as new:
        old_id, new_id = (one.execute_command("CLUSTER", "MYID").decode() for one in (old, new))
        new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", old_id)
        old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", new_id)
        names = old.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100)
        old.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *names)
        for one in (new, old):
            one.execute_command("CLUSTER", "SETSLOT", slot, "NODE", new_id)
