from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.services.processes import ServiceError
from tests.services.redisserver import Login, client_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.services.redisfixtures import StartRedis
    from tests.services.redisserver import RedisPlace, RedisServer

redis_py = pytest.importorskip("redis")


def put(server: RedisPlace, **values: str) -> None:
    with server.client() as client:
        for name, value in values.items():
            client.set(name, value)


def kept(server: RedisPlace) -> set[bytes]:
    with server.client() as client:
        return set(client.keys())


@pytest.mark.parametrize("flavour_fixture", ["redis", "valkey"])
@pytest.mark.parametrize("turn", [1, 2])
def test_a_shared_server_is_empty_for_each_test(
    flavour_fixture: str, turn: int, request: pytest.FixtureRequest
) -> None:
    server: RedisPlace = request.getfixturevalue(flavour_fixture)
    assert kept(server) == set(), turn
    put(server, one="1")


def test_what_was_acknowledged_is_there_after_a_kill_with_aof_and_gone_without(
    start_redis: StartRedis,
) -> None:
    durable, forgetful = start_redis(appendonly="yes", appendfsync="always"), start_redis()
    for server in (durable, forgetful):
        port, first = server.port, server.process.pid
        put(server, one="1")
        server.restart()
        assert (server.port, server.process.pid != first) == (port, True)
    assert (kept(durable), kept(forgetful)) == ({b"one"}, set())


def test_an_ordered_stop_saves_what_it_is_told_to_save(start_redis: StartRedis) -> None:
    server = start_redis(save="3600 1")
    put(server, one="1")
    server.stop()
    assert not server.is_running
    server.start()
    assert kept(server) == {b"one"}


def test_a_paused_server_keeps_its_connections_and_answers_later(start_redis: StartRedis) -> None:
    server = start_redis()
    with server.client() as client, redis_py.Redis.from_url(server.url, socket_timeout=0.1) as hasty:
        client.ping()
        server.pause()
        with pytest.raises(redis_py.TimeoutError):
            hasty.ping()
        server.resume()
        assert client.ping()


def test_directives_reach_the_server(start_redis: StartRedis) -> None:
    server = start_redis(maxmemory="4mb", maxmemory_policy="allkeys-lru")
    with server.client() as client:
        assert client.config_get("maxmemory*")["maxmemory-policy"] == "allkeys-lru"


def test_with_a_login_nobody_else_comes_in(start_redis: StartRedis) -> None:
    server = start_redis(login=Login(user="papyra", password="s:e@c/ret"))  # noqa: S106  # of this test
    put(server, one="1")
    assert kept(server) == {b"one"}
    with (
        client_of(f"redis://127.0.0.1:{server.port}") as stranger,
        pytest.raises(redis_py.AuthenticationError),
    ):
        stranger.ping()


def test_a_replica_has_what_its_primary_has(start_redis: StartRedis) -> None:
    primary = start_redis()
    put(primary, one="1")
    replica = start_redis(replicaof=f"127.0.0.1 {primary.port}")
    replica.log.wait_for("REPLICA sync: Finished with success")
    assert kept(replica) == {b"one"}
    with pytest.raises(redis_py.ReadOnlyError):
        put(replica, two="2")


def test_by_tls_only_who_trusts_the_certificate_comes_in(start_redis: StartRedis) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl here to make a certificate with")
    try:
        server = start_redis(has_tls=True)
    except ServiceError as error:
        if "TLS" not in str(error):
            raise
        pytest.skip("this server was built without TLS")
    put(server, one="1")
    with (
        client_of(server.url) as stranger,
        pytest.raises(redis_py.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        stranger.ping()


def test_three_nodes_share_the_slots(redis_cluster: Sequence[RedisServer]) -> None:
    with redis_py.RedisCluster.from_url(redis_cluster[0].url) as client:
        for number in range(30):
            client.set(f"key-{number}", number)
        assert sum(len(kept(server)) for server in redis_cluster) == 30
    assert all(kept(server) for server in redis_cluster)


def test_a_server_that_cannot_start_says_why(start_redis: StartRedis) -> None:
    with pytest.raises(ServiceError, match=r"(?s)without saying.*no-such-directive"):
        start_redis(no_such_directive="1")


def test_a_server_is_started_once_at_a_time(start_redis: StartRedis) -> None:
    server = start_redis()
    with pytest.raises(ServiceError, match="runs already"):
        server.start()
