"""Lines that something happened to, and lines that another program wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra.exceptions import RecordDecodeError
from papyra.persistence import codec
from papyra.persistence.fields import BY_NAME, TAGGED
from papyra.persistence.models import PersistedDeadLetter, PersistedEvent
from papyra.testing.records import INCARNATION, full_records, letter
from tests.unit.core.lines import decoded, framed, line_of

LINE = line_of(full_records()[2])
HEAD = f'{{"seq":1,"kind":"event","incarnation":"{INCARNATION}","timestamp":5.0'


def is_sound(line: bytes) -> bool:
    return codec.is_framed(line) and codec.has_sound_checksum(line)


def test_i2_every_flipped_bit_is_seen() -> None:
    for place in range(len(LINE)):
        for bit in range(8):
            damaged = bytearray(LINE)
            damaged[place] ^= 1 << bit
            assert not is_sound(bytes(damaged))


def test_i2_every_other_byte_in_every_place_is_seen() -> None:
    short = framed('{"seq":1,"kind":"event"')
    for place in range(len(short)):
        for other in range(256):
            if other != short[place]:
                assert not is_sound(short[:place] + bytes([other]) + short[place + 1 :])


def test_i2_every_cut_is_seen() -> None:
    for length in range(len(LINE)):
        assert not is_sound(LINE[:length])
        assert not is_sound(LINE[length + 1 :])
        assert not is_sound(LINE[:length] + LINE[length + 1 :])


@pytest.mark.parametrize("size", [1, 4, 64])
@pytest.mark.parametrize("noise", [b"\x00", b"\xff", b"\n", b" ", b"}"])
def test_i2_every_overwritten_burst_is_seen(size: int, noise: bytes) -> None:
    for place in range(len(LINE) - size):
        damaged = LINE[:place] + noise * size + LINE[place + size :]
        assert damaged == LINE or not is_sound(damaged)


def test_i2_two_fused_lines_are_no_record() -> None:
    other = line_of(letter(2), 2)
    assert not is_sound(LINE + other)
    assert not is_sound(LINE[:-1] + other)


def test_text_that_looks_like_a_frame_cannot_be_taken_for_one() -> None:
    inner = line_of(letter(66), 66).decode()
    outer = line_of(
        letter(1, error=inner, payload=[inner, json.loads(inner)], extra={"x": json.loads(inner)})
    )
    assert outer.count(codec.FRAME_HEAD) == 1
    for start in range(1, len(outer)):
        assert not outer.startswith(codec.FRAME_HEAD, start)
    for end in range(len(outer)):
        assert not is_sound(outer[:end])
    assert decoded(outer).payload[1]["seq"] == 66


@pytest.mark.parametrize(
    "text",
    [
        "[1]",
        '"text"',
        "{}",
        '{"seq":1,"kind":5,"incarnation":"i","timestamp":1.0}',
        '{"seq":1,"kind":null,"incarnation":"i","timestamp":1.0}',
        '{"seq":0,"kind":"event","incarnation":"i","timestamp":1.0}',
        '{"seq":-5,"kind":"event","incarnation":"i","timestamp":1.0}',
        '{"seq":1.5,"kind":"event","incarnation":"i","timestamp":1.0}',
        '{"seq":true,"kind":"event","incarnation":"i","timestamp":1.0}',
        '{"seq":"1","kind":"event","incarnation":"i","timestamp":1.0}',
        '{"seq":9223372036854775808,"kind":"event","incarnation":"i","timestamp":1.0}',
        '{"seq":1,"kind":"event","incarnation":"","timestamp":1.0}',
        '{"seq":1,"kind":"event","incarnation":7,"timestamp":1.0}',
        '{"seq":1,"kind":"event","timestamp":1.0}',
        '{"seq":1,"kind":"event","incarnation":"i","timestamp":NaN}',
        '{"seq":1,"kind":"event","incarnation":"i","timestamp":Infinity}',
        '{"seq":1,"kind":"event","incarnation":"i","timestamp":1e400}',
        '{"seq":1,"kind":"event","incarnation":"i","timestamp":"now"}',
        '{"seq":1,"kind":"event","incarnation":"i","timestamp":1.0,"event_type":5}',
        '{"seq":1,"kind":"event","incarnation":"i","timestamp":1.0,"payload":' + "[" * 100_000,
        '{"seq":1,"kind":"event","incarnation":"i","timestamp":1.0,"payload":'
        + "[" * 100_000
        + "]" * 100_000
        + "}",
        '{"seq":1,"kind":"event","incarnation":"i","timestamp":1.0,',
    ],
    ids=lambda text: f"{text[:70]} {len(text)}",
)
def test_a_line_without_a_sound_head_is_no_record_for_any_reader(text: str) -> None:
    for line in (text.encode(), framed(text.removesuffix("}"))):
        with pytest.raises(RecordDecodeError):
            codec.decode_head(line)
        with pytest.raises(RecordDecodeError):
            codec.decode_record(line)


@pytest.mark.parametrize("bad", [b"\xff", b"\xed\xa0\x80", b"\xe2\x82", b"\xc0\x80"])
def test_bytes_that_are_no_text_make_no_record(bad: bytes) -> None:
    for place in (b',"payload":"%b"', b',"%b":1', b',"actor_type":"%b"', b',"payload":{"%b":1}'):
        line = framed(HEAD.encode() + place % bad)
        with pytest.raises(RecordDecodeError):
            codec.decode_head(line)
        with pytest.raises(RecordDecodeError):
            codec.decode_record(line)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just({"$": "newer", "v": 1}),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    members=st.dictionaries(
        st.sampled_from(["seq", "incarnation", *BY_NAME["dead_letter"], "weather"]), JSON
    ),
    kind=st.sampled_from(["event", "audit", "dead_letter", "weather"]),
    is_identified=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_a_line_with_a_sound_head_is_a_record_whatever_else_is_in_it(
    members: dict[str, Any], kind: str, *, is_identified: bool
) -> None:
    if is_identified:
        members = {**members, "seq": 4, "incarnation": "i", "timestamp": 1.0, "event_type": "X"}
    line = framed(json.dumps({**members, "kind": kind})[:-1])
    try:
        head = codec.decode_head(line)
    except RecordDecodeError:
        with pytest.raises(RecordDecodeError):
            codec.decode_record(line)
        assert not is_identified
        return
    record = codec.decode_record(line)
    if kind == "weather":
        assert record is None
    else:
        assert record is not None
        assert (record.seq, record.incarnation, record.kind) == (head.seq, head.incarnation, kind)


WRONG: tuple[Any, ...] = (5, "five", None, True, [1], {"a": 1}, 1.5, [], {}, "")


@pytest.mark.parametrize(
    "name", [name for name in BY_NAME["dead_letter"] if name not in TAGGED | {"timestamp"}]
)
def test_a_field_of_a_newer_type_is_kept_beside_an_empty_one(name: str) -> None:
    field = BY_NAME["dead_letter"][name]
    for value in WRONG:
        members = {**json.loads(line_of(letter(1))), name: value}
        members.pop("crc")
        line = framed(json.dumps(members, separators=(",", ":"))[:-1])
        record = decoded(line)
        assert isinstance(record, PersistedDeadLetter)
        if record.extra:
            assert dict(record.extra) == {name: value}
            assert getattr(record, name) == field.empty
        else:
            assert getattr(record, name) == value
        assert json.loads(line_of(record)).get(name, field.empty) == value


def test_unknown_fields_and_tags_of_a_newer_version_are_shown_and_written_again() -> None:
    text = HEAD + ',"payload":{"$":"quaternion","v":[1,2,3,4]},"weather":{"sky":[1,{"a":null}]},"mood":1.5'
    record = decoded(framed(text))
    assert isinstance(record, PersistedEvent)
    assert record.payload == {"$": "quaternion", "v": [1, 2, 3, 4]}
    assert dict(record.extra) == {"weather": {"sky": [1, {"a": None}]}, "mood": 1.5}
    assert dict(decoded(line_of(record)).extra) == dict(record.extra)


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 5_000, "NaN", "-Infinity", "1E5", "-0"])
def test_numbers_that_python_reads_otherwise_hide_no_record(number: str) -> None:
    record = decoded(framed(HEAD + f',"payload":{{"n":{number}}},"weather":{number},"actor_path":"/desk"'))
    assert isinstance(record, PersistedEvent)
    assert record.actor_path == "/desk"
    assert "weather" in record.extra


def test_of_a_key_that_stands_twice_every_reader_takes_the_last() -> None:
    line = framed(HEAD + ',"seq":2,"seq":3,"event_type":"A","event_type":"B","payload":1,"payload":2')
    assert codec.decode_head(line).seq == decoded(line).seq == 3
    assert codec.decode_head(line).event_type == decoded(line).event_type == "B"
    assert decoded(line).payload == 2


def test_lone_surrogates_written_as_escapes_are_read() -> None:
    line = framed(HEAD + ',"actor_type":"\\ud800","payload":{"$":"str","v":"\\\\udfff"},"\\udc00":"\\udc01"')
    record = decoded(line)
    assert (record.actor_type, record.payload, dict(record.extra)) == (
        "\ud800",
        "\udfff",
        {"\udc00": "\udc01"},
    )


class TestLegacy:
    def test_a_published_line_is_read(self) -> None:
        record = codec.decode_legacy(
            b'{"kind":"event","system_id":"local","actor_address":"local:1","event_type":"ActorStarted",'
            b'"payload":{"$":"not a tag"},"timestamp":1837.5}'
        )
        assert record == PersistedEvent("local", "local:1", "ActorStarted", {"$": "not a tag"}, 1837.5)

    @pytest.mark.parametrize("kind", ["event", "audit", "dead_letter"])
    def test_missing_fields_read_as_empty(self, kind: str) -> None:
        record = codec.decode_legacy(b'{"kind":"%b"}' % kind.encode())
        assert record is not None
        assert (record.kind, record.system_id, record.timestamp, record.seq) == (kind, "", 0.0, 0)

    def test_an_identity_that_it_claims_is_none(self) -> None:
        record = codec.decode_legacy(b'{"kind":"event","seq":7,"incarnation":"i","crc":"00000000"}')
        assert record is not None
        assert (record.seq, record.incarnation, dict(record.extra)) == (0, "", {})

    @pytest.mark.parametrize("time", ["NaN", "Infinity", "1e400", "9" * 400, '"now"', "null", "true"])
    def test_a_time_that_is_none_reads_as_empty(self, time: str) -> None:
        record = codec.decode_legacy(f'{{"kind":"event","timestamp":{time}}}'.encode())
        assert record is not None
        assert record.timestamp == 0.0
        assert codec.encode_record(record, incarnation="i", seq=1)

    @pytest.mark.parametrize("value", ["NaN", "1e400", '"\\ud800"', "[[[[1]]]]", "9" * 100])
    def test_json_judges_and_not_the_fast_codec(self, value: str) -> None:
        record = codec.decode_legacy(f'\ufeff{{"kind":"event","payload":{value}}}'.encode())
        assert isinstance(record, PersistedEvent)
        assert repr(record.payload) == repr(json.loads(value))

    def test_a_kind_of_a_newer_version_is_unknown(self) -> None:
        assert codec.decode_legacy(b'{"kind":"weather"}') is None

    @pytest.mark.parametrize(
        "line",
        [
            *(b"", b" ", b"{", b"[]", b"null", b'{"a":1}', b'{"kind":5}', b'{"kind":null}', b"\xff", b"\x00"),
            *(b'{"kind":"event","payload":' + b"[" * 100_000, '{"kind":"event"}'.encode("utf-16")),
            *(b'{"kind":"event"}{"kind":"event"}', b'{"kind":"event","n":' + b"9" * 5_000 + b"}"),
            b'{"kind":"event","payload":"\xed\xa0\x80"}',
        ],
        ids=lambda line: repr(line[:40]),
    )
    def test_what_is_no_json_object_with_a_kind_is_damage(self, line: bytes) -> None:
        with pytest.raises(RecordDecodeError):
            codec.decode_legacy(line)
