"""R4, I3: a recorder on a file store whose queue is full, whose disk is full, or which has failed."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import AppendError, StoreBusyError, StoreFailedError, StoreFullError
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import EventType, LossNote, PersistedEvent, RecordKind
from papyra.persistence.state import StoreCondition
from papyra.testing.faults import FaultyFs
from tests.unit.files.stores import fresh, hanging, named, opened
from tests.unit.recorder.stores import INCARNATION, Desk, event, is_degraded, letter

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.persistence.base import BasePersistence


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.ndjson"


async def history(path: Path) -> tuple[list[object], list[tuple[str, LossNote | None]]]:
    """Return what a new opening reads of the recorder's own records, and every loss note."""
    async with opened(path) as store:
        events = await store.list_events()
        letters = await store.list_dead_letters()
    own = [each for each in events if each.incarnation == INCARNATION and not is_note(each)]
    notes = [(each.event_type, LossNote.from_payload(each.payload)) for each in events if is_note(each)]
    return [*(each.payload for each in own), *(each.payload for each in letters)], notes


def is_note(each: PersistedEvent) -> bool:
    return each.event_type in {EventType.RECORDS_DROPPED, EventType.RECORDS_LOST}


async def queued(store: BasePersistence, number: int) -> asyncio.Task[None]:
    """Have somebody else's record wait in the store's queue, too."""
    task = asyncio.create_task(store.append([fresh(number)]))
    await asyncio.sleep(0)
    return task


async def in_the_queue(store: JsonFilePersistence, records: int) -> None:
    async with asyncio.timeout(10):
        while store._unacknowledged() < records:  # noqa: ASYNC110, SLF001  # the recorder's task hands them over
            await asyncio.sleep(0)


async def test_i3_a_batch_that_the_store_let_go_is_noted_once_and_by_the_store(path: Path) -> None:
    async with hanging(path, "drop_oldest") as (fs, store, first), Desk(store) as desk:
        for number in range(3):
            desk.recorder.emit(event(number))
        desk.recorder.emit_letter(letter(), {"order": 1})
        await in_the_queue(store, 1 + 4)
        last = await queued(store, 9)
        async with asyncio.timeout(10):
            while not desk.problems.texts:  # noqa: ASYNC110  # the answer is on its way
                await asyncio.sleep(0)
        assert desk.problems.texts == ["the store let go of 4 records for good"]
        assert isinstance(desk.problems.errors[0], AppendError)
        assert desk.recorder.dropped == {
            RecordKind.EVENT: 3,
            RecordKind.AUDIT: 0,
            RecordKind.DEAD_LETTER: 1,
        }
        assert store.metrics.records_dropped == 4
        fs.gate.set()
        await asyncio.gather(first, last)
        desk.recorder.emit(event("later"))
        assert await desk.recorder.flush(10)
        assert (desk.recorder.written, desk.recorder.queued) == (1, 0)
    assert await history(path) == (
        ["later"],
        [
            (EventType.RECORDS_DROPPED, LossNote(INCARNATION, "event", 1, 3, "queue overflow")),
            (EventType.RECORDS_DROPPED, LossNote(INCARNATION, "dead_letter", 1, 1, "queue overflow")),
        ],
    )
    assert await named(path) == []


async def test_r4_a_batch_that_a_busy_store_refuses_is_tried_again_and_stored_once(path: Path) -> None:
    async with hanging(path, "raise") as (fs, store, first), Desk(store) as desk:
        other = await queued(store, 9)
        desk.recorder.emit(event("first"))
        async with asyncio.timeout(10):
            while not desk.problems.errors:  # noqa: ASYNC110  # the recorder's task tries by itself
                await asyncio.sleep(0)
        desk.recorder.emit(event("second"))
        assert isinstance(desk.recorder.last_error, StoreBusyError)
        assert is_degraded(desk)
        assert store.state.is_ok, "busy is not broken"
        fs.gate.set()
        assert await desk.recorder.flush(10)
        assert not is_degraded(desk)
        await asyncio.gather(first, other)
        assert len(desk.problems.errors) == 1, "told once"
    assert await history(path) == (["first", "second"], [])
    assert await named(path) == []


async def test_r4_what_is_emitted_while_the_disk_is_full_is_stored_once_there_is_room(path: Path) -> None:
    disk = FaultyFs(path.parent)
    async with JsonFilePersistence(path, fs=disk) as store, Desk(store) as desk:
        desk.recorder.emit(event("before"))
        assert await desk.recorder.flush(10)
        disk.fill(10)
        desk.recorder.emit(event("full"))
        assert not await desk.recorder.flush(0.01)
        assert store.state.condition is StoreCondition.DEGRADED
        assert is_degraded(desk)
        assert isinstance(desk.recorder.last_error, StoreFullError)
        desk.recorder.emit(event("fuller"))
        disk.fill(None)
        assert await desk.recorder.flush(10)
        assert store.state.is_ok
        assert not is_degraded(desk)
    assert await history(path) == (["before", "full", "fuller"], [])
    assert await named(path) == []


async def test_r4_r5_a_failed_store_costs_no_emit_and_no_memory_beyond_the_bounds(path: Path) -> None:
    disk = FaultyFs(path.parent)
    async with JsonFilePersistence(path, fs=disk) as store, Desk(store, max_records=20) as desk:
        desk.recorder.emit(event("before"))
        assert await desk.recorder.flush(10)
        disk.fail("sync", errno.EIO)
        desk.recorder.emit(event("failed"))
        assert not await desk.recorder.flush(0.05)
        assert store.state.condition is StoreCondition.FAILED
        disk.heal()
        for number in range(100):
            desk.recorder.emit(event(number))
        assert not await desk.recorder.flush(0.01)
        assert isinstance(desk.recorder.last_error, StoreFailedError)
        assert desk.recorder.queued <= 20
        assert is_degraded(desk)
        assert desk.recorder.dropped[RecordKind.EVENT] > 80
        assert await desk.recorder.aclose(0.01, close_backend=True) == desk.recorder.queued
    own, _ = await history(path)
    assert own[0] == "before"
