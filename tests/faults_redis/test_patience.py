"""I1: with time to try again, what fails again and again costs nothing and adds nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from papyra.testing.records import event
from tests.faults_redis.stores import is_sound, numbered, opened, stored
from tests.services.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.redisserver import RedisPlace

PATIENT_SECONDS = 60.0
MARK = b"orders:marked"


@pytest.fixture
def proxy(any_redis: RedisPlace) -> Iterator[Proxy]:
    with Proxy(any_redis.url) as opened_proxy:
        yield opened_proxy


@pytest.mark.parametrize("times", [2, 4])
@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("harm", ["lose_request", "lose_reply", "tear_reply"])
async def test_trial_13_a_call_that_failed_several_times_is_stored_exactly_once(
    any_redis: RedisPlace, proxy: Proxy, harm: str, size: int, times: int
) -> None:
    before, after = numbered(range(1, 4)), numbered(range(4 + size, 6 + size))
    marked = numbered(range(4, 4 + size), actor_address=MARK.decode())
    async with opened(proxy.url, retry_seconds=PATIENT_SECONDS) as store:
        await store.append(before)
        getattr(proxy, harm)(MARK, times=times)
        await store.append(marked)
        await store.append(after)
    assert await is_sound(any_redis.url, [*before, *marked, *after])


async def test_records_without_identity_of_a_lost_reply_are_stored_once_too(
    any_redis: RedisPlace, proxy: Proxy
) -> None:
    async with opened(proxy.url, retry_seconds=PATIENT_SECONDS) as store:
        await store.append([event(1)])
        proxy.lose_reply(MARK, times=3)
        await store.append([event(2, actor_address=MARK.decode()), event(3)])
    assert [record.seq for record in await stored(any_redis.url)] == [1, 2, 3]


async def test_i1_replies_lost_again_and_again_under_load_cost_nothing_and_add_nothing(
    any_redis: RedisPlace, proxy: Proxy
) -> None:
    async with opened(proxy.url, retry_seconds=PATIENT_SECONDS) as store:
        await store.append([event(0, actor_path="/first")])
        proxy.lose_reply(b"EVAL", spared=1, times=5)
        proxy.tear_reply(b"EVAL", spared=4, times=3)

        async def write(writer: int) -> None:
            for number in range(20):
                await store.append([event(number, actor_path=f"/{writer}")])

        await asyncio.gather(*(write(writer) for writer in range(20)))
    found = await stored(any_redis.url)
    by_writer: dict[str, list[str]] = {}
    for record in found[1:]:
        by_writer.setdefault(record.actor_path, []).append(record.actor_address)  # type: ignore[union-attr]
    assert by_writer == {f"/{writer}": [f"orders:{n}" for n in range(20)] for writer in range(20)}
    assert [record.seq for record in found] == list(range(1, 402))


async def test_a_short_outage_is_waited_for(any_redis: RedisPlace, proxy: Proxy) -> None:
    records = numbered(range(1, 4))
    async with opened(proxy.url, retry_seconds=PATIENT_SECONDS) as store:
        await store.append(records[:1])
        proxy.refuse()
        waiting = asyncio.create_task(store.append(records[1:]))
        await asyncio.sleep(0)
        assert not waiting.done()
        proxy.accept()
        await asyncio.wait_for(waiting, PATIENT_SECONDS)
    assert await is_sound(any_redis.url, records)
