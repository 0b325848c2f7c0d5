"""I2 to I7, R4, R5: entries that are no records, bytes that changed, logs that end early."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from papyra.persistence.models import ScanDepth
from papyra.testing.promises.harness import everything
from papyra.testing.records import event
from tests.budget import BUDGET
from tests.faults_redis.stores import (
    QUARANTINE,
    REPAIR,
    anomalies,
    key,
    numbered,
    opened,
    set_aside,
    stored,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from redis import Redis

    from papyra.persistence.models import PersistenceRecoveryConfig
    from tests.services.redisfixtures import StartRedis
    from tests.services.redisserver import RedisPlace, RedisServer

EVENTS = key("events")
Fields = dict[bytes, bytes]


def without(name: bytes) -> Callable[[Fields], Fields]:
    return lambda fields: {other: value for other, value in fields.items() if other != name}


def changed(name: bytes, change: Callable[[bytes], bytes]) -> Callable[[Fields], Fields]:
    return lambda fields: {**fields, name: change(fields[name])}


BAD_ENTRIES: dict[str, Callable[[Fields], Fields]] = {
    "no body": without(b"body"),
    "no crc": without(b"crc"),
    "no seq": without(b"seq"),
    "a flipped bit in the body": changed(b"body", lambda body: body[:40] + bytes([body[40] ^ 1]) + body[41:]),
    "half a body": changed(b"body", lambda body: body[: len(body) // 2]),
    "no JSON": changed(b"body", lambda _: b"\xff\x00 nothing"),
    "another checksum": changed(b"crc", lambda _: b"00000000"),
    "another kind": changed(b"kind", lambda _: b"audit"),
    "another number": changed(b"seq", lambda _: b"77"),
    "a number that is none": changed(b"seq", lambda _: b"x"),
    "another incarnation": changed(b"incarnation", lambda _: b"somebody"),
    "something else altogether": lambda _: {b"hello": b"world"},
}


def put_back(client: Redis, position: int, change: Callable[[Fields], Fields]) -> bytes:
    """Write the stream anew with one entry changed; return that entry's id."""
    entries: Any = client.xrange(EVENTS)
    client.delete(EVENTS)
    for number, (id_, fields) in enumerate(entries):
        written: dict[Any, Any] = change(fields) if number == position else fields
        client.xadd(EVENTS, written, id=id_)
    return bytes(entries[position][0])


@pytest.mark.parametrize("config", [REPAIR, QUARANTINE], ids=["repair", "quarantine"])
@pytest.mark.parametrize("what", BAD_ENTRIES)
async def test_i3_i4_an_entry_that_is_no_record_is_read_around_named_and_kept(
    any_redis: RedisPlace, what: str, config: PersistenceRecoveryConfig
) -> None:
    records = numbered(range(1, 11))
    async with opened(any_redis.url) as store:
        await store.append(records)
    with any_redis.client() as client:
        id_ = put_back(client, 4, BAD_ENTRIES[what]).decode()
        bad = dict(client.xrange(EVENTS))[id_.encode()]
        before = client.xrange(EVENTS)
    rest = [record for record in records if record.seq != 5]
    async with opened(any_redis.url) as store:
        assert await everything(store) == rest
        report = await store.scan()
        assert report.has_damage
        assert any(id_ in f"{one.path} {one.detail}" for one in report.anomalies), report.anomalies
        with any_redis.client() as client:
            assert client.xrange(EVENTS) == before, "a scan changes nothing"
        done = await store.recover(config)
        assert done.quarantined_bytes > 0
        assert await everything(store, type="ActorStarted") == rest
        assert (await store.scan()).anomalies == ()
        assert [one.is_intact async for one in store.quarantined()].count(True) >= 1
        with any_redis.client() as client:
            kept = set_aside(client)
        assert all(value in kept for value in bad.values())
        assert (await store.recover(config)).quarantined_bytes == 0, "i6: once is enough"
        await store.append(numbered([11]))
    assert [one.seq for one in await stored(any_redis.url) if one in [*rest, *numbered([11])]][-1] == 11
    assert await anomalies(any_redis.url) == []


