"""An outage that outlasts every retry: records wait on the disk here and go in before anything newer."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from papyra.actor import Actor
from papyra.exceptions import ConfigurationError, PersistenceStartupError, StoreUnavailableError
from papyra.persistence.backends.redis import RedisStreamsConfig, RedisStreamsPersistence
from papyra.persistence.models import EventType, PersistedEvent
from papyra.persistence.retention import RetentionPolicy
from papyra.persistence.startup import PersistenceStartupConfig, PersistenceStartupMode
from papyra.persistence.state import StoreCondition
from papyra.system import ActorSystem
from papyra.testing.clock import ManualClock
from papyra.testing.promises.harness import everything
from papyra.testing.records import OTHER_INCARNATION, event
from tests.faults_redis.stores import REPAIR, is_sound, make_store, numbered, opened, stored, until_ok
from tests.services.proxy import Proxy
from tests.services.redisserver import Login

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.redisfixtures import StartRedis
    from tests.services.redisserver import RedisPlace

SECRET = "s3cret-word"  # noqa: S105  # of these tests
ROOT = Path(__file__).resolve().parents[2]
PATIENT_SECONDS = 60.0


@pytest.fixture
def proxy(any_redis: RedisPlace) -> Iterator[Proxy]:
    with Proxy(any_redis.url) as opened_proxy:
        yield opened_proxy


@pytest.fixture
def spill(tmp_path: Path) -> dict[str, Any]:
    return {"spill_dir": str(tmp_path / "spill")}


async def test_what_came_while_the_server_was_away_is_there_in_order_before_what_comes_after(
    any_redis: RedisPlace, proxy: Proxy, spill: dict[str, Any]
) -> None:
    records = numbered(range(1, 61))
    async with opened(proxy.url, **spill) as store:
        await store.append(records[:10])
        proxy.refuse()
        for start in range(10, 50, 10):
            await asyncio.wait_for(store.append(records[start : start + 10]), PATIENT_SECONDS)
        assert (store.state.condition, store.state.waiting) == (StoreCondition.SPILLING, 40)
        assert (store.state.since is not None, bool(store.state.reason)) == (True, True)
        proxy.accept()
        await store.append(records[50:])
        await until_ok(store)
    assert await is_sound(any_redis.url, records)


async def test_a_batch_whose_reply_was_lost_as_the_server_went_is_there_once(
    any_redis: RedisPlace, proxy: Proxy, spill: dict[str, Any]
) -> None:
    records = numbered(range(1, 31))
    async with opened(proxy.url, **spill) as store:
        await store.append(records[:10])
        trouble = proxy.hold_reply(b"orders:15", times=1000)
        appending = asyncio.create_task(store.append(records[10:20]))
        await asyncio.to_thread(trouble.wait)
        proxy.refuse()
        await asyncio.wait_for(appending, PATIENT_SECONDS)
        proxy.accept()
        await store.append(records[20:])
        await until_ok(store)
    assert await is_sound(any_redis.url, records)


DIES = """
import asyncio, os, sys
from tests.faults_redis.stores import REPAIR, make_store, numbered

async def main(url, spill_dir):
    store = make_store(url, spill_dir=spill_dir)
    await store.append(numbered(range(1, 21)))
    os._exit(7)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_i1_what_a_dead_process_left_is_sent_by_the_next(proxy: Proxy, spill: dict[str, Any]) -> None:
    proxy.refuse()
    command = [sys.executable, "-c", DIES, proxy.url, spill["spill_dir"]]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 7, done.stderr
    proxy.accept()
    async with opened(proxy.url, **spill) as store:
        await store.append([event(1, incarnation=OTHER_INCARNATION, seq=1)])
        await until_ok(store)
        found = await everything(store)
    assert found[:20] == numbered(range(1, 21))
    assert len(found) == 21


class Echo(Actor):
    async def receive(self, message: object) -> object:
        return message


