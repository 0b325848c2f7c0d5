"""Ways to a server, and what a system makes of one: Sentinel, a slow server, a damaged append-only file."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from redis.sentinel import Sentinel

from papyra import Actor, ActorSystem
from papyra.exceptions import StoreUnavailableError
from papyra.persistence.models import EventType, PersistenceAnomalyType
from papyra.persistence.startup import DEFAULT_STARTUP, StartupVerdict, run_startup_check
from papyra.testing.promises.harness import everything
from tests.unit.redis.conftest import program
from tests.unit.redis.stores import EVENTS, REPAIR, mine, opened, seen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.redis.conftest import Server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def sentinel(folder: Path, primary: int) -> Iterator[Sentinel]:
    port = free_port()
    (folder / "sentinel.conf").write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor orders 127.0.0.1 {primary} 1\n"
    )
    process = subprocess.Popen([program(), folder / "sentinel.conf", "--sentinel"], stdout=subprocess.DEVNULL)
    try:
        yield Sentinel([("127.0.0.1", port)], socket_timeout=5)  # type: ignore[no-untyped-call]
    finally:
        process.kill()
        process.wait()


async def test_a_sentinel_says_where_the_primary_is(own_server: Server, tmp_path: Path) -> None:
    port = free_port()
    own_server.kill()
    own_server.options = ("--port", str(port), "--bind", "127.0.0.1")
    own_server.start()
    with sentinel(tmp_path, port) as watching:
        client = watching.master_for("orders")  # type: ignore[no-untyped-call]
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


async def test_a_server_that_answers_too_late_has_each_record_once(server: Server) -> None:
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


async def test_a_byte_that_flipped_in_the_servers_file_is_told_by_its_entry(own_server: Server) -> None:
    own_server.kill()
    own_server.options = ("--appendonly", "yes", "--appendfsync", "always")
    own_server.start()
    async with opened(own_server.url) as store:
        await store.append(mine(1, 2, 3))
    own_server.kill()
    (path,) = own_server.folder.glob("appendonlydir/*.incr.aof")
    content = path.read_bytes()
    place = content.index(b'"actor_address":"orders:2"') + 20
    path.write_bytes(content[:place] + b"0" + content[place + 1 :])
    own_server.start()
    async with opened(own_server.url) as store:
        with own_server.client() as client:
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


async def test_a_systems_life_stands_in_its_streams(server: Server) -> None:
    async with opened(server.url) as store:
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
