"""The lines of ``MessageHandled`` events, many at once: what `codec` says of each, much faster. Pure."""

from __future__ import annotations

from functools import lru_cache
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple, cast

import msgspec

from papyra.payloads import encode
from papyra.persistence import codec
from papyra.persistence.models import EventType, RecordKind
from papyra.persistence.ready import ReadyRun

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Handler(NamedTuple):
    """Who handled a message: an actor's address, path and type."""

    address: str
    path: str
    type: str


class HandledRows(NamedTuple):
    """Handled messages, column by column: when, who, the message's type, its number, cause and root, seconds.

    A cause of 0 is none. Causes and roots are numbers too, or whole ids of another incarnation's messages.
    """

    timestamps: list[float]
    whos: Sequence[Handler]
    types: Sequence[str]
    numbers: Sequence[int]
    causes: Sequence[int | str]
    roots: Sequence[int | str]
    seconds: Sequence[float]


_json = msgspec.json.Encoder().encode


def handled_run(system_id: str, incarnation: str, first_seq: int, rows: HandledRows) -> ReadyRun:
    """Return one line for each row, numbered from ``first_seq`` on; there are some, and times are finite.

    A line is put together of parts that are the same in each, or come in columns of their own.
    """
    head = codec.stream_head(RecordKind.EVENT.value, incarnation)
    prefix = incarnation.encode("ascii")
    numbers = _texts(rows.numbers)
    named, handled = _handlers(prefix, rows)
    linked, roots = _links(prefix, rows, numbers)
    parts = zip(
        repeat(b'{"seq":'),
        _texts(range(first_seq, first_seq + len(numbers))),
        repeat(b',%b"system_id":%b,"timestamp":' % (head, _json(system_id))),
        _texts(rows.timestamps),
        named,
        _texts(rows.seconds),
        handled,
        numbers,
        linked,
        roots,
        repeat(b'"'),
        strict=False,
    )
    lines, checksums = codec.frame_all(list(map(b"".join, parts)))
    return ReadyRun(first_seq, incarnation, rows.timestamps, lines, checksums)


def _texts(numbers: Iterable[float]) -> list[bytes]:
    return _json(list(numbers))[1:-1].split(b",")


def _handlers(prefix: bytes, rows: HandledRows) -> tuple[Iterable[bytes], Iterable[bytes]]:
    """Return what leads from the time to the seconds, and from there to the message's number."""
    whos, types = rows.whos, rows.types
    if whos.count(whos[0]) == len(whos) and types.count(types[0]) == len(types):
        named, handled = _handler(prefix, whos[0], types[0])
        return repeat(named), repeat(handled)
    known = {pair: _handler(prefix, *pair) for pair in set(zip(whos, types, strict=True))}
    found = [known[pair] for pair in zip(whos, types, strict=True)]
    return [named for named, _ in found], [handled for _, handled in found]


@lru_cache(maxsize=1024)
def _handler(prefix: bytes, who: Handler, type_: str) -> tuple[bytes, bytes]:
    named = b',"actor_address":%b,"event_type":"%b","payload":{"message_type":%b,"seconds":' % (
        _json(who.address),
        EventType.MESSAGE_HANDLED.value.encode(),
        encode(type_).json,
    )
    handled = b'},"actor_path":%b,"actor_type":%b,"message_id":"%b-' % (
        _json(who.path),
        _json(who.type),
        prefix,
    )
    return named, handled


def _links(prefix: bytes, rows: HandledRows, numbers: list[bytes]) -> tuple[Iterable[bytes], Iterable[bytes]]:
    """Return what leads from the message's number to its root's, and that."""
    causes, roots = rows.causes, rows.roots
    rooted = b'","root_id":"%b-' % prefix
    if roots == rows.numbers and not any(causes):
        return repeat(rooted), numbers
    if {*map(type, causes), *map(type, roots)} == {int}:
        caused = b'","cause_id":"%b-%%d%b' % (prefix, rooted)
        linked = [caused % cause if cause else rooted for cause in causes]
        return linked, _texts(cast("Sequence[int]", roots))
    linked = [
        b'",%b"root_id":%b'
        % (b'"cause_id":%b,' % _id(prefix, cause) if cause else b"", _id(prefix, root)[:-1])
        for cause, root in zip(causes, roots, strict=True)
    ]
    return linked, repeat(b"")


def _id(prefix: bytes, id_: int | str) -> bytes:
    return b'"%b-%d"' % (prefix, id_) if isinstance(id_, int) else _json(id_)
