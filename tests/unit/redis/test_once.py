"""I1: each record stands in its stream once, whatever became of the replies and of the server's memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import AppendError, RecordConflictError, StoreUnavailableError
from papyra.persistence.models import EventType, LossNote, RecordKind
from papyra.persistence.retention import RetentionPolicy
from papyra.persistence.state import StoreCondition
from papyra.testing.promises.harness import everything
from papyra.testing.records import INCARNATION, OTHER_INCARNATION, event, letter, numbers
from tests.services.proxy import Proxy
from tests.unit.redis.stores import DEDUP, EVENTS, mine, opened, seen

if TYPE_CHECKING:
    from tests.services.redisfixtures import StartRedis
    from tests.services.redisserver import RedisPlace


async def test_a_reply_that_is_lost_once_is_not_noticed_and_nothing_stands_twice(
    any_redis: RedisPlace,
) -> None:
    with Proxy(any_redis.url) as proxy:
        async with opened(proxy.url) as store:
            await store.append(mine(1))
            lost = proxy.lose_reply(b"EVALSHA")
            await store.append([*mine(2, 3), letter(4)])
            assert lost.is_met
            await store.append(mine(4))
            assert await seen(store) == [1, 2, 3, 4]
            assert len(await everything(store, RecordKind.DEAD_LETTER)) == 1
            assert not (await store.scan()).has_anomalies


async def test_replies_that_are_lost_again_and_again_are_told_and_the_same_batch_is_stored_once(
    any_redis: RedisPlace,
) -> None:
    with Proxy(any_redis.url) as proxy:
        async with opened(proxy.url) as store:
            await store.append(mine(1))
            proxy.lose_reply(b"EVALSHA", times=2)
            with pytest.raises(StoreUnavailableError):
                await store.append(mine(2, 3))
            assert store.state.condition is StoreCondition.DEGRADED
            await store.append(mine(2, 3, 4))
            assert await seen(store) == [1, 2, 3, 4]
            assert not (await store.scan()).has_anomalies


async def test_records_without_a_number_get_a_new_incarnation_where_nobody_knows_what_was_stored(
    any_redis: RedisPlace,
) -> None:
    with Proxy(any_redis.url) as proxy:
        async with opened(proxy.url) as store:
            await store.append([event(1)])
            proxy.lose_reply(b"EVALSHA", times=2)
            with pytest.raises(StoreUnavailableError):
                await store.append([event(2), event(3)])
            await store.append([event(4)])
            found = await everything(store)
            assert numbers(found) == [1, 2, 3, 4]
            assert [record.seq for record in found] == [1, 2, 3, 1]
            assert not (await store.scan()).has_anomalies


async def test_two_writers_with_the_same_records_store_them_once(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as one, opened(any_redis.url) as other:
        batches = [mine(*range(first, first + 10)) for first in range(1, 200, 10)]
        for batch in batches:
            await asyncio.gather(one.append(batch), other.append(batch), other.append(batch[5:]))
        assert await seen(one) == list(range(1, 201))
        assert not (await one.scan()).has_anomalies


async def test_of_two_late_ones_of_one_number_the_first_wins(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as one, opened(any_redis.url) as other:
        await one.append(mine(1, 4))
        first, second = event(2, incarnation=INCARNATION, seq=2), event(9, incarnation=INCARNATION, seq=2)
        outcomes = await asyncio.gather(one.append([first]), other.append([second]), return_exceptions=True)
        (refused,) = [outcome for outcome in outcomes if outcome is not None]
        assert isinstance(refused, AppendError)
        assert isinstance(refused.refused[0][1], RecordConflictError)
        await one.append([event(3, incarnation=INCARNATION, seq=3)])
        found = await everything(one)
        assert sorted(record.seq for record in found) == [1, 2, 3, 4]
        assert not (await one.scan()).has_anomalies


async def test_a_batch_larger_than_one_go_is_stored_whole_and_its_repeat_not_at_all(
    any_redis: RedisPlace,
) -> None:
    batch = mine(*range(1, 3_501))
    async with opened(any_redis.url) as store:
        await store.append(batch)
        await store.append(batch)
        forged = event(1, incarnation=INCARNATION, seq=2_222)
        with pytest.raises(AppendError) as caught:
            await store.append([*batch[:2_000], forged, *batch[2_500:]])
        assert [position for position, _ in caught.value.refused] == [2_000]
        assert (await store.counts())[RecordKind.EVENT] == 3_500
        with any_redis.client() as client:
            client.delete(DEDUP)
        await store.append(batch[3_000:])
        assert (await store.counts())[RecordKind.EVENT] == 3_500


async def test_a_lost_dedup_key_is_made_anew_from_the_streams(any_redis: RedisPlace) -> None:
    with any_redis.client() as client:
        async with opened(any_redis.url) as store:
            await store.append(mine(1, 2, 5))
            await store.append(mine(3))
        client.delete(DEDUP)
        async with opened(any_redis.url) as store:
            await store.append([event(1, incarnation=OTHER_INCARNATION, seq=1), *mine(5, 6)])
            assert await seen(store) == [1, 2, 5, 3, 6]
        assert client.hget(DEDUP, f"{INCARNATION}:event") == b"6"


async def test_a_number_that_no_script_can_tell_from_the_next_is_refused_alone(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        with pytest.raises(AppendError) as caught:
            await store.append([*mine(1), event(7, incarnation=INCARNATION, seq=2**53), *mine(2)])
        assert [position for position, _ in caught.value.refused] == [1]
        assert await seen(store) == [1, 2]
        await store.append(mine(2**53 - 1))
        await store.append(mine(2**53 - 1))
        assert len(await seen(store)) == 3


async def test_what_the_server_forgot_is_sent_again_before_what_comes_next(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        await store.append([*mine(1, 2, 3), letter(1)])
        with any_redis.client() as client:
            client.flushdb()
        await store.append(mine(4))
        await store.append([letter(2)])
        assert await seen(store) == [1, 2, 3, 4]
        assert numbers(await everything(store, RecordKind.DEAD_LETTER)) == [1, 2]
        assert not (await store.scan()).has_anomalies


async def test_what_the_server_forgot_is_sent_again_even_if_nothing_comes(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url, compact_interval_seconds=0.05) as store:
        await store.append(mine(1, 2))
        with any_redis.client() as client:
            client.flushdb()
            assert await asyncio.to_thread(client.xread, {EVENTS: "0"}, block=20_000)
        assert await seen(store) == [1, 2]


async def test_a_server_that_began_anew_has_what_it_had_acknowledged(start_redis: StartRedis) -> None:
    server = start_redis()
    async with opened(server.url) as store:
        await store.append(mine(*range(1, 51)))
        server.kill()
        with pytest.raises(StoreUnavailableError):
            await store.append(mine(51))
        server.start()
        await store.append(mine(51, 52))
        assert await seen(store) == list(range(1, 53))


async def test_what_was_too_much_to_remember_is_told_as_lost(any_redis: RedisPlace) -> None:
    pad = "x" * 900_000
    async with opened(any_redis.url) as store:
        for seq in range(1, 9):
            await store.append([event(seq, incarnation=INCARNATION, seq=seq, payload=pad)])
        with any_redis.client() as client:
            client.flushdb()
        await store.append(mine(9))
        assert await seen(store) == [5, 6, 7, 8, 9]
        notes = await everything(store, type=EventType.RECORDS_LOST)
        (note,) = [LossNote.from_payload(getattr(each, "payload", None)) for each in notes]
        assert note is not None
        assert note[:4] == (INCARNATION, "event", 1, 4)
        assert not (await store.scan()).has_anomalies


async def test_a_stream_that_was_deleted_is_filled_again(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        await store.append([*mine(1, 2, 3), letter(1)])
        with any_redis.client() as client:
            client.delete(EVENTS)
        await store.append(mine(4))
        assert sorted(await seen(store)) == [1, 2, 3, 4]
        assert not (await store.scan()).has_anomalies
        await store.append(mine(1, 2, 3, 4))
        assert len(await seen(store)) == 4


async def test_scripts_that_the_server_dropped_are_sent_again(start_redis: StartRedis) -> None:
    server = start_redis()
    async with opened(server.url) as store:
        await store.append(mine(1))
        with server.client() as client:
            client.script_flush()
        await store.append(mine(2))
        assert await seen(store) == [1, 2]


async def test_what_retention_removed_does_not_come_back_late_or_by_a_repeat(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        await store.append(mine(1, 2, 5))
        await store.append(mine(3))
        await store.compact(RetentionPolicy(max_records=1))
        await store.append(mine(1, 2, 4, 5, 3))
        assert await seen(store) == [3]
        await store.append(mine(6))
        assert not (await store.scan()).has_anomalies