async def test_r4_damage_in_the_oldest_of_many_is_found_and_reads_tell_nothing_of_it(
    any_redis: RedisPlace,
) -> None:
    many = BUDGET.pick(quick=3_000, ci=3_000, whole=60_000)
    records = numbered(range(1, many + 1))
    async with opened(any_redis.url) as store:
        for start in range(0, many, 1000):
            await store.append(records[start : start + 1000])
        with any_redis.client() as client:
            (first, fields), *_ = client.xrange(EVENTS, count=1)
            client.xdel(EVENTS, first)
            moved = client.xadd(EVENTS, {**fields, b"body": b"broken"})
        report = await store.scan(ScanDepth.FULL)
        assert report.checked_records >= many - 1
        assert any(moved.decode() in f"{one.path} {one.detail}" for one in report.anomalies)
        await store.recover(REPAIR, depth=ScanDepth.FULL)
        assert (await store.scan(ScanDepth.FULL)).anomalies == ()
        assert [one.seq for one in await everything(store, type="ActorStarted")][:2] == [2, 3]


async def test_the_same_identity_twice_is_told_and_the_first_stays(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        await store.append(numbered(range(1, 4)))
        with any_redis.client() as client:
            client.xadd(EVENTS, client.xrange(EVENTS)[0][1])
        assert await anomalies(any_redis.url) == ["duplicate_record"]
        await store.recover(REPAIR)
        assert await everything(store, type="ActorStarted") == numbered(range(1, 4))
    assert await anomalies(any_redis.url) == []


async def test_ignore_changes_nothing(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        await store.append(numbered(range(1, 4)))
        with any_redis.client() as client:
            put_back(client, 1, BAD_ENTRIES["half a body"])
            before = {name: client.dump(name) for name in client.scan_iter()}
            await store.recover()
            after = {name: client.dump(name) for name in client.scan_iter()}
        assert {name: after[name] for name in before} == before


async def test_entries_of_papyra_0_3_are_read_and_sound(any_redis: RedisPlace) -> None:
    line = (
        b'{"kind":"event","system_id":"orders","actor_address":"orders:7","event_type":"ActorStarted",'
        b'"payload":{"number":7},"timestamp":1750000007.0}'
    )
    with any_redis.client() as client:
        client.xadd(EVENTS, {"data": line})
    async with opened(any_redis.url) as store:
        (legacy,) = await store.list_events()
        assert (legacy.event_type, legacy.timestamp) == ("ActorStarted", 1750000007.0)
        assert legacy.payload == {"number": 7}
        await store.append([event(8)])
        assert (await store.scan()).anomalies == ()
    with any_redis.client() as client:
        assert client.xrange(EVENTS)[0][1] == {b"data": line}


def log_of(server: RedisServer) -> Path:
    """Return the newest file of the server's append-only log."""
    return max(server.folder.rglob("*.aof"), key=lambda path: (path.stat().st_size, path.name))


async def test_trial_17_a_byte_changed_in_the_servers_log_is_named_with_its_entry(
    start_redis: StartRedis,
) -> None:
    server = start_redis(appendonly="yes", appendfsync="always", aof_use_rdb_preamble="no")
    records = numbered(range(1, 11))
    async with opened(server.url) as store:
        for record in records:
            await store.append([record])
    with server.client() as client:
        id_ = client.xrange(EVENTS)[4][0].decode()
    server.kill()
    path = log_of(server)
    content = path.read_bytes()
    assert content.count(b'"number":5') == 1
    path.write_bytes(content.replace(b'"number":5', b'"number":4'))
    server.start()
    async with opened(server.url) as store:
        report = await store.scan()
        assert [one.type.value for one in report.anomalies if id_ in f"{one.path} {one.detail}"] == [
            "bad_checksum"
        ]
        assert await everything(store) == [record for record in records if record.seq != 5]
        await store.recover(REPAIR)
        assert (await store.scan()).anomalies == ()


async def test_f15_a_servers_log_torn_anywhere_in_the_last_batch_costs_no_whole_batch(
    start_redis: StartRedis,
) -> None:
    server = start_redis(appendonly="yes", appendfsync="always", auto_aof_rewrite_percentage="0")
    first, last = numbered(range(1, 6)), numbered(range(6, 9))
    async with opened(server.url) as store:
        await store.append(first)
        server_log = log_of(server)
        whole_until = server_log.stat().st_size
        await store.append(last)
    server.kill()
    content = server_log.read_bytes()
    step = max(1, (len(content) - whole_until) // BUDGET.pick(quick=5, ci=5, whole=150))
    for end in range(whole_until, len(content), step):
        server_log.write_bytes(content[:end])
        server.start()
        found = await stored(server.url)
        assert found in (first, [*first, *last])
        async with opened(server.url) as store:
            await store.append(last)
            assert await everything(store) == [*first, *last]
            assert (await store.scan()).anomalies == ()
        server.kill()
