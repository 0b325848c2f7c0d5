"""Walk along a stream by what can be said of each entry in a few bytes: the server cuts that out itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from papyra.persistence._redis.entries import FIRST, StreamId
from papyra.persistence._redis.scripts import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from papyra.persistence._redis.connecting import Door

STEP = 2_000


class Column(NamedTuple):
    """What is known of one entry; without an incarnation it is none of ours, or damaged."""

    id: StreamId
    size: int
    timestamp: float
    incarnation: str = ""
    seq: int = 0
    checksum: str = ""
    may_be_note: bool = False


def walk(
    door: Door,
    stream: str,
    start: StreamId | None = None,
    stop: StreamId | None = None,
    *,
    newest_first: bool = False,
    step: int = STEP,
) -> Iterator[list[Column]]:
    """Yield the entries from ``start`` on and before ``stop``, both in the stream's own order.

    The first ``step`` of them, then more at a time.
    """
    low, high = str(start or FIRST), "+" if stop is None else f"({stop}"
    if stop == FIRST:
        return
    while True:
        ends = ("XREVRANGE", high, low) if newest_first else ("XRANGE", low, high)
        (reply,) = door.run(COLUMNS, (stream,), (*ends, step))
        columns = [_column(line) for line in reply.decode("ascii").splitlines()]
        if columns:
            yield columns
        if len(columns) < step:
            return
        step = min(4 * step, STEP)
        if newest_first:
            high = f"({columns[-1].id}"
        else:
            low = str(columns[-1].id.next)


def _column(line: str) -> Column:
    raw, size, time, *rest = line.split(" ")
    id_ = StreamId(*map(int, raw.split("-")))
    try:
        timestamp = float(time)
    except ValueError:
        timestamp = id_.milliseconds / 1000
    if not rest:
        return Column(id_, int(size), timestamp)
    incarnation, seq, checksum, note = rest
    return Column(id_, int(size), timestamp, incarnation, int(seq), checksum, note == "note")
