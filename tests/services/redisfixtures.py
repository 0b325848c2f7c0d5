"""Fixtures of Redis and Valkey: ``redis`` and ``valkey`` are shared and empty, the others a test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from tests.budget import BUDGET, lacking
from tests.services.finding import Found, Missing, Service, given_url
from tests.services.rediscluster import NODES, form_cluster
from tests.services.redisserver import FLAVOURS, REDIS, VALKEY, GivenRedis, Login, RedisPlace, RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.services.plugin import Services

ANY = "any"


class StartRedis(Protocol):
    """Starts a server of the test's own; ``directives`` as in a configuration file, with underscores."""

    def __call__(
        self, *, login: Login | None = None, has_tls: bool = False, **directives: str
    ) -> RedisServer: ...


@pytest.fixture(scope="session")
def _shared_redis(services: Services) -> Iterator[RedisPlace]:
    yield from _shared(services, REDIS)


@pytest.fixture(scope="session")
def _shared_valkey(services: Services) -> Iterator[RedisPlace]:
    yield from _shared(services, VALKEY)


@pytest.fixture
def redis(_shared_redis: RedisPlace) -> RedisPlace:
    """Return a Redis server that is up and empty; a test that ends or reconfigures one starts its own."""
    return _emptied(_shared_redis)


@pytest.fixture
def valkey(_shared_valkey: RedisPlace) -> RedisPlace:
    """Return a Valkey server, as `redis`."""
    return _emptied(_shared_valkey)


@pytest.fixture(params=BUDGET.pick(quick=[ANY], ci=[ANY], whole=[service.name for service in FLAVOURS]))
def flavour(request: pytest.FixtureRequest, services: Services) -> Service:
    """Return what `start_redis` starts: the first that is here, or each in turn under `make faults`."""
    pytest.importorskip("redis")
    wanted = [service for service in FLAVOURS if request.param in {ANY, service.name}]
    found = [service for service in wanted if isinstance(services.find(service), Found)]
    if not found:
        lacking("; ".join(str(Missing(service)) for service in wanted))
    return found[0]


@pytest.fixture
def any_redis(flavour: Service, request: pytest.FixtureRequest) -> RedisPlace:
    """Return the shared server of the flavour that `start_redis` starts."""
    place: RedisPlace = request.getfixturevalue(flavour.name)
    return place


@pytest.fixture
def start_redis(services: Services, flavour: Service) -> Iterator[StartRedis]:
    """Return what starts servers for this test; they end with it."""
    started: list[RedisServer] = []

    def start(*, login: Login | None = None, has_tls: bool = False, **directives: str) -> RedisServer:
        server = _made(services, flavour, directives, login=login, has_tls=has_tls)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        _end(services, server)


@pytest.fixture
def redis_cluster(start_redis: StartRedis) -> Sequence[RedisServer]:
    """Return three masters that share the slots."""
    servers = [
        start_redis(cluster_enabled="yes", cluster_node_timeout="2000", appendonly="yes")
        for _ in range(NODES)
    ]
    form_cluster(servers)
    return servers


def _shared(services: Services, service: Service) -> Iterator[RedisPlace]:
    pytest.importorskip("redis")
    if url := given_url(service):
        place = GivenRedis(url)
        with place.client() as client:
            if client.dbsize():
                pytest.fail(f"{service.variable} names a database with keys in it; tests want an empty one")
        yield place
        return
    server = _made(services, service, {})
    server.start()
    yield server
    _end(services, server)


def _emptied(place: RedisPlace) -> RedisPlace:
    with place.client() as client:
        client.flushdb()
    return place


def _made(
    services: Services,
    service: Service,
    directives: dict[str, str],
    *,
    login: Login | None = None,
    has_tls: bool = False,
) -> RedisServer:
    program = services.program_of(service)
    server = RedisServer(
        name=service.name,
        program=program,
        keeper=services.keeper,
        folder=services.keeper.make_folder(service.name),
        directives=directives,
        login=login,
        has_tls=has_tls,
    )
    services.servers.append(server)
    return server


def _end(services: Services, server: RedisServer) -> None:
    services.servers.remove(server)
    if server.is_running:
        server.kill()
