"""I8: a server that does not take, keep or know what it should says so, and works again once it does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import ForeignStoreError, StoreUnavailableError
from papyra.persistence.backends.redis import RedisStreamsConfig
from papyra.persistence.models import EventType
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.promises.harness import everything
from papyra.testing.records import event, numbers
from tests.unit.redis.stores import DEDUP, EVENTS, META, REPAIR, mine, opened, seen

redis = pytest.importorskip("redis")

if TYPE_CHECKING:
    from tests.services.redisfixtures import StartRedis
    from tests.services.redisserver import RedisPlace


async def test_a_full_server_says_so_takes_nothing_and_works_again(start_redis: StartRedis) -> None:
    server = start_redis()
    with server.client() as client:
        async with opened(server.url) as store:
            await store.append(mine(1))
            client.config_set("maxmemory", 1)
            try:
                with pytest.raises(StoreUnavailableError, match="out of memory"):
                    await store.append(mine(2, 3))
                assert await seen(store) == [1]
                await store.compact(RetentionPolicy(max_records=0))
            finally:
                client.config_set("maxmemory", 0)
            await store.append(mine(2, 3))
            assert await seen(store) == [2, 3]
            assert not (await store.scan()).has_anomalies


async def test_a_replica_takes_nothing_and_is_named(start_redis: StartRedis) -> None:
    server = start_redis()
    with server.client() as client:
        client.replicaof("127.0.0.1", 1)
        try:
            async with opened(server.url) as store:
                with pytest.raises(StoreUnavailableError, match="replica"):
                    await store.append(mine(1))
        finally:
            client.replicaof("NO", "ONE")


async def test_waiting_for_more_replicas_than_there_are_acknowledges_nothing(start_redis: StartRedis) -> None:
    server = start_redis()
    async with opened(server.url, durability="wait", wait_replicas=1, wait_milliseconds=50) as store:
        with pytest.raises(StoreUnavailableError, match="0 of 1 replicas"):
            await store.append(mine(1))
    async with opened(server.url) as store:
        await store.append(mine(1, 2))
        assert await seen(store) == [1, 2]


async def test_waiting_for_a_sync_of_a_server_that_makes_none_acknowledges_nothing(
    start_redis: StartRedis,
) -> None:
    server = start_redis()
    async with opened(server.url, durability="waitaof", wait_milliseconds=50) as store:
        with pytest.raises(StoreUnavailableError, match=r"Redis 7\.2 or later, with appendonly yes"):
            await store.append(mine(1))


async def test_a_synced_server_that_is_killed_has_every_acknowledged_record(start_redis: StartRedis) -> None:
    server = start_redis(appendonly="yes")
    with server.client() as client:
        if client.info("server")["redis_version"] < "7.2":
            pytest.skip("the server is older than WAITAOF")
    async with opened(server.url, durability="waitaof", wait_milliseconds=10_000) as store:
        for first in range(1, 101, 10):
            await store.append(mine(*range(first, first + 10)))
    server.restart()
    async with opened(server.url) as store:
        assert await seen(store) == list(range(1, 101))


@pytest.mark.parametrize("key", [EVENTS, DEDUP, META])
async def test_a_key_of_another_kind_is_told_and_left_alone(any_redis: RedisPlace, key: str) -> None:
    with any_redis.client() as client:
        client.set(key, "somebody's")
        async with opened(any_redis.url) as store:
            with pytest.raises(ForeignStoreError, match="something else than papyra"):
                await store.append(mine(1))
        assert client.get(key) == b"somebody's"


async def test_two_systems_under_one_prefix_do_not_see_each_other(any_redis: RedisPlace) -> None:
    async with (
        opened(any_redis.url, system_id="orders") as orders,
        opened(any_redis.url, system_id="pay") as pay,
    ):
        await orders.append(mine(1))
        await pay.append([event(7)])
        assert numbers(await everything(orders)) == [1]
        assert numbers(await everything(pay)) == [7]


async def test_a_system_that_begins_under_anothers_keys_is_warned_of(
    any_redis: RedisPlace, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(any_redis.url) as store:
        await store.append([event(1, event_type=EventType.SYSTEM_STARTED, system_id="payments")])
        await store.append([event(2, system_id="payments")])
        (said,) = [record for record in caplog.records if "payments" in record.getMessage()]
        assert "system_id" in said.getMessage()
        assert any("payments" in warning for warning in (await store.scan()).warnings)


async def test_a_wrong_password_is_never_repeated(
    start_redis: StartRedis, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_redis()
    secret = "hunter2-never-shown"  # noqa: S105  # it is what must not be shown
    with server.client() as client:
        client.acl_setuser("ana", enabled=True, passwords=["+right"], keys=["*"], commands=["+@all"])
        url = server.url.replace("redis://", f"redis://ana:{secret}@")
        async with opened(url) as store:
            assert secret not in repr(store.config)
            for use in (store.append(mine(1)), store.scan(), store.stats()):
                with pytest.raises(StoreUnavailableError) as caught:
                    await use
                error: BaseException | None = caught.value
                assert "user or password" in str(error)
                while error is not None:
                    assert secret not in str(error) + repr(error)
                    error = error.__cause__
        client.acl_deluser("ana")
    assert secret not in caplog.text


async def test_a_server_that_is_not_there_is_told_and_met_again(start_redis: StartRedis) -> None:
    server = start_redis()
    server.kill()
    async with opened(server.url) as store:
        for use in (store.append(mine(1)), store.scan(), store.stats(), store.list_events()):
            with pytest.raises(StoreUnavailableError, match="does not answer"):
                await use
        server.start()
        await store.append(mine(1))
        assert await seen(store) == [1]


def test_a_ready_client_lends_its_way_and_not_its_connections(any_redis: RedisPlace) -> None:
    async def use() -> None:
        with redis.Redis.from_url(any_redis.url, decode_responses=True) as client:
            async with opened("redis://nowhere:1/0", client=client) as store:
                await store.append(mine(1))
                assert await seen(store) == [1]
            assert client.ping()

    asyncio.run(use())


async def test_one_slot_of_a_cluster_holds_a_whole_system(start_redis: StartRedis) -> None:
    server = start_redis(cluster_enabled="yes")
    with server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        async with asyncio.timeout(30):
            while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    with redis.RedisCluster.from_url(server.url) as cluster:
        async with opened("", client=cluster) as store:
            await store.append(mine(1, 2, 4))
            await store.recover(REPAIR)
            assert await seen(store) == [1, 2, 4]
            await store.compact(RetentionPolicy(max_records=1))
            assert not (await store.scan()).has_anomalies


async def test_retention_that_cannot_go_on_says_so_once_and_goes_on_later(
    start_redis: StartRedis, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_redis(appendonly="yes")
    policy = RetentionPolicy(max_records=5)
    async with opened(server.url, policy, compact_interval_seconds=0.01, approx_trim=False) as store:
        await store.append(mine(*range(1, 21)))
        server.kill()
        async with asyncio.timeout(20):
            while "retention was not carried out" not in caplog.text:  # noqa: ASYNC110  # a log tells nobody
                await asyncio.sleep(0.01)
        for _ in range(20):
            await store._writer.run(lambda: None)  # noqa: SLF001  # lets the upkeep have its turns
        assert caplog.text.count("retention was not carried out") == 1
        server.start()
        with server.client() as client:
            async with asyncio.timeout(20):
                while client.xlen(EVENTS) > 5:  # noqa: ASYNC110  # a server tells nobody what it removes
                    await asyncio.sleep(0.01)


def test_what_says_where_the_server_is_shows_no_password() -> None:
    config = RedisStreamsConfig("redis://ana:s3cret@h:6379/0", system_id="orders")
    for shown in (repr(config), repr(config.target), config.target.place):
        assert "s3cret" not in shown
        assert "ana" not in shown
