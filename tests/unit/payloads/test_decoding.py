"""Decoding refuses what is malformed, with the place, and builds or imports nothing beyond the tag list."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papyra.exceptions import PapyraError, PayloadError, UnknownMessageTypeError
from papyra.payloads import Foreign, MessageRegistry, Redacted, Unstorable, decode, encode

MALFORMED: dict[str, str | bytes] = {
    "nothing": b"",
    "no json": b"{",
    "two values": b"1 2",
    "nan": b"NaN",
    "infinity": b'{"a":[Infinity]}',
    "number out of range": b"1e400",
    "too many digits": b"1" * 4301,
    "single quotes": b"{'a':1}",
    "trailing comma": b"[1,]",
    "byte order mark": b"\xef\xbb\xbf1",
    "utf-16": '{"a":1}'.encode("utf-16"),
    "bad utf-8": b'"\xff"',
    "surrogate bytes": b'"\xed\xa0\x80"',
    "surrogate text": '"\ud800"',
    "raw control character": b'"a\x01"',
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep tags": b'{"$":"tuple","v":[' * 50_000 + b"]}" * 50_000,
    "unknown tag": b'{"$":"pickle","v":"gASV"}',
    "tag is a number": b'{"$":1}',
    "tag is null": b'{"$":null}',
    "tag is a list": b'{"$":["bytes"],"v":""}',
    "tag is a tag": b'{"$":{"$":"str","v":"bytes"},"v":""}',
    "tag alone": b'{"$":"bytes"}',
    "tag with more": b'{"$":"bytes","v":"AA==","x":1}',
    "tag among keys": b'{"$":"tuple","v":[],"a":1}',
    "base64 with rubbish": b'{"$":"bytes","v":"A A=="}',
    "base64 not canonical": b'{"$":"bytes","v":"AB=="}',
    "base64 of wrong type": b'{"$":"bytes","v":[1]}',
    "bytearray of wrong type": b'{"$":"bytearray","v":5}',
    "float that is none": b'{"$":"float","v":"1.5"}',
    "float of wrong type": b'{"$":"float","v":["nan"]}',
    "text with a bad escape": b'{"$":"str","v":"\\\\x"}',
    "text with no surrogate": b'{"$":"str","v":"\\\\u0041"}',
    "complex of one": b'{"$":"complex","v":[1.0]}',
    "complex of text": b'{"$":"complex","v":["1","2"]}',
    "decimal that is none": b'{"$":"decimal","v":"one"}',
    "decimal not canonical": b'{"$":"decimal","v":" 1_0"}',
    "decimal of a float": b'{"$":"decimal","v":1.5}',
    "uuid that is none": b'{"$":"uuid","v":"1234"}',
    "uuid not canonical": b'{"$":"uuid","v":"{12345678123456781234567812345678}"}',
    "date that is none": b'{"$":"date","v":"2024-02-30"}',
    "date not canonical": b'{"$":"date","v":"20240101"}',
    "datetime with z": b'{"$":"datetime","v":"2024-01-01T00:00:00Z"}',
    "datetime with offset and zone": b'{"$":"datetime","v":"2024-01-01T00:00:00+00:00","zone":"UTC"}',
    "datetime with a fold of two": b'{"$":"datetime","v":"2024-01-01T00:00:00","fold":2}',
    "zone that is none": b'{"$":"datetime","v":"2024-01-01T00:00:00","zone":"Mars/Base"}',
    "zone is a folder": b'{"$":"datetime","v":"2024-01-01T00:00:00","zone":"America"}',
    "zone leads out": b'{"$":"datetime","v":"2024-01-01T00:00:00","zone":"../../etc/passwd"}',
    "zone is absolute": b'{"$":"datetime","v":"2024-01-01T00:00:00","zone":"/etc/localtime"}',
    "zone is a number": b'{"$":"datetime","v":"2024-01-01T00:00:00","zone":5}',
    "offset of wrong type": b'{"$":"time","v":"00:00:00","offset":"1"}',
    "offset that is huge": b'{"$":"time","v":"00:00:00","offset":999999999999999999}',
    "time that is none": b'{"$":"time","v":"24:61"}',
    "timedelta of two": b'{"$":"timedelta","v":[1,2]}',
    "timedelta not canonical": b'{"$":"timedelta","v":[0,0,1000000]}',
    "timedelta too long": b'{"$":"timedelta","v":[1000000000,0,0]}',
    "tuple of no list": b'{"$":"tuple","v":"abc"}',
    "tuple of a tag": b'{"$":"tuple","v":{"$":"subclass","type":"x","v":[1]}}',
    "set of the same": b'{"$":"set","v":[1,1]}',
    "set of equals": b'{"$":"set","v":[1,true]}',
    "set of lists": b'{"$":"set","v":[[1]]}',
    "frozenset of dicts": b'{"$":"frozenset","v":[{}]}',
    "pairs that are none": b'{"$":"dict","v":[[1]]}',
    "pairs of three": b'{"$":"dict","v":[[1,2,3]]}',
    "pairs are an object": b'{"$":"dict","v":{"a":1}}',
    "pair is a tuple": b'{"$":"dict","v":[{"$":"tuple","v":[1,2]}]}',
    "key twice": b'{"$":"dict","v":[[1,2],[1,3]]}',
    "key is a list": b'{"$":"dict","v":[[[],1]]}',
    "factory that is none": b'{"$":"default_dict","of":"eval","v":[]}',
    "factory of wrong type": b'{"$":"default_dict","of":[],"v":[]}',
    "factory missing": b'{"$":"default_dict","v":[]}',
    "deque over its bound": b'{"$":"deque","v":[1,2],"maxlen":1}',
    "deque of no bound": b'{"$":"deque","v":[],"maxlen":null}',
    "deque of a huge bound": b'{"$":"deque","v":[],"maxlen":99999999999999999999}',
    "object without type": b'{"$":"object","v":1}',
    "object of no type": b'{"$":"object","type":5,"v":1}',
    "redacted with a value": b'{"$":"redacted","v":"x"}',
    "mark of wrong type": b'{"unstorable":1,"repr":"x"}',
    "mark of a tag": b'{"unstorable":{"$":"tuple","v":[]},"repr":"x"}',
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_malformed_is_refused(data: bytes | str) -> None:
    with pytest.raises(PayloadError) as refused:
        decode(data)

    assert isinstance(refused.value, (PapyraError, ValueError))
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b'{"items":[1,{"when":{"$":"date","v":"x"}}]}', "data.items[1].when: "),
        (b'{"$":"tuple","v":[0,{"$":"set","v":[1,[2]]}]}', "data[1]: "),
        (b'[{"a":{"$":"what"}}]', "data[0].a: unknown tag 'what'"),
        (b'{"$":"nope"}', "data: unknown tag"),
    ],
)
def test_the_refusal_names_the_place(data: bytes, place: str) -> None:
    with pytest.raises(PayloadError) as refused:
        decode(data)

    assert str(refused.value).startswith(place)


def test_a_value_written_by_hand_in_another_way_is_refused_with_the_right_way() -> None:
    with pytest.raises(PayloadError, match=r"expected .*2024-01-01T00:00:00\+00:00"):
        decode('{"$":"datetime","v":"2024-01-01T00:00:00Z"}')


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["$", "v", "type", "of", "maxlen", "unstorable", "repr", "a", "zone"]), inner
        )
        | st.builds(
            lambda tag, v: {"$": tag, "v": v},
            st.sampled_from(["tuple", "set", "dict", "deque", "object"]),
            inner,
        )
    ),
    max_leaves=20,
)


@given(_json)
def test_any_json_is_decoded_or_refused_and_what_was_decoded_is_written_the_same(tree: object) -> None:
    try:
        value = decode(json.dumps(tree))
    except PayloadError:
        return
    assert encode(decode(encode(value).json)).json == encode(value).json


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_any_bytes_are_decoded_or_refused(data: bytes | str) -> None:
    try:
        decode(data)
    except PayloadError:
        return


EVIL = [
    "os.system",
    "builtins.eval",
    "subprocess.Popen",
    "antigravity",
    "this.that",
    "papyra.payloads.Redaction",
    "tests.unit.payloads.hostiles.ReprExits",
    "__main__",
    "..",
    "",
]


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("tag", ["object", "subclass"])
def test_a_stored_type_name_imports_and_builds_nothing(name: str, tag: str) -> None:
    loaded = set(sys.modules)
    data = json.dumps({"$": tag, "type": name, "v": {"command": "true"}})

    value = decode(data)
    assert value == (Foreign(name, {"command": "true"}) if tag == "object" else {"command": "true"})
    with pytest.raises(UnknownMessageTypeError):
        MessageRegistry().decode_message(f'{{"type":"dict","version":1,"data":{{"a":{data}}}}}')
    with pytest.raises(UnknownMessageTypeError):
        MessageRegistry().decode_message(json.dumps({"type": name, "version": 1, "data": {}}))

    assert set(sys.modules) == loaded


def test_a_foreign_value_is_inert_hashable_and_stored_again_as_it_was() -> None:
    data = b'{"$":"set","v":[{"$":"object","type":"a.B","v":{"n":1}},{"$":"object","type":"a.C","v":"RED"}]}'
    value: Any = decode(data)

    assert value == {Foreign("a.B", {"n": 1}), Foreign("a.C", "RED")}
    assert encode(value).json == data
    assert hash(Foreign("a", [1])) == hash(Foreign("a", [1]))
    assert len({Foreign("a", {"x": i}) for i in range(5000)}) == 5000


def test_stand_ins_are_equal_by_what_they_say() -> None:
    assert decode(b'[{"$":"redacted"},{"unstorable":"w","repr":"r"}]') == [Redacted(), Unstorable("w", "r")]


def test_a_tree_that_is_decoded_is_left_as_it_was() -> None:
    registry = MessageRegistry()
    tree = {"type": "dict", "version": 1, "data": {"a": [{"$": "tuple", "v": [[1]]}]}}
    before = json.dumps(tree)

    assert registry.decode_message(tree) == {"a": [([1],)]}
    assert json.dumps(tree) == before


def test_the_last_of_a_key_given_twice_counts_as_json_readers_have_it() -> None:
    assert decode(b'{"a":1,"a":2}') == {"a": 2}


def test_an_escaped_dollar_is_a_dollar() -> None:
    assert decode(b'{"\\u0024":"tuple","v":[1]}') == (1,)
    assert decode(b'{"$$":1,"$$$":2,"$a":3,"a$$":4}') == {"$": 1, "$$": 2, "$a": 3, "a$$": 4}


def test_a_lone_surrogate_in_an_escape_is_read_as_json_has_it() -> None:
    assert decode(b'["\\ud800",1.5,1e3,12345678901234567890123]') == [
        "\ud800",
        1.5,
        1e3,
        12345678901234567890123,
    ]