async def test_actors_never_notice_an_outage(
    any_redis: RedisPlace, proxy: Proxy, spill: dict[str, Any]
) -> None:
    store = make_store(proxy.url, **spill)
    async with ActorSystem(system_id="orders", persistence=store, close_persistence=True) as system:
        ref = system.spawn(Echo, name="echo")
        assert await ref.ask(1) == 1
        await system.flush()
        proxy.refuse()
        for number in range(20):
            system.spawn(Echo, name=f"echo-{number}")
            assert await ref.ask(number) == number
        await asyncio.wait_for(system.flush(), PATIENT_SECONDS)
        proxy.accept()
        system.spawn(Echo, name="last")
        assert await ref.ask(3) == 3
        await until_ok(store)
    found = await stored(any_redis.url)
    events = [one for one in found if isinstance(one, PersistedEvent)]
    assert [one.seq for one in events] == list(range(1, len(events) + 1))
    started = [one.actor_path for one in events if one.event_type == EventType.ACTOR_STARTED]
    assert started == ["/echo", *(f"/echo-{number}" for number in range(20)), "/last"]
    assert events[-1].event_type == EventType.SYSTEM_STOPPED


async def test_a_system_that_starts_while_the_server_is_away_starts_degraded_where_it_may(
    any_redis: RedisPlace, proxy: Proxy, spill: dict[str, Any]
) -> None:
    proxy.refuse()
    startup = PersistenceStartupConfig(mode=PersistenceStartupMode.SCAN_ONLY)
    store = make_store(proxy.url, **spill)
    system = ActorSystem(
        system_id="orders",
        persistence=store,
        persistence_startup=startup,
        close_persistence=True,
    )
    async with system:
        ref = system.spawn(Echo, name="echo")
        assert await ref.ask(1) == 1
        await asyncio.wait_for(system.flush(), PATIENT_SECONDS)
        proxy.accept()
        system.spawn(Echo, name="second")
        await ref.ask(2)
        await until_ok(store)
    found = [one.event_type for one in await stored(any_redis.url) if isinstance(one, PersistedEvent)]
    assert found[0] == EventType.SYSTEM_STARTED
    assert found[-1] == EventType.SYSTEM_STOPPED
    assert found.count(EventType.ACTOR_STARTED) == 2


async def test_a_system_that_must_know_its_store_is_sound_refuses_while_the_server_is_away(
    proxy: Proxy, spill: dict[str, Any]
) -> None:
    proxy.refuse()
    system = ActorSystem(
        system_id="orders", persistence=make_store(proxy.url, **spill), close_persistence=True
    )
    with pytest.raises(PersistenceStartupError):
        await asyncio.wait_for(system.start(), PATIENT_SECONDS)


async def test_i1_what_the_server_forgot_while_it_was_away_comes_before_what_waited(
    start_redis: StartRedis, spill: dict[str, Any]
) -> None:
    """A note of what nobody has any more takes none of the numbers that wait."""
    server = start_redis()
    async with opened(server.url, **spill) as store:
        for number in range(1, 9):
            await store.append([event(number, payload="x" * 900_000)])
        server.kill()
        for number in range(9, 12):
            await store.append([event(number)])
        assert store.state.condition is StoreCondition.SPILLING
        server.start()
        await until_ok(store)
        await store.append([event(12)])
        found = await store.list_events()
        assert (await store.scan()).anomalies == ()
    (note,) = [one for one in found if one.event_type == EventType.RECORDS_LOST]
    rest = [one for one in found if one is not note]
    assert [one.seq for one in rest] == list(range(5, 13))
    assert {one.incarnation for one in rest} != {note.incarnation}


