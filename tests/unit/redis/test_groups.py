"""The published calls of consumer groups: one at a time, for whoever writes the loop."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from papyra.exceptions import ConfigurationError, ForeignStoreError, InvalidQueryError
from papyra.persistence._redis import groups
from papyra.persistence.backends.redis import RedisConsumerGroupConfig
from papyra.persistence.models import RecordKind
from papyra.testing.records import letter
from tests.services.proxy import Proxy
from tests.unit.redis.consumers import joined, left_pending, numbers, pending, take, until
from tests.unit.redis.stores import EVENTS, mine, opened

redis_py = pytest.importorskip("redis")

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.services.redisserver import RedisPlace, RedisServer

ONE = RedisConsumerGroupConfig("readers", "one", 4)
TWO = RedisConsumerGroupConfig("readers", "two", 100, 50)


async def test_consume_acknowledge_claim_and_summary(valkey: RedisPlace) -> None:
    async with opened(valkey.url) as store:
        await store.ensure_consumer_group(kind="events", group="readers")
        await store.ensure_consumer_group(kind="events", group="readers", start_id="$")
        await store.append(mine(*range(1, 11)))
        first = await store.consume(kind="events", cfg=ONE)
        assert numbers(list(first)) == [1, 2, 3, 4]
        assert await store.ack(kind="events", group="readers", ids=[first[0].id]) == 1
        assert await store.ack(kind="events", group="readers", ids=[first[0].id, "77-0"]) == 0
        again = await store.consume(kind="events", cfg=ONE, read_id="0")
        assert [(entry.record.seq, entry.deliveries) for entry in again] == [(2, 2), (3, 2), (4, 2)]
        behind = await store.consume(kind="events", cfg=ONE, read_id=first[1].id)
        assert numbers(list(behind)) == [3, 4]
        ids = [entry.id for entry in first]
        taking: Any = {"group": "readers", "consumer": "two", "entry_ids": ids}
        assert await store.claim("events", min_idle_ms=3_600_000, **taking) == ()
        taken = await store.claim("events", min_idle_ms=0, **taking)
        assert [(entry.record.seq, entry.deliveries) for entry in taken] == [(2, 3), (3, 4), (4, 4)]
        assert await store.pending_summary(kind="events", group="readers") == {
            "raw": {
                "pending": 3,
                "min": ids[1],
                "max": ids[3],
                "consumers": [{"name": "two", "pending": 3}],
            },
            "lag": 6,
        }
        assert numbers(list(await store.consume(kind="events", cfg=TWO))) == list(range(5, 11))
        assert await store.consume(kind="events", cfg=TWO) == ()
        with valkey.client() as client:
            client.xgroup_destroy(EVENTS, "readers")
        assert numbers(list(await store.consume(kind="events", cfg=TWO))) == list(range(1, 11))


async def test_an_entry_has_the_record_and_the_data_it_was_stored_as(valkey: RedisPlace) -> None:
    async with opened(valkey.url) as store:
        await store.append([letter(1)])
        (entry,) = await store.consume(kind="dead_letters", cfg=ONE)
        assert (await store.list_dead_letters())[0] == entry.record
        assert entry.data["target"] == letter(1).target


async def test_entries_of_the_published_package_are_handed_out_too(valkey: RedisPlace) -> None:
    data = {"system_id": "orders", "actor_address": "orders:1", "event_type": "ActorStarted", "payload": {}}
    async with opened(valkey.url) as store:
        with valkey.client() as client:
            client.xadd(EVENTS, {"data": json.dumps({**data, "timestamp": 5.0})})
        (entry,) = await store.consume(kind=RecordKind.EVENT, cfg=ONE)
        assert (entry.record.timestamp, entry.data["event_type"]) == (5.0, "ActorStarted")


async def test_auto_claim_takes_what_nobody_cares_for_to_the_last(valkey: RedisPlace) -> None:
    async with opened(valkey.url) as store:
        await store.append(mine(*range(1, 101)))
        with valkey.client() as client:
            client.xgroup_create(EVENTS, "readers", id="0")
            read: Any = client.xreadgroup("readers", "dead", {EVENTS: ">"})
            ids = [id_ for id_, _ in read[0][1]]
            client.xclaim(EVENTS, "readers", "dead", 0, ids[:97], retrycount=9, justid=True)
            claiming = RedisConsumerGroupConfig("readers", "one", 2, min_idle_ms=1, max_deliveries=9)
            await until(lambda: len(client.xpending_range(EVENTS, "readers", "-", "+", 100, idle=1)) == 100)
        assert numbers(list(await store.auto_claim("events", cfg=claiming))) == [98, 99]
        patient = RedisConsumerGroupConfig("readers", "two", min_idle_ms=3_600_000)
        assert await store.auto_claim("events", cfg=patient) == ()
        assert len([each async for each in store.quarantined()]) == 97


async def test_the_lag_is_exact_where_the_server_does_not_know_it(valkey: RedisPlace) -> None:
    async with opened(valkey.url) as store:
        await store.append(mine(*range(1, 31)))
        with valkey.client() as client:
            ids = [id_ for id_, _ in client.xrange(EVENTS)]
            client.xgroup_create(EVENTS, "readers", id=ids[9])
            client.xdel(EVENTS, ids[20])
        assert (await store.pending_summary(kind="events", group="readers"))["lag"] == 19


async def test_consumers_that_are_gone_leave_no_names(valkey: RedisPlace) -> None:
    async with opened(valkey.url) as store:
        await store.append(mine(1))
        with valkey.client() as client:
            async with joined(store, "worker") as consumer:
                await take(consumer, 1)
                assert [each["name"] for each in client.xinfo_consumers(EVENTS, "workers")] == [b"worker"]
            assert client.xinfo_consumers(EVENTS, "workers") == []


async def test_consumers_that_died_with_nothing_in_hand_are_forgotten(
    valkey: RedisPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "FORGOTTEN_MILLISECONDS", -1)
    async with opened(valkey.url) as store:
        await store.append(mine(1, 2))
        left_pending(valkey, 1)
        with valkey.client() as client:
            client.xgroup_createconsumer(EVENTS, "workers", "long gone")
            async with joined(store, "worker") as consumer:
                await take(consumer, 1)
                names = {each["name"] for each in client.xinfo_consumers(EVENTS, "workers")}
        assert names == {b"dead", b"worker"}


async def test_a_repeated_call_sets_nothing_apart_twice(valkey: RedisPlace) -> None:
    with Proxy(valkey.url) as proxy:
        async with opened(valkey.url) as store, opened(proxy.url) as far:
            await store.append(mine(1))
            left_pending(valkey, 1)
            claiming = RedisConsumerGroupConfig("workers", "one", min_idle_ms=1, max_deliveries=1)
            with valkey.client() as client:
                await until(lambda: client.xpending_range(EVENTS, "workers", "-", "+", 1, idle=1) != [])
            lost = proxy.lose_reply(b'"fields"')
            assert await far.auto_claim("events", cfg=claiming) == ()
            assert lost.is_met
            assert [each.reason async for each in store.quarantined()] == ["poison"]
            assert await pending(store) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"group": ""},
        {"count": 0},
        {"block_ms": 0},
        {"min_idle_ms": 0},
        {"max_deliveries": True},
        {"start_id": "first"},
    ],
)
def test_a_configuration_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        RedisConsumerGroupConfig(**{"group": "g", "consumer": "c", **wrong})


async def test_what_cannot_be_asked_is_told(valkey: RedisPlace) -> None:
    async with opened(valkey.url) as store:
        with pytest.raises(InvalidQueryError, match="no consumer group 'readers'"):
            await store.pending_summary(kind="events", group="readers")
        with pytest.raises(ConfigurationError, match="not a kind"):
            await store.ensure_consumer_group(kind="letters", group="readers")
        with pytest.raises(InvalidQueryError, match="not a cursor"):
            await store.consume(kind="events", cfg=ONE, read_id="first")
        with pytest.raises(ConfigurationError, match="name who asks"):
            await store.consume(kind="events", cfg=RedisConsumerGroupConfig("readers"))
        with valkey.client() as client:
            client.set(EVENTS, "something else")
        with pytest.raises(ForeignStoreError):
            await store.consume(kind="events", cfg=ONE)


async def test_a_cluster_has_consumer_groups(redis_cluster: Sequence[RedisServer]) -> None:
    with redis_py.RedisCluster.from_url(redis_cluster[0].url) as client:
        async with opened("redis://nowhere:1/0", client=client) as store:
            await store.append(mine(*range(1, 31)))
            async with joined(store) as consumer:
                assert numbers(await take(consumer, 30)) == list(range(1, 31))
            assert (await store.pending_summary(kind="events", group="workers"))["lag"] == 0
