"""Decide whether a history is whole: what is missing, doubled, out of order or without an end. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec

from papyra.node import Node
from papyra.persistence.models import EventType, LossNote, RecordKind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from papyra.persistence.codec import Head

HEARTBEAT_LIMIT_SECONDS = 180.0
"""An incarnation whose newest record is older than three audits is lost, unless its process lives."""

Stream = tuple[str, str]
"""``(incarnation, kind)``: what a sequence number counts in."""

_NO_LIMITS: Mapping[Stream, int] = {}
LOSS_NOTES = frozenset({EventType.RECORDS_LOST.value, EventType.RECORDS_DROPPED.value})
_TELLING = LOSS_NOTES | {
    EventType.SYSTEM_STARTED.value,
    EventType.SYSTEM_STOPPED.value,
    EventType.INCARNATION_LOST.value,
}


class Placement(StrEnum):
    """Where a record stands among those of its incarnation and kind that came before it."""

    NEXT = "next"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    OUT_OF_ORDER = "out_of_order"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIncarnation:
    """A system's life that began, did not end, and is lost. ``node`` is ``None`` where nothing says it."""

    incarnation: str
    node: Node | None
    last_seen: float


class _Run:
    """Neighbouring sequence numbers, four bytes each."""

    __slots__ = ("checksums", "first")

    def __init__(self, first: int, checksum: int) -> None:
        self.first = first
        self.checksums = array("I", (checksum,))

    @property
    def end(self) -> int:
        return self.first + len(self.checksums)


class _Sequence:
    """Which sequence numbers of one stream are there; nearly always a single run."""

    __slots__ = ("notes", "runs")

    def __init__(self) -> None:
        self.runs: list[_Run] = []
        self.notes: set[int] = set()

    def place(self, seq: int, checksum: int) -> tuple[Placement, int]:
        """Add ``seq``; returns its placement and how many numbers before it are skipped."""
        if not self.runs:
            self.runs.append(_Run(seq, checksum))
            return Placement.NEXT, 0
        last = self.runs[-1]
        skipped = seq - last.end
        if skipped == 0:
            last.checksums.append(checksum)
            return Placement.NEXT, 0
        if skipped > 0:
            self.runs.append(_Run(seq, checksum))
            return Placement.NEXT, skipped
        return self._place_before_end(seq, checksum), 0

    @property
    def end(self) -> int:
        """The number after the highest; 0 while there is none."""
        return self.runs[-1].end if self.runs else 0

    def extend(self, first: int, checksums: Iterable[int]) -> bool:
        """Add neighbours to the last run, if they go on where it ends; whether they do."""
        if not self.runs or self.runs[-1].end != first:
            return False
        self.runs[-1].checksums.extend(checksums)
        return True

    def _place_before_end(self, seq: int, checksum: int) -> Placement:
        after = bisect_right(self.runs, seq, key=_first_of)
        if after > 0:
            run = self.runs[after - 1]
            if seq < run.end:
                return (
                    Placement.DUPLICATE if run.checksums[seq - run.first] == checksum else Placement.CONFLICT
                )
            if seq == run.end:
                run.checksums.append(checksum)
                self._join(after - 1)
                return Placement.OUT_OF_ORDER
        self.runs.insert(after, _Run(seq, checksum))
        self._join(after)
        return Placement.OUT_OF_ORDER

    def _join(self, index: int) -> None:
        if index + 1 < len(self.runs) and self.runs[index].end == self.runs[index + 1].first:
            self.runs[index].checksums.extend(self.runs.pop(index + 1).checksums)

    def forget_before(self, seq: int) -> None:
        while len(self.runs) > 1 and self.runs[0].end <= seq:
            del self.runs[0]
        run = self.runs[0]
        if run.first < seq < run.end:
            del run.checksums[: seq - run.first]
            run.first = seq

    def gaps(self) -> Iterator[tuple[int, int]]:
        """Yield the missing ranges, inclusive; what lies before the first record is not missing.

        Nor is what follows a leading run of loss notes: retention carried those over the records between.
        """
        runs = self.runs
        start = 0
        while start + 1 < len(runs) and self._holds_only_notes(runs[start]):
            start += 1
        for before, after in zip(runs[start:], runs[start + 1 :], strict=False):
            yield before.end, after.first - 1

    def _holds_only_notes(self, run: _Run) -> bool:
        return len(run.checksums) <= len(self.notes) and all(
            seq in self.notes for seq in range(run.first, run.end)
        )


