"""A server that would not keep what it is given is told of, or refused where that is asked for."""

from __future__ import annotations

import re
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import ConfigurationError, StoreUnavailableError
from papyra.persistence._redis.server import Demand, Said, judge
from papyra.persistence.backends.redis import RedisStreamsConfig
from papyra.persistence.models import RecordKind
from papyra.persistence.query import RecordQuery
from papyra.persistence.retention import RetentionPolicy
from papyra.persistence.startup import DEFAULT_STARTUP, StartupVerdict, run_startup_check
from tests.unit.redis.stores import EVENTS, QUARANTINE, mine, opened

if TYPE_CHECKING:
    from tests.services.redisfixtures import StartRedis

ROOT = Path(__file__).resolve().parents[3]
SOUND = {"redis_version": "7.2.4", "role": "master", "maxmemory": "0", "used_memory": "1000000"}
KEEPS = {"appendonly": "yes", "save": "", "maxmemory-policy": "noeviction"}


@pytest.mark.parametrize(
    ("info", "config", "time", "newest_id", "demand"),
    [
        ({"redis_version": "6.0.20"}, {}, 100.0, 0.0, Demand.VERSION),
        ({"role": "slave"}, {}, 100.0, 0.0, Demand.PRIMARY),
        ({"maxmemory": "1000", "used_memory": "950"}, {}, 100.0, 0.0, Demand.HEADROOM),
        ({}, {"appendonly": "no"}, 100.0, 0.0, Demand.PERSISTENCE),
        ({}, {"appendonly": "no", "save": "3600 1"}, 100.0, 0.0, Demand.PERSISTENCE),
        ({}, {"maxmemory-policy": "allkeys-lru"}, 100.0, 0.0, Demand.NO_EVICTION),
        ({}, {}, 200.0, 0.0, Demand.CLOCK),
        ({}, {}, 100.0, 1_000.0, Demand.IDS),
    ],
)
def test_each_lack_is_told(
    info: dict[str, str], config: dict[str, str], time: float, newest_id: float, demand: Demand
) -> None:
    doubts = list(judge(Said(SOUND | info, KEEPS | config, time, newest_id), 100.0))
    assert [doubt.demand for doubt in doubts] == [demand]


def test_a_sound_server_gives_no_doubt() -> None:
    assert list(judge(Said(SOUND, KEEPS, 101.0, 100.0), 100.0)) == []


def test_a_server_that_may_not_be_asked_is_doubted() -> None:
    doubts = list(judge(Said({**SOUND, "maxmemory_policy": "allkeys-random"}, {}, 100.0, 0.0), 100.0))
    assert [doubt.demand for doubt in doubts] == [Demand.PERSISTENCE, Demand.NO_EVICTION]


async def test_a_scan_warns_of_a_server_that_forgets(start_redis: StartRedis) -> None:
    server = start_redis()
    async with opened(server.url) as store:
        report = await store.scan()
        assert any("appendonly is off" in warning for warning in report.warnings)
        assert not report.has_anomalies


async def test_a_server_without_what_is_required_is_refused_before_anything_is_written(
    start_redis: StartRedis,
) -> None:
    server = start_redis()
    async with opened(server.url, require=["persistence"]) as store:
        with pytest.raises(StoreUnavailableError, match="appendonly is off"):
            await store.append(mine(1))
        report = await run_startup_check(store, DEFAULT_STARTUP)
        assert (report.verdict, report.may_start) == (StartupVerdict.UNPROVEN, False)
        assert "appendonly" in report.reason
        with server.client() as client:
            assert not client.exists(EVENTS)


async def test_a_server_whose_config_is_forbidden_is_used_and_doubted(start_redis: StartRedis) -> None:
    server = start_redis()
    with server.client() as client:
        client.acl_setuser(
            "ana", enabled=True, passwords=["+pw"], keys=["papyra:{orders}:*"], commands=["+@all", "-config"]
        )
        async with opened(server.url.replace("redis://", "redis://ana:pw@")) as store:
            await store.append(mine(1))
            assert any("CONFIG" in warning for warning in (await store.scan()).warnings)
        client.acl_deluser("ana")


async def test_the_rights_that_the_page_asks_for_are_enough(start_redis: StartRedis) -> None:
    server = start_redis()
    page = (ROOT / "docs/reference/redis.md").read_text(encoding="utf-8")
    said = " ".join(re.findall(r"An ACL user needs `([^`]*)` and `([^`]*)`", page, re.DOTALL)[0])
    pattern, *commands = said.replace("PREFIX:{SYSTEM}", "papyra:{orders}").split()
    with server.client() as client:
        if client.info("server")["redis_version"] < "7.2":
            commands.remove("+waitaof")
        client.acl_setuser(
            "ana", enabled=True, passwords=["+pw"], keys=[pattern.lstrip("~")], commands=["-@all", *commands]
        )
        async with opened(server.url.replace("redis://", "redis://ana:pw@")) as store:
            await store.append(mine(1, 2, 4))
            client.xadd(EVENTS, {"noise": "1"})
            client.xgroup_create(EVENTS, "readers", id="$")
            await store.recover(QUARANTINE)
            await store.compact(RetentionPolicy(max_records=3))
            assert not (await store.scan()).has_anomalies
            await store.stats()
            assert len([entry async for entry in store.quarantined()]) == 2
            async with aclosing(
                store.follow(RecordQuery(kind=RecordKind.EVENT), from_now=False)
            ) as following:
                assert (await anext(following)).seq
        client.acl_deluser("ana")


@pytest.mark.parametrize(
    "options",
    [
        {"system_id": "a{b}"},
        {"system_id": ""},
        {"prefix": "a b"},
        {"max_read": 0},
        {"scan_sample_size": True},
        {"wait_replicas": -1},
        {"durability": "sometimes"},
        {"durability": "wait"},
        {"require": ["everything"]},
        {"compact_interval_seconds": 0},
        {"max_retained_for_groups": -1},
    ],
    ids=str,
)
def test_an_option_that_cannot_be_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        RedisStreamsConfig(**options)  # type: ignore[arg-type]  # as a settings file may have it


def test_a_url_carries_our_options_and_the_drivers() -> None:
    config = RedisStreamsConfig.from_url(
        "rediss://ana:pw@h:7/2?system_id=orders&durability=waitaof&require=clock,ids&ssl_cert_reqs=none",
        system_id="local",
    )
    assert (config.system_id, config.durability, config.require) == ("orders", "waitaof", ("clock", "ids"))
    assert config.url == "rediss://ana:pw@h:7/2?ssl_cert_reqs=none"
    assert config.target.place == "rediss://h:7/2, papyra:{orders}:events"
    assert "pw" not in repr(config)
