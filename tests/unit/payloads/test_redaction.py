"""No secret reaches the store: by key at any depth, and in text."""

from __future__ import annotations

import json
import time
from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from papyra.exceptions import ConfigurationError
from papyra.payloads import (
    DEFAULT_REDACTION,
    DEFAULT_WORDS,
    Fidelity,
    MessageRegistry,
    Redacted,
    Redaction,
    decode,
    encode,
    encode_message,
)

SECRET = "hunter2-Zx9"  # noqa: S105  # no secret, and that is the point

SECRET_KEYS = """
    password PASSWORD Password passWord password1 user_password user-password userPassword UserPassword
    password_hash db.password token access_token accessToken AccessToken ACCESS_TOKEN x-auth-token OAuth2Token
    secret client_secret SECRET_KEY secretKey authorization Authorization Proxy-Authorization
    HTTP_AUTHORIZATION cookie Cookie Set-Cookie HTTP_COOKIE api_key apiKey api-key API_KEY ApiKey APIKey
    apikey x-api-key stripeApiKey API-Key2
""".split()  # noqa: SIM905  # a list of forty lines is no easier to read
PLAIN_KEYS = """
    passwordless tokenizer tokens tokenize secretary secrets cookies cookiecutter authorized author api key
    apis api_version keyboard monkey api_monkey passw0rd pass word_pass to ken_to user name $ $$ 1 é _
    - '' mytoken
""".split()  # noqa: SIM905  # like the list above


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_a_key_with_a_secret_word_is_secret_however_it_is_written(key: str) -> None:
    assert DEFAULT_REDACTION.is_secret(key)


@pytest.mark.parametrize("key", PLAIN_KEYS)
def test_a_key_that_only_contains_the_letters_is_not(key: str) -> None:
    assert not DEFAULT_REDACTION.is_secret(key)


def test_the_words_are_the_operators() -> None:
    redaction = Redaction(["iban", "card number", "naïve"])

    assert [
        redaction.is_secret(key) for key in ("iban", "cardNumber", "card_number_2", "naïve", "password")
    ] == [
        True,
        True,
        True,
        True,
        False,
    ]
    assert DEFAULT_WORDS == ("password", "token", "secret", "authorization", "cookie", "api_key")
    assert not Redaction([]).is_secret("password")


@pytest.mark.parametrize("words", ["password", [""], ["--"], [5], ["ok", None]])
def test_words_that_mark_nothing_are_refused_with_the_word(words: Any) -> None:
    with pytest.raises(ConfigurationError, match="word"):
        Redaction(words)


@given(st.text())
def test_any_key_and_any_text_can_be_asked(text: str) -> None:
    DEFAULT_REDACTION.is_secret(text)
    DEFAULT_REDACTION.redact_text(text)
    encode({text: text}, redaction=DEFAULT_REDACTION)


class Login(NamedTuple):
    user: str
    password: str


@dataclass
class Credentials:
    user: str
    api_key: str
    nested: Any = None
    token: str | None = None


@dataclass(slots=True)
class Slotted:
    secret: str = field(repr=False)


class Renamed(msgspec.Struct, rename="camel"):
    user: str
    access_token: str


class Coded(msgspec.Struct, rename={"value": "password"}):
    value: str


class Key(Enum):
    PASSWORD = 1


class TextKey(str):
    __slots__ = ()


PLACES: dict[str, object] = {
    "dict": {"password": SECRET},
    "deep": {"a": [{"b": ({"c": {"d": {"e": {"apiKey": SECRET}}}},)}]},
    "whole subtree": {"token": {"value": [SECRET], "kind": SECRET}},
    "among odd keys": {1: "a", "password": SECRET},
    "bytes key": {b"authorization": SECRET.encode()},
    "enum key": {Key.PASSWORD: SECRET},
    "text subclass key": {TextKey("password"): SECRET},
    "key with a surrogate": {"\udcff-password": SECRET},
    "beside a dollar": {"$": 1, "password": SECRET},
    "very long key": {"x" * 500 + "_password": SECRET},
    "ordered dict": OrderedDict(password=SECRET),
    "named tuple": [Login("bob", SECRET)],
    "old named tuple": namedtuple("Old", "token")(SECRET),  # noqa: PYI024  # the untyped kind
    "dataclass": Credentials("bob", SECRET, nested=Credentials("eve", SECRET, token=SECRET)),
    "slots": Slotted(SECRET),
    "struct": [Renamed("bob", SECRET)],
    "struct key": [Coded(SECRET)],
    "set": [{Login("bob", SECRET)}],
    "bytes": {"password": SECRET.encode()},
    "number": {"password": 123456789},
}


