"""What emit does to a record: identity, time, encoding, redaction; and that nothing gets out of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import cast

import pytest

from papyra._runtime.recorder import Recorder
from papyra._runtime.sealing import MAX_ERROR_TEXT
from papyra.payloads import MessageRegistry, Redaction, encode
from papyra.persistence.models import PersistedDeadLetter, PersistedEvent, Record, RecordKind
from papyra.testing.clock import ManualClock
from tests.unit.recorder.stores import INCARNATION, Desk, Problems, ScriptedStore, audit, event, letter


@dataclass
class Order:
    number: int
    note: object = None


@dataclass
class Login:
    token: str


async def test_records_get_incarnation_and_numbers_of_their_kind_in_order() -> None:
    store = ScriptedStore()
    async with Desk(store) as desk:
        for record in (event("a"), letter("b"), event("c"), audit(), event("d"), letter("e")):
            desk.recorder.emit(record)
        assert await desk.recorder.flush(5)
    assert store.seqs(RecordKind.EVENT) == [1, 2, 3]
    assert store.seqs(RecordKind.AUDIT) == [1]
    assert store.seqs(RecordKind.DEAD_LETTER) == [1, 2]
    assert {record.incarnation for record in store.stored()} == {INCARNATION}
    assert [each.payload for each in store.events] == ["a", "c", "d"]


async def test_a_burst_goes_to_the_store_in_few_batches_in_order() -> None:
    store = ScriptedStore()
    async with Desk(store, max_records=10_000, max_bytes=1 << 24) as desk:
        for number in range(2500):
            desk.recorder.emit(event(number))
        assert await desk.recorder.flush(5)
    assert [each.payload for each in store.events] == list(range(2500))
    assert len(store.batches) <= 10


async def test_a_batch_is_bounded_by_its_bytes() -> None:
    store = ScriptedStore()
    async with Desk(store, max_bytes=1 << 24) as desk:
        for _ in range(4):
            desk.recorder.emit(event("x" * 600_000))
        assert await desk.recorder.flush(5)
    assert [len(batch) for batch in store.batches] == [1, 1, 1, 1]


async def test_times_increase_strictly_though_the_clock_stands_still() -> None:
    store = ScriptedStore()
    async with Desk(store) as desk:
        for _ in range(3):
            desk.recorder.emit(event())
            desk.recorder.emit(letter())
        assert await desk.recorder.flush(5)
    times = sorted(each.timestamp for each in store.stored())
    assert len(set(times)) == 6
    assert times[0] == desk.clock.now()
    assert times[-1] == pytest.approx(times[0] + 5e-6, abs=1e-7)
    assert desk.problems.texts == []


async def test_a_clock_that_is_set_back_is_clamped_and_told_once() -> None:
    store = ScriptedStore()
    async with Desk(store) as desk:
        desk.recorder.emit(event())
        desk.clock.set_wall(desk.clock.now() - 3600)
        desk.recorder.emit(event())
        desk.clock.set_wall(desk.clock.now() - 3600)
        desk.recorder.emit(event())
        desk.clock.advance(7201)
        desk.recorder.emit(event())
        assert await desk.recorder.flush(5)
    first, second, third, fourth = (each.timestamp for each in store.events)
    assert first < second < third < first + 1e-5
    assert fourth == first + 1
    assert desk.problems.texts == ["the clock was set back by 3600 s; times go on from before"]


async def test_a_time_that_is_handed_in_is_kept_and_moves_no_other() -> None:
    store = ScriptedStore()
    async with Desk(store) as desk:
        desk.recorder.emit(event(timestamp=4_000_000_000.0))
        desk.recorder.emit(event())
        assert await desk.recorder.flush(5)
    assert [each.timestamp for each in store.events] == [4_000_000_000.0, desk.clock.now()]


async def test_a_time_that_is_handed_in_and_has_come_is_followed_by_a_later_one() -> None:
    store = ScriptedStore()
    async with Desk(store) as desk:
        desk.recorder.emit(event(timestamp=desk.clock.now()))
        desk.recorder.emit(event())
        assert await desk.recorder.flush(5)
    first, second = (each.timestamp for each in store.events)
    assert first < second < first + 1e-5


async def test_a_payload_is_stored_as_it_was_when_it_was_emitted() -> None:
    store = ScriptedStore()
    payload, message = {"items": [1]}, Order(1, note=[1])
    async with Desk(store, messages=(Order,)) as desk:
        desk.recorder.emit(event(payload))
        desk.recorder.emit(audit(payload))
        desk.recorder.emit_letter(letter(), message)
        payload["items"].append(2)
        message.note = "changed"
        assert await desk.recorder.flush(5)
    assert store.events[0].payload == {"items": [1]}
    assert store.audits[0].details == {"items": [1]}
    assert cast("dict[str, dict[str, object]]", store.dead_letters[0].payload)["data"]["note"] == [1]


async def test_a_payload_that_is_encoded_already_is_taken_as_it_is() -> None:
    store = ScriptedStore()
    async with Desk(store) as desk:
        desk.recorder.emit(event(encode({"a": 1})))
        assert await desk.recorder.flush(5)
    assert store.events[0].payload == {"a": 1}


@pytest.mark.parametrize(
    ("message", "fidelity", "detail"),
    [
        (Order(1), "exact", ""),
        (Login("hunter2"), "redacted", "data.token"),
        (object(), "unstorable", "data"),
    ],
    ids=["plain", "redacted", "unstorable"],
)
async def test_a_letter_says_how_faithful_it_is(message: object, fidelity: str, detail: str) -> None:
    store = ScriptedStore()
    async with Desk(store, messages=(Order, Login)) as desk:
        desk.recorder.emit_letter(letter(), message)
        assert await desk.recorder.flush(5)
    (stored,) = store.dead_letters
    assert stored.fidelity == fidelity
    assert stored.fidelity_detail.startswith(detail)


async def test_secrets_are_gone_before_anything_is_handed_to_the_store() -> None:
    store = ScriptedStore()
    failure = {
        "error": "LoginError: password=hunter2",
        "traceback": "Traceback …\n  login(password='hunter2')",
        "nested": {"text": "api_key: hunter2"},
    }
    async with Desk(store, messages=(Login,)) as desk:
        for type_ in ("ActorCrashed", "ActorStopped", "ActorRestarted", "ActorEscalated"):
            desk.recorder.emit(event(failure, type_=type_))
        desk.recorder.emit(event("token=hunter2", type_="ActorCrashed"))
        desk.recorder.emit(event({"password": "hunter2", "deep": [{"cookie": "hunter2"}]}))
        desk.recorder.emit(audit({"secret": "hunter2"}))
        desk.recorder.emit(letter({"token": "hunter2"}))
        headers = {"authorization": "hunter2", "baggage": "token=hunter2", "traceparent": "00-1-2-3"}
        desk.recorder.emit_letter(letter(error="KeyError: token=hunter2", headers=headers), Login("hunter2"))
        assert await desk.recorder.flush(5)
    handed_over = [each for batch in store.batches for each in batch]
    assert len(handed_over) == 9
    assert all("hunter2" not in _everything_in(record) for record in handed_over)
    assert store.dead_letters[1].headers["traceparent"] == "00-1-2-3"
    assert store.dead_letters[1].error == "KeyError: token=[redacted]"


def _everything_in(record: Record) -> str:
    return f"{record!r}"


async def test_the_words_to_redact_can_be_chosen() -> None:
    store = ScriptedStore()
    recorder = Recorder(
        store,
        system_id="orders",
        clock=ManualClock(),
        registry=MessageRegistry(),
        on_problem=Problems(),
        redaction=Redaction(["iban"]),
    )
    recorder.begin(INCARNATION)
    recorder.emit(event({"iban": "DE00", "cookie": "kept"}))
    assert await recorder.aclose(5) == 0
    assert "DE00" not in _everything_in(store.batches[0][0])
    assert cast("dict[str, object]", store.events[0].payload)["cookie"] == "kept"


async def test_r5_an_endless_error_text_is_cut_and_keeps_its_end() -> None:
    store = ScriptedStore()
    text = "\n".join(["Traceback …", *["  frame"] * 100_000, "ValueError: no stock"])
    async with Desk(store) as desk:
        desk.recorder.emit(letter(error=text))
        desk.recorder.emit(letter(error="x" * 100_000))
        assert await desk.recorder.flush(5)
    cut, blunt = (each.error for each in store.dead_letters)
    assert len(cut) < MAX_ERROR_TEXT + 100
    assert cut.startswith("Traceback …")
    assert cut.endswith("ValueError: no stock")
    assert len(blunt) < MAX_ERROR_TEXT


class Unruly:
    """Raises wherever it is touched."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __getattr__(self, name: str) -> object:
        raise RuntimeError(f"no {name}")


