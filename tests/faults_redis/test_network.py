"""I1, I8: a connection that fails at any point of a call costs no record, and adds none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import StoreUnavailableError
from papyra.persistence.models import EventType, LossNote, RecordKind
from papyra.persistence.query import RecordQuery
from papyra.persistence.state import StoreCondition
from papyra.testing.promises.harness import everything
from papyra.testing.records import INCARNATION
from tests.faults_redis.stores import anomalies, is_sound, key, numbered, opened, stored
from tests.services.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.redisfixtures import StartRedis
    from tests.services.redisserver import RedisServer

IMPATIENT = "?socket_timeout=0.5"
"""Of a URL: waits no longer for a reply."""
PATIENT_SECONDS = 60.0
MARK = b"orders:marked"


@pytest.fixture
def server(start_redis: StartRedis) -> RedisServer:
    return start_redis()


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    with Proxy(server.url) as opened_proxy:
        yield opened_proxy


@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("harm", ["lose_request", "lose_reply", "tear_reply"])
async def test_trial_13_a_call_that_failed_at_any_point_is_stored_exactly_once(
    server: RedisServer, proxy: Proxy, harm: str, size: int
) -> None:
    before, after = numbered(range(1, 4)), numbered(range(4 + size, 6 + size))
    marked = numbered(range(4, 4 + size), actor_address=MARK.decode())
    async with opened(proxy.url) as store:
        await store.append(before)
        trouble = getattr(proxy, harm)(MARK)
        await store.append(marked)
        assert trouble.is_met
        await store.append(after)
    assert await is_sound(server.url, [*before, *marked, *after])


@pytest.mark.parametrize("harm", ["refuse", "swallow"])
async def test_i8_a_server_that_is_away_or_silent_is_told_and_the_same_call_works_once_it_is_back(
    server: RedisServer, proxy: Proxy, harm: str
) -> None:
    first, second = numbered([1]), numbered([2])
    async with opened(proxy.url + IMPATIENT) as store:
        await store.append(first)
        assert store.state.is_ok
        getattr(proxy, harm)()
        with pytest.raises(StoreUnavailableError):
            await asyncio.wait_for(store.append(second), PATIENT_SECONDS)
        assert store.state.condition is StoreCondition.DEGRADED
        assert store.state.since is not None
        assert store.state.reason
        with pytest.raises(StoreUnavailableError):
            await asyncio.wait_for(store.read(RecordQuery(kind=RecordKind.EVENT)), PATIENT_SECONDS)
        proxy.heal()
        await store.append(second)
        assert store.state.is_ok
        assert await everything(store) == [*first, *second]
    assert await is_sound(server.url, [*first, *second])


async def test_i1_executed_in_silence_and_asked_again_it_is_there_once(
    server: RedisServer, proxy: Proxy
) -> None:
    marked = numbered([1, 2], actor_address=MARK.decode())
    async with opened(proxy.url + IMPATIENT) as store:
        held = proxy.hold_reply(MARK, times=100)
        with pytest.raises(StoreUnavailableError):
            await asyncio.wait_for(store.append(marked), PATIENT_SECONDS)
        assert held.is_met
        proxy.heal()
        held.release()
        await store.append(marked)
    assert await is_sound(server.url, marked)


async def test_i8_a_server_that_stands_still_holds_up_no_event_loop(server: RedisServer) -> None:
    loop = asyncio.get_running_loop()
    async with opened(server.url) as store:
        await store.append(numbered([1]))
        server.pause()
        appending = asyncio.create_task(store.append(numbered([2])))
        reading = asyncio.create_task(store.list_events())
        worst = 0.0
        for _ in range(200):
            before = loop.time()
            await asyncio.sleep(0)
            worst = max(worst, loop.time() - before)
        assert not appending.done()
        server.resume()
        await asyncio.wait_for(appending, PATIENT_SECONDS)
        await asyncio.wait_for(reading, PATIENT_SECONDS)
    assert worst < 0.5
    assert await is_sound(server.url, numbered([1, 2]))


async def test_a_slow_server_is_slow_and_no_more(server: RedisServer, proxy: Proxy) -> None:
    async with opened(proxy.url) as store:
        await store.append(numbered([1]))
        proxy.delay(0.05)
        await asyncio.gather(*(store.append(numbered([number])) for number in range(2, 52)))
        assert len(await store.list_events()) == 51
    assert sorted(record.seq for record in await stored(server.url)) == list(range(1, 52))


async def test_a_read_whose_reply_was_torn_is_asked_again_or_told(server: RedisServer, proxy: Proxy) -> None:
    records = numbered(range(1, 101))
    async with opened(proxy.url) as store:
        await store.append(records)
        for harm in (proxy.lose_request, proxy.lose_reply, proxy.tear_reply):
            harm(b"RANGE")
            try:
                found = await everything(store)
            except StoreUnavailableError:
                found = await everything(store)
            assert found == records
    assert await is_sound(server.url, records)


async def test_closing_while_the_server_is_away_ends(proxy: Proxy) -> None:
    async with opened(proxy.url + IMPATIENT) as store:
        await store.append(numbered([1]))
        proxy.swallow()
        waiting = asyncio.create_task(store.append(numbered([2])))
        await asyncio.sleep(0)
        await asyncio.wait_for(store.aclose(), PATIENT_SECONDS)
        (outcome,) = await asyncio.gather(waiting, return_exceptions=True)
    assert isinstance(outcome, StoreUnavailableError)


async def test_opening_touches_nothing_and_a_server_away_is_told_at_the_first_use(proxy: Proxy) -> None:
    proxy.refuse()
    async with opened(proxy.url + IMPATIENT) as store:
        for use in (lambda: store.append(numbered([1])), store.list_events, store.scan, store.stats):
            with pytest.raises(StoreUnavailableError):
                await asyncio.wait_for(use(), PATIENT_SECONDS)
        proxy.accept()
        await store.append(numbered([1]))
        assert await everything(store) == numbered([1])


async def test_i1_what_is_forgotten_again_while_it_is_sent_again_is_sent_once_more(
    server: RedisServer, proxy: Proxy
) -> None:
    records = numbered(range(1, 13))
    with server.client() as client:
        async with opened(proxy.url) as store:
            await store.append(records[:10])
            client.flushall()
            held = proxy.hold_reply(b'orders:1"')
            appending = asyncio.create_task(store.append(records[10:]))
            await asyncio.to_thread(held.wait)
            client.flushall()
            held.release()
            await asyncio.wait_for(appending, PATIENT_SECONDS)
    assert await is_sound(server.url, records)


async def test_i1_a_stream_that_was_deleted_twice_is_filled_twice(server: RedisServer) -> None:
    records = numbered(range(1, 7))
    async with opened(server.url) as store:
        for number in range(2):
            await store.append(records[: 4 + number])
            with server.client() as client:
                client.delete(key("events"))
        await store.append(records)
    assert sorted(one.seq for one in await stored(server.url)) == list(range(1, 7))
    assert await anomalies(server.url) == []


async def test_i1_forgotten_between_what_came_late_it_is_there_once(
    server: RedisServer, proxy: Proxy
) -> None:
    records = numbered(range(1, 7))
    with server.client() as client:
        async with opened(proxy.url) as store:
            await store.append(records[:5])
            client.delete(key("events"))
            held = proxy.hold_reply(b'orders:3"', spared=1)
            appending = asyncio.create_task(store.append(records[5:]))
            await asyncio.to_thread(held.wait)
            client.flushall()
            held.release()
            await asyncio.wait_for(appending, PATIENT_SECONDS)
    assert await is_sound(server.url, records)


async def test_i3_a_note_of_what_is_lost_is_not_lost_itself(server: RedisServer, proxy: Proxy) -> None:
    padded = numbered(range(1, 9), payload="x" * 900_000)
    with server.client() as client:
        async with opened(proxy.url + IMPATIENT) as store:
            for record in padded:
                await store.append([record])
            client.flushall()
            lost = proxy.lose_reply(b"RecordsLost", times=2)
            with pytest.raises(StoreUnavailableError):
                await store.append(numbered([9]))
            assert lost.is_met
            client.flushall()
            await store.append(numbered([9]))
            found = await store.list_events()
    (note,) = [one for one in found if one.event_type == EventType.RECORDS_LOST]
    assert LossNote.from_payload(note.payload)[:4] == (INCARNATION, "event", 1, 4)  # type: ignore[index]
    assert [one.seq for one in found if one is not note] == [5, 6, 7, 8, 9]
    assert await anomalies(server.url) == []
