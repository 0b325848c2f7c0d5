"""What a server does of its own: it forgets, fills up, refuses, or is told to by others."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from papyra.exceptions import PersistenceError, StoreFullError, StoreUnavailableError
from papyra.persistence.models import LossNote, RecordKind
from papyra.persistence.retention import RetentionPolicy
from papyra.persistence.state import StoreCondition
from papyra.testing.promises.harness import everything
from tests.budget import BUDGET
from tests.faults_redis.stores import REPAIR, anomalies, is_sound, key, numbered, opened, seqs
from tests.services.proxy import Proxy
from tests.services.redisserver import HOST, Login, client_of

if TYPE_CHECKING:
    from papyra.persistence.backends.redis import RedisStreamsPersistence
    from tests.services.redisfixtures import StartRedis
    from tests.services.redisserver import RedisPlace, RedisServer

SECRET = "s3cret-word"  # noqa: S105  # of these tests


async def test_i8_without_memory_left_the_caller_is_told_reads_go_on_and_room_is_used(
    start_redis: StartRedis,
) -> None:
    server = start_redis(maxmemory="16mb", maxmemory_policy="noeviction")
    before, refused = numbered(range(1, 51)), numbered(range(51, 60), actor_type="x" * 200_000)
    async with opened(server.url) as store:
        await store.append(before)
        fill(server)
        for _ in range(2):
            with pytest.raises(StoreFullError, match=r"(?i)memory"):
                await store.append(refused)
        assert store.state.condition is StoreCondition.DEGRADED
        assert await everything(store) == before
        with server.client() as client:
            client.delete(*client.keys("filler*"))
        await store.append(refused)
        assert store.state.is_ok
    assert await is_sound(server.url, [*before, *refused])


async def test_compaction_makes_room_where_there_is_none(start_redis: StartRedis) -> None:
    server = start_redis(maxmemory="16mb", maxmemory_policy="noeviction")
    padding, more = "x" * 10_000, numbered([301], actor_type="x" * 500_000)
    async with opened(server.url) as store:
        await store.append(numbered(range(1, 301), actor_type=padding))
        fill(server)
        with pytest.raises(StoreFullError):
            await store.append(more)
        with server.client() as client:
            client.xdel(key("events"), client.xrange(key("events"), count=1)[0][0])  # has it counted anew
        await store.compact(RetentionPolicy(max_records=10))
        await store.append(more)
    assert await seqs(server.url) == list(range(291, 302))


def fill(server: RedisServer) -> None:
    """Take what memory is left, with buffers of connections that are no larger than what they carry."""
    from redis import RedisError  # noqa: PLC0415  # an extra

    for size in (1 << 20, 1 << 14, 1 << 8, 1):
        with server.client() as client, suppress(RedisError):
            for number in range(100_000):
                client.set(f"filler-{size}-{number}", b"x" * size)


async def test_eviction_is_warned_of_before_it_takes_everything(start_redis: StartRedis) -> None:
    server = start_redis(maxmemory="16mb", maxmemory_policy="allkeys-lru", appendonly="yes")
    async with opened(server.url) as store:
        await store.append(numbered([1]))
        assert any("allkeys-lru" in warning for warning in (await store.scan()).warnings)


async def test_a_server_that_writes_nothing_down_is_warned_of(start_redis: StartRedis) -> None:
    forgetful, durable = start_redis(), start_redis(appendonly="yes")
    async with opened(forgetful.url) as store:
        assert any("appendonly" in warning for warning in (await store.scan()).warnings)
    async with opened(durable.url) as store:
        assert not any("appendonly" in warning for warning in (await store.scan()).warnings)


@pytest.mark.parametrize("how", ["flushall", "evicted", "stream deleted", "restarted empty"])
async def test_trial_14_what_the_server_forgot_a_living_writer_sends_again(
    start_redis: StartRedis, how: str
) -> None:
    server = start_redis()
    records = numbered(range(1, 201))
    async with opened(server.url) as store:
        await store.append(records[:100])
        await store.append(records[100:199])
        with server.client() as client:
            match how:
                case "flushall":
                    client.flushall()
                case "evicted":
                    client.delete(*client.keys("*"))
                case "stream deleted":
                    client.delete(key("events"))
                case _:
                    server.restart()
        await store.append(records[199:])
    assert await is_sound(server.url, records)


@pytest.mark.parametrize("name", ["dedup", "meta"])
async def test_what_the_store_notes_beside_the_records_may_be_lost(any_redis: RedisPlace, name: str) -> None:
    """Without it nothing is stored twice, nothing refused, and every time range is complete."""
    records = numbered(range(1, 21))
    for life in range(2):
        async with opened(any_redis.url) as store:
            await store.append(records[: 10 + life])
            with any_redis.client() as client:
                client.delete(key(name))
            await store.append(records[: 11 + life])
            await store.append(records[: 12 + life])
            found = await store.list_events(since=records[5].timestamp)
            assert list(found) == records[5 : 12 + life]
    async with opened(any_redis.url) as store:
        await store.append(records)
        stats = await store.stats()
        assert stats.kinds[RecordKind.EVENT].records == 20
    assert await is_sound(any_redis.url, records)


async def test_i8_a_key_of_another_type_is_told_and_left_alone(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        with any_redis.client() as client:
            client.set(key("events"), "somebody else's")
        for use in (lambda: store.append(numbered([1])), store.list_events):
            with pytest.raises(PersistenceError, match="events"):
                await use()
        with any_redis.client() as client:
            assert client.get(key("events")) == b"somebody else's"
            client.delete(key("events"))
    async with opened(any_redis.url) as store:
        await store.append(numbered([1]))
    assert await is_sound(any_redis.url, numbered([1]))


async def test_a_server_that_became_a_replica_is_told_and_used_again_when_it_leads(
    start_redis: StartRedis,
) -> None:
    primary, server = start_redis(), start_redis()
    async with opened(server.url) as store:
        await store.append(numbered([1]))
        with server.client() as client:
            client.execute_command("REPLICAOF", HOST, primary.port)
            with pytest.raises(StoreUnavailableError):
                await store.append(numbered([2]))
            client.execute_command("REPLICAOF", "NO", "ONE")
        await store.append(numbered([2]))
    assert await is_sound(server.url, numbered([1, 2]))


async def test_a_server_that_wants_more_replicas_first_is_told(start_redis: StartRedis) -> None:
    server = start_redis()
    async with opened(server.url) as store:
        await store.append(numbered([1]))
        with server.client() as client:
            client.config_set("min-replicas-to-write", 1)
            with pytest.raises(StoreUnavailableError, match=r"(?i)replica"):
                await store.append(numbered([2]))
            client.config_set("min-replicas-to-write", 0)
        await store.append(numbered([2]))
    assert await is_sound(server.url, numbered([1, 2]))


async def is_acknowledged(store: RedisStreamsPersistence, wanted: list[int]) -> bool:
    try:
        await store.append(numbered(wanted))
    except StoreUnavailableError:
        return False
    return True


async def test_durability_that_waits_for_a_replica_acknowledges_nothing_without_one(
    start_redis: StartRedis,
) -> None:
    primary = start_redis()
    options: dict[str, Any] = {"durability": "wait", "wait_replicas": 1, "wait_milliseconds": 100}
    async with opened(primary.url, **options) as store:
        with pytest.raises(StoreUnavailableError):
            await store.append(numbered([1]))
        replica = start_redis(replicaof=f"{HOST} {primary.port}")
        replica.log.wait_for("REPLICA sync: Finished with success")
        async with asyncio.timeout(30):
            while not await is_acknowledged(store, [1, 2]):  # the replica begins to answer a while after
                pass
    assert await is_sound(primary.url, numbered([1, 2]))


async def test_trimmed_by_others_is_no_finding_and_a_hole_made_by_others_is(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        await store.append(numbered(range(1, 11)))
        with any_redis.client() as client:
            client.xtrim(key("events"), maxlen=8, approximate=False)
            assert await anomalies(any_redis.url) == []
            client.xdel(key("events"), client.xrange(key("events"), count=3)[2][0])
        assert await anomalies(any_redis.url) == ["missing_records"]
        await store.recover(REPAIR)
        assert await anomalies(any_redis.url) == []
        await store.append(numbered([11]))
    assert (await seqs(any_redis.url))[:7] == [3, 4, 6, 7, 8, 9, 10]


async def test_an_id_of_the_future_stops_neither_appends_nor_age(any_redis: RedisPlace) -> None:
    """Trial: after one id of the year 2286 every other follows it, so ids stop meaning time."""
    async with opened(any_redis.url, RetentionPolicy(max_age_seconds=3600)) as store:
        old = numbered([1], timestamp=1_000.0)
        with any_redis.client() as client:
            await store.append(old)
            entry = client.xrange(key("events"))[0][1]
            client.xadd(key("events"), entry, id="9999999999999-0")
            client.xdel(key("events"), "9999999999999-0")
        await store.append(numbered([2, 3], timestamp=2_000.0))
        assert await store.list_events() == ()
        await store.compact()
        with any_redis.client() as client:
            assert client.xlen(key("events")) == 0
        now = numbered([4], timestamp=4_000_000_000.0)
        await store.append(now)
        assert list(await store.list_events(since=3_999_999_999.0)) == now
        assert any("clock" in warning or "future" in warning for warning in (await store.scan()).warnings)


@pytest.mark.parametrize("is_known", [True, False])
async def test_who_may_not_come_in_is_told_without_the_password(
    start_redis: StartRedis, caplog: pytest.LogCaptureFixture, *, is_known: bool
) -> None:
    server = start_redis(login=Login(user="papyra", password=SECRET))
    url = server.url.replace(SECRET, SECRET + "x") if is_known else f"redis://{HOST}:{server.port}/0"
    async with opened(url) as store:
        for use in (lambda: store.append(numbered([1])), store.list_events, store.scan):
            with pytest.raises(PersistenceError) as caught:
                await use()
            assert SECRET not in "".join(map(str, chain_of(caught.value)))
        assert SECRET not in repr(store) + repr(store.state) + caplog.text


def chain_of(error: BaseException) -> list[str]:
    """Return what is shown of an error and of its causes."""
    shown = [repr(error), str(error)]
    for cause in (error.__cause__, error.__context__):
        if cause is not None:
            shown += chain_of(cause)
    return shown


async def test_a_login_that_may_do_what_a_store_needs_is_enough(start_redis: StartRedis) -> None:
    rules = "~papyra:* &* +@all -@admin -@dangerous +info"
    server = start_redis(login=Login(user="papyra", password=SECRET, rules=rules))
    async with opened(server.url) as store:
        await store.append(numbered(range(1, 11)))
        await store.compact(RetentionPolicy(max_records=5))
        report = await store.scan()
        assert report.anomalies == ()
        assert report.warnings, "what it may not ask is said"
        await store.recover(REPAIR)
    assert await seqs(server.url) == [6, 7, 8, 9, 10]


async def test_a_login_taken_away_in_use_is_told_and_works_again_when_it_is_back(
    start_redis: StartRedis,
) -> None:
    server = start_redis(login=Login(user="papyra", password=SECRET))
    async with opened(server.url) as store:
        await store.append(numbered([1]))
        with server.client() as client:
            client.acl_setuser("root", enabled=True, nopass=True, keys=["*"], commands=["+@all"])
        with client_of(f"redis://root:x@{HOST}:{server.port}/0") as root:
            root.acl_setuser("papyra", enabled=False)
            root.client_kill_filter(_type="normal", skipme=True)
            with pytest.raises(PersistenceError):
                await store.append(numbered([2]))
            root.acl_setuser("papyra", enabled=True)
        await store.append(numbered([2]))
    assert await is_sound(server.url, numbered([1, 2]))


async def test_f15_a_failover_to_a_replica_that_lags_loses_nothing_a_living_writer_was_told(
    start_redis: StartRedis,
) -> None:
    primary = start_redis()
    replica = start_redis(replicaof=f"{HOST} {primary.port}")
    replica.log.wait_for("REPLICA sync: Finished with success")
    records = numbered(range(1, 101))
    with Proxy(primary.url) as proxy, replica.client() as new, primary.client() as old:
        async with opened(proxy.url) as store:
            await store.append(records[:50])
            old.wait(1, 0)
            new.execute_command("REPLICAOF", "NO", "ONE")
            await store.append(records[50:90])
            primary.kill()
            proxy.lead_to(replica.url)
            await store.append(records[90:])
    assert await is_sound(replica.url, records)


async def test_what_is_forgotten_beyond_what_a_writer_keeps_is_on_record(start_redis: StartRedis) -> None:
    """A writer keeps a bounded tail; for what was before it there is a note, never silence."""
    server = start_redis()
    many = BUDGET.pick(quick=400, ci=400, whole=1_500)
    async with opened(server.url) as store:
        for start in range(1, many, 20):
            await store.append(numbered(range(start, start + 20), actor_type="x" * 100_000))
        with server.client() as client:
            client.flushall()
        await store.append(numbered([many + 1]))
        kept = [one.seq for one in await everything(store, type="ActorStarted")]
        notes = [
            LossNote.from_payload(one.payload)
            for one in await store.list_events()
            if "Lost" in one.event_type
        ]
        assert (await store.scan()).anomalies == ()
    assert kept == list(range(kept[0], many + 2))
    assert kept[0] > 1
    lost = {seq for note in notes if note for seq in range(note.first, note.last + 1)}
    assert lost == set(range(1, kept[0]))
