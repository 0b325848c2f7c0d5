"""R4: a store that is down, full, slow or odd stops nobody, and costs nothing that there is room for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from papyra._runtime.recorder import HANGS_AFTER_SECONDS
from papyra.exceptions import (
    AppendError,
    BackendClosedError,
    RecordConflictError,
    RecordTooLargeError,
    StoreFailedError,
    StoreFullError,
    StoreLockedError,
    StoreUnavailableError,
)
from papyra.persistence.models import EventType, LossNote, PersistedEvent, RecordKind
from papyra.supervision import Backoff
from tests.unit.recorder.stores import INCARNATION, Desk, ScriptedStore, audit, event, is_degraded, letter

if TYPE_CHECKING:
    from papyra.exceptions import PersistenceError
    from papyra.persistence.models import Record


class OddError(BaseException):
    """What no library should raise."""

    def __str__(self) -> str:
        raise RuntimeError("not even a text")


TOO_LARGE = "RecordTooLargeError: too large"
ALL_TROUBLES = [
    StoreUnavailableError("down"),
    StoreFullError("full"),
    StoreLockedError("locked"),
    StoreFailedError("failed"),
    RuntimeError("a fault of a third party's"),
    OddError("not even an Exception"),
    asyncio.CancelledError("of some task inside the store"),
]


@pytest.mark.parametrize("trouble", ALL_TROUBLES, ids=lambda trouble: type(trouble).__name__)
async def test_r4_the_same_batch_is_tried_until_the_store_takes_it(trouble: BaseException) -> None:
    store = ScriptedStore(trouble, trouble, trouble)
    async with Desk(store) as desk:
        desk.recorder.emit(event("first"))
        await store.called(1)
        desk.recorder.emit(event("second"))
        assert await desk.recorder.flush(5)
    assert store.batches[0] == store.batches[1] == store.batches[2] == store.batches[3]
    assert [each.payload for each in store.events] == ["first", "second"]
    assert (desk.recorder.written, desk.recorder.queued, desk.recorder.queued_bytes) == (2, 0, 0)
    assert desk.recorder.last_error is trouble


async def test_r4_trouble_is_told_once_and_shows_until_it_is_over() -> None:
    trouble = StoreUnavailableError("down")
    store = ScriptedStore(trouble, trouble, trouble)
    async with Desk(store) as desk:
        desk.recorder.emit(event())
        await store.called(2)
        assert is_degraded(desk)
        assert await desk.recorder.flush(5)
        assert not is_degraded(desk)
        assert desk.problems.errors == [trouble]
        store.script.append(trouble)
        desk.recorder.emit(event())
        assert await desk.recorder.flush(5)
        assert desk.problems.errors == [trouble, trouble]


async def test_r4_what_the_store_had_taken_before_it_failed_is_stored_once() -> None:
    store = ScriptedStore(StoreUnavailableError("the answer was lost on its way"))
    store.takes_first = True
    async with Desk(store) as desk:
        desk.recorder.emit(event())
        assert await desk.recorder.flush(5)
        desk.recorder.emit(event())
        assert await desk.recorder.flush(5)
    assert store.seqs(RecordKind.EVENT) == [1, 2]
    assert not store.check().holes()


async def test_r4_a_store_that_hangs_stops_no_emit_and_shows_in_health() -> None:
    store = ScriptedStore()
    store.gate.clear()
    async with Desk(store, max_records=100) as desk:
        desk.recorder.emit(event())
        await store.called(1)
        for _ in range(1000):
            desk.recorder.emit(event())
        assert desk.recorder.queued == 100
        assert not await desk.recorder.flush(0.01)
        store.gate.set()
        assert await desk.recorder.flush(5)
    assert not store.check().holes()


async def test_a_store_that_hangs_is_degraded_after_five_seconds() -> None:
    store = ScriptedStore()
    store.gate.clear()
    async with Desk(store) as desk:
        desk.recorder.emit(event())
        await store.called(1)
        assert not is_degraded(desk)
        desk.clock.advance(HANGS_AFTER_SECONDS)
        assert is_degraded(desk)
        store.gate.set()
        assert await desk.recorder.flush(5)
        assert not is_degraded(desk)


async def test_a_record_that_is_refused_for_good_leaves_a_loss_note_and_the_rest_goes_on() -> None:
    store = ScriptedStore()
    poison = {("dead_letter", 2), ("dead_letter", 3), ("event", 2), ("event", 4)}
    store.refuses = lambda each: (
        RecordTooLargeError("token=abc is") if (each.kind, each.seq) in poison else None
    )
    async with Desk(store) as desk:
        for _ in range(5):
            desk.recorder.emit(event())
            desk.recorder.emit_letter(letter(), "hello")
        assert await desk.recorder.flush(5)
    assert store.notes() == [
        (
            LossNote(INCARNATION, "dead_letter", 2, 3, "RecordTooLargeError: token=[redacted] is"),
            EventType.RECORDS_LOST,
        ),
        (
            LossNote(INCARNATION, "event", 2, 2, "RecordTooLargeError: token=[redacted] is"),
            EventType.RECORDS_LOST,
        ),
        (
            LossNote(INCARNATION, "event", 4, 4, "RecordTooLargeError: token=[redacted] is"),
            EventType.RECORDS_LOST,
        ),
    ]
    assert desk.recorder.dropped == {RecordKind.EVENT: 2, RecordKind.AUDIT: 0, RecordKind.DEAD_LETTER: 2}
    assert desk.recorder.written == 10 - 4 + 3
    assert not store.check().holes()
    assert len(store.batches) == 2


async def test_a_store_that_refuses_even_loss_notes_is_not_asked_for_ever() -> None:
    store = ScriptedStore()
    store.refuses = lambda _: RecordConflictError("everything is stored already")
    async with Desk(store) as desk:
        desk.recorder.emit(event())
        assert await desk.recorder.flush(5)
        assert desk.recorder.queued == 0
    assert [len(batch) for batch in store.batches] == [1, 1]
    assert desk.recorder.dropped[RecordKind.EVENT] == 1


async def test_flush_waits_for_the_notes_of_what_was_emitted_before_it_and_of_nothing_later() -> None:
    store = ScriptedStore()
    store.gate.clear()
    async with Desk(store) as desk:

        def refuse_and_emit_more(record: Record) -> PersistenceError | None:
            if (
                isinstance(record, PersistedEvent)
                and record.event_type == "Poison"
                and len(store.batches) < 50
            ):
                desk.recorder.emit(event(type_="Poison"))
                return RecordTooLargeError("it is")
            return None

        store.refuses = refuse_and_emit_more
        desk.recorder.emit(event(type_="Poison"))
        flushing = asyncio.create_task(desk.recorder.flush(5))
        await store.called(1)
        store.gate.set()
        assert await flushing
        assert store.notes()[0][0].first == 1
        assert len(store.batches) < 10
    assert not store.check().holes()


async def test_a_refusal_that_names_no_record_is_a_fault_of_the_store() -> None:
    store = ScriptedStore(AppendError([(7, RecordTooLargeError("which?"))]))
    async with Desk(store) as desk:
        desk.recorder.emit(event())
        assert await desk.recorder.flush(5)
    assert store.seqs(RecordKind.EVENT) == [1]
    assert not store.notes()


async def test_a_time_that_no_store_can_hold_is_noted() -> None:
    store = ScriptedStore()
    async with Desk(store) as desk:
        desk.recorder.emit(event(timestamp=float("nan")))
        desk.recorder.emit(event())
        assert await desk.recorder.aclose(5) == 0
    ((note, type_),) = store.notes()
    assert (note.kind, note.first, note.last, type_) == ("event", 1, 1, EventType.RECORDS_LOST)


async def test_a_closed_backend_ends_recording_and_nobody_waits_for_it() -> None:
    closed = BackendClosedError("closed")
    store = ScriptedStore(closed)
    async with Desk(store) as desk:
        desk.recorder.emit(event())
        assert not await desk.recorder.flush()
        assert (desk.recorder.is_degraded, desk.recorder.last_error) == (True, closed)
        desk.recorder.emit(event())
        assert desk.recorder.dropped[RecordKind.EVENT] == 1
        assert not await desk.recorder.flush()
        assert await desk.recorder.aclose(5) == 1
    assert len(store.batches) == 1


async def test_somebody_who_waits_makes_the_recorder_try_at_once() -> None:
    store = ScriptedStore(StoreUnavailableError("down"))
    async with Desk(store, backoff=Backoff(first_seconds=3600, last_seconds=3600)) as desk:
        desk.recorder.emit(event())
        await store.called(1)
        assert await desk.recorder.flush(5)


async def test_flush_with_a_timeout_does_not_wait_for_ever_for_a_store_that_fails() -> None:
    store = ScriptedStore(*[StoreUnavailableError("down")] * 100_000)
    async with Desk(store, backoff=Backoff(first_seconds=3600, last_seconds=3600)) as desk:
        desk.recorder.emit(event())
        assert not await desk.recorder.flush(0.01)
        assert desk.recorder.queued == 1


async def test_a_flush_that_is_cancelled_leaves_nothing_behind() -> None:
    store = ScriptedStore()
    store.gate.clear()
    async with Desk(store) as desk:
        desk.recorder.emit(event())
        waiting = asyncio.create_task(desk.recorder.flush())
        await store.called(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        store.gate.set()
        assert await desk.recorder.flush(5)


async def test_aclose_writes_what_waits_and_takes_nothing_more() -> None:
    store = ScriptedStore(StoreUnavailableError("once"))
    async with Desk(store) as desk:
        for _ in range(700):
            desk.recorder.emit(event())
        closing = asyncio.create_task(desk.recorder.aclose(5))
        await store.called(1)
        desk.recorder.emit(audit())
        assert await closing == 0
        assert await desk.recorder.aclose(5) == 0
    assert store.seqs(RecordKind.EVENT) == list(range(1, 701))
    assert desk.recorder.dropped[RecordKind.AUDIT] == 1


async def test_aclose_writes_the_notes_of_what_is_refused_last() -> None:
    store = ScriptedStore()
    store.refuses = lambda each: (
        RecordTooLargeError("too large") if each.kind is RecordKind.DEAD_LETTER else None
    )
    async with Desk(store) as desk:
        desk.recorder.emit_letter(letter(), "hello")
        assert await desk.recorder.aclose(5) == 0
    assert [note for note, _ in store.notes()] == [LossNote(INCARNATION, "dead_letter", 1, 1, TOO_LARGE)]


async def test_r6_aclose_keeps_its_deadline_whatever_the_store_does() -> None:
    store = ScriptedStore()
    store.gate.clear()
    async with Desk(store) as desk:
        for _ in range(3):
            desk.recorder.emit(event())
        assert await desk.recorder.aclose(0.01) == 3


async def test_r6_a_store_that_swallows_its_cancellation_does_not_keep_the_recorder_alive() -> None:
    class Stubborn(ScriptedStore):
        async def append(self, records: object) -> None:
            del records
            self.batches.append(())
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return

    store = Stubborn()
    before = asyncio.all_tasks()
    async with Desk(store) as desk:
        desk.recorder.emit(event())
        await asyncio.sleep(0)
        desk.recorder.emit(event())
        assert await desk.recorder.aclose(0.01) == 1
        assert asyncio.all_tasks() == before
    assert len(store.batches) == 1


def test_pauses_double_up_to_a_limit_and_chance_only_shortens_them() -> None:
    backoff = Backoff(first_seconds=0.05, last_seconds=5.0, jitter=0.5)
    assert [backoff.delay(failures, 0.0) for failures in (1, 2, 3, 7, 8, 10_000)] == [
        *(0.05, 0.1, 0.2, 3.2),
        *(5.0, 5.0),
    ]
    assert backoff.delay(1, 0.999) == pytest.approx(0.025, rel=0.01)
