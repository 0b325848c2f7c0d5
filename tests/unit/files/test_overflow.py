"""A file store whose queue is full: what callers, counters, and the history itself say of it."""

from __future__ import annotations

import asyncio
import errno
import threading
from typing import TYPE_CHECKING, Any

import pytest

from papyra.exceptions import (
    AppendError,
    ConfigurationError,
    RecordDroppedError,
    StoreBusyError,
    StoreFullError,
)
from papyra.persistence import codec
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import EventType, LossNote, PersistedEvent, RecordKind
from papyra.persistence.ready import ReadyEvent
from papyra.testing.faults import FaultyFs
from papyra.testing.records import INCARNATION
from tests.unit.files.stores import fresh, hanging, known, named, numbers, opened

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.persistence.query import Progress


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.ndjson"


async def dropped_notes(path: Path) -> list[LossNote | None]:
    async with opened(path) as store:
        return [
            LossNote.from_payload(event.payload)
            for event in await store.list_events()
            if event.event_type == EventType.RECORDS_DROPPED
        ]


async def waits(store: JsonFilePersistence, *records: PersistedEvent) -> asyncio.Task[None]:
    task = asyncio.create_task(store.append(records))
    await asyncio.sleep(0)
    return task


async def test_dropped_records_are_told_counted_and_noted_in_the_history(path: Path) -> None:
    async with hanging(path, "drop_oldest") as (fs, store, first):
        doomed = [await waits(store, known(2), known(3)), await waits(store, known(4))]  # type: ignore[arg-type]
        doomed += [await waits(store, known(101, incarnation="other")), await waits(store, fresh(9))]  # type: ignore[arg-type]
        last = await waits(store, known(5))  # type: ignore[arg-type]
        outcomes = await asyncio.gather(*doomed, return_exceptions=True)
        assert all(isinstance(outcome, AppendError) for outcome in outcomes)
        assert [len(outcome.refused) for outcome in outcomes] == [2, 1, 1, 1]  # type: ignore[union-attr]
        assert isinstance(outcomes[0].refused[1][1], RecordDroppedError)  # type: ignore[union-attr]
        assert store.metrics.records_dropped == 5
        assert store.state.is_ok, "it takes records"
        fs.gate.set()
        await asyncio.gather(first, last)
        assert (await store.stats()).dropped_records == 5
        assert not (await store.scan()).has_anomalies, "each gap is explained"
    assert await dropped_notes(path) == [
        LossNote(INCARNATION, "event", 2, 4, "queue overflow"),
        LossNote("other", "event", 101, 101, "queue overflow"),
    ]
    assert [seq for seq in await numbers(path) if seq < 100] == [1, 5, 1, 2], "two notes of our own"


def run(*seqs: int, incarnation: str = INCARNATION) -> list[ReadyEvent]:
    """Return events as a recorder hands them over: neighbours become one run on their way."""
    return [
        ReadyEvent(seq, RecordKind.EVENT, incarnation, "orders", float(seq), "orders:7", "ActorStarted")
        for seq in seqs
    ]


async def test_i3_of_runs_that_are_dropped_every_record_is_counted_and_the_exact_ranges_noted(
    path: Path,
) -> None:
    async with hanging(path, "drop_oldest") as (fs, store, first):
        lots: list[list[Any]] = [
            run(*range(2, 40)),
            [*run(40, 41), *run(44, 45, 46)],
            run(*range(101, 110), incarnation="other"),
            [*run(*range(47, 60)), codec.encode_ready(run(60, 61))],
        ]
        doomed = [await waits(store, *lot) for lot in lots]
        last = await waits(store, *run(62, 63))  # type: ignore[arg-type]
        outcomes = await asyncio.gather(*doomed, return_exceptions=True)
        assert [[at for at, _ in outcome.refused] for outcome in outcomes] == [  # type: ignore[union-attr]
            [*range(38)],
            [*range(5)],
            [*range(9)],
            [*range(15)],
        ]
        assert store.metrics.records_dropped == 38 + 5 + 9 + 15
        fs.gate.set()
        await asyncio.gather(first, last)
        (gap,) = (await store.scan()).anomalies
        assert "42 to 43" in (gap.detail or ""), "these were never handed over"
    assert await dropped_notes(path) == [
        LossNote(INCARNATION, "event", 2, 41, "queue overflow"),
        LossNote(INCARNATION, "event", 44, 61, "queue overflow"),
        LossNote("other", "event", 101, 109, "queue overflow"),
    ]
    assert [seq for seq in await numbers(path) if seq < 100][:3] == [1, 62, 63]


async def test_a_record_alone_that_is_dropped_raises_what_happened(path: Path) -> None:
    async with hanging(path, "drop_oldest") as (_, store, _):
        doomed = asyncio.create_task(store.record_event(fresh(2)))
        await asyncio.sleep(0)
        await waits(store, fresh(3))
        with pytest.raises(RecordDroppedError, match="drop_oldest"):
            await doomed


