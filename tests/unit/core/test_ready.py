"""What the recorder makes ready is written as the record it stands for would be, byte by byte."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from papyra.exceptions import AppendError, InvalidRecordError, RecordTooLargeError
from papyra.payloads import encode
from papyra.persistence import codec
from papyra.persistence.backends.memory import InMemoryPersistence
from papyra.persistence.handled import HandledRows, Handler, handled_run
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import PersistedEvent, Record, RecordKind
from papyra.persistence.ready import ReadyEvent, ReadyRun

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

INCARNATION = "01HZZZZZZZZZZZZZZZZZZZZZZZ"
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
times = st.floats(allow_nan=False, allow_infinity=False)


def ready(seq: int = 1, *, payload: object = None, timestamp: float = 1.5) -> ReadyEvent:
    json = b"{}" if payload is None else encode(payload).json
    return ReadyEvent(
        seq, RecordKind.EVENT, INCARNATION, "orders", timestamp, "orders:1", "ActorStarted", msgspec.Raw(json)
    )


@given(st.integers(1, 2**63 - 1), times, texts, texts, texts, st.dictionaries(texts, texts, max_size=3))
def test_a_ready_event_has_the_line_of_its_record(
    seq: int, timestamp: float, path: str, type_: str, message_id: str, payload: dict[str, str]
) -> None:
    payload = {name: text for name, text in payload.items() if name not in {"seq", "crc"}}
    event = ready(seq, payload=payload, timestamp=timestamp)
    event.actor_path, event.actor_type, event.message_id = path, type_, message_id
    run = codec.encode_ready([event])
    line, [checksum] = run.lines, run.checksums
    record = event.to_record()
    assert line == codec.encode_record(record, incarnation=INCARNATION, seq=seq)
    assert codec.checksum_of(line[:-1]) == f"{checksum:08x}"
    assert codec.decode_record(line[:-1]) == codec.decode_record(
        codec.encode_record(record, incarnation=INCARNATION, seq=seq)[:-1]
    )


@given(
    st.lists(
        st.tuples(
            times,
            st.tuples(texts, texts, texts),
            texts,
            st.integers(1, 2**40),
            st.integers(0, 2**40) | texts,
            st.integers(1, 2**40) | texts,
            st.floats(0, 1e6).map(lambda seconds: round(seconds, 6)),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_the_lines_of_handled_messages_are_those_of_their_records(
    rows: list[tuple[float, tuple[str, str, str], str, int, int | str, int | str, float]],
) -> None:
    whens, whos, *columns = map(list, zip(*rows, strict=True))
    run = handled_run("orders", INCARNATION, 7, HandledRows(whens, [Handler(*who) for who in whos], *columns))
    assert (run.seq, run.incarnation, run.timestamps, len(run)) == (7, INCARNATION, whens, len(rows))
    for at, (single, (when, who, type_, number, cause, root, seconds)) in enumerate(
        zip(run.singles(), rows, strict=True)
    ):
        record = PersistedEvent(
            "orders",
            who[0],
            "MessageHandled",
            {"message_type": type_, "seconds": seconds},
            when,
            actor_path=who[1],
            actor_type=who[2],
            message_id=f"{INCARNATION}-{number}",
            cause_id=cause if isinstance(cause, str) else f"{INCARNATION}-{cause}" if cause else "",
            root_id=root if isinstance(root, str) else f"{INCARNATION}-{root}",
        )
        expected = codec.encode_record(record, incarnation=INCARNATION, seq=7 + at)
        assert codec.plain_records(single) == [codec.decode_record(expected[:-1])]
        assert codec.has_sound_checksum(single.lines[:-1])
        assert single.checksums == [int(codec.checksum_of(single.lines[:-1]), 16)]
        if who[1] and who[2] and root:
            assert single.lines == expected


def test_what_no_store_can_hold_is_refused() -> None:
    with pytest.raises(InvalidRecordError, match="timestamp"):
        codec.encode_ready([ready(timestamp=math.nan)])
    event = ready()
    event.payload = msgspec.Raw(b'"%b"' % (b"x" * codec.MAX_RECORD_BYTES))
    with pytest.raises(RecordTooLargeError):
        codec.encode_ready([event])


@pytest.mark.parametrize("kind", ["memory", "json"])
async def test_stores_take_what_is_ready_among_records_and_refuse_only_what_is_unsound(
    kind: str, tmp_path: Path
) -> None:
    store = InMemoryPersistence() if kind == "memory" else JsonFilePersistence(tmp_path / "log.ndjson")
    assert store.capabilities.takes_ready_events
    plain = PersistedEvent("orders", "", "Operated", {"a": 1}, 2.0, incarnation=INCARNATION, seq=3)
    batch = [ready(1), ready(2, timestamp=math.inf), plain, ready(4)]
    with pytest.raises(AppendError) as caught:
        await store.append(batch)  # type: ignore[arg-type]  # as its capabilities say
    assert [position for position, _ in caught.value.refused] == [1]
    await store.append([ready(5), ready(6)])  # type: ignore[list-item]
    await store.append([ready(5), ready(6)])  # type: ignore[list-item]  # the same once more
    assert [event.seq for event in await store.list_events()] == [1, 3, 4, 5, 6]
    with pytest.raises(AppendError, match="other bytes"):
        await store.append([ready(6, payload={"another": 1})])  # type: ignore[list-item]
    await store.aclose()


async def test_a_subclass_with_its_own_append_is_given_records() -> None:
    class Looking(InMemoryPersistence):
        async def append(self, records: Sequence[Record]) -> None:
            await super().append(records)

    class Saying(Looking):
        capabilities = InMemoryPersistence.capabilities

        async def append(self, records: Sequence[Record]) -> None:
            await super().append(records)

    assert not Looking.capabilities.takes_ready_events
    assert Saying.capabilities.takes_ready_events


@given(st.lists(st.tuples(times, texts, texts), min_size=1, max_size=5))
def test_neighbouring_events_have_in_one_piece_the_lines_they_have_alone(
    events: list[tuple[float, str, str]],
) -> None:
    ready_events = [
        ready(seq, payload={"text": text}, timestamp=when) for seq, (when, text, _) in enumerate(events, 1)
    ]
    for event, (_, _, path) in zip(ready_events, events, strict=True):
        event.actor_path = path
    run = codec.encode_ready(ready_events)
    assert run.singles() == [codec.encode_ready([event]) for event in ready_events]
    assert run.timestamps == [when for when, _, _ in events]


def handled(first_seq: int, count: int, type_: str = "Ping") -> ReadyRun:
    who, numbers = Handler("orders:1", "/desk", "Desk"), list(range(first_seq, first_seq + count))
    rows = HandledRows(
        [float(number) for number in numbers],
        [who] * count,
        [type_] * count,
        numbers,
        [0] * count,
        numbers,
        [0.5] * count,
    )
    return handled_run("orders", INCARNATION, first_seq, rows)


@pytest.mark.parametrize("kind", ["memory", "json"])
async def test_a_run_counts_as_its_records_wherever_they_are_counted_refused_or_known(
    kind: str, tmp_path: Path
) -> None:
    store = InMemoryPersistence() if kind == "memory" else JsonFilePersistence(tmp_path / "log.ndjson")
    plain = PersistedEvent("orders", "", "Operated", {"a": 1}, 2.0, incarnation=INCARNATION, seq=8)
    await store.append([handled(1, 4), ready(5)])  # type: ignore[list-item]  # as its capabilities say
    assert store.metrics.records_written == 5
    await store.append([handled(1, 4), handled(3, 2)])  # type: ignore[list-item]  # the same once more
    with pytest.raises(AppendError, match="other bytes") as caught:
        await store.append([handled(6, 2), plain, handled(2, 1), handled(3, 1, "Pong"), handled(4, 6)])  # type: ignore[list-item]
    assert [position for position, _ in caught.value.refused] == [4, 6, 9]
    assert [event.seq for event in await store.list_events()] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    await store.aclose()
