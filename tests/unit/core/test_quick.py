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
