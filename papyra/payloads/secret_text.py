"""Find the secrets in free text. One pass from left to right, linear in the text's length."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from papyra.payloads.values import REDACTED_TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Possessive quantifiers stand on sets only: up to Python 3.11.4 a possessive group matches wrongly.
# A key with what may stand before it ("api key: …"), then quotes or brackets, then = : := => or ==.
_KEY = re.compile(
    r"(?<![\w.\-])(?:(?P<before>[\w.\-]++)[ ](?=[\w.\-]))?(?P<key>[\w.\-]++)"
    r"(?P<close>[\\\"'\]]*+)(?P<sep>[ \t]*+[:=][=>]?[ \t]*+)"
    r"|(?P<word>[\w.\-]++)",
)
_URL_PASSWORD = re.compile(
    r"(?P<kept>://[^\s/:@\"'<>]*+:)"
    r"(?!\d{1,5}(?:[/?#\s\"']|$))"  # a port, not a password
    r"(?:(?!://)[^\s\"'<>])+@",
)
_QUOTED = re.compile(
    r"""[bBrRuUfF]{0,2}(?P<quote>"|')(?:[^\\\n"']++|\\.|(?!(?P=quote))["'])*(?P<closed>(?P=quote))?"""
)
_ESCAPED_QUOTED = re.compile(
    r"""(?P<quote>\\++["'])(?:[^\\\n]++|(?!(?<!\\)(?P=quote))\\)*(?P<closed>(?P=quote))?"""
)
_SCHEME = re.compile(
    r"(?:bearer|basic|digest|token|negotiate|apikey)[ \t]++(?=[^\s,;)\]}\"'])", re.IGNORECASE
)
_CLOSERS = re.compile(r"[,;&)\]}]++(?P<last>(?=\s|$|[\"'\\]|[\w.\-]++(?:\[[\w.\-]*+\])?[\"'\]]?\s*+[:=]))?")
_REST_OF_LINE = re.compile(r"[^\r\n]*")
_NO_SECRET_IN = ("error", "exception", "warning")
_HEADERS = ("authorization", "cookie")
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def redact(text: str, is_secret: Callable[[str], bool]) -> str:
    """Return the text with each secret key's value, and each password in a URL, replaced."""
    text = _URL_PASSWORD.sub(lambda found: f"{found['kept']}{REDACTED_TEXT}@", text)
    return "".join(_pieces(text, is_secret))


def _pieces(text: str, is_secret: Callable[[str], bool]) -> Iterator[str]:
    kept = position = 0
    while found := _KEY.search(text, position):
        position = found.end()
        if found["word"] is not None or not _names_secret(found, is_secret):
            continue
        end = _value_end(text, position, found)
        if end > position:
            yield text[kept:position]
            yield _replacement(text, position, end)
            kept = position = end
    yield text[kept:]


def _names_secret(found: re.Match[str], is_secret: Callable[[str], bool]) -> bool:
    key = found["key"]
    if key.casefold().endswith(_NO_SECRET_IN):  # "InvalidTokenError: …" says why, and is no secret
        return False
    before = found["before"]
    return is_secret(key) or (before is not None and not is_secret(before) and is_secret(f"{before}_{key}"))


def _value_end(text: str, start: int, found: re.Match[str]) -> int:
    if ":" in found["sep"] and found["key"].casefold().endswith(_HEADERS) and not _quoted(text, start):
        return _end_of(_REST_OF_LINE, text, start)  # a header's value, spaces and all
    scheme = _SCHEME.match(text, start)
    return _run_end(text, scheme.end() if scheme else start)


def _run_end(text: str, position: int) -> int:
    """Return where a value ends: at whitespace or at what closes it, but never inside quotes or brackets."""
    while position < len(text):
        character = text[position]
        if character.isspace():
            break
        if quoted := _quoted(text, position):
            position = quoted.end() if quoted["closed"] else _end_of(_REST_OF_LINE, text, position)
        elif character in _CLOSING:
            position = _bracket_end(text, position)
        elif closers := _CLOSERS.match(text, position):
            if closers["last"] is not None:
                break
            position = closers.end()
        else:
            position += 1
    return position


def _bracket_end(text: str, position: int) -> int:
    """Return where the bracket at ``position`` is closed; the end of the text if it never is."""
    awaited: list[str] = []
    while position < len(text):
        character = text[position]
        if quoted := _QUOTED.match(text, position):
            position = quoted.end()
            continue
        if character in _CLOSING:
            awaited.append(_CLOSING[character])
        elif awaited and character == awaited[-1]:
            awaited.pop()
        position += 1
        if not awaited:
            break
    return position


def _replacement(text: str, start: int, end: int) -> str:
    quoted = _quoted(text, start)
    if quoted and quoted["closed"] and quoted.end() == end:  # JSON stays JSON
        return f"{text[start : quoted.start('quote')]}{quoted['quote']}{REDACTED_TEXT}{quoted['quote']}"
    return REDACTED_TEXT


def _quoted(text: str, start: int) -> re.Match[str] | None:
    return _QUOTED.match(text, start) or _ESCAPED_QUOTED.match(text, start)


def _end_of(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    return found.end() if found else start
