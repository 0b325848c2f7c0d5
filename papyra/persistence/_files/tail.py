"""Where a scan of the tail begins: at the newest mark that says that all before it was clean. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from papyra.exceptions import RecordDecodeError
from papyra.persistence import codec
from papyra.persistence._files.lines import MAX_LINE_BYTES, READ_BYTES
from papyra.persistence.models import EventType, RecordKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from papyra.persistence._files.lines import Source

At = TypeVar("At")

MAX_TAIL_LINES = 10_000
_CLEAN = frozenset({"healthy", "recovered"})
_ENDS_OF_LIVES = frozenset({EventType.SYSTEM_STARTED, EventType.SYSTEM_STOPPED})


class Mark:
    """What a walk back over the lines has come to.

    It goes on behind the mark until each life that it met and did not see end has begun: one that went on
    after another's mark may be lost since.
    """

    def __init__(self) -> None:
        self.is_clean = False
        """Whether it ended at a mark, not at the beginning or after too many lines."""
        self.lines = 0
        self._is_marked = False
        self._met: set[str] = set()
        self._sought: set[str] = set()

    def find(self, lines: Iterable[tuple[At, bytes]]) -> At | None:
        """Return where to begin, ``None`` where these lines do not say: then those before them may."""
        for at, line in lines:
            self.lines += 1
            self.is_clean = self._is_reached(line)
            if self.is_clean or self.lines == MAX_TAIL_LINES:
                return at
        return None

    def _is_reached(self, line: bytes) -> bool:
        head = _head_or_none(line)
        if head is None:
            return False
        type_ = head.event_type if head.kind == RecordKind.EVENT else ""
        if head.incarnation not in self._met:
            self._met.add(head.incarnation)
            self._sought.add(head.incarnation)
        if type_ in _ENDS_OF_LIVES or (type_ and head.seq == 1):
            self._sought.discard(head.incarnation)
        if type_ == EventType.SYSTEM_STOPPED or (
            type_ == EventType.STARTUP_CHECKED and _verdict(head) in _CLEAN
        ):
            self._is_marked = True
        return self._is_marked and not self._sought


def _head_or_none(line: bytes) -> codec.Head | None:
    """Return the head of a sound record."""
    if not codec.is_framed(line) or not codec.has_sound_checksum(line):
        return None
    try:
        head = codec.decode_head(line)
    except RecordDecodeError:
        return None
    return head if head.incarnation else None


def _verdict(head: codec.Head) -> object:
    try:
        payload = msgspec.json.decode(head.payload)
    except msgspec.DecodeError:
        return None
    return payload.get("verdict") if isinstance(payload, dict) else None


def lines_backwards(source: Source, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield offset and text of each line before ``end``, the last one first."""
    held, at, step = b"", end, READ_BYTES
    while at > 0:
        step = min(step, at)
        at -= step
        held, *lines = (source(step, at) + held).split(b"\n")
        stop = at + len(held) + sum(len(line) + 1 for line in lines)
        for line in reversed(lines):
            yield stop - len(line), line
            stop -= len(line) + 1
        if len(held) > MAX_LINE_BYTES:
            yield at, held
            return
        step = READ_BYTES if lines else step * 2
    if held:
        yield 0, held