def _first_of(run: _Run) -> int:
    return run.first


class HistoryCheck:
    """Reads the heads of a history in store order and remembers four bytes of each.

    ``kept_from`` says, per stream, below which number retention may have left gaps.
    """

    def __init__(self, kept_from: Mapping[Stream, int] = _NO_LIMITS) -> None:
        self._kept_from = kept_from
        self._sequences: dict[Stream, _Sequence] = {}
        self._notes: dict[Stream, list[LossNote]] = {}
        self._open: dict[str, tuple[Node | None, float]] = {}
        self._ended: set[str] = set()
        self.skipped = 0
        """How many numbers the record just added skipped."""

    def add(self, head: Head, *, checksum: str) -> Placement:
        """Take the next record; ``checksum`` is the eight hex digits that stand for its bytes."""
        if head.seq < 1 or not head.incarnation:
            return Placement.NEXT
        placement = self.place((head.incarnation, head.kind), head.seq, int(checksum, 16))
        if placement is Placement.NEXT or placement is Placement.OUT_OF_ORDER:
            if head.event_type in _TELLING and head.kind == RecordKind.EVENT:
                self._learn(head)
            if head.incarnation in self._open:
                node, seen = self._open[head.incarnation]
                self._open[head.incarnation] = node, max(seen, head.timestamp)
        return placement

    def add_all(self, heads: Sequence[Head], checksums: Sequence[int]) -> Collection[Stream]:
        """Take records that only go on: each is next in a known stream, and tells of no life and no loss.

        Returns their streams; none, and nothing is taken, where one of them needs a look of its own.
        """
        if not _TELLING.isdisjoint([head.event_type for head in heads]):
            return ()
        seqs, runs = [head.seq for head in heads], runs_of_heads(heads)
        ends: dict[Stream, int] = {}
        for stream, part in runs:
            sequence = self._sequences.get(stream)
            if sequence is None:
                return ()
            first = ends.get(stream, sequence.end)
            ends[stream] = first + part.stop - part.start
            if seqs[part] != [*range(first, ends[stream])]:
                return ()
        timestamps = [head.timestamp for head in heads]
        for stream, part in runs:
            self._sequences[stream].extend(seqs[part.start], checksums[part])
            incarnation = stream[0]
            if incarnation in self._open:
                node, seen = self._open[incarnation]
                newest = max(timestamps[part])
                self._open[incarnation] = node, max(seen, newest)
        self.skipped = 0
        return ends.keys()

    def place(self, stream: Stream, seq: int, checksum: int) -> Placement:
        """Take a number alone, of which nothing else is to be learned."""
        sequence = self._sequences.get(stream)
        if sequence is None:
            sequence = self._sequences[stream] = _Sequence()
        placement, self.skipped = sequence.place(seq, checksum)
        return placement

    def extend(self, stream: Stream, first: int, checksums: Sequence[int]) -> None:
        """Take neighbouring numbers from ``first`` on, of which nothing else is to be learned."""
        sequence = self._sequences.get(stream)
        if sequence is None:
            sequence = self._sequences[stream] = _Sequence()
        if not sequence.extend(first, checksums):
            for seq, checksum in enumerate(checksums, first):
                sequence.place(seq, checksum)

    def forget_before(self, stream: Stream, seq: int) -> None:
        """Free the memory of lower numbers, which then read as absent."""
        if stream in self._sequences:
            self._sequences[stream].forget_before(seq)

    def _learn(self, head: Head) -> None:
        note = loss_note_of(head)
        if note is not None:
            self._sequences[head.incarnation, head.kind].notes.add(head.seq)
            self._notes.setdefault((note.incarnation, note.kind), []).append(note)
        elif head.event_type == EventType.SYSTEM_STARTED:
            node = _plain(head.payload).get("node")
            known = Node.from_mapping(node) if isinstance(node, dict) else None
            if head.incarnation not in self._ended:
                self._open[head.incarnation] = known, head.timestamp
        elif head.event_type == EventType.SYSTEM_STOPPED:
            self._end(head.incarnation)
        elif head.event_type == EventType.INCARNATION_LOST:
            self._end(str(_plain(head.payload).get("closes")))

    def note(self, note: LossNote) -> None:
        """Take a loss note that stands in a part of the history that is not read."""
        self._notes.setdefault((note.incarnation, note.kind), []).append(note)

    def _end(self, incarnation: str) -> None:
        self._ended.add(incarnation)
        self._open.pop(incarnation, None)

    def first_seq(self, incarnation: str, kind: str) -> int:
        """Return the lowest number that is there, 0 for none."""
        sequence = self._sequences.get((incarnation, kind))
        return sequence.runs[0].first if sequence else 0

    def last_seq(self, incarnation: str, kind: str) -> int:
        """Return the highest number that is there, 0 for none."""
        sequence = self._sequences.get((incarnation, kind))
        return sequence.runs[-1].end - 1 if sequence else 0

    def checksum(self, incarnation: str, kind: str, seq: int) -> str | None:
        """Return the checksum of the record under this identity, ``None`` where it is not there."""
        sequence = self._sequences.get((incarnation, kind))
        if sequence is None:
            return None
        after = bisect_right(sequence.runs, seq, key=_first_of)
        run = sequence.runs[after - 1] if after else None
        if run is None or seq >= run.end:
            return None
        return f"{run.checksums[seq - run.first]:08x}"

    def is_noted(self, incarnation: str, kind: str, seq: int) -> bool:
        """Whether a loss note covers this identity."""
        notes = self._notes.get((incarnation, kind), ())
        return any(note.first <= seq <= note.last for note in notes)

    def holes(self) -> list[LossNote]:
        """Return the missing ranges that no loss note explains, with no cause."""
        found: list[LossNote] = []
        for stream, sequence in self._sequences.items():
            if len(sequence.runs) == 1:
                continue
            floor = self._kept_from.get(stream, 0)
            covered = _joined(self._notes.get(stream, ()))
            for first, last in sequence.gaps():
                for start, stop in _uncovered(max(first, floor), last, covered):
                    found.append(LossNote(*stream, start, stop, ""))
        return found

    def open_incarnations(
        self, now: float, is_gone: Callable[[Node], bool], *, here: Node | None = None
    ) -> list[OpenIncarnation]:
        """Return the lives without an end that are lost: the process is gone, or silent for too long.

        With ``here``, the calling node, a process that it sees and that is not gone lives, however silent.
        """
        lost = []
        for incarnation, (node, seen) in self._open.items():
            if node is not None and here is not None and here.sees(node):
                is_lost = is_gone(node)
            else:
                is_lost = now - seen > HEARTBEAT_LIMIT_SECONDS or (node is not None and is_gone(node))
            if is_lost:
                lost.append(OpenIncarnation(incarnation=incarnation, node=node, last_seen=seen))
        return lost