@pytest.mark.parametrize("value", PLACES.values(), ids=PLACES.keys())
def test_no_secret_is_in_the_bytes_and_the_payload_says_so(value: object) -> None:
    registry = MessageRegistry([Login, Credentials, Renamed])
    for encoded in (
        encode(value, redaction=DEFAULT_REDACTION),
        encode_message(value, registry=registry, redaction=DEFAULT_REDACTION),
    ):
        for secret in (SECRET.encode(), b"aHVudGVyMi1aeDk", b"123456789"):
            assert secret not in encoded.json
        assert b'{"$":"redacted"}' in encoded.json
        assert encoded.fidelity is Fidelity.REDACTED
        assert "redacted" in encoded.detail


def test_a_redacted_value_reads_back_as_such_and_says_where() -> None:
    encoded = encode({"user": {"name": "bob", "password": SECRET}}, redaction=DEFAULT_REDACTION)

    assert encoded.detail == "data.user.password: redacted"
    assert decode(encoded.json) == {"user": {"name": "bob", "password": Redacted()}}
    assert str(Redacted()) == "[redacted]"


def test_none_hides_nothing_and_is_kept() -> None:
    encoded = encode({"token": None, "cookie": ""}, redaction=DEFAULT_REDACTION)

    assert json.loads(encoded.json) == {"token": None, "cookie": {"$": "redacted"}}


def test_what_was_redacted_once_stays_redacted() -> None:
    once = encode({"token": SECRET}, redaction=DEFAULT_REDACTION)

    assert encode(decode(once.json)) == once
    assert encode(decode(once.json), redaction=DEFAULT_REDACTION) == once


def test_a_repr_is_redacted_even_where_nothing_else_is() -> None:
    class Client:
        def __repr__(self) -> str:
            return f"Client(url='redis://:{SECRET}@host', password='{SECRET}', token={{'a': '{SECRET}'}})"

    for value in ([Client()], {(1, Client()): {"password": SECRET, "x": object()}}):
        assert SECRET.encode() not in encode(value, redaction=DEFAULT_REDACTION).json
    assert SECRET.encode() not in encode(Client()).json


def test_the_repr_of_an_oversized_value_is_redacted_by_key_too() -> None:
    value = {"password": SECRET, "headers": [{"Authorization": {"scheme": SECRET}}], "body": "x" * 2_000_000}

    assert SECRET.encode() not in encode(value).json


TEXTS = [
    ("password={}", "password=[redacted]"),
    ("password = {}", "password = [redacted]"),
    ("password: {}", "password: [redacted]"),
    ("password:{} next", "password:[redacted] next"),
    ("password=>{}", "password=>[redacted]"),
    ("password == {}", "password == [redacted]"),
    ("login(user='bob', password='{}', port=3)", "login(user='bob', password='[redacted]', port=3)"),
    ("login(password={})", "login(password=[redacted])"),
    ("Login(user='bob', password=SecretStr('my {} x'))", "Login(user='bob', password=[redacted])"),
    ('{{"password": "{}"}}', '{{"password": "[redacted]"}}'),
    ('{{"password":"{}","user":"bob"}}', '{{"password":"[redacted]","user":"bob"}}'),
    ('{{"password":{},"user":"bob"}}', '{{"password":[redacted],"user":"bob"}}'),
    ('{{"token": "with spaces {} and \\" quote {}", "a": 1}}', '{{"token": "[redacted]", "a": 1}}'),
    ("{{'password': '{}'}}", "{{'password': '[redacted]'}}"),
    ("{{b'password': b'{}'}}", "{{b'password': b'[redacted]'}}"),
    ('"{{\\"password\\": \\"{}\\"}}"', '"{{\\"password\\": \\"[redacted]\\"}}"'),
    (
        '"{{\\\\\\"api_key\\\\\\": \\\\\\"{}\\\\\\"}}"',
        '"{{\\\\\\"api_key\\\\\\": \\\\\\"[redacted]\\\\\\"}}"',
    ),
    ("token={{'a': '{}', 'b': ['{}']}} rest", "token=[redacted] rest"),
    ("token=['{}', '{}'], user=1", "token=[redacted], user=1"),
    ("cookie=({}", "cookie=[redacted]"),
    ("password='unclosed {} x\nnext line", "password=[redacted]\nnext line"),
    ("password=don't {}\nnext", "password=[redacted]\nnext"),
    ("Authorization: Bearer {}", "Authorization: [redacted]"),
    ("authorization=Bearer {} x", "authorization=[redacted] x"),
    ("token: Bearer {}, x=1", "token: [redacted], x=1"),
    ("GET /\nAuthorization: Digest a={}, b={}\nHost: x", "GET /\nAuthorization: [redacted]\nHost: x"),
    ("Proxy-Authorization: Basic {}", "Proxy-Authorization: [redacted]"),
    ("Set-Cookie: sessionid={}; Path=/", "Set-Cookie: [redacted]"),
    ("Cookie: a={}; b={}\r\nX: y", "Cookie: [redacted]\r\nX: y"),
    ("X-API-Key: {}", "X-API-Key: [redacted]"),
    ("api key: {}", "api key: [redacted]"),
    ("AWS_SECRET_ACCESS_KEY={}", "AWS_SECRET_ACCESS_KEY=[redacted]"),
    ("--password={} --user=bob", "--password=[redacted] --user=bob"),
    ("os.environ['SECRET_KEY'] = '{}'", "os.environ['SECRET_KEY'] = '[redacted]'"),
    ("user[password]={}&user[name]=bob", "user[password]=[redacted]&user[name]=bob"),
    ("/callback?token={}&page=2", "/callback?token=[redacted]&page=2"),
    ("host=db password=pa,ss{} dbname=x", "host=db password=[redacted] dbname=x"),
    ("postgres://bob:{}@db:5432/x", "postgres://bob:[redacted]@db:5432/x"),
    ("redis://:{}@host:6379/0", "redis://:[redacted]@host:6379/0"),
    ("'amqp://bob:p@ss/{}@host'", "'amqp://bob:[redacted]@host'"),
    ("redis://:{}@a,redis://:{}@b", "redis://:[redacted]@a,redis://:[redacted]@b"),
    ("a password=\t{}\tb", "a password=\t[redacted]\tb"),
    ("Invalid password: {} for bob", "Invalid password: [redacted] for bob"),
]

