from __future__ import annotations

import json
import re
import zlib
from dataclasses import replace
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra import payloads
from papyra.exceptions import InvalidRecordError, RecordDecodeError, RecordTooLargeError
from papyra.persistence import codec
from papyra.persistence.models import EventType, Record
from papyra.testing.promises.payload import PAYLOADS, exactly
from papyra.testing.records import (
    EPOCH,
    INCARNATION,
    audit,
    event,
    full_records,
    letter,
    unstorable_records,
)
from tests.unit.core.lines import decoded, framed, line_of

TRIALS = Path(__file__).resolve().parents[2] / "trials" / "line-format"
ANY_TEXT = st.text(st.characters(categories=["L", "Cs", "Cc", "P"]), max_size=20)


def identified(record: Record, seq: int = 1) -> Record:
    return replace(record, incarnation=INCARNATION, seq=seq)


def test_the_format_is_this_to_the_byte() -> None:
    assert codec.encode_record(event(1, actor_path="/desk"), incarnation=INCARNATION, seq=7) == (
        b'{"seq":7,"kind":"event","incarnation":"01JDGH5Q7W0000000000000001","system_id":"orders",'
        b'"timestamp":1750000001.0,"actor_address":"orders:1","event_type":"ActorStarted","payload":{"number":1},'
        b'"actor_path":"/desk","crc":"'
        + b"%08x" % zlib.crc32(line_of(event(1, actor_path="/desk"), 7)[:-18])
        + b'"}\n'
    )
    assert codec.encode_header(store="5f1c0e6e4d2b4a6f9f0a1b2c3d4e5f60", family="all", segment=1) == (
        b'{"seq":0,"kind":"header","format":1,"store":"5f1c0e6e4d2b4a6f9f0a1b2c3d4e5f60","family":"all",'
        b'"segment":1,"crc":"6aeb5629"}\n'
    )


def test_sound_golden_lines_are_read_and_written_with_all_they_say() -> None:
    lines = (TRIALS / "sound.ndjson").read_bytes().splitlines()
    assert codec.decode_header(lines[0]).format == codec.FORMAT
    for line in lines[1:]:
        assert codec.is_framed(line)
        assert codec.has_sound_checksum(line)
        record = decoded(line)
        again = line_of(record, record.seq)
        assert {**json.loads(again), "crc": ""} == {**json.loads(line), "crc": ""}
        assert decoded(again) == record


@pytest.mark.parametrize("record", full_records(), ids=lambda record: record.kind)
def test_i2_a_full_record_reads_back_equal(record: Record) -> None:
    assert decoded(line_of(record)) == identified(record)


@given(
    PAYLOADS,
    st.dictionaries(ANY_TEXT, st.none() | st.booleans() | st.text() | st.integers(), max_size=3),
    st.text(),
)
@settings(max_examples=60, deadline=None)
def test_a_line_is_one_frame_whatever_is_in_it(value: object, extra: dict[str, Any], text: str) -> None:
    known = {"system_id", "timestamp", "actor_address", "event_type", "payload", "seq", "kind", "crc"}
    extra = {name: item for name, item in extra.items() if name not in known | {"incarnation"}}
    record = event(1, payload={"seq": 3, "v": value, "crc": "deadbeef"}, extra=extra, actor_type=text)
    line = codec.encode_record(record, incarnation=INCARNATION, seq=9)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    line = line[:-1]
    assert line.count(codec.FRAME_HEAD) == 1
    assert len(re.findall(rb',"crc":"', line)) == 1
    assert codec.is_framed(line)
    assert codec.has_sound_checksum(line)
    assert codec.checksum_of(line) == json.loads(line)["crc"]
    back = decoded(line)
    assert (back.seq, back.incarnation, back.actor_type, dict(back.extra)) == (9, INCARNATION, text, extra)
    expected = payloads.decode(payloads.encode(record.payload).json)
    assert exactly(back.payload) == exactly(expected)


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT, st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=3), PAYLOADS)
@settings(max_examples=60, deadline=None)
def test_i2_any_text_in_any_field_reads_back_equal(
    system: str, path: str, error: str, headers: dict[str, str], value: object
) -> None:
    record = letter(1, system_id=system, target_path=path, error=error, headers=headers, payload=value)
    line = line_of(record)
    back = decoded(line)
    assert (back.system_id, back.target_path, back.error, back.headers) == (system, path, error, headers)
    assert exactly(back.payload) == exactly(payloads.decode(payloads.encode(value).json))
    assert codec.decode_head(line).timestamp == record.timestamp


