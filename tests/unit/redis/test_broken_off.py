"""I6: maintenance whose connection breaks at any call leaves nothing half, and is done again."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import StoreUnavailableError
from papyra.persistence.models import PersistenceRecoveryConfig, RecordKind
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.records import letter
from tests.services.proxy import Proxy
from tests.unit.redis.stores import EVENTS, QUARANTINE, REPAIR, mine, opened, seen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from papyra.persistence.backends.redis import RedisStreamsPersistence
    from tests.services.redisserver import RedisPlace

MOST_CALLS = 60


def each_call(proxy: Proxy, *commands: bytes) -> Iterator[None]:
    """Have the reply to one call more be lost each time, and that to its repeat, until none is left."""
    broken = 0
    for command in commands:
        for number in range(MOST_CALLS):
            trouble = proxy.lose_reply(command, spared=number, times=2)
            yield
            proxy.heal()
            if not trouble.is_met:
                break
            broken += 1
        else:
            pytest.fail(f"not done after {MOST_CALLS} calls of {command!r}")
    assert broken > 12


async def broken_off(proxy: Proxy, work: Callable[[RedisStreamsPersistence], Awaitable[object]]) -> None:
    async with opened(proxy.url) as store:
        with suppress(StoreUnavailableError):
            await work(store)


@pytest.mark.parametrize("config", [REPAIR, QUARANTINE], ids=["repair", "quarantine"])
async def test_a_recovery_that_breaks_off_loses_no_byte_and_is_done_again(
    any_redis: RedisPlace, config: PersistenceRecoveryConfig
) -> None:
    with Proxy(any_redis.url) as proxy, any_redis.client() as client:
        for _ in each_call(proxy, b"EVALSHA", b"XRANGE", b"COPY", b"SADD"):
            client.flushdb()
            async with opened(any_redis.url) as store:
                await store.append([*mine(1, 2, 4), letter(1)])
                client.xadd(EVENTS, {"noise": b"\x9c\xff"})
                await broken_off(proxy, lambda broken: broken.recover(config))
                await store.recover(config)
                assert await seen(store) == [1, 2, 4]
                assert not (await store.scan()).has_anomalies
                entries = [entry async for entry in store.quarantined()]
                moved = [entry.preview for entry in entries if entry.position is not None]
                assert moved == [b"noise \x9c\xff"]
                assert not client.exists("papyra:{orders}:lease")


async def test_a_compaction_that_breaks_off_removes_nothing_else_and_is_done_again(
    any_redis: RedisPlace,
) -> None:
    policy = RetentionPolicy(max_records=3)
    with Proxy(any_redis.url) as proxy, any_redis.client() as client:
        for _ in each_call(proxy, b"EVALSHA", b"XLEN", b"XINFO"):
            client.flushdb()
            async with opened(any_redis.url) as store:
                await store.append([*mine(*range(1, 11)), *(letter(number) for number in range(5))])
                await broken_off(proxy, lambda broken: broken.compact(policy))
                assert (await seen(store))[-3:] == [8, 9, 10]
                await store.compact(policy)
                assert await seen(store) == [8, 9, 10]
                counts = await store.counts()
                assert (counts[RecordKind.EVENT], counts[RecordKind.DEAD_LETTER]) == (3, 3)
                assert not (await store.scan()).has_anomalies
                await store.append(mine(*range(1, 12)))
                assert await seen(store) == [8, 9, 10, 11]
