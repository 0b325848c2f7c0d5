"""I4, I6: what takes many calls may end at any of them; two may do it at once."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import PersistenceError
from papyra.persistence.models import RecordKind
from papyra.persistence.retention import RetentionPolicy
from papyra.persistence.startup import DEFAULT_STARTUP, StartupVerdict, run_startup_check
from papyra.testing.promises.harness import everything
from papyra.testing.records import INCARNATION, letter
from tests.budget import BUDGET
from tests.faults_redis.stores import (
    QUARANTINE,
    REPAIR,
    anomalies,
    is_sound,
    key,
    numbered,
    opened,
    seqs,
    set_aside,
)
from tests.services.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from papyra.persistence.backends.redis import RedisStreamsPersistence
    from papyra.persistence.models import PersistenceRecoveryConfig, Record
    from tests.services.redisserver import RedisPlace

EVENTS = key("events")
ANY_REQUEST = b""
MOST_CALLS = 100
HARMS = BUDGET.pick(
    quick=["lose_reply"], ci=["lose_reply"], whole=["lose_request", "lose_reply", "tear_reply"]
)
STEP = BUDGET.pick(quick=3, ci=2, whole=1)
RECORDS = numbered(range(1, 31))
KEEP = RetentionPolicy(max_records=7)


@pytest.fixture
def proxy(any_redis: RedisPlace) -> Iterator[Proxy]:
    with Proxy(any_redis.url) as opened_proxy:
        yield opened_proxy


async def damage(any_redis: RedisPlace) -> None:
    """Fill an empty store with records, three entries that are none, and one that stands twice."""
    with any_redis.client() as client:
        client.flushdb()
        async with opened(any_redis.url) as store:
            for number, record in enumerate(RECORDS):
                await store.append([record])
                if number in {5, 6, 20}:
                    client.xadd(EVENTS, {"hello": f"noise-{number}"})
        client.xadd(EVENTS, client.xrange(EVENTS)[0][1])


async def interrupted(
    proxy: Proxy, harm: str, work: Callable[[RedisStreamsPersistence], Awaitable[object]], number: int
) -> bool:
    """Do ``work`` and let every request after the first ``number`` fail; return whether there was none."""
    async with opened(proxy.url) as store:
        trouble = getattr(proxy, harm)(ANY_REQUEST, spared=number, times=1000)
        with suppress(PersistenceError):
            await work(store)
        is_complete = not trouble.is_met
        proxy.refuse()
    proxy.accept()
    return is_complete


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("config", [REPAIR, QUARANTINE], ids=["repair", "quarantine"])
async def test_i4_i6_a_recovery_cut_off_at_any_request_loses_no_byte_and_is_done_again(
    any_redis: RedisPlace, proxy: Proxy, config: PersistenceRecoveryConfig, harm: str
) -> None:
    for number in range(0, MOST_CALLS, STEP):
        await damage(any_redis)
        is_complete = await interrupted(proxy, harm, lambda store: store.recover(config), number)
        with any_redis.client() as client:
            left = repr(client.xrange(EVENTS)).encode() + set_aside(client)
            assert all(f"noise-{noise}".encode() in left for noise in (5, 6, 20))
        await clean(any_redis.url, config)
        if is_complete:
            return
    pytest.fail(f"not done after {MOST_CALLS} requests")


async def clean(url: str, config: PersistenceRecoveryConfig) -> None:
    """Recover, and find everything that was sound there, and nothing else."""
    async with opened(url) as store:
        await store.recover(config)
        assert (await store.scan()).anomalies == ()
        assert await everything(store, type="ActorStarted") == RECORDS
        assert (await store.recover(config)).quarantined_bytes == 0


@pytest.mark.parametrize("harm", HARMS)
async def test_i6_a_compaction_cut_off_at_any_request_removes_the_oldest_and_no_more(
    any_redis: RedisPlace, proxy: Proxy, harm: str
) -> None:
    for number in range(0, MOST_CALLS, STEP):
        with any_redis.client() as client:
            client.flushdb()
        async with opened(any_redis.url) as store:
            await store.append(RECORDS)
        is_complete = await interrupted(proxy, harm, lambda store: store.compact(KEEP), number)
        found = await seqs(any_redis.url)
        assert found == list(range(31 - len(found), 31))
        assert len(found) >= 7
        async with opened(any_redis.url) as store:
            await store.compact(KEEP)
            assert await everything(store) == RECORDS[-7:]
            assert (await store.scan()).anomalies == ()
        if is_complete:
            return
    pytest.fail(f"not done after {MOST_CALLS} requests")


async def test_two_recoveries_at_once_end_clean_and_set_aside_once(any_redis: RedisPlace) -> None:
    await damage(any_redis)
    async with opened(any_redis.url) as first, opened(any_redis.url) as second:
        outcomes = await asyncio.gather(first.recover(REPAIR), second.recover(REPAIR), return_exceptions=True)
        assert any(not isinstance(outcome, BaseException) for outcome in outcomes)
        assert all(isinstance(one, PersistenceError) for one in outcomes if isinstance(one, BaseException))
        assert await everything(first, type="ActorStarted") == RECORDS
        assert (await second.scan()).anomalies == ()
        reasons = [entry async for entry in first.quarantined()]
        assert len(reasons) == 4


async def test_the_startup_check_mends_what_it_finds(any_redis: RedisPlace) -> None:
    await damage(any_redis)
    async with opened(any_redis.url) as store:
        report = await run_startup_check(store, DEFAULT_STARTUP)
        assert report.verdict is StartupVerdict.RECOVERED
    assert await anomalies(any_redis.url) == []


async def test_the_same_records_from_two_writers_at_once_are_stored_once(any_redis: RedisPlace) -> None:
    letters = [letter(number, incarnation=INCARNATION, seq=number) for number in range(1, 31)]
    async with opened(any_redis.url) as first, opened(any_redis.url) as second:
        for start in range(0, 30, 3):
            batch: list[Record] = [*RECORDS[start : start + 3], *letters[start : start + 3]]
            await asyncio.gather(first.append(batch), second.append(batch), first.append(batch[::2]))
        assert await everything(first) == RECORDS
        assert await everything(second, RecordKind.DEAD_LETTER) == letters
    assert await is_sound(any_redis.url, RECORDS)


async def test_a_record_that_comes_late_is_stored_once_whoever_brings_it(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as first, opened(any_redis.url) as second:
        await first.append([*RECORDS[:3], *RECORDS[5:]])
        await asyncio.gather(*(store.append(RECORDS[3:5]) for store in (first, second) for _ in range(5)))
        found = await everything(first)
    assert sorted(one.seq for one in found) == list(range(1, 31))
    assert all(one in RECORDS for one in found)


async def test_what_stands_twice_is_read_once(any_redis: RedisPlace) -> None:
    """Whether or not somebody counted the stream since; to a reader that saw it before, too."""
    await damage(any_redis)
    async with opened(any_redis.url) as reader:
        assert await everything(reader) == RECORDS
        assert list(await reader.list_events(limit=5)) == RECORDS[-5:]
        with any_redis.client() as client:
            client.xadd(EVENTS, client.xrange(EVENTS)[1][1])
        assert await everything(reader) == RECORDS
        async with opened(any_redis.url) as writer:
            await writer.compact()
            more = numbered([31])
            await writer.append(more)
            assert await everything(reader) == await everything(writer) == [*RECORDS, *more]
            await writer.recover(REPAIR)
            assert await everything(reader, type="ActorStarted") == [*RECORDS, *more]


async def test_the_one_that_is_left_of_two_is_read(any_redis: RedisPlace) -> None:
    """A good copy behind a damaged entry counts once that is set aside."""
    async with opened(any_redis.url) as store:
        await store.append(RECORDS[:3])
        with any_redis.client() as client:
            id_, fields = client.xrange(EVENTS)[-1]
            client.xdel(EVENTS, id_)
            client.xadd(EVENTS, {**fields, b"body": fields[b"body"].replace(b"orders", b"elders")})
            client.xadd(EVENTS, fields)
        await store.compact()
        await store.recover(REPAIR)
        assert await everything(store, type="ActorStarted") == RECORDS[:3]