UNTOUCHED = [
    "",
    "no secret here",
    "http://host:8080/users/@me",
    "https://bob@host/path",
    "see http://a/b:c and mail x@y.z",
    "jwt.exceptions.InvalidTokenError: Signature verification failed",
    "PasswordError: too short",
    "KeyError: 'password'",
    "tokenizer: fast, passwordless=True",
    "the password was wrong",
    "password=",
    "password=, user=bob",
    "password:\nnext",
    'File "/app/token/auth.py", line 3, in check_token',
    "12:30:45 token",
]


@pytest.mark.parametrize(("text", "expected"), TEXTS)
def test_text_gives_no_secret_away_and_keeps_the_rest(text: str, expected: str) -> None:
    filled = text.replace("{}", SECRET).replace("{{", "{").replace("}}", "}")
    wanted = expected.replace("{{", "{").replace("}}", "}")

    assert DEFAULT_REDACTION.redact_text(filled) == wanted
    assert DEFAULT_REDACTION.redact_text(wanted) == wanted


@pytest.mark.parametrize("text", UNTOUCHED)
def test_text_without_a_secret_is_left_alone(text: str) -> None:
    assert DEFAULT_REDACTION.redact_text(text) == text


def test_json_text_stays_json() -> None:
    text = json.dumps({"user": "bob", "password": f'a "quoted" {SECRET}', "n": [{"token": SECRET}], "z": 1})

    assert json.loads(DEFAULT_REDACTION.redact_text(text)) == {
        "user": "bob",
        "password": "[redacted]",
        "n": [{"token": "[redacted]"}],
        "z": 1,
    }


@given(st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), min_size=1))
def test_whatever_a_quoted_secret_contains_none_of_it_stays(secret: str) -> None:
    for text in (json.dumps({"password": secret, "z": 1}), repr({"password": secret, "z": 1})):
        quote = text[len('{"password": ')]
        expected = text[: len('{"password": ')] + quote + "[redacted]" + quote + text[-len(', "z": 1}') :]
        assert DEFAULT_REDACTION.redact_text(text) == expected


def test_a_traceback_keeps_what_tells_where_and_why() -> None:
    text = (
        "Traceback (most recent call last):\n"
        '  File "/app/desk.py", line 12, in receive\n'
        f'    login(user, password="{SECRET}")\n'
        f"ValueError: refused: password={SECRET} (see https://bob:{SECRET}@docs/x)\n"
    )

    assert DEFAULT_REDACTION.redact_text(text) == (
        "Traceback (most recent call last):\n"
        '  File "/app/desk.py", line 12, in receive\n'
        '    login(user, password="[redacted]")\n'
        "ValueError: refused: password=[redacted] (see https://bob:[redacted]@docs/x)\n"
    )


@pytest.mark.parametrize(
    "unit",
    [
        "password=",
        "password=[",
        "password='",
        'password="\\"',
        "token={'",
        "password=,",
        "a.",
        "://a:",
        "://a:b@",
        " x",
        '\\"',
        "password: {[(",
        ",;)",
        "a ",
        "a\t",
    ],
)
def test_text_made_to_be_slow_is_not(unit: str) -> None:
    text = f"password={unit * (200_000 // len(unit))}"
    started = time.process_time()

    DEFAULT_REDACTION.redact_text(text)
    DEFAULT_REDACTION.redact_text(unit * (200_000 // len(unit)))

    assert time.process_time() - started < 3


def test_a_key_made_to_be_slow_is_not() -> None:
    started = time.process_time()

    DEFAULT_REDACTION.is_secret("aB" * 100_000)

    assert time.process_time() - started < 3
