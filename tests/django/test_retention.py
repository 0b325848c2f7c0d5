"""I10 in SQL: what is kept is exactly what the rule says, whoever asks; open letters outlive it."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import TYPE_CHECKING, NamedTuple

import pytest

from django_papyra.backend import DjangoPersistence
from django_papyra.models import DeadLetter, Event, Incarnation
from papyra.persistence.models import EventType, LossNote, RecordKind
from papyra.persistence.retention import RetentionPolicy, first_kept
from papyra.testing.clock import ManualClock
from papyra.testing.records import EPOCH, INCARNATION, event, letter, numbers

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.persistence.query import Progress

    Sql = Callable[..., list[tuple[object, ...]]]


class Kept(NamedTuple):
    timestamp: float
    size: int
    number: int


@pytest.mark.parametrize("seed", range(6))
async def test_i10_reads_and_compaction_agree_with_the_rule_at_every_moment(
    seed: int, backend: object
) -> None:
    """Two backends follow one table: neither knows of the other's appends and removals but by looking."""
    del backend
    chance = random.Random(seed)  # noqa: S311  # a repeatable history
    clock = ManualClock(EPOCH)
    policy = RetentionPolicy(
        chance.choice([None, 5, 12]), chance.choice([None, 40.0]), chance.choice([None, 900, 4_000])
    )
    model: list[Kept] = []
    async with (
        DjangoPersistence(retention_policy=policy, clock=clock) as one,
        DjangoPersistence(retention_policy=policy, clock=clock) as two,
    ):
        for step in range(60):
            actor, reader = chance.sample([one, two], 2)
            match chance.randrange(6):
                case 0 | 1 | 2:
                    for _ in range(chance.randrange(1, 4)):
                        time = clock.now() + chance.choice([0, 0, -10, -50, 15, 60])
                        await actor.append([event(step, timestamp=time, payload="x" * chance.randrange(400))])
                        model.append(Kept(time, await _newest_size(), step))
                case 3:
                    clock.set_wall(clock.now() + chance.choice([1, 5, 15, 19, 40, -10, -45]))
                case 4:
                    model = model[first_kept(model, policy, now=clock.now()) :]
                    await actor.compact()
                    assert (await reader.counts())[RecordKind.EVENT] == len(model)
                case _:
                    smaller = RetentionPolicy(max_records=3)
                    model = model[first_kept(model, smaller, now=clock.now()) :]
                    await actor.compact(smaller)
            kept = model[first_kept(model, policy, now=clock.now()) :]
            assert [record.timestamp for record in await reader.list_events()] == [
                one.timestamp for one in kept
            ]


async def _newest_size() -> int:
    row = await Event.objects.order_by("-id").afirst()
    assert row is not None
    return row.size


async def test_open_letters_are_kept_beyond_the_limits(backend: DjangoPersistence) -> None:
    del backend
    policy = RetentionPolicy(max_records=2)
    async with DjangoPersistence(retention_policy=policy) as limited:
        await limited.append([letter(number, incarnation=INCARNATION, seq=number) for number in range(1, 9)])
        await DeadLetter.objects.filter(seq__in=(1, 4, 7)).aupdate(state="resolved")
        await DeadLetter.objects.filter(seq=5).aupdate(state="requested")
        assert numbers(await limited.list_dead_letters()) == [2, 3, 5, 6, 7, 8]
        planned = await limited.compact(dry_run=True)
        done = await limited.compact()
        assert (
            planned.removed
            == done.removed
            == {RecordKind.EVENT: 0, RecordKind.AUDIT: 0, RecordKind.DEAD_LETTER: 2}
        )
        assert numbers(await limited.list_dead_letters()) == [2, 3, 5, 6, 7, 8]
        assert not (await limited.scan()).has_anomalies, "below it protected letters have no holes"
        floors = {row.incarnation: row.kept_from async for row in Incarnation.objects.all()}
        assert floors == {INCARNATION: {"dead_letter": 5}}


