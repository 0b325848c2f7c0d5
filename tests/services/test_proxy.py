from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.services.proxy import Proxy
from tests.services.redisserver import client_of
from tests.services.resp import Messages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from tests.services.redisfixtures import StartRedis
    from tests.services.redisserver import RedisPlace

redis_py = pytest.importorskip("redis")

MESSAGES = [
    b"+OK\r\n",
    b":12\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"$0\r\n\r\n",
    b"$6\r\na\r\n$9x\r\n",
    b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
    b"*3\r\n*2\r\n:1\r\n*0\r\n*1\r\n$2\r\nhi\r\n_\r\n",
    b"%1\r\n+a\r\n~2\r\n:1\r\n#t\r\n",
    b"-ERR no\r\n",
    b">2\r\n+push\r\n:1\r\n",
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_stream_is_cut_into_whole_messages_wherever_it_arrives_in_parts(size: int) -> None:
    stream, cut, found = b"".join(MESSAGES), Messages(), []
    for start in range(0, len(stream), size):
        found += cut.feed(stream[start : start + size])
    assert found == MESSAGES


@pytest.fixture
def proxy(valkey: RedisPlace) -> Iterator[Proxy]:
    with Proxy(valkey.url) as opened:
        yield opened


@pytest.fixture
def client(proxy: Proxy) -> Iterator[Redis]:
    with client_of(proxy.url, socket_timeout=0.2) as opened:
        yield opened


@pytest.fixture
def direct(valkey: RedisPlace) -> Iterator[Redis]:
    with valkey.client() as opened:
        yield opened


def test_without_trouble_it_passes_all_and_counts(proxy: Proxy, client: Redis) -> None:
    value = b"\r\n$5\r\n" * 300_000
    with client.pipeline(transaction=True) as pipeline:
        pipeline.set("key", value)
        pipeline.lpush("list", *range(1000))
        pipeline.get("key")
        pipeline.lrange("list", 0, -1)
        results = pipeline.execute()
    assert results[2] == value
    assert len(results[3]) == 1000
    assert proxy.requests["SET"] == proxy.requests["EXEC"] == proxy.connections == 1


def test_a_lost_request_is_not_executed_and_a_lost_reply_is(
    proxy: Proxy, client: Redis, direct: Redis
) -> None:
    for trouble, key in ((proxy.lose_request(b"first"), "first"), (proxy.lose_reply(b"second"), "second")):
        assert not trouble.is_met
        with pytest.raises(redis_py.ConnectionError):
            client.set(key, 1)
        trouble.wait()
        client.set("other", 1)
    assert set(direct.keys()) == {b"second", b"other"}


def test_trouble_comes_to_the_request_that_was_named_as_often_as_named(
    proxy: Proxy, client: Redis, direct: Redis
) -> None:
    proxy.lose_reply(b"INCR", spared=2, times=2)
    assert [client.incr("n"), client.incr("n")] == [1, 2]
    for _ in range(2):
        with pytest.raises(redis_py.ConnectionError):
            client.incr("n")
    assert client.incr("n") == 5
    assert direct.get("n") == b"5"


def test_a_reply_is_torn_in_its_middle(proxy: Proxy, client: Redis) -> None:
    client.set("key", "x" * 1000)
    proxy.tear_reply(b"GET")
    with pytest.raises(redis_py.ConnectionError):
        client.get("key")
    assert client.get("key") == b"x" * 1000


def test_a_held_reply_comes_once_it_is_released(proxy: Proxy, direct: Redis) -> None:
    held = proxy.hold_reply(b"key")
    with client_of(proxy.url) as patient, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(patient.set, "key", "1")
        held.wait()
        assert direct.get("key") == b"1"
        assert not answer.done()
        held.release()
        assert answer.result() is True


def test_what_is_swallowed_is_neither_executed_nor_refused(
    proxy: Proxy, client: Redis, direct: Redis
) -> None:
    client.ping()
    proxy.swallow()
    for _ in range(2):  # on the connection there is, then on a new one
        with pytest.raises(redis_py.TimeoutError):
            client.set("key", 1)
    proxy.heal()
    client.set("other", 1)
    assert direct.keys() == [b"other"]


def test_refused_is_refused_until_it_accepts_again(proxy: Proxy, client: Redis) -> None:
    client.ping()
    proxy.refuse()
    for _ in range(2):
        with pytest.raises(redis_py.ConnectionError):
            client.ping()
    proxy.heal()
    assert client.ping()


def test_cutting_costs_the_connections_and_no_more(proxy: Proxy, client: Redis) -> None:
    client.ping()
    proxy.cut()
    client.connection_pool.disconnect()
    assert client.ping()
    assert proxy.connections == 2


def test_led_elsewhere_it_speaks_with_another_server(
    proxy: Proxy, client: Redis, start_redis: StartRedis
) -> None:
    client.set("key", "here")
    proxy.lead_to(start_redis().url)
    client.connection_pool.disconnect()
    assert client.get("key") is None


async def test_a_delayed_reply_is_late(proxy: Proxy) -> None:
    with client_of(proxy.url) as client:
        client.ping()
        proxy.delay(0.3)
        loop = asyncio.get_running_loop()
        before = loop.time()
        await asyncio.to_thread(client.ping)
        assert loop.time() - before >= 0.3
