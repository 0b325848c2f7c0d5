"""R1, R3, R7, trials 15 and 18: many entries, large ones, and limits that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from papyra.actor import Actor
from papyra.exceptions import ActorStopped
from papyra.payloads import Unstorable
from papyra.persistence.models import RecordKind
from papyra.persistence.query import RecordQuery
from papyra.persistence.retention import RetentionPolicy
from papyra.system import ActorSystem
from papyra.testing.records import event, letter
from tests.budget import BUDGET
from tests.faults_redis.stores import is_sound, key, make_store, numbered, opened, seqs, stored

if TYPE_CHECKING:
    from tests.services.redisserver import RedisPlace

MORE_THAN_WAS_EVER_READ = 50_500


async def test_r1_of_more_than_50_000_the_newest_are_the_newest_and_all_are_read(
    any_redis: RedisPlace,
) -> None:
    async with opened(any_redis.url) as store:
        for start in range(1, MORE_THAN_WAS_EVER_READ, 1_500):
            await store.append(numbered(range(start, min(start + 1_500, MORE_THAN_WAS_EVER_READ + 1))))
        newest = [one.seq for one in await store.list_events(limit=5)]
        assert newest == list(range(MORE_THAN_WAS_EVER_READ - 4, MORE_THAN_WAS_EVER_READ + 1))
        page = await store.read(RecordQuery(kind=RecordKind.EVENT, limit=3, newest_first=False))
        assert [one.seq for one in page.records] == [1, 2, 3]
        (rare,) = await store.list_events(since=event(MORE_THAN_WAS_EVER_READ).timestamp)
        assert rare.seq == MORE_THAN_WAS_EVER_READ
        assert (await store.stats()).kinds[RecordKind.EVENT].records == MORE_THAN_WAS_EVER_READ
        report = await store.scan()
        assert (report.checked_records, report.anomalies) == (MORE_THAN_WAS_EVER_READ, ())
    assert await seqs(any_redis.url) == list(range(1, MORE_THAN_WAS_EVER_READ + 1))


@pytest.mark.parametrize("limit", [0, 1, 10])
async def test_r3_trial_15_after_a_compaction_the_limit_holds_to_the_entry(
    any_redis: RedisPlace, limit: int
) -> None:
    count = BUDGET.pick(quick=300, ci=300, whole=20_000)
    padding = "x" * BUDGET.pick(quick=2_000, ci=2_000, whole=20_000)
    async with opened(any_redis.url) as store:
        for start in range(1, count + 1, 100):
            await store.append(numbered(range(start, start + 100), actor_type=padding))
        report = await store.compact(RetentionPolicy(max_records=limit))
        assert report.removed_records == count - limit
        with any_redis.client() as client:
            assert client.xlen(key("events")) == limit
    assert await seqs(any_redis.url) == list(range(count - limit + 1, count + 1))


async def test_r3_age_and_size_are_limits_too(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        await store.append(numbered(range(1, 101), actor_type="x" * 1_000))
        await store.compact(RetentionPolicy(max_total_bytes=20_000))
        (stats,) = [one for kind, one in (await store.stats()).kinds.items() if kind is RecordKind.EVENT]
        assert 0 < stats.records < 20
        assert stats.bytes <= 20_000
        await store.compact(RetentionPolicy(max_age_seconds=1))
        with any_redis.client() as client:
            assert client.xlen(key("events")) == 0


async def test_of_a_payload_of_20_mb_the_letter_is_kept_and_its_place_says_why(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        await store.append([letter(1), letter(2, payload="x" * 20_000_000), letter(3)])
        found = await store.list_dead_letters()
    assert [one.seq for one in found] == [1, 2, 3]
    assert isinstance(found[1].payload, Unstorable)


async def test_r4_the_letter_of_a_message_of_20_mb_is_never_lost(any_redis: RedisPlace) -> None:
    store = make_store(any_redis.url)
    async with ActorSystem(system_id="orders", persistence=store, close_persistence=True) as system:
        ref = system.spawn(Actor, name="gone")
        await system.stop(ref)
        with pytest.raises(ActorStopped):
            await ref.tell("x" * 20_000_000)
        await system.flush()
    (found,) = await stored(any_redis.url, RecordKind.DEAD_LETTER)
    assert getattr(found, "fidelity", None) == "unstorable"


async def test_a_batch_of_many_large_records_is_stored_whole(any_redis: RedisPlace) -> None:
    records = numbered(range(1, BUDGET.pick(quick=9, ci=9, whole=41)), actor_type="ö" * 3_000_000)
    async with opened(any_redis.url) as store:
        await store.append(records)
    assert await is_sound(any_redis.url, records)


async def test_two_systems_on_one_prefix_have_each_its_own(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as orders, opened(any_redis.url, system_id="payments") as payments:
        await orders.append(numbered([1, 2]))
        await payments.append([event(1, system_id="payments")])
        await orders.compact(RetentionPolicy(max_records=1))
        assert [one.system_id for one in await payments.list_events()] == ["payments"]
        assert (await orders.scan()).anomalies == (await payments.scan()).anomalies == ()
    assert await seqs(any_redis.url) == [2]


async def test_r6_a_system_of_another_name_does_not_write_into_a_store_in_silence(
    any_redis: RedisPlace, caplog: pytest.LogCaptureFixture
) -> None:
    try:
        async with ActorSystem(
            system_id="payments", persistence=make_store(any_redis.url), close_persistence=True
        ):
            pass
    except Exception as error:  # noqa: BLE001  # refused: the text has to say by whose name
        said = str(error)
    else:
        said = caplog.text
    assert "payments" in said
    assert "orders" in said