def test_a_payload_encoded_at_emit_is_embedded_as_it_is() -> None:
    encoded = payloads.encode({"when": {1, 2}})
    assert encoded.json in line_of(event(1, payload=encoded))
    assert decoded(line_of(event(1, payload=encoded))).payload == {"when": {1, 2}}


@pytest.mark.parametrize("record", unstorable_records(), ids=range(len(unstorable_records())))
def test_what_would_be_changed_silently_is_refused(record: Record) -> None:
    with pytest.raises((InvalidRecordError, RecordTooLargeError)):
        codec.encode_record(
            record,
            incarnation=getattr(record, "incarnation", "") or "",
            seq=getattr(record, "seq", 0),
        )


def test_enumerations_and_integer_kinds_are_stored_as_what_they_equal() -> None:
    class Word(StrEnum):
        EXPIRED = "expired"

    class Number(IntEnum):
        THREE = 3

    back = decoded(line_of(letter(1, reason=Word.EXPIRED, attempts=Number.THREE)))
    assert (back.reason, type(back.reason), back.attempts, type(back.attempts)) == ("expired", str, 3, int)
    assert decoded(line_of(event(1, event_type=EventType.SYSTEM_STARTED))).event_type == "SystemStarted"
    assert decoded(line_of(event(1, timestamp=5))).timestamp == 5.0


def test_a_subclass_is_refused_because_its_own_fields_would_be_lost() -> None:
    class Special(type(event(1))):  # type: ignore[misc]
        pass

    special = Special("orders", "orders:1", "X", None, 1.0)
    with pytest.raises(InvalidRecordError, match="Special"):
        codec.encode_body(special)


@pytest.mark.parametrize(
    ("incarnation", "seq"),
    [
        ("", 1),
        ("a b", 1),
        ("é", 1),
        ("x" * 65, 1),
        ('"', 1),
        ("ok", 0),
        ("ok", -1),
        ("ok", True),
        ("ok", 2**63),
    ],
)
def test_what_is_no_identity_is_refused(incarnation: str, seq: int) -> None:
    with pytest.raises(InvalidRecordError):
        codec.frame_record("event", codec.encode_body(event(1)), incarnation=incarnation, seq=seq)


def test_a_frame_needs_no_more_room_than_it_says() -> None:
    for record in full_records():
        body = codec.encode_body(record)
        line, _ = codec.frame_record(record.kind, body, incarnation="x" * 64, seq=2**63 - 1)
        assert len(line) - len(body) <= codec.FRAME_ROOM


def test_a_record_at_the_limit_is_written_and_one_over_it_is_not() -> None:
    spare = codec.MAX_RECORD_BYTES - codec.FRAME_ROOM - len(codec.encode_body(letter(1, error="x")))
    line = codec.encode_record(letter(1, error="x" * (spare + 1)), incarnation="x" * 64, seq=2**63 - 1)
    assert len(line) <= codec.MAX_RECORD_BYTES
    with pytest.raises(RecordTooLargeError, match="dead_letter"):
        codec.encode_body(letter(1, error="x" * (spare + 2)))


def test_a_change_of_the_payload_after_encoding_changes_nothing() -> None:
    payload = {"n": [1]}
    body = codec.encode_body(event(1, payload=payload))
    payload["n"].append(2)
    line, _ = codec.frame_record("event", body, incarnation="i", seq=1)
    assert decoded(line[:-1]).payload == {"n": [1]}


def test_decoded_records_share_nothing_that_can_be_changed() -> None:
    first, second = decoded(line_of(letter(1))), decoded(line_of(letter(2)))
    assert first.headers is not second.headers
    with pytest.raises(TypeError):
        first.extra["x"] = 1


@pytest.mark.parametrize(
    "line",
    [
        framed('{"seq":1,"kind":"header","format":1'),
        framed('{"seq":0,"kind":"event","format":1'),
        framed('{"seq":0,"kind":"header","format":"1"'),
        framed('{"seq":0,"kind":"header"'),
        framed('{"seq":0,"kind":"header","format":1,"store":5'),
        b"",
        b"[]",
        b"\xff",
    ],
)
def test_what_is_no_header_is_not_read_as_one(line: bytes) -> None:
    with pytest.raises(RecordDecodeError):
        codec.decode_header(line)


def test_a_newer_header_is_read_so_that_it_can_be_refused() -> None:
    assert codec.decode_header(framed('{"seq":0,"kind":"header","format":99,"colour":"red"')).format == 99


def test_audits_without_details_say_nothing_of_them() -> None:
    assert b"details" not in line_of(audit(1))
    assert decoded(line_of(audit(1, details={"tree": []}))).details == {"tree": []}
    assert decoded(line_of(audit(1))) == identified(audit(1, timestamp=EPOCH + 1))
