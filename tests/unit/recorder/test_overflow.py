"""R5: memory is bounded, the least precious goes first, and every loss is on record exactly."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra.exceptions import PersistenceError, RecordTooLargeError, StoreUnavailableError
from papyra.persistence import codec
from papyra.persistence.integrity import HistoryCheck
from papyra.persistence.models import (
    EventType,
    LossNote,
    PersistedDeadLetter,
    PersistedEvent,
    Record,
    RecordKind,
)
from tests.unit.recorder.stores import INCARNATION, Desk, ScriptedStore, audit, event, is_degraded, letter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RAW: dict[str, Callable[[], Record]] = {"event": event, "audit": audit, "letter": letter}


async def full_desk(kinds: Sequence[str], *, max_records: int) -> Desk[ScriptedStore]:
    """Emit ``kinds`` in order onto a store that hangs with one event in its hands."""
    store = ScriptedStore()
    store.gate.clear()
    desk = Desk(store, max_records=max_records)
    desk.recorder.emit(event("in flight"))
    await store.called(1)
    for kind in kinds:
        desk.recorder.emit(RAW[kind]())
    return desk


async def test_audits_go_before_events_and_letters_last() -> None:
    desk = await full_desk(["letter", "event", "audit"] * 4, max_records=13)
    assert desk.recorder.dropped == dict.fromkeys(RecordKind, 0)
    lost: list[dict[RecordKind, int]] = []
    for _ in range(9):
        desk.recorder.emit(letter())
        lost.append(desk.recorder.dropped)
    assert lost[0] == {RecordKind.AUDIT: 2, RecordKind.EVENT: 0, RecordKind.DEAD_LETTER: 0}
    assert lost[2] == {RecordKind.AUDIT: 4, RecordKind.EVENT: 0, RecordKind.DEAD_LETTER: 0}
    assert lost[3] == {RecordKind.AUDIT: 4, RecordKind.EVENT: 2, RecordKind.DEAD_LETTER: 0}
    assert lost[5] == {RecordKind.AUDIT: 4, RecordKind.EVENT: 4, RecordKind.DEAD_LETTER: 0}
    assert lost[6] == {RecordKind.AUDIT: 4, RecordKind.EVENT: 4, RecordKind.DEAD_LETTER: 2}
    desk.store.gate.set()
    assert await desk.recorder.aclose(5) == 0
    assert desk.store.seqs(RecordKind.DEAD_LETTER) == list(range(5, 14))
    assert not desk.store.check().holes()


async def test_the_note_for_events_stands_where_the_hole_is() -> None:
    desk = await full_desk(["event"] * 10, max_records=6)
    desk.store.gate.set()
    assert await desk.recorder.aclose(5) == 0
    assert [(each.seq, each.event_type) for each in desk.store.events] == [
        (1, "ActorStarted"),
        (7, "RecordsDropped"),
        *((seq, "ActorStarted") for seq in (8, 9, 10, 11)),
    ]
    (note,) = desk.store.notes()
    assert note == (LossNote(INCARNATION, "event", 2, 7, "overflow"), EventType.RECORDS_DROPPED)
    assert desk.recorder.dropped[RecordKind.EVENT] == 6
    times = [each.timestamp for each in desk.store.events]
    assert times == sorted(set(times))


@pytest.mark.parametrize("kind", ["letter", "audit"])
async def test_a_note_is_stored_before_what_follows_its_hole(kind: str) -> None:
    desk = await full_desk([kind] * 10, max_records=8)
    desk.store.gate.set()
    assert await desk.recorder.aclose(5) == 0
    order = [(each.kind, each.seq) for batch in desk.store.batches for each in batch]
    of = RAW[kind]().kind
    assert order == [(RecordKind.EVENT, 1), (RecordKind.EVENT, 2), *((of, seq) for seq in range(5, 11))]


async def test_the_system_s_own_events_and_loss_notes_are_never_dropped() -> None:
    desk = await full_desk([], max_records=3)
    types = ["StartupChecked", "IncarnationLost", "SystemStopped", "DeadLettersDropped"]
    for type_ in types:
        desk.recorder.emit(event(type_=type_))
        desk.recorder.emit(letter())
    desk.store.gate.set()
    assert await desk.recorder.aclose(5) == 0
    assert [each.event_type for each in desk.store.events if each.event_type in types] == types
    assert not desk.store.check().holes()


async def test_bytes_are_bounded_as_well_as_numbers() -> None:
    store = ScriptedStore()
    store.gate.clear()
    desk = Desk(store, max_bytes=100_000)
    for _ in range(100):
        desk.recorder.emit(event("x" * 10_000))
        assert desk.recorder.queued_bytes <= 100_000
    store.gate.set()
    assert await desk.recorder.aclose(5) == 0
    assert len(store.events) - 1 + desk.recorder.dropped[RecordKind.EVENT] == 100
    assert not store.check().holes()


async def test_a_record_larger_than_all_the_room_there_is_is_noted() -> None:
    store = ScriptedStore()
    desk = Desk(store, max_bytes=10_000)
    desk.recorder.emit(event("x" * 20_000))
    desk.recorder.emit(event())
    assert await desk.recorder.aclose(5) == 0
    assert [each.seq for each in store.events] == [1, 2]
    assert store.notes()[0][0] == LossNote(INCARNATION, "event", 1, 1, "overflow")


async def test_an_overflow_is_told_once_and_shows_until_there_is_room_again() -> None:
    desk = await full_desk(["event"] * 50, max_records=20)
    assert is_degraded(desk)
    desk.store.gate.set()
    assert await desk.recorder.flush(5)
    assert not is_degraded(desk)
    assert len(desk.problems.texts) == 1
    assert await desk.recorder.aclose(5) == 0


async def test_a_store_that_never_comes_back_costs_no_more_memory_than_the_bound() -> None:
    desk = await full_desk(["event", "letter", "event", "audit"] * 2500, max_records=100)
    assert desk.recorder.queued <= 100
    assert sum(desk.recorder.dropped.values()) >= 9_900
    assert await desk.recorder.aclose(0) == desk.recorder.queued


class Checked(ScriptedStore):
    """Refuses poisoned letters, and knows the holes that a reader may see after each single record."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses = self.judge
        self.holes: list[LossNote] = []
        self._reader = HistoryCheck()

    @staticmethod
    def judge(record: Record) -> PersistenceError | None:
        is_poison = isinstance(record, PersistedDeadLetter) and "poison" in repr(record.payload)
        return RecordTooLargeError("refused") if is_poison else None

    async def append(self, records: Sequence[Record]) -> None:
        await super().append(records)
        for record in records:
            line = codec.encode_record(record, incarnation=record.incarnation, seq=record.seq)[:-1]
            self._reader.add(codec.decode_head(line), checksum=codec.checksum_of(line))
            self.holes += self._reader.holes()


