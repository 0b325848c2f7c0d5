"""I10: retention goes on by itself and ends under its limit, and takes nothing that a group still needs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from papyra.clock import SYSTEM_CLOCK
from papyra.persistence.models import RecordKind
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.records import event
from tests.unit.redis.stores import EVENTS, LETTERS, mine, opened, seen

if TYPE_CHECKING:
    from typing import Any

    from tests.services.redisserver import RedisPlace

KEEP_5 = RetentionPolicy(max_records=5)


async def gone(client: Any, key: str, most: int) -> None:
    """Wait until at most so many entries are left."""
    async with asyncio.timeout(30):
        while client.xlen(key) > most:  # noqa: ASYNC110  # a server tells nobody what it removes
            await asyncio.sleep(0.01)


async def test_retention_goes_on_by_itself_down_to_its_limit(any_redis: RedisPlace) -> None:
    policy = RetentionPolicy(max_records=1_000)
    async with opened(any_redis.url, policy, compact_interval_seconds=0.02, approx_trim=False) as store:
        for first in range(1, 30_001, 5_000):
            await store.append(mine(*range(first, first + 5_000)))
        with any_redis.client() as client:
            await gone(client, EVENTS, 1_000)
        assert await seen(store) == list(range(29_001, 30_001))
        assert not (await store.scan()).has_anomalies
        assert store.metrics.snapshot()["records_removed"] == 29_000


async def test_approximate_retention_leaves_a_little_that_reads_do_not_show(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url, KEEP_5, compact_interval_seconds=0.02) as store:
        await store.append(mine(*range(1, 1_001)))
        with any_redis.client() as client:
            await gone(client, EVENTS, 5)
            await store.append(mine(*range(1_001, 1_051)))
            assert await seen(store) == list(range(1_046, 1_051))
            assert client.xlen(EVENTS) == 55
            await store.compact()
            assert client.xlen(EVENTS) == 5


async def test_retention_by_itself_takes_half_at_most_for_age_alone(any_redis: RedisPlace) -> None:
    now = SYSTEM_CLOCK.now()
    policy = RetentionPolicy(max_age_seconds=100)
    async with opened(any_redis.url) as store:
        await store.append([event(number, timestamp=now - 1_000) for number in range(400)])
    async with opened(any_redis.url, policy, compact_interval_seconds=3600, approx_trim=False) as store:
        await store.append([event(0, timestamp=now)])
        assert len(await store.list_events()) == 1
        store._writer.hurry()  # noqa: SLF001  # one run, as after an hour
        with any_redis.client() as client:
            await gone(client, EVENTS, 201)
            await store._writer.run(lambda: None)  # noqa: SLF001
            assert client.xlen(EVENTS) == 201


@pytest.mark.parametrize("is_delivered", [False, True])
async def test_what_a_group_has_not_got_or_not_acknowledged_stays(
    any_redis: RedisPlace, *, is_delivered: bool
) -> None:
    async with opened(any_redis.url) as store:
        await store.append(mine(*range(1, 21)))
        with any_redis.client() as client:
            client.xgroup_create(EVENTS, "readers", id="0")
            client.xgroup_create(EVENTS, "quick", id="$")
            ids: list[Any] = []
            if is_delivered:
                read = client.xreadgroup("readers", "one", {EVENTS: ">"}, count=12)
                ids = [id_ for id_, _ in read[0][1]]
                client.xack(EVENTS, "readers", *ids[:7], *ids[8:])
            await store.compact(KEEP_5)
            assert client.xlen(EVENTS) == (13 if is_delivered else 20)
            async with opened(any_redis.url, KEEP_5) as reader:
                assert await seen(reader) == [16, 17, 18, 19, 20]
            if is_delivered:
                client.xack(EVENTS, "readers", ids[7])
                await store.compact(KEEP_5)
                assert client.xlen(EVENTS) == 8
            client.xgroup_destroy(EVENTS, "readers")
            await store.compact(KEEP_5)
            assert client.xlen(EVENTS) == 5


async def test_a_cap_on_what_stays_for_groups_is_kept_and_what_it_takes_is_counted(
    any_redis: RedisPlace, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(any_redis.url, max_retained_for_groups=4) as store:
        await store.append(mine(*range(1, 21)))
        with any_redis.client() as client:
            client.xgroup_create(EVENTS, "readers", id="0")
            planned = await store.compact(KEEP_5, dry_run=True)
            assert planned.removed[RecordKind.EVENT] == 11
            await store.compact(KEEP_5)
            assert client.xlen(EVENTS) == 9
        assert store.metrics.snapshot()["records_dropped"] == 11
        assert "before a consumer group was through" in caplog.text
        assert not (await store.scan()).has_anomalies


async def test_a_group_of_one_kind_holds_up_no_other(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        await store.append(mine(*range(1, 11)))
        with any_redis.client() as client:
            client.xgroup_create(LETTERS, "readers", id="0", mkstream=True)
            await store.compact(KEEP_5)
            assert client.xlen(EVENTS) == 5
