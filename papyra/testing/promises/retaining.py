"""I10: retention takes a prefix of each kind, at once from reads, and from the medium when told to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from papyra.clock import SYSTEM_CLOCK
from papyra.persistence import codec
from papyra.persistence.models import EventType, LossNote, PersistedDeadLetter, RecordKind
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.promises.harness import Harness, everything
from papyra.testing.records import INCARNATION, MAKERS, OTHER_INCARNATION, audit, event, letter, numbers

if TYPE_CHECKING:
    from papyra.persistence.base import BasePersistence
    from papyra.persistence.models import Record, StoreStats

OLD, YOUNG = 1_000.0, 10.0
FUTURE = -3.0e8


def aged(make: Any, *ages: float) -> list[Record]:
    """Return records of these ages in seconds, numbered by ``actor_address`` or the like."""
    now = SYSTEM_CLOCK.now()
    return [make(number, timestamp=now - age) for number, age in enumerate(ages)]


class Retaining(Harness):
    """What reads show."""

    async def test_reads_apply_a_count_at_once_to_each_kind_by_itself(self) -> None:
        async with self.opened(RetentionPolicy(max_records=3)) as backend:
            await backend.append([audit(0), letter(0)])
            for number in range(10):
                await backend.append([event(number)])
                expected = list(range(number + 1))[-3:]
                assert numbers(await self.stored(backend)) == expected
                assert numbers(await backend.list_events(limit=5)) == expected
            assert numbers(await self.stored(backend, RecordKind.AUDIT)) == [0]
            assert numbers(await self.stored(backend, RecordKind.DEAD_LETTER)) == [0]

    async def test_the_count_is_taken_over_all_incarnations_and_systems(self) -> None:
        async with self.opened(RetentionPolicy(max_records=4)) as backend:
            await backend.append(
                [
                    event(number, incarnation=incarnation, seq=number, system_id=system)
                    for number in (1, 2, 3)
                    for incarnation, system in ((INCARNATION, "orders"), (OTHER_INCARNATION, "payments"))
                ]
            )
            assert numbers(await self.stored(backend)) == [2, 2, 3, 3]
            assert numbers(await self.stored(backend, system_id="orders")) == [2, 3]

    async def test_reads_apply_a_size_at_once(self) -> None:
        pad = {"pad": "x" * 1_000}
        size = len(codec.encode_record(event(1, payload=pad), incarnation=INCARNATION, seq=1))
        async with self.opened(RetentionPolicy(max_total_bytes=size * 3 + size // 2)) as backend:
            await backend.append([event(number, payload=pad) for number in range(8)])
            assert numbers(await self.stored(backend)) == [5, 6, 7]
            await backend.append([event(8, payload={"pad": "x" * 2_000}), event(9, payload=pad)])
            assert numbers(await self.stored(backend)) == [8, 9]
            await backend.append([event(10, payload={"pad": "x" * 9_000})])
            assert numbers(await self.stored(backend)) == []
            await backend.append([event(11, payload=pad)])
            assert numbers(await self.stored(backend)) == [11]

    async def test_reads_apply_an_age_at_once(self) -> None:
        async with self.opened(RetentionPolicy(max_age_seconds=500)) as backend:
            await backend.append(aged(event, OLD, OLD, YOUNG, OLD, YOUNG))
            assert await self._addresses(backend) == ["orders:2", "orders:3", "orders:4"]

    async def test_a_record_from_the_future_is_young(self) -> None:
        async with self.opened(RetentionPolicy(max_age_seconds=500)) as backend:
            await backend.append(aged(event, OLD, FUTURE, YOUNG, OLD))
            assert await self._addresses(backend) == ["orders:1", "orders:2", "orders:3"]

    async def test_a_record_from_the_future_holds_up_nothing_that_is_old(self) -> None:
        async with self.opened(RetentionPolicy(max_age_seconds=500)) as backend:
            await backend.append(aged(event, FUTURE, OLD, FUTURE))
            assert await self._addresses(backend) == ["orders:2"]
            await backend.append(aged(event, YOUNG, OLD))
            assert await self._addresses(backend) == ["orders:2", "orders:0", "orders:1"]
            await backend.compact()
            assert (await backend.counts())[RecordKind.EVENT] == 3
            assert await self._addresses(backend) == ["orders:2", "orders:0", "orders:1"]

    async def _addresses(self, backend: BasePersistence) -> list[str]:
        return [str(getattr(record, "actor_address", "")) for record in await self.stored(backend)]

    @pytest.mark.parametrize("limit", ["max_records", "max_age_seconds", "max_total_bytes"])
    async def test_a_limit_of_zero_keeps_none(self, limit: str) -> None:
        nothing: dict[str, Any] = {limit: 0}
        policy = RetentionPolicy(events=RetentionPolicy(**nothing))
        async with self.opened(policy) as backend:
            await backend.append([*aged(event, YOUNG, 0.0, FUTURE), audit(1)])
            assert await self.stored(backend) == []
            assert numbers(await self.stored(backend, RecordKind.AUDIT)) == [1]
            await backend.compact()
            assert (await backend.counts())[RecordKind.EVENT] == 0

    async def test_a_policy_of_its_own_replaces_the_limits_for_its_kind(self) -> None:
        policy = RetentionPolicy(
            max_records=2, events=RetentionPolicy(max_age_seconds=1e9), audits=RetentionPolicy(max_records=4)
        )
        async with self.opened(policy) as backend:
            await backend.append([make(number) for number in range(6) for make in MAKERS.values()])
            assert len(await self.stored(backend, RecordKind.EVENT)) == 6
            assert len(await self.stored(backend, RecordKind.AUDIT)) == 4
            if not self.protects_letters:
                assert len(await self.stored(backend, RecordKind.DEAD_LETTER)) == 2

    async def test_every_limit_holds_when_several_are_set(self) -> None:
        async with self.opened(RetentionPolicy(max_records=3, max_age_seconds=500)) as backend:
            await backend.append(aged(event, YOUNG, YOUNG, OLD, YOUNG, OLD))
            assert await self._addresses(backend) == ["orders:3", "orders:4"]


class Compacting(Harness):
    """What is left."""

    async def test_i10_compaction_removes_what_it_said_and_reports_what_it_removed(self) -> None:
        policy = RetentionPolicy(max_records=3, dead_letters=RetentionPolicy())
        async with self.opened() as backend:
            await backend.append([event(number) for number in range(10)])
            await backend.append([letter(1), *(audit(number) for number in range(2, 7))])
            before = await backend.stats()
            planned = await backend.compact(policy, dry_run=True)
            assert planned.dry_run
            assert (await backend.stats()).kinds == before.kinds
            assert len(await self.stored(backend)) == 10
            done = await backend.compact(policy)
            assert not done.dry_run
            for report in (planned, done):
                assert {kind: count for kind, count in report.removed.items() if count} == {
                    RecordKind.EVENT: 7,
                    RecordKind.AUDIT: 2,
                }
                assert (report.before_records, report.after_records, report.removed_records) == (16, 7, 9)
                assert (report.oldest_removed, report.newest_removed) == (
                    event(0).timestamp,
                    event(6).timestamp,
                )
            after = await backend.stats()
            assert done.reclaimed_bytes in {None, _bytes(before) - _bytes(after)}
            assert numbers(await self.stored(backend)) == [7, 8, 9]
            assert numbers(await self.stored(backend, RecordKind.AUDIT)) == [4, 5, 6]
            assert numbers(await self.stored(backend, RecordKind.DEAD_LETTER)) == [1]
            assert not (await backend.scan()).has_anomalies

    async def test_compaction_makes_the_stores_own_policy_physical(self) -> None:
        async with self.opened(RetentionPolicy(max_records=3)) as backend:
            await backend.append([event(number) for number in range(10)])
            held = (await backend.counts())[RecordKind.EVENT]
            report = await backend.compact()
            assert report.removed_records == held - 3
            assert (await backend.counts())[RecordKind.EVENT] == 3
            async with self.reopened(backend, RetentionPolicy(max_records=100)) as reader:
                assert numbers(await everything(reader)) == [7, 8, 9]

    async def test_i6_compacting_again_finds_nothing_to_do(self) -> None:
        policy = RetentionPolicy(max_records=2)
        async with self.opened() as backend:
            await backend.append([event(number) for number in range(10)])
            await backend.compact(policy)
            again = await backend.compact(policy)
            assert (again.before_records, again.after_records, again.removed_records) == (2, 2, 0)
            assert (again.oldest_removed, again.newest_removed) == (None, None)
            assert numbers(await self.stored(backend)) == [8, 9]

    async def test_compacting_an_empty_store_is_nothing_special(self) -> None:
        async with self.opened() as backend:
            report = await backend.compact(RetentionPolicy(max_records=0))
            assert (report.before_records, report.after_records) == (0, 0)
            await backend.append([event(1)])
            assert numbers(await self.stored(backend)) == [1]

    async def test_appends_go_on_after_compaction_and_reopening(self) -> None:
        mine = [event(number, incarnation=INCARNATION, seq=number) for number in range(1, 8)]
        async with self.opened() as backend:
            await backend.append(mine[:5])
            await backend.compact(RetentionPolicy(max_records=2))
            await backend.append(mine)
            assert numbers(await self.stored(backend)) == [4, 5, 6, 7], "what was removed does not come back"
            assert not (await backend.scan()).has_anomalies

    async def test_i1_compaction_under_live_appends_loses_none(self) -> None:
        now = SYSTEM_CLOCK.now()
        policy = RetentionPolicy(max_age_seconds=5_000)
        async with self.opened() as backend:
            await backend.append([event(0, timestamp=now - 10_000) for _ in range(50)])

            async def write(writer: int) -> None:
                for number in range(10):
                    await backend.append([event(number, actor_path=f"/{writer}", timestamp=now)])

            writers = [asyncio.create_task(write(writer)) for writer in range(8)]
            for _ in range(3):
                await backend.compact(policy)
            await asyncio.gather(*writers)
            await backend.compact(policy)
            found = await self.stored(backend)
            for writer in range(8):
                mine = [record for record in found if getattr(record, "actor_path", "") == f"/{writer}"]
                assert [getattr(record, "payload", None) for record in mine] == [
                    {"number": number} for number in range(10)
                ]
            assert len(found) == 80
            assert not (await backend.scan()).has_anomalies

    async def test_a_loss_note_stays_as_long_as_it_explains_something(self) -> None:
        note = LossNote(INCARNATION, "dead_letter", 2, 2, "overflow").to_payload()
        async with self.opened() as backend:
            await backend.append([letter(1, incarnation=INCARNATION, seq=1)])
            await backend.append([event(1, event_type=EventType.RECORDS_DROPPED, payload=note)])
            await backend.append([letter(3, incarnation=INCARNATION, seq=3)])
            await backend.append([event(number) for number in range(2, 6)])
            assert not (await backend.scan()).has_anomalies
            await backend.compact(RetentionPolicy(max_records=2, dead_letters=RetentionPolicy()))
            letters = await self.stored(backend, RecordKind.DEAD_LETTER)
            assert [record.seq for record in letters if isinstance(record, PersistedDeadLetter)] == [1, 3]
            assert not (await backend.scan()).has_anomalies


class Counting(Harness):
    """How much there is."""

    async def test_i10_counts_are_what_is_stored(self) -> None:
        async with self.opened() as backend:
            await backend.append([*(event(number) for number in (4, 2, 9)), letter(1), letter(7)])
            async with self.reopened(backend) as reader:
                stats = await reader.stats()
                assert await reader.counts() == {
                    RecordKind.EVENT: 3,
                    RecordKind.AUDIT: 0,
                    RecordKind.DEAD_LETTER: 2,
                }
            assert stats.backend == backend.name
            events, letters = stats.kinds[RecordKind.EVENT], stats.kinds[RecordKind.DEAD_LETTER]
            assert (events.records, letters.records) == (3, 2)
            assert (events.oldest, events.newest) == (event(2).timestamp, event(9).timestamp)
            assert (letters.oldest, letters.newest) == (letter(1).timestamp, letter(7).timestamp)
            assert events.bytes > letters.bytes > 0
            assert stats.total_bytes >= events.bytes + letters.bytes

    async def test_an_empty_store_counts_nothing(self) -> None:
        async with self.opened() as backend:
            assert await backend.counts() == dict.fromkeys(RecordKind, 0)
            assert all(not (kind.records or kind.bytes) for kind in (await backend.stats()).kinds.values())


def _bytes(stats: StoreStats) -> int:
    return sum(kind.bytes for kind in stats.kinds.values())