async def test_letters_that_nobody_resolves_are_dropped_beyond_the_cap_and_counted(
    backend: DjangoPersistence,
) -> None:
    del backend
    async with DjangoPersistence(
        retention_policy=RetentionPolicy(max_records=2), max_unresolved=3
    ) as limited:
        await limited.append([letter(number) for number in range(1, 11)])
        assert numbers(await limited.list_dead_letters()) == [6, 7, 8, 9, 10]
        await limited.compact()
        assert numbers(await limited.list_dead_letters()) == [6, 7, 8, 9, 10]
        (dropped,) = await limited.list_events()
        assert dropped.event_type == EventType.DEAD_LETTERS_DROPPED
        assert dropped.system_id == "orders"
        assert dropped.payload == {"count": 5, "oldest": letter(1).timestamp, "newest": letter(5).timestamp}
        assert not (await limited.scan()).has_anomalies
        await limited.compact()
        assert len(await limited.list_events()) == 1


async def test_what_retention_removed_does_not_come_back_and_what_it_left_does_not_double(
    backend: DjangoPersistence,
) -> None:
    batch = [letter(number, incarnation=INCARNATION, seq=number) for number in range(1, 7)]
    await backend.append(batch)
    await DeadLetter.objects.exclude(seq=2).aupdate(state="discarded")
    await backend.compact(RetentionPolicy(max_records=1))
    await backend.append(batch)
    assert numbers(await backend.list_dead_letters()) == [2, 6]
    assert not (await backend.scan()).has_anomalies


async def test_a_hole_stays_explained_when_its_note_is_removed(backend: DjangoPersistence, sql: Sql) -> None:
    await backend.append([letter(number, incarnation=INCARNATION, seq=number) for number in (1, 3)])
    note = LossNote(INCARNATION, "dead_letter", 2, 2, "overflow").to_payload()
    await backend.append([event(1, event_type=EventType.RECORDS_DROPPED, payload=note), event(2), event(3)])
    await backend.compact(RetentionPolicy(max_records=1, dead_letters=RetentionPolicy()))
    assert numbers(await backend.list_events()) == [3]
    assert not (await backend.scan()).has_anomalies
    await backend.append([letter(number, incarnation=INCARNATION, seq=number) for number in (4, 5)])
    sql("DELETE FROM django_papyra_deadletter WHERE seq = 4")
    assert (await backend.scan()).has_anomalies, "what is lost later is a finding"


async def test_a_compaction_of_many_rows_lets_appends_through(backend: DjangoPersistence) -> None:
    await backend.append([event(number) for number in range(7_000)])
    done: list[int] = []
    progress: list[int] = []

    async def append_beside() -> None:
        for number in range(5):
            await backend.append([event(7_000 + number)])
            done.append(len(progress))

    await asyncio.gather(
        backend.compact(
            RetentionPolicy(max_records=100), progress=lambda step: progress.append(step.records)
        ),
        append_beside(),
    )
    assert progress[:3] == [2_000, 4_000, 6_000]
    assert 6_900 <= progress[3] <= 6_905
    assert done[0] < len(progress)
    assert numbers(await backend.list_events(limit=2)) == [7_003, 7_004]


async def test_a_scan_beside_a_compaction_calls_nothing_missing(backend: DjangoPersistence) -> None:
    await backend.append([event(number) for number in range(3_000)])
    began, removed, loop = asyncio.Event(), threading.Event(), asyncio.get_running_loop()

    def progress(_: Progress) -> None:
        loop.call_soon_threadsafe(began.set)
        removed.wait(10)

    scanning = asyncio.create_task(backend.scan(progress=progress))
    await began.wait()
    async with DjangoPersistence() as beside:
        await beside.compact(RetentionPolicy(max_records=10))
    removed.set()
    assert not (await scanning).has_anomalies
    assert len(await backend.list_events()) == 10


async def test_an_estimate_says_so(backend: DjangoPersistence) -> None:
    await backend.append([event(number) for number in range(10_001)])
    stats = await backend.stats()
    events = stats.kinds[RecordKind.EVENT]
    assert stats.is_estimate
    assert events.records == 10_001
    assert (events.oldest, events.newest) == (event(0).timestamp, event(10_000).timestamp)
