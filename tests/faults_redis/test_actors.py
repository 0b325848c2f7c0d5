"""R4, published fault R2: whatever the server does, no actor, sender or system feels it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from papyra.actor import Actor
from papyra.exceptions import PersistenceStartupError
from papyra.persistence.models import EventType, PersistedEvent
from papyra.persistence.startup import StartupReport, StartupVerdict
from papyra.system import ActorSystem
from tests.faults_redis.stores import anomalies, make_store, stored
from tests.services.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.services.redisfixtures import StartRedis
    from tests.services.redisserver import RedisServer

PATIENT_SECONDS = 60.0


class Echo(Actor):
    async def receive(self, message: object) -> object:
        return message


def kill(server: RedisServer) -> None:
    server.kill()


def start(server: RedisServer) -> None:
    server.start()


def take_all_memory(server: RedisServer) -> None:
    with server.client() as client:
        client.config_set("maxmemory", 1)


def give_memory(server: RedisServer) -> None:
    with server.client() as client:
        client.config_set("maxmemory", 0)


def forget(server: RedisServer) -> None:
    with server.client() as client:
        client.flushall()


@pytest.mark.parametrize(("harm", "mend"), [(kill, start), (take_all_memory, give_memory), (forget, forget)])
async def test_r4_what_befalls_the_server_befalls_no_actor_and_everything_is_on_record(
    start_redis: StartRedis, harm: Callable[[RedisServer], None], mend: Callable[[RedisServer], None]
) -> None:
    server = start_redis(appendonly="yes", appendfsync="always")
    system = ActorSystem(system_id="orders", persistence=make_store(server.url), close_persistence=True)
    async with system:
        ref = system.spawn(Echo, name="echo")
        for number in range(30):
            system.spawn(Echo, name=f"echo-{number}")
            assert await ref.ask(number) == number
            if number in {10, 20}:
                await asyncio.to_thread(harm if number == 10 else mend, server)
        await asyncio.wait_for(system.flush(), PATIENT_SECONDS)
    events = [one for one in await stored(server.url) if isinstance(one, PersistedEvent)]
    started = [one.actor_path for one in events if one.event_type == EventType.ACTOR_STARTED]
    assert started == ["/echo", *(f"/echo-{number}" for number in range(30))]
    assert [one.seq for one in events] == list(range(1, len(events) + 1))
    assert events[-1].event_type == EventType.SYSTEM_STOPPED
    assert await anomalies(server.url) == []


async def test_actors_work_while_the_server_is_away_and_a_system_stops_in_time(
    start_redis: StartRedis,
) -> None:
    server = start_redis()
    store = make_store(server.url)
    system = ActorSystem(system_id="orders", persistence=store, close_persistence=True, shutdown_timeout=2)
    async with system:
        ref = system.spawn(Echo, name="echo")
        await system.flush()
        server.kill()
        for number in range(50):
            assert await ref.ask(number) == number
        loop = asyncio.get_running_loop()
        before = loop.time()
    assert loop.time() - before < PATIENT_SECONDS


async def test_a_system_that_must_know_its_store_is_sound_refuses_while_the_server_is_away(
    start_redis: StartRedis,
) -> None:
    with Proxy(start_redis().url) as proxy:
        proxy.refuse()
        system = ActorSystem(system_id="orders", persistence=make_store(proxy.url), close_persistence=True)
        with pytest.raises(PersistenceStartupError) as caught:
            await asyncio.wait_for(system.start(), PATIENT_SECONDS)
    assert isinstance(caught.value.report, StartupReport)
    assert caught.value.report.verdict is StartupVerdict.UNPROVEN
