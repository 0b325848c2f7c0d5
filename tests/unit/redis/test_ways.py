"""Ways to a server, and what a system makes of one: Sentinel, a slow server, a damaged append-only file."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from papyra import Actor, ActorSystem
from papyra.exceptions import StoreUnavailableError
from papyra.persistence.models import EventType, PersistenceAnomalyType
from papyra.persistence.startup import DEFAULT_STARTUP, StartupVerdict, run_startup_check
from papyra.testing.promises.harness import everything
from tests.services.redisserver import HOST, free_port
from tests.unit.redis.stores import EVENTS, REPAIR, mine, opened, seen

sentinels = pytest.importorskip("redis.sentinel")

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis.sentinel import Sentinel

    from tests.services.redisfixtures import StartRedis
    from tests.services.redisserver import RedisPlace, RedisServer


@contextmanager
def sentinel(server: RedisServer) -> Iterator[Sentinel]:
    port, keeper = free_port(), server.keeper
    folder = keeper.make_folder("sentinel")
    settings = folder / "sentinel.conf"
    settings.write_text(
        f"port {port}\nbind {HOST}\ndir {folder}\nsentinel monitor orders {HOST} {server.port} 1\n"
    )
    keeper.give(settings)
    process = keeper.run([str(server.program), str(settings), "--sentinel"], folder=folder)
    try:
        yield sentinels.Sentinel([(HOST, port)], socket_timeout=5)
    finally:
        process.kill()


async def test_a_sentinel_says_where_the_primary_is(start_redis: StartRedis) -> None:
    with sentinel(start_redis()) as watching:
        client = watching.master_for("orders")  # type: ignore[no-untyped-call]  # the driver's
        async with opened("", client=client) as store:
            async with asyncio.timeout(30):
                while True:
                    try:
                        await store.append(mine(1))
                        break
                    except StoreUnavailableError:  # it has just begun to watch
                        await asyncio.sleep(0.05)
            await store.append(mine(2))
            assert await seen(store) == [1, 2]
        client.close()
        for each in watching.sentinels:
            each.close()


async def test_a_socket_is_a_way_too(start_redis: StartRedis) -> None:
    server = start_redis(unixsocket="redis.sock", unixsocketperm="777")
    async with opened(f"unix://{server.folder}/redis.sock") as store:
        await store.append(mine(1))
        assert await seen(store) == [1]
    async with opened(server.url) as store:
        assert await seen(store) == [1]


async def test_a_server_that_answers_too_late_has_each_record_once(start_redis: StartRedis) -> None:
    server = start_redis()
    with server.client() as client:
        async with opened(f"{server.url}?socket_timeout=0.2") as store:
            await store.append(mine(1))
            client.client_pause(1_000)
            with pytest.raises(StoreUnavailableError, match="does not answer"):
                await store.append(mine(2, 3))
            client.client_unpause()
            await store.append(mine(2, 3, 4))
            assert await seen(store) == [1, 2, 3, 4]
            assert not (await store.scan()).has_anomalies


async def test_a_byte_that_flipped_in_the_servers_file_is_told_by_its_entry(start_redis: StartRedis) -> None:
    server = start_redis(appendonly="yes", appendfsync="always")
    async with opened(server.url) as store:
        await store.append(mine(1, 2, 3))
    server.kill()
    (path,) = server.folder.glob("appendonlydir/*.incr.aof")
    content = path.read_bytes()
    place = content.index(b'"actor_address":"orders:2"') + 20
    path.write_bytes(content[:place] + b"0" + content[place + 1 :])
    server.start()
    async with opened(server.url) as store:
        with server.client() as client:
            id_ = client.xrange(EVENTS)[1][0].decode()
        found = await store.scan()
        assert [anomaly.type for anomaly in found.anomalies] == [PersistenceAnomalyType.BAD_CHECKSUM]
        assert id_ in str(found.anomalies[0].detail)
        assert await seen(store) == [1, 3]
        await store.recover(REPAIR)
        assert not (await store.scan()).has_anomalies


class Desk(Actor):
    async def receive(self, message: object) -> object:
        if message == "fail":
            raise ValueError("as asked")
        return message


async def test_a_systems_life_stands_in_its_streams(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        async with ActorSystem(system_id="orders", persistence=store, close_persistence=False) as system:
            desk = system.spawn(Desk, name="desk")
            assert await desk.ask("hello") == "hello"
            desk.tell("fail")
            await system.flush()
        types = [getattr(record, "event_type", "") for record in await everything(store)]
        assert types[0] == EventType.SYSTEM_STARTED
        assert types[-1] == EventType.SYSTEM_STOPPED
        assert EventType.ACTOR_STARTED in types
        report = await run_startup_check(store, DEFAULT_STARTUP)
        assert report.verdict is StartupVerdict.HEALTHY
        assert len(await store.list_dead_letters()) == 1
        assert not (await store.scan()).has_anomalies
