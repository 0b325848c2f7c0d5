"""A Redis store by its URL: what the commands make of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from papyra.persistence.models import RecordKind
from papyra.persistence.stores import is_same_place
from papyra.testing.records import letter
from tests.system.cli.process import papyra, papyra_json
from tests.unit.redis.stores import mine, opened, seen

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.redisfixtures import StartRedis
    from tests.services.redisserver import RedisPlace


async def test_the_commands_scan_recover_compact_inspect_and_copy(
    any_redis: RedisPlace, tmp_path: Path
) -> None:
    url = f"{any_redis.url}?system_id=orders"
    async with opened(any_redis.url) as store:
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
    back = f"{any_redis.url}?system_id=other"
    assert papyra("copy", "--from", file, "--to", back, cwd=tmp_path).returncode == 0
    assert papyra("copy", "--from", file, "--to", back, cwd=tmp_path).returncode == 0
    async with opened(any_redis.url, system_id="other") as other:
        assert await seen(other) == there
        assert (await other.counts())[RecordKind.DEAD_LETTER] == 1
        assert not (await other.scan()).has_anomalies


def test_a_system_that_never_wrote_is_misuse_and_never_healthy(any_redis: RedisPlace, tmp_path: Path) -> None:
    done = papyra("doctor", "run", "--store", any_redis.url, cwd=tmp_path)
    assert done.returncode == 64
    assert "?system_id=NAME" in done.stderr


def test_a_server_that_is_away_is_69_and_its_password_is_shown_nowhere(tmp_path: Path) -> None:
    pytest.importorskip("redis")
    url = "redis://ana:s3cret@127.0.0.1:1/0"
    for words in (("doctor", "run"), ("persistence", "scan"), ("inspect", "events")):
        done = papyra(*words, "--store", url, cwd=tmp_path)
        assert done.returncode == 69, done.stderr
        assert "s3cret" not in done.stdout + done.stderr


async def test_a_next_step_repeats_no_password(start_redis: StartRedis, tmp_path: Path) -> None:
    server = start_redis()
    with server.client() as client:
        client.acl_setuser("ana", enabled=True, passwords=["+s3cret"], keys=["*"], commands=["+@all"])
        async with opened(server.url) as store:
            await store.append(mine(1, 3))
        url = server.url.replace("redis://", "redis://ana:s3cret@") + "?system_id=orders"
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