async def test_r4_whatever_is_emitted_nothing_is_raised_and_nothing_is_missing() -> None:
    store = ScriptedStore()
    cycle: list[object] = []
    cycle.append(cycle)
    async with Desk(store) as desk:
        for payload in (Unruly(), cycle, "\ud800", float("nan"), {(1, 2): "x"}, lambda: None):
            desk.recorder.emit(event(payload))
            desk.recorder.emit_letter(letter(), payload)
        assert await desk.recorder.flush(5)
    assert store.seqs(RecordKind.EVENT) == store.seqs(RecordKind.DEAD_LETTER) == [1, 2, 3, 4, 5, 6]


async def test_r4_a_record_that_cannot_be_sealed_is_kept_without_what_it_carried(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = ScriptedStore()
    odd_headers = cast("dict[str, str]", {1: 2})
    async with Desk(store) as desk:
        desk.recorder.emit_letter(letter(headers=odd_headers), "hello")
        desk.recorder.emit_letter(letter(), "hello")
        assert await desk.recorder.flush(5)
    assert store.seqs(RecordKind.DEAD_LETTER) == [1, 2]
    assert (store.dead_letters[0].fidelity, store.dead_letters[0].headers) == ("unstorable", {})
    assert [each.levelno for each in caplog.records] == [logging.ERROR]


async def test_r4_what_is_no_record_at_all_is_counted_and_leaves_no_hole() -> None:
    store = ScriptedStore()
    async with Desk(store) as desk:
        desk.recorder.emit(cast("PersistedEvent", "not a record"))
        desk.recorder.emit_letter(cast("PersistedDeadLetter", Unruly()), "hello")
        desk.recorder.emit(event())
        assert await desk.recorder.flush(5)
    assert store.seqs(RecordKind.EVENT) == [1]
    assert sum(desk.recorder.dropped.values()) == 2


async def test_r4_a_clock_that_raises_costs_its_record_and_nothing_else() -> None:
    class BrokenClock(ManualClock):
        is_broken = True

        def now(self) -> float:
            if self.is_broken:
                raise OSError("no clock")
            return super().now()

    store, clock = ScriptedStore(), BrokenClock()
    recorder = Recorder(
        store, system_id="orders", clock=clock, registry=MessageRegistry(), on_problem=Problems()
    )
    recorder.begin(INCARNATION)
    recorder.emit(event())
    clock.is_broken = False
    recorder.emit(event())
    assert await recorder.aclose(5) == 0
    assert store.seqs(RecordKind.EVENT) == [1]
    assert recorder.dropped[RecordKind.EVENT] == 1


async def test_r4_a_listener_that_raises_is_logged_and_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def listen(text: str, error: BaseException | None) -> None:
        raise ValueError(text) from error

    store, clock = ScriptedStore(OSError("down")), ManualClock()
    recorder = Recorder(store, system_id="orders", clock=clock, registry=MessageRegistry(), on_problem=listen)
    recorder.begin(INCARNATION)
    recorder.emit(event())
    clock.set_wall(clock.now() - 5)
    recorder.emit(event())
    assert await recorder.aclose(5) == 0
    assert store.seqs(RecordKind.EVENT) == [1, 2]
    assert "the listener for problems failed" in caplog.text


async def test_r4_a_record_about_the_trouble_may_be_emitted_by_whoever_hears_of_it() -> None:
    store, clock = ScriptedStore(), ManualClock()

    def listen(text: str, error: BaseException | None) -> None:
        del error
        recorder.emit(event(text))

    recorder = Recorder(
        store, system_id="orders", clock=clock, registry=MessageRegistry(), on_problem=listen, max_records=20
    )
    recorder.begin(INCARNATION)
    recorder.emit(event())
    clock.set_wall(clock.now() - 5)
    for _ in range(30):
        recorder.emit(event())
    assert await recorder.aclose(5) == 0
    times = [each.timestamp for each in store.events]
    assert times == sorted(set(times))
    assert not store.check().holes()


async def test_before_begin_and_after_the_end_records_are_counted_not_raised() -> None:
    recorder = Recorder(
        ScriptedStore(),
        system_id="orders",
        clock=ManualClock(),
        registry=MessageRegistry(),
        on_problem=Problems(),
    )
    recorder.emit(event())
    assert recorder.dropped[RecordKind.EVENT] == 1
    assert await recorder.flush()
    recorder.begin(INCARNATION)
    with pytest.raises(RuntimeError, match=INCARNATION):
        recorder.begin("another")
    assert await recorder.aclose(1) == 0
    recorder.emit_letter(letter(), "late")
    assert recorder.dropped[RecordKind.DEAD_LETTER] == 1


async def test_a_recorder_that_never_began_closes_at_once() -> None:
    recorder = Recorder(
        ScriptedStore(),
        system_id="orders",
        clock=ManualClock(),
        registry=MessageRegistry(),
        on_problem=Problems(),
    )
    assert await recorder.aclose(60) == 0