async def test_a_server_without_memory_is_away_until_it_has_some(
    start_redis: StartRedis, spill: dict[str, Any]
) -> None:
    server = start_redis()
    records = numbered(range(1, 31))
    async with opened(server.url, RetentionPolicy(max_records=100), **spill) as store:
        await store.append(records[:10])
        with server.client() as client:
            client.config_set("maxmemory", 1)
            await store.append(records[10:20])
            assert (store.state.condition, store.state.waiting) == (StoreCondition.SPILLING, 10)
            assert "out of memory" in store.state.reason
            client.config_set("maxmemory", 0)
        await until_ok(store)
        await store.append(records[20:])
    assert await is_sound(server.url, records)


async def test_a_recovery_sends_what_waits_before_it_looks_for_what_is_missing(
    any_redis: RedisPlace, proxy: Proxy, spill: dict[str, Any]
) -> None:
    records = numbered(range(1, 21))
    async with opened(proxy.url, **spill) as store:
        await store.append(records[:5])
        proxy.refuse()
        await store.append(records[5:15])
        proxy.accept()
        async with opened(any_redis.url) as other:
            await other.append(records[15:])
        report = await store.recover(REPAIR)
        assert (report.scan.anomalies, report.losses) == ((), ())
        assert store.state.is_ok
        assert (await store.stats()).waiting_records == 0
    assert sorted(one.seq for one in await stored(any_redis.url)) == list(range(1, 21))


async def test_retention_waits_while_the_server_is_away(
    proxy: Proxy, spill: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A try of its own would only hold up what is to be kept beside the server."""
    clock = ManualClock()
    config = RedisStreamsConfig(proxy.url, system_id="orders", **spill)
    store = RedisStreamsPersistence(config, retention_policy=RetentionPolicy(max_records=2), clock=clock)
    async with store:
        await store.append(numbered([1]))
        proxy.refuse()
        await store.append(numbered([2]))
        assert store.state.condition is StoreCondition.SPILLING
        for _ in range(5):
            clock.advance(10.0)
            await store._writer.run(lambda: None)  # noqa: SLF001  # lets the upkeep have its turns
            await store._writer.run(lambda: None)  # noqa: SLF001
        assert "retention was not carried out" not in caplog.text
        proxy.accept()
        clock.advance(10.0)
        await until_ok(store)


async def test_what_waits_is_counted_and_named_without_a_secret(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    server = start_redis(login=Login(user="papyra", password=SECRET))
    with Proxy(server.url) as proxy:
        url = f"{proxy.url}?system_id=orders&spill_dir={tmp_path}/kept&spill_max_bytes=100000"
        async with RedisStreamsPersistence(RedisStreamsConfig.from_url(url)) as store:
            await store.append(numbered([1]))
            proxy.refuse()
            await store.append(numbered([2, 3]))
            with pytest.raises(StoreUnavailableError):
                await store.stats()
            assert SECRET not in f"{store.state}{[*tmp_path.rglob('*')]}"
            proxy.accept()
            await until_ok(store)
            assert (await store.stats()).waiting_records == 0
            assert [one.seq for one in await everything(store)] == [1, 2, 3]


@pytest.mark.parametrize(
    "options",
    [
        {"spill_max_bytes": 1},
        {"spill_when_full": "sometimes"},
        {"retry_seconds": -1.0},
        {"retry_seconds": True},
    ],
    ids=str,
)
def test_an_option_that_cannot_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        RedisStreamsConfig(**options)


def test_stores_that_share_a_spill_folder_keep_apart() -> None:
    urls = [
        "redis://h/0?system_id=a:b",
        "redis://h/0?system_id=a_b",
        "redis://h/1?system_id=a_b",
        "redis://i/0?system_id=a_b",
        "redis://h/0?system_id=a_b&prefix=p",
    ]
    names = {RedisStreamsConfig.from_url(url).name for url in urls}
    assert len(names) == len(urls)
    same = RedisStreamsConfig.from_url("redis://ana:other@h:6379?system_id=a:b&retry_seconds=0.5")
    assert same.name in names
    assert same.retry_seconds == 0.5