MOVES = ["event", "event", "letter", "letter", "audit", "system", "turn", "fail"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(MOVES), max_size=60), st.integers(min_value=1, max_value=12))
def test_every_record_is_stored_or_noted_and_no_reader_ever_sees_a_hole(
    moves: list[str], max_records: int
) -> None:
    assert asyncio.run(_play(moves, max_records)).holes == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([*MOVES, "poison"]), max_size=60), st.integers(min_value=1, max_value=12))
def test_every_record_is_stored_or_noted_though_the_store_refuses_some(
    moves: list[str], max_records: int
) -> None:
    asyncio.run(_play(moves, max_records))


async def _play(moves: list[str], max_records: int) -> Checked:
    store = Checked()
    desk = Desk(store, max_records=max_records)
    emitted: Counter[str] = Counter()
    for move in moves:
        match move:
            case "turn":
                await asyncio.sleep(0)
            case "fail":
                store.script.append(StoreUnavailableError("down"))
            case "system":
                emitted["event"] += 1
                desk.recorder.emit(event(type_="StartupChecked"))
            case "poison":
                emitted["dead_letter"] += 1
                desk.recorder.emit(letter("poison"))
            case _:
                record = RAW[move]()
                emitted[record.kind] += 1
                desk.recorder.emit(record)
    assert await desk.recorder.aclose(5) == 0
    _compare(store, desk, emitted)
    return store


def _compare(store: Checked, desk: Desk[ScriptedStore], emitted: Counter[str]) -> None:
    noted = Counter[str]()
    places: set[tuple[str, int]] = set()
    for note, _ in store.notes():
        noted[note.kind] += note.last - note.first + 1
        covered = {(note.kind, seq) for seq in range(note.first, note.last + 1)}
        assert not covered & places, "no loss is noted twice"
        places |= covered
    for kind in RecordKind:
        kept = [each for each in store.stored() if each.kind is kind and not _is_note(each)]
        assert not {(kind.value, each.seq) for each in kept} & places, (
            "nothing that is there is noted as lost"
        )
        assert len(kept) + noted[kind] == emitted[kind]
        assert desk.recorder.dropped[kind] == noted[kind]
        assert store.seqs(kind) == sorted(store.seqs(kind))
    times = sorted((each.timestamp, each.kind) for each in store.stored())
    assert len({time for time, _ in times}) == len(times)
    assert not store.check().holes()


def _is_note(record: Record) -> bool:
    kinds = {EventType.RECORDS_DROPPED, EventType.RECORDS_LOST}
    return isinstance(record, PersistedEvent) and record.event_type in kinds


@pytest.mark.parametrize("kind", ["event", "letter", "audit"])
async def test_contiguous_losses_make_one_note(kind: str) -> None:
    desk = await full_desk([kind] * 500, max_records=10)
    desk.store.gate.set()
    assert await desk.recorder.aclose(5) == 0
    assert len(desk.store.notes()) == 1