async def test_notes_of_losses_are_not_dropped(path: Path) -> None:
    async with hanging(path, "drop_oldest") as (fs, store, first):
        note = LossNote(INCARNATION, "event", 2, 2, "overflow").to_payload()
        explained = known(3, event_type="RecordsDropped", payload=note)
        kept = await waits(store, explained)  # type: ignore[arg-type]
        doomed = await waits(store, known(4))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        fs.gate.set()
        await asyncio.gather(first, kept, doomed)
        assert not (await store.scan()).has_anomalies
    assert [seq for seq in await numbers(path) if seq < 100] == [1, 3, 4]


async def test_what_could_not_be_noted_is_noted_with_the_next_batch_or_at_the_end(path: Path) -> None:
    async with hanging(path, "drop_oldest") as (fs, store, first):
        doomed = await waits(store, known(2))  # type: ignore[arg-type]
        last = await waits(store, known(3))  # type: ignore[arg-type]
        full = FaultyFs(path.parent)
        full.fill(0)
        fs.write = full.write  # type: ignore[method-assign]
        fs.gate.set()
        outcomes = await asyncio.gather(first, doomed, last, return_exceptions=True)
        assert isinstance(outcomes[2], StoreFullError)
        del fs.write
    assert await dropped_notes(path) == [LossNote(INCARNATION, "event", 2, 2, "queue overflow")]
    assert await named(path) == []


async def test_raise_refuses_at_once_and_the_store_is_none_the_worse(path: Path) -> None:
    async with hanging(path, "raise", fsync="always") as (fs, store, first):
        queued = await waits(store, known(2))  # type: ignore[arg-type]
        with pytest.raises(StoreBusyError, match="overflow is 'raise'"):
            await store.append([known(3)])
        assert store.state.is_ok
        assert store.metrics.write_errors == 1
        fs.gate.set()
        await asyncio.gather(first, queued)
        await store.append([known(3)])
    assert [seq for seq in await numbers(path) if seq < 100] == [1, 2, 3]


async def test_at_the_deadline_closing_says_how_many_records_are_not_acknowledged(path: Path) -> None:
    async with hanging(path, "wait") as (fs, store, first):
        queued = await waits(store, known(2), known(3))  # type: ignore[arg-type]
        assert await store.close_within(0.01) == 3
        fs.gate.set()
        await asyncio.gather(first, queued)
    assert [seq for seq in await numbers(path) if seq < 100] == [1, 2, 3]


async def test_a_long_read_holds_up_no_end_that_has_a_deadline(path: Path) -> None:
    is_read, may_end = threading.Event(), threading.Event()

    def progress(_: Progress) -> None:
        is_read.set()
        assert may_end.wait(10)

    async with hanging(path, "wait") as (fs, store, first):
        scan = asyncio.create_task(store.scan(progress=progress))
        assert await asyncio.to_thread(is_read.wait, 10)
        assert await asyncio.wait_for(store.close_within(0.01), 5) == 1
        may_end.set()
        fs.gate.set()
        await asyncio.gather(first, scan)


async def test_in_time_closing_leaves_nothing(path: Path) -> None:
    store = JsonFilePersistence(path)
    await store.append([fresh(1)])
    assert await store.close_within(10) == 0


@pytest.mark.parametrize("fsync", ["always", "interval"])
def test_only_a_store_that_promises_no_durability_may_drop(path: Path, fsync: str) -> None:
    with pytest.raises(ConfigurationError, match="fsync='os' only"):
        JsonFilePersistence(path, fsync=fsync, overflow="drop_oldest")
    with pytest.raises(ConfigurationError, match="max_queue_bytes"):
        JsonFilePersistence(path, max_queue_bytes=0)


async def test_a_failed_disk_and_a_full_queue_leave_no_record_without_an_end(path: Path) -> None:
    fs = FaultyFs(path.parent)
    async with opened(path, fs=fs, fsync="os", overflow="drop_oldest", max_queue_bytes=300) as store:
        await store.append([known(1)])
        fs.fail("write", errno.ENOSPC, after=1, times=3)
        outcomes = await asyncio.gather(
            *(store.append([known(seq)]) for seq in range(2, 60)), return_exceptions=True
        )
        stored = [1, *(seq for seq, outcome in enumerate(outcomes, 2) if outcome is None)]
        assert all(isinstance(each, AppendError | StoreFullError) for each in outcomes if each is not None)
        assert store.metrics.records_dropped == sum(isinstance(each, AppendError) for each in outcomes)
        found = [event.seq for event in await store.list_events() if event.incarnation == INCARNATION]
    assert found == stored
