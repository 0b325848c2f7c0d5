"""What has to be durable before anything else happens: the system's own beginning."""

from __future__ import annotations

import asyncio

import pytest

from papyra.exceptions import (
    AppendError,
    BackendClosedError,
    RecordTooLargeError,
    StoreFullError,
    StoreUnavailableError,
)
from papyra.persistence.models import LossNote, RecordKind
from tests.unit.recorder.stores import INCARNATION, Desk, ScriptedStore, event

STARTED = event({"node": {}}, type_="SystemStarted")
CHECKED = event({"verdict": "healthy"}, type_="StartupChecked")


async def test_it_is_durable_when_it_returns_and_comes_first() -> None:
    store = ScriptedStore()
    async with Desk(store) as desk:
        await desk.recorder.append_now([STARTED, CHECKED])
        assert [each.event_type for each in store.events] == ["SystemStarted", "StartupChecked"]
        assert desk.recorder.written == 2
        desk.recorder.emit(event())
        assert await desk.recorder.flush(5)
    assert store.seqs(RecordKind.EVENT) == [1, 2, 3]


async def test_what_is_emitted_meanwhile_waits_for_it() -> None:
    store = ScriptedStore()
    store.gate.clear()
    async with Desk(store) as desk:
        appending = asyncio.create_task(desk.recorder.append_now([STARTED]))
        await store.called(1)
        desk.recorder.emit(event())
        assert not await desk.recorder.flush(0.01)
        assert len(store.batches) == 1
        store.gate.set()
        await appending
        assert await desk.recorder.flush(5)
    assert [each.event_type for each in store.events] == ["SystemStarted", "ActorStarted"]


@pytest.mark.parametrize("trouble", [StoreFullError("full"), RuntimeError("odd")], ids=["full", "odd"])
async def test_a_failure_reaches_the_caller_and_the_numbers_are_free_again(trouble: Exception) -> None:
    store = ScriptedStore(trouble)
    async with Desk(store) as desk:
        with pytest.raises(StoreUnavailableError) as raised:
            await desk.recorder.append_now([STARTED, CHECKED])
        assert trouble in {raised.value, raised.value.__cause__}
        assert desk.recorder.queued == 0
        desk.recorder.emit(STARTED)
        assert await desk.recorder.flush(5)
    assert store.seqs(RecordKind.EVENT) == [1]


async def test_numbers_that_cannot_be_free_again_leave_a_note_and_no_hole() -> None:
    store = ScriptedStore(StoreUnavailableError("down"))
    store.gate.clear()
    async with Desk(store) as desk:
        appending = asyncio.create_task(desk.recorder.append_now([STARTED, CHECKED]))
        await store.called(1)
        desk.recorder.emit(event())
        store.gate.set()
        with pytest.raises(StoreUnavailableError):
            await appending
        assert await desk.recorder.flush(5)
        assert await desk.recorder.flush(5)
    cause = "StoreUnavailableError: down"
    assert [note for note, _ in store.notes()] == [LossNote(INCARNATION, "event", 1, 2, cause)]
    assert not store.check().holes()


async def test_a_refused_record_reaches_the_caller_and_is_noted() -> None:
    store = ScriptedStore()
    store.refuses = lambda each: RecordTooLargeError("too large") if each.seq == 1 else None
    async with Desk(store) as desk:
        with pytest.raises(AppendError):
            await desk.recorder.append_now([STARTED, CHECKED])
        assert await desk.recorder.flush(5)
    assert [note for note, _ in store.notes()] == [
        LossNote(INCARNATION, "event", 1, 1, "RecordTooLargeError: too large")
    ]


async def test_it_does_not_overtake_what_waits() -> None:
    store = ScriptedStore()
    store.gate.clear()
    async with Desk(store) as desk:
        desk.recorder.emit(event())
        with pytest.raises(StoreUnavailableError, match="emitted earlier"):
            await desk.recorder.append_now([STARTED])
        store.gate.set()
        assert await desk.recorder.flush(5)
        await desk.recorder.append_now([STARTED])
    assert store.seqs(RecordKind.EVENT) == [1, 2]


async def test_a_closed_recorder_says_so() -> None:
    store = ScriptedStore()
    async with Desk(store) as desk:
        await desk.recorder.aclose(1)
        with pytest.raises(BackendClosedError):
            await desk.recorder.append_now([STARTED])
