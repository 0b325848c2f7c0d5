"""I9: the newest are the newest at any length, times are found whatever clocks did, following is whole."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from papyra.clock import SYSTEM_CLOCK
from papyra.persistence import codec
from papyra.persistence.models import PersistedEvent, RecordKind
from papyra.persistence.query import RecordQuery
from papyra.persistence.retention import RetentionPolicy, Stored, first_kept
from papyra.testing.promises.harness import everything
from papyra.testing.records import EPOCH, INCARNATION, event, numbers
from tests.unit.redis.stores import EVENTS, META, mine, opened, seen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from papyra.persistence.backends.redis import RedisStreamsPersistence
    from papyra.persistence.models import Record
    from tests.services.redisfixtures import StartRedis
    from tests.services.redisserver import RedisPlace

YEAR = 365 * 24 * 3600.0


async def fill(store: RedisStreamsPersistence, count: int) -> None:
    for first in range(1, count + 1, 5_000):
        await store.append(mine(*range(first, min(first + 5_000, count + 1))))


async def test_the_newest_of_more_than_50_000_are_the_newest(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        await fill(store, 52_000)
        assert numbers(await store.list_events(limit=5)) == [51_996, 51_997, 51_998, 51_999, 52_000]
        page = await store.read(RecordQuery(kind=RecordKind.EVENT, limit=3, newest_first=False))
        assert numbers(page.records) == [1, 2, 3]
        report = await store.scan()
        assert (report.checked_records, report.anomalies) == (52_000, ())
        stats = await store.stats()
        assert (stats.kinds[RecordKind.EVENT].records, stats.is_estimate) == (52_000, True)
        assert stats.kinds[RecordKind.EVENT].bytes == report.checked_bytes
        async with opened(any_redis.url, RetentionPolicy(max_records=51_000)) as bounded:
            oldest = await bounded.read(RecordQuery(kind=RecordKind.EVENT, limit=1, newest_first=False))
            assert numbers(oldest.records) == [1_001]
            await bounded.compact()
            assert (await bounded.counts())[RecordKind.EVENT] == 51_000
            assert not (await bounded.scan()).has_anomalies


async def ask(store: RedisStreamsPersistence, **span: Any) -> list[str]:
    found = await everything(store, RecordKind.EVENT, **span)
    return [str(getattr(record, "actor_address", "")) for record in found]


async def test_a_time_range_is_exact_though_the_clocks_went_wild(any_redis: RedisPlace) -> None:
    now = SYSTEM_CLOCK.now()
    times = [now, now - YEAR, now + YEAR, now - 60, now + 60, now - 2 * YEAR, now]
    async with opened(any_redis.url) as store:
        for number, time in enumerate(times):
            await store.append([event(number, timestamp=time)])
        for since in (None, *times):
            for until in (None, *times):
                query = RecordQuery(kind=RecordKind.EVENT, since=since, until=until)
                records = [event(number, timestamp=time) for number, time in enumerate(times)]
                expected = [record.actor_address for record in records if query.matches(record)]
                assert await ask(store, since=since, until=until) == expected
        with any_redis.client() as client:
            client.delete(META)
        assert await ask(store, since=now - 1.5 * YEAR, until=now - 30) == ["orders:1", "orders:3"]
        await store.append([event(7, timestamp=now - 3 * YEAR)])
        assert await ask(store, since=now - 4 * YEAR, until=now - 1.5 * YEAR) == ["orders:5", "orders:7"]


async def test_a_time_range_looks_at_little_of_a_long_history(any_redis: RedisPlace) -> None:
    now = SYSTEM_CLOCK.now()
    async with opened(any_redis.url) as store:
        await store.append([event(number, timestamp=now) for number in range(5_000)])
        with any_redis.client() as client:
            client.config_resetstat()
            assert await ask(store, since=now + 300) == []
            assert client.info("commandstats")["cmdstat_xrange"]["calls"] == 1


async def test_ids_of_the_future_hide_no_record_and_stop_no_age(any_redis: RedisPlace) -> None:
    now = SYSTEM_CLOCK.now()
    async with opened(any_redis.url, RetentionPolicy(max_age_seconds=500)) as store:
        await store.append([event(0, timestamp=now - 1_000)])
        with any_redis.client() as client:
            client.xadd(EVENTS, {"body": "x"}, id=f"{int((now + YEAR) * 1000)}-0")
        await store.append([event(1, timestamp=now - 1_000), event(2, timestamp=now)])
        assert await ask(store, since=now - 10) == ["orders:2"]
        assert await ask(store) == ["orders:2"]
        await store.compact()
        assert (await store.counts())[RecordKind.EVENT] == 1
        assert any("in the future" in warning for warning in (await store.scan()).warnings)


@pytest.mark.parametrize(
    "policy",
    [
        RetentionPolicy(max_records=30),
        RetentionPolicy(max_total_bytes=9_000),
        RetentionPolicy(max_age_seconds=300),
        RetentionPolicy(max_records=40, max_total_bytes=9_000, max_age_seconds=300),
    ],
    ids=["count", "size", "age", "all"],
)
@pytest.mark.parametrize("harm", ["none", "xtrim", "xdel", "meta lost", "others compact"])
async def test_reads_show_what_the_rule_keeps_whoever_changed_the_stream(
    any_redis: RedisPlace, policy: RetentionPolicy, harm: str
) -> None:
    now = SYSTEM_CLOCK.now()
    async with opened(any_redis.url) as writer, opened(any_redis.url, policy) as reader:
        expected: list[Record] = []
        for turn in range(12):
            time = now - 590 + turn * 50
            await writer.append([event(number, timestamp=time) for number in range(10)])
            expected = await kept_of(writer, policy)
            assert await everything(reader) == expected
            async with opened(any_redis.url, policy) as fresh:
                assert await everything(fresh) == expected
            with any_redis.client() as client:
                await disturb(client, writer, harm)
        assert expected


async def kept_of(store: RedisStreamsPersistence, policy: RetentionPolicy) -> list[Record]:
    records = await everything(store)
    lines = [
        codec.encode_record(record, incarnation=record.incarnation, seq=record.seq) for record in records
    ]
    stored = [Stored(record.timestamp, len(line)) for record, line in zip(records, lines, strict=True)]
    return records[first_kept(stored, policy, now=SYSTEM_CLOCK.now()) :]


async def disturb(client: Any, writer: RedisStreamsPersistence, harm: str) -> None:
    match harm:
        case "xtrim":
            client.xtrim(EVENTS, maxlen=35, approximate=False)
        case "xdel":
            client.xdel(EVENTS, client.xrange(EVENTS, count=3)[-1][0])
        case "meta lost":
            client.delete(META)
        case "none":
            pass
        case _:
            await writer.compact(RetentionPolicy(max_records=33))


async def take(following: AsyncIterator[Record], count: int) -> list[int]:
    async with asyncio.timeout(30):
        return numbers([await anext(following) for _ in range(count)])


async def test_following_gives_each_record_once_while_others_write_and_compact(any_redis: RedisPlace) -> None:
    query = RecordQuery(kind=RecordKind.EVENT, limit=7)
    async with opened(any_redis.url) as store, opened(any_redis.url) as writer:
        await writer.append(mine(*range(1, 21)))
        async with aclosing(store.follow(query, from_now=False)) as following:
            assert await take(following, 20) == list(range(1, 21))
            waiting = asyncio.create_task(take(following, 30))
            for seq in range(21, 51):
                await writer.append(mine(seq))
                if seq % 10 == 0:
                    await writer.compact(RetentionPolicy(max_records=5 if waiting.done() else 100))
            assert await waiting == list(range(21, 51))
            await writer.compact(RetentionPolicy(max_records=0))
            await writer.append(mine(51))
            assert await take(following, 1) == [51]


async def test_following_goes_on_from_a_cursor_and_through_an_outage(start_redis: StartRedis) -> None:
    server = start_redis(appendonly="yes")
    query = RecordQuery(kind=RecordKind.EVENT, newest_first=False, limit=2)
    async with opened(server.url) as store:
        await store.append(mine(1, 2, 3))
        page = await store.read(query)
        async with aclosing(store.follow(replace(query, limit=100, cursor=page.cursor))) as following:
            assert await take(following, 1) == [3]
            waiting = asyncio.create_task(take(following, 2))
            await asyncio.sleep(0)
            server.restart()
            async with opened(server.url) as other:
                await other.append(mine(4, 5))
            assert await waiting == [4, 5]


async def test_an_entry_that_is_no_record_is_read_around(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        await store.append(mine(1, 2))
        with any_redis.client() as client:
            client.xadd(EVENTS, {"noise": b"\xff\x00"})
            client.xadd(EVENTS, {"body": b'{"seq":1}', "crc": "", "incarnation": "", "kind": "", "seq": ""})
        await store.append(mine(3))
        assert await seen(store) == [1, 2, 3]
        assert numbers(await store.list_events(limit=2)) == [2, 3]


async def test_an_entry_of_the_published_package_is_a_legacy_record(any_redis: RedisPlace) -> None:
    data = (
        '{"system_id": "local", "actor_address": "local:1", "event_type": "ActorStarted", '
        f'"payload": {{"n": 1}}, "timestamp": {EPOCH}}}'
    )
    with any_redis.client() as client:
        client.xadd(EVENTS, {"data": data})
    async with opened(any_redis.url) as store:
        await store.append(mine(1))
        old, new = await everything(store)
        assert isinstance(old, PersistedEvent)
        assert (old.actor_address, old.payload, old.seq) == ("local:1", {"n": 1}, 0)
        assert new.incarnation == INCARNATION
        assert not (await store.scan()).has_anomalies
