"""R5, trial 14: what a consumer group meets when its stream, its group or an entry is gone or broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from papyra.persistence.backends.redis import RedisConsumerGroupConfig
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.records import letter
from tests.faults_redis.stores import key, opened, set_aside

if TYPE_CHECKING:
    from papyra.persistence.backends.redis import RedisStreamsPersistence
    from tests.services.redisserver import RedisPlace

LETTERS = key("dead_letters")
GROUP = RedisConsumerGroupConfig(group="shippers", consumer="one", count=100, block_ms=100)


async def numbers_taken(store: RedisStreamsPersistence, *, is_acknowledged: bool = True) -> list[int]:
    entries = await store.consume(kind="dead_letters", cfg=GROUP)
    if is_acknowledged:
        await store.ack(kind="dead_letters", group=GROUP.group, ids=[entry.id for entry in entries])
    return [entry.data["payload"]["number"] for entry in entries]


async def test_what_was_taken_and_acknowledged_is_not_given_again(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        await store.append([letter(1), letter(2)])
        assert await numbers_taken(store) == [1, 2]
        await store.append([letter(3)])
        assert await numbers_taken(store) == [3]
        assert await numbers_taken(store) == []


async def test_a_group_that_was_lost_is_made_again_and_goes_on(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        await store.append([letter(1)])
        assert await numbers_taken(store) == [1]
        with any_redis.client() as client:
            client.xgroup_destroy(LETTERS, GROUP.group)
        await store.append([letter(2)])
        assert 2 in await numbers_taken(store)


async def test_trial_14_a_stream_that_was_deleted_leaves_no_consumer_deaf(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        await store.append([letter(1)])
        assert await numbers_taken(store) == [1]
        with any_redis.client() as client:
            client.delete(LETTERS)
        await numbers_taken(store)
        await store.append([letter(2)])
        taken = await numbers_taken(store)
        assert 2 in taken
        assert taken == sorted(set(taken))


async def test_r5_an_entry_that_is_no_record_is_not_pending_for_ever(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        await store.append([letter(1)])
        with any_redis.client() as client:
            client.xadd(LETTERS, {"hello": "world"})
        await store.append([letter(2)])
        assert await numbers_taken(store) == [1, 2]
        with any_redis.client() as client:
            assert client.xpending(LETTERS, GROUP.group)["pending"] == 0
            assert b"world" in set_aside(client)


async def test_retention_leaves_what_a_group_still_needs(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        await store.append([letter(number) for number in range(1, 11)])
        await store.ensure_consumer_group(kind="dead_letters", group=GROUP.group)
        assert await numbers_taken(store, is_acknowledged=False) == list(range(1, 11))
        await store.append([letter(11)])
        await store.compact(RetentionPolicy(max_records=2))
        with any_redis.client() as client:
            assert client.xlen(LETTERS) == 11, "pending, or not yet given"
            ids = [id_ for id_, _ in client.xrange(LETTERS)]
        await store.ack(kind="dead_letters", group=GROUP.group, ids=[id_.decode() for id_ in ids[:10]])
        await store.compact(RetentionPolicy(max_records=1))
        with any_redis.client() as client:
            assert [id_ for id_, _ in client.xrange(LETTERS)] == ids[10:]
