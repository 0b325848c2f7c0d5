"""I3 to I6: what is wrong with a stream is told and read around; what leaves it lies in quarantine first."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from papyra.exceptions import StoreLockedError
from papyra.node import this_node
from papyra.persistence import codec
from papyra.persistence.models import (
    EventType,
    LossNote,
    PersistenceAnomalyType,
    PersistenceRecoveryConfig,
    RecordKind,
    ScanDepth,
)
from papyra.persistence.quarantined import Fate
from papyra.persistence.restoring import ALL, restore
from papyra.testing.promises.harness import everything
from papyra.testing.records import INCARNATION, event, letter, numbers
from tests.unit.redis.stores import EVENTS, LETTERS, META, QUARANTINE, REPAIR, mine, opened, seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.persistence.backends.redis import RedisStreamsPersistence
    from tests.services.redisserver import RedisPlace

Fields = dict[str, Any]


def good(seq: int) -> Fields:
    line = codec.encode_record(event(seq), incarnation=INCARNATION, seq=seq)[:-1]
    return {
        "body": line,
        "crc": line[-10:-2],
        "incarnation": INCARNATION,
        "kind": "event",
        "seq": str(seq),
    }


def with_other_bytes(fields: Fields) -> Fields:
    return {**fields, "body": fields["body"].replace(b"ActorStarted", b"ActorStopped")}


def foreign(fields: Fields) -> Fields:
    line = codec.encode_record(letter(3), incarnation=INCARNATION, seq=3)[:-1]
    return {**fields, "body": line, "crc": line[-10:-2], "kind": "dead_letter"}


def deep(fields: Fields) -> Fields:
    return {**fields, "body": b"[" * 200_000}


HARMS: dict[str, tuple[Callable[[Fields], Fields], PersistenceAnomalyType]] = {
    "other bytes": (with_other_bytes, PersistenceAnomalyType.BAD_CHECKSUM),
    "another crc": (lambda fields: {**fields, "crc": "00000000"}, PersistenceAnomalyType.BAD_CHECKSUM),
    "not framed": (lambda fields: {**fields, "body": b"\xff\x00"}, PersistenceAnomalyType.GARBAGE),
    "no body": (lambda fields: {**fields, "body": ""}, PersistenceAnomalyType.GARBAGE),
    "another number": (lambda fields: {**fields, "seq": "77"}, PersistenceAnomalyType.GARBAGE),
    "another life": (lambda fields: {**fields, "incarnation": "x y\n1"}, PersistenceAnomalyType.GARBAGE),
    "another kind": (foreign, PersistenceAnomalyType.GARBAGE),
    "fewer fields": (lambda fields: {"body": fields["body"]}, PersistenceAnomalyType.GARBAGE),
    "other fields": (lambda _: {"noise": b"\x9c\xff", "more": "1"}, PersistenceAnomalyType.GARBAGE),
    "no record of 0.3": (lambda _: {"data": "[1]"}, PersistenceAnomalyType.GARBAGE),
    "too deep": (deep, PersistenceAnomalyType.GARBAGE),
}


@pytest.mark.parametrize("config", [REPAIR, QUARANTINE], ids=["repair", "quarantine"])
@pytest.mark.parametrize("harm", HARMS)
async def test_a_damaged_entry_is_told_read_around_and_goes_into_quarantine(
    any_redis: RedisPlace, harm: str, config: PersistenceRecoveryConfig
) -> None:
    damage, type_ = HARMS[harm]
    damaged = damage(good(3))
    async with opened(any_redis.url) as store:
        await store.append([*mine(1, 2), letter(1)])
        with any_redis.client() as client:
            id_ = client.xadd(EVENTS, damaged).decode()
            whole = client.xrange(EVENTS)
        await store.append(mine(4))
        assert await seen(store) == [1, 2, 4]
        found = await store.scan()
        assert found.has_damage
        assert type_ in found.counts
        assert any(id_ in (anomaly.detail or "") and anomaly.path == EVENTS for anomaly in found.anomalies)
        report = await store.recover(config)
        assert report.quarantined_bytes > 0
        assert report.left == ()
        assert await seen(store) == [1, 2, 4]
        assert not (await store.scan()).has_anomalies
        again = await store.recover(config)
        assert (again.scan.anomalies, again.quarantined_bytes, again.losses) == ((), 0, ())
        entries = [entry async for entry in store.quarantined()]
        (entry,) = [entry for entry in entries if entry.position is not None]
        assert (entry.store, entry.is_intact, entry.reason) == (EVENTS, True, type_)
        (page,) = [page async for page in store.read_quarantined(entry)]
        lines = [line.rstrip(b"\n") for _, line in page.records]
        content = damaged.get("body", damaged.get("data", b"noise \x9c\xff more 1"))
        assert [*lines, *page.rest] == [content.encode() if isinstance(content, str) else content]
        assert len(report.quarantined_files) == (config is QUARANTINE)
        for name in report.quarantined_files:
            with any_redis.client() as client:
                assert client.xrange(name)[: len(whole)] == whole


async def test_a_record_that_stands_twice_or_with_other_bytes_is_told_and_the_first_stays(
    any_redis: RedisPlace,
) -> None:
    other = codec.encode_record(event(9), incarnation=INCARNATION, seq=2)[:-1]
    async with opened(any_redis.url) as store:
        await store.append(mine(1, 2))
        with any_redis.client() as client:
            client.xadd(EVENTS, good(1))
            client.xadd(EVENTS, {**good(2), "body": other, "crc": other[-10:-2]})
        found = await store.scan()
        assert {*found.counts} == {
            PersistenceAnomalyType.DUPLICATE_RECORD,
            PersistenceAnomalyType.CONFLICTING_RECORD,
        }
        report = await store.recover(REPAIR)
        assert report.losses == ()
        assert await seen(store) == [1, 2]
        assert not (await store.scan()).has_anomalies


async def test_entries_that_others_deleted_are_missed_wherever_they_stood(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        await store.append([*mine(1, 2, 3, 4), letter(1, incarnation=INCARNATION, seq=1)])
        with any_redis.client() as client:
            ids = [id_ for id_, _ in client.xrange(EVENTS)]
            client.xdel(EVENTS, ids[1], ids[3])
            client.delete(LETTERS)
        found = await store.scan()
        assert found.counts == {PersistenceAnomalyType.MISSING_RECORDS: 3}
        report = await store.recover(REPAIR)
        assert {note[:4] for note in report.losses} == {
            (INCARNATION, "event", 2, 2),
            (INCARNATION, "event", 4, 4),
            (INCARNATION, "dead_letter", 1, 1),
        }
        assert not (await store.scan()).has_anomalies
        assert (await store.recover(REPAIR)).losses == ()
        await store.append(mine(5))
        assert not (await store.scan()).has_anomalies


async def test_what_went_into_quarantine_by_mistake_can_be_restored(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        await store.append(mine(1, 2, 3))
        with any_redis.client() as client:
            id_, fields = client.xrange(EVENTS)[1]
            client.xdel(EVENTS, id_)
            client.xadd(EVENTS, {**fields, b"crc": "ffffffff"})
        await store.recover(QUARANTINE)
        assert await seen(store) == [1, 3]
        report = await restore(store, [ALL])
        assert report.fates[Fate.RESTORABLE] == 1
        assert sorted(await seen(store)) == [1, 2, 3]
        assert not (await store.scan()).has_anomalies
        assert (await restore(store, [ALL])).fates.get(Fate.RESTORABLE, 0) == 0


async def test_a_key_of_another_kind_is_an_anomaly_that_no_repair_touches(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        await store.append([letter(1)])
        with any_redis.client() as client:
            client.lpush(EVENTS, "somebody's")
            found = await store.scan()
            assert found.counts == {PersistenceAnomalyType.FOREIGN_FILE: 1}
            report = await store.recover(REPAIR)
            assert [anomaly.type for anomaly in report.left] == [PersistenceAnomalyType.FOREIGN_FILE]
            assert client.lrange(EVENTS, 0, -1) == [b"somebody's"]


async def test_ignoring_changes_no_key(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        await store.append(mine(1, 3))
        with any_redis.client() as client:
            client.xadd(EVENTS, {"noise": "1"})
            before = {key: client.dump(key) for key in client.scan_iter()}
            report = await store.recover()
            assert report.left == report.scan.anomalies != ()
            for depth in ScanDepth:
                await store.scan(depth)
            await store.stats()
            await store.compact(dry_run=True)
            assert {key: client.dump(key) for key in client.scan_iter()} == before


async def test_a_tail_scan_looks_back_to_the_last_clean_mark(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        with any_redis.client() as client:
            client.xadd(EVENTS, {"noise": "before"})
        await store.append([event(1, event_type=EventType.SYSTEM_STOPPED)])
        await store.append(mine(1, 2))
        report = await store.scan(ScanDepth.TAIL)
        assert (report.anomalies, report.checked_records) == ((), 3)
        with any_redis.client() as client:
            client.xadd(EVENTS, {"noise": "after"})
        report = await store.scan(ScanDepth.TAIL)
        assert {anomaly.type for anomaly in report.anomalies} == {PersistenceAnomalyType.GARBAGE}
        assert (await store.scan()).counts == {PersistenceAnomalyType.GARBAGE: 2}


async def test_a_late_record_fills_the_hole_that_a_tail_sees(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        await store.append(mine(1))
        await store.append([event(1, event_type=EventType.SYSTEM_STOPPED), *mine(3)])
        await store.append(mine(2))
        assert (await store.scan(ScanDepth.TAIL)).anomalies == ()


async def test_a_note_before_the_tail_explains_a_hole_in_it(any_redis: RedisPlace) -> None:
    note = LossNote(INCARNATION, "event", 3, 4, "overflow").to_payload()
    async with opened(any_redis.url) as store:
        await store.append([event(9, event_type=EventType.RECORDS_LOST, payload=note)])
        await store.append([event(1, event_type=EventType.SYSTEM_STOPPED), *mine(2, 5)])
        assert (await store.scan(ScanDepth.TAIL)).anomalies == ()


async def test_who_repairs_is_named_to_whoever_comes_and_one_that_is_gone_blocks_nobody(
    any_redis: RedisPlace,
) -> None:
    holder = {**this_node().to_dict(), "pid": 1, "host": "elsewhere", "boot_id": "other"}
    with any_redis.client() as client:
        async with opened(any_redis.url) as store:
            await store.append(mine(1, 3))
            client.set("papyra:{orders}:lease", json.dumps(holder))
            for refused in (store.recover(REPAIR), store.compact()):
                with pytest.raises(StoreLockedError, match="elsewhere"):
                    await refused
            assert (await store.scan()).has_anomalies
            gone = {**this_node().to_dict(), "started": 1}
            client.set("papyra:{orders}:lease", json.dumps(gone, sort_keys=True))
            await store.recover(REPAIR)
            assert not (await store.scan()).has_anomalies
            assert not client.exists("papyra:{orders}:lease")


async def test_the_count_is_made_anew_where_others_changed_the_stream(any_redis: RedisPlace) -> None:
    async with opened(any_redis.url) as store:
        await store.append(mine(*range(1, 31)))
        with any_redis.client() as client:
            client.delete(META)
            await store.compact()
            exact = int(client.hget(META, "event:bytes"))
            client.xtrim(EVENTS, maxlen=10, approximate=False)
            await store.append(mine(31))
            await store.compact()
            assert int(client.hget(META, "event:records")) == 11
            assert int(client.hget(META, "event:bytes")) == await sizes(store) < exact


async def sizes(store: RedisStreamsPersistence) -> int:
    records = await everything(store)
    lines = [codec.encode_record(each, incarnation=each.incarnation, seq=each.seq) for each in records]
    return sum(map(len, lines))


async def test_a_record_that_its_store_lost_comes_back_by_hand_under_its_number(
    any_redis: RedisPlace,
) -> None:
    async with opened(any_redis.url) as store:
        await store.append(mine(1, 2, 3))
        with any_redis.client() as client:
            client.xdel(EVENTS, client.xrange(EVENTS)[1][0])
        await store.append(mine(2))
        assert numbers(await everything(store, RecordKind.EVENT)) == [1, 3, 2]
        assert not (await store.scan()).has_anomalies