def runs_of_heads(heads: Sequence[Head]) -> list[tuple[Stream, slice]]:
    """Return the stretches of neighbours that are of one stream, in order."""
    incarnation, kinds = heads[0].incarnation, [head.kind for head in heads]
    incarnations = [head.incarnation for head in heads]
    is_one_life = incarnations.count(incarnation) == len(heads)
    if is_one_life and kinds.count(kinds[0]) == len(kinds):
        return [((incarnation, kinds[0]), slice(0, len(heads)))]
    runs, start = [], 0
    if is_one_life:
        incarnations = [incarnation] * len(heads)  # one object, which is equal to itself at once
    for stream, same in groupby(zip(incarnations, kinds, strict=True)):
        stop = start + len([*same])
        runs.append((stream, slice(start, stop)))
        start = stop
    return runs


def loss_note_of(head: Head) -> LossNote | None:
    """Return the loss note that this record is, ``None`` for any other record."""
    if head.event_type not in LOSS_NOTES or head.kind != RecordKind.EVENT:
        return None
    return LossNote.from_payload(_plain(head.payload))


def _joined(notes: Iterable[LossNote]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for first, last in sorted((note.first, note.last) for note in notes):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(joined[-1][1], last)
        else:
            joined.append((first, last))
    return joined


def _uncovered(first: int, last: int, covered: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    at = bisect_left(covered, first, key=_last_of)
    while first <= last and at < len(covered) and covered[at][0] <= last:
        start, stop = covered[at]
        if start > first:
            yield first, start - 1
        first = stop + 1
        at += 1
    if first <= last:
        yield first, last


def _last_of(covered: tuple[int, int]) -> int:
    return covered[1]


def _plain(payload: msgspec.Raw) -> dict[str, object]:
    try:
        value = msgspec.json.decode(payload)
    except msgspec.DecodeError:  # papyra writes plain objects here; anything else explains nothing
        return {}
    return value if isinstance(value, dict) else {}
