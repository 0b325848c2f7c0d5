"""A Redis store by its URL: what the commands and Django's settings make of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from django_papyra.runtime import get_backend, open_url
from papyra.exceptions import ConfigurationError
from papyra.persistence.backends.redis import RedisStreamsConfig, RedisStreamsPersistence
from papyra.persistence.models import RecordKind
from papyra.persistence.stores import is_same_place
from papyra.testing.records import letter
from tests.system.cli.process import papyra, papyra_json
from tests.unit.redis.stores import mine, opened, seen

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.redis.conftest import Server


async def test_the_commands_scan_recover_compact_inspect_and_copy(server: Server, tmp_path: Path) -> None:
    url = f"{server.url}?system_id=orders"
    async with opened(server.url) as store:
        await store.append([*mine(1, 2, 4), letter(1)])
        scanned = papyra_json("persistence", "scan", "--store", url, cwd=tmp_path)
        assert scanned["exit_code"] == 2
        assert (
            papyra("persistence", "recover", "--mode", "repair", "--store", url, cwd=tmp_path).returncode == 0
        )
        assert papyra("doctor", "run", "--store", url, cwd=tmp_path).returncode == 0
        shown = papyra("inspect", "events", "--limit", "9", "--store", url, cwd=tmp_path)
        assert "RecordsLost" in shown.stdout
        compacted = papyra("persistence", "compact", "--store", url, "--max-records", "2", cwd=tmp_path)
        assert compacted.returncode == 0, compacted.stderr
        there = await seen(store)
        file = f"ndjson:{tmp_path / 'copy.ndjson'}"
        copied = papyra("copy", "--from", url, "--to", file, cwd=tmp_path)
        assert copied.returncode == 0, copied.stderr
    back = f"{server.url}?system_id=other"
    assert papyra("copy", "--from", file, "--to", back, cwd=tmp_path).returncode == 0
    assert papyra("copy", "--from", file, "--to", back, cwd=tmp_path).returncode == 0
    async with opened(server.url, system_id="other") as other:
        assert await seen(other) == there
        assert (await other.counts())[RecordKind.DEAD_LETTER] == 1
        assert not (await other.scan()).has_anomalies


def test_a_system_that_never_wrote_is_misuse_and_never_healthy(server: Server, tmp_path: Path) -> None:
    done = papyra("doctor", "run", "--store", server.url, cwd=tmp_path)
    assert done.returncode == 64
    assert "?system_id=NAME" in done.stderr


def test_a_server_that_is_away_is_69_and_its_password_is_shown_nowhere(tmp_path: Path) -> None:
    url = "redis://ana:s3cret@127.0.0.1:1/0"
    for words in (("doctor", "run"), ("persistence", "scan"), ("inspect", "events")):
        done = papyra(*words, "--store", url, cwd=tmp_path)
        assert done.returncode == 69, done.stderr
        assert "s3cret" not in done.stdout + done.stderr


async def test_a_next_step_repeats_no_password(server: Server, tmp_path: Path) -> None:
    with server.client() as client:
        client.acl_setuser("ana", enabled=True, passwords=["+s3cret"], keys=["*"], commands=["+@all"])
        async with opened(server.url) as store:
            await store.append(mine(1, 3))
        url = server.url.replace("unix://", "unix://ana:s3cret@") + "?system_id=orders"
        done = papyra("persistence", "scan", "--store", url, cwd=tmp_path)
        client.acl_deluser("ana")
    assert done.returncode == 2
    assert "papyra persistence recover --store" in done.stdout
    assert "s3cret" not in done.stdout + done.stderr


def test_two_urls_of_one_store_are_one_place() -> None:
    assert is_same_place("redis://h", "redis://ana:pw@h:6379/0?system_id=local")
    assert not is_same_place("redis://h/0", "redis://h/1")
    assert not is_same_place("redis://h/0?system_id=a", "redis://h/0?system_id=b")
    assert not is_same_place("redis://h/0", "ndjson:h")


def test_the_settings_name_a_server_and_their_system(settings: Any) -> None:
    settings.PAPYRA = {"BACKEND": "redis://localhost:6379/3", "SYSTEM_ID": "orders"}
    backend = get_backend()
    assert isinstance(backend, RedisStreamsPersistence)
    assert backend.config.system_id == "orders"
    named = open_url("redis://localhost:6379/3?system_id=payments", must_exist=False)
    assert isinstance(named, RedisStreamsPersistence)
    assert named.config.system_id == "payments"


CLASS = "papyra.persistence.backends.redis.RedisStreamsPersistence"


def test_the_settings_may_name_the_class(settings: Any) -> None:
    settings.PAPYRA = {"BACKEND": CLASS, "SYSTEM_ID": "orders"}
    backend = get_backend()
    assert isinstance(backend, RedisStreamsPersistence)
    assert backend.config.system_id == "orders"
    settings.PAPYRA = {"BACKEND": CLASS, "OPTIONS": {"config": RedisStreamsConfig(system_id="payments")}}
    backend = get_backend()
    assert isinstance(backend, RedisStreamsPersistence)
    assert backend.config.system_id == "payments"


async def test_a_cache_of_django_redis_lends_its_server(server: Server, settings: Any) -> None:
    pytest.importorskip("django_redis")
    settings.CACHES = {"shared": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}}
    settings.PAPYRA = {"BACKEND": CLASS, "SYSTEM_ID": "orders", "OPTIONS": {"cache": "shared"}}
    backend = get_backend()
    await backend.append(mine(1))
    await backend.aclose()
    async with opened(server.url) as store:
        assert await seen(store) == [1]
    settings.PAPYRA = {"BACKEND": CLASS, "OPTIONS": {"cache": "nowhere"}}
    with pytest.raises(ConfigurationError, match="CACHES has no 'nowhere'"):
        get_backend()


def test_a_cache_without_django_redis_says_what_is_missing(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "django_redis", None)
    settings.PAPYRA = {"BACKEND": CLASS, "OPTIONS": {"cache": "shared"}}
    with pytest.raises(ConfigurationError, match="django-redis"):
        get_backend()
