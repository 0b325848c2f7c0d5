"""The short way to a record's JSON says what the long one says, or leaves it to the long one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papyra.exceptions import InvalidRecordError
from papyra.persistence import codec
from papyra.persistence.models import PersistedAudit, PersistedDeadLetter, PersistedEvent
from papyra.persistence.quickread import quick_record, quick_records
from papyra.testing.records import INCARNATION

if TYPE_CHECKING:
    from papyra.persistence.models import Record

texts = st.text(max_size=12) | st.sampled_from(["", "\ud800", "\x00", '"},{"seq":'])
times = st.floats(allow_nan=True, allow_infinity=True) | st.integers() | st.just(1795569868.123456)
counts = st.integers(min_value=-(2**64), max_value=2**64) | st.booleans() | st.just(0)
payloads = st.none() | st.booleans() | st.dictionaries(texts, st.integers() | texts | st.floats(), max_size=4)
extras: st.SearchStrategy[dict[str, int]] = st.just({}) | st.dictionaries(texts, st.integers(), max_size=2)

events = st.builds(
    PersistedEvent,
    texts,
    texts,
    texts,
    payloads,
    times,
    actor_path=texts,
    message_id=texts,
    span_id=texts,
    extra=extras,
)
letters = st.builds(
    PersistedDeadLetter,
    texts,
    texts,
    texts,
    payloads,
    times,
    reason=texts,
    attempts=counts,
    expects_reply=st.booleans() | st.just(1),
    deadline=st.none() | times,
    headers=st.dictionaries(texts, texts, max_size=2),
    count=counts,
    extra=extras,
)
audits = st.builds(
    PersistedAudit,
    texts,
    times,
    *(counts,) * 5,
    st.just(()) | st.lists(texts),
    st.just(()),
    counts,
    accepted=counts,
    details=payloads,
)


def outcome(record: Record) -> bytes | str:
    try:
        return codec.encode_body(record)
    except InvalidRecordError as error:
        return str(error)


@given(record=st.one_of(events, letters, audits))
def test_both_ways_say_the_same(record: Record) -> None:
    short = outcome(record)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "quick_body", lambda *_: None)
        long = outcome(record)
    assert short == long


def test_the_usual_event_takes_the_short_way() -> None:
    event = PersistedEvent("orders", "orders:1", "ActorStarted", {"n": 1}, 1.5, actor_path="/desk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "_body_of", None)
        assert json.loads(b"{" + codec.encode_body(event) + b"}")["actor_path"] == "/desk"


def lines_of(records: list[Record]) -> list[bytes]:
    bodies = [(record.kind.value, outcome(record)) for record in records]
    return [
        codec.frame_record(kind, body, incarnation=INCARNATION, seq=seq)[0]
        for seq, (kind, body) in enumerate(bodies, 1)
        if isinstance(body, bytes)
    ]


@given(records=st.one_of(st.lists(events, min_size=1), st.lists(letters, min_size=1), st.lists(audits)))
def test_both_ways_read_the_same_one_line_or_many(records: list[Record]) -> None:
    lines = lines_of(records)
    long = [codec.decode_by_fields(line) for line in lines]
    short = [quick_record(line) for line in lines]
    assert [found or expected for found, expected in zip(short, long, strict=True)] == long
    assert quick_records(b"".join(lines), len(lines)) == (long if lines and None not in short else None)


def test_the_usual_records_are_read_many_at_a_time() -> None:
    event = PersistedEvent("orders", "orders:1", "ActorStarted", {"n": 1}, 1.5, actor_path="/desk")
    letter = PersistedDeadLetter("orders", "orders:1", "orders.Pay", {"n": 1}, 1.5, headers={"a": "b"})
    audit = PersistedAudit("orders", 1.5, 2, 2, 0, 0, 2, ("a",), (), 0, details={"n": 1})
    for record in (event, letter, audit):
        lines = lines_of([record] * 3)
        found = quick_records(b"".join(lines), 3)
        assert found == [codec.decode_by_fields(line) for line in lines]
        assert found is not None
        assert [one.seq for one in found] == [1, 2, 3]


def test_a_line_too_few_or_of_another_kind_is_left_to_the_long_way() -> None:
    event = PersistedEvent("orders", "orders:1", "ActorStarted", {"n": 1}, 1.5)
    letter = PersistedDeadLetter("orders", "orders:1", "orders.Pay", {"n": 1}, 1.5)
    lines = lines_of([event, event, letter])
    assert quick_records(b"".join(lines[:2]), 3) is None
    assert quick_records(b"".join(lines), 3) is None
