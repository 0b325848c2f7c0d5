"""Handled messages in the backlog: whole runs at a time, yet bounded and lost record by record, exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from papyra._runtime.identity import Identity
from papyra._runtime.recorder import MAX_BATCH_RECORDS
from papyra.exceptions import InvalidRecordError
from papyra.persistence.models import PersistedEvent, Record, RecordKind
from papyra.persistence.ready import ReadyEvent
from tests.unit.recorder.stores import Desk, ScriptedStore, audit, event, letter

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra._runtime.handled import HandledLog

RAW: dict[str, Callable[[], Record]] = {"event": event, "audit": audit, "letter": letter}


def handle(log: HandledLog, count: int, first_id: int) -> None:
    """Handle so many messages, one after another."""
    desk = log.handler(Identity("orders", 7, "desk", "/desk"))
    for number in range(first_id, first_id + count):
        log.begin(desk, 0.0).extend((number, int, 0, number, 0.0))


def start() -> ReadyEvent:
    """Return an actor's start: such events wait together."""
    return ReadyEvent(0, RecordKind.EVENT, "", "orders", 0.0, "orders:7", "ActorStarted")


async def test_events_that_wait_together_go_out_by_the_count_and_the_bytes_of_a_batch() -> None:
    store = ScriptedStore()
    async with Desk(store, max_records=10_000, max_bytes=1 << 30) as desk:
        store.gate.clear()
        desk.recorder.emit(event("in flight"))
        await store.called(1)
        for number in range(1_500):
            desk.recorder.emit_event(start(), {"text": "x" * 10_000} if number < 150 else None)
        store.gate.set()
        assert await desk.recorder.flush(5)
        assert store.seqs(RecordKind.EVENT) == list(range(1, 1_502))
        sizes = [len(batch) for batch in store.batches]
        assert max(sizes) <= MAX_BATCH_RECORDS
        assert sum(sizes[:2]) < 150, "a megabyte at a time"


@settings(deadline=None)
@given(
    steps=st.lists(
        st.sampled_from(["event", "audit", "letter", "start"]) | st.integers(1, 30), min_size=1, max_size=30
    ),
    max_records=st.integers(1, 25),
    refused=st.sets(st.integers(1, 60), max_size=5),
)
async def test_every_loss_of_a_run_is_noted_and_every_other_record_is_there_once(
    steps: list[str | int], max_records: int, refused: set[int]
) -> None:
    store = ScriptedStore()

    def refuse(record: Record) -> InvalidRecordError | None:
        is_handled = isinstance(record, PersistedEvent) and record.event_type == "MessageHandled"
        return InvalidRecordError("poison") if is_handled and record.seq in refused else None

    store.refuses = refuse
    async with Desk(store, max_records=max_records) as desk:
        store.gate.clear()
        desk.recorder.emit(event("in flight"))
        await store.called(1)
        handled = 0
        emitted = 1
        for step in steps:
            if isinstance(step, int):
                handle(desk.recorder.handled, step, handled + 1)
                handled += step
            elif step == "start":
                desk.recorder.emit_event(start())
                emitted += 1
            else:
                desk.recorder.emit(RAW[step]())
                emitted += 1
        store.gate.set()
        assert await desk.recorder.flush(5)
        assert not store.check().holes()
        lost = sum(desk.recorder.dropped.values())
        notes = len(store.notes())
        assert len(store.stored()) - notes + lost == emitted + handled
        times = sorted(record.timestamp for record in store.stored())
        assert len(set(times)) == len(times)
        ids = [
            int(record.message_id.rpartition("-")[2])
            for record in store.events
            if record.event_type == "MessageHandled"
        ]
        assert ids == sorted(set(ids))
