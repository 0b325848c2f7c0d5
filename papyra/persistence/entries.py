"""Records on their way to a medium: content, identity and bytes fixed one after the other."""

from __future__ import annotations

import os
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, cast

import msgspec

from papyra.clock import Clock, mint_incarnation
from papyra.exceptions import PersistenceError
from papyra.persistence import codec
from papyra.persistence.models import Record, RecordId, RecordKind
from papyra.persistence.ready import ReadyEvent, ReadyRun

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_EVENT = RecordKind.EVENT.value
_READY = frozenset({ReadyEvent, ReadyRun})

MOST_READY = 1_000
"""So many events that are ready are encoded in one go; they take about a millisecond."""


class Entry(msgspec.Struct, eq=False, gc=False):
    """One record on its way to the medium, its content fixed. ``line`` follows once its identity is known.

    Or a whole run of events, which counts as ``count`` records wherever positions are named; ``seq`` and
    ``checksum`` are the first one's, ``line`` has all their lines. ``size`` is how many bytes it has or,
    before its identity is known, may have. ``is_ours``: this process's `WriterIdentity` gave it the identity.
    A Struct, because one is made for each record and this is the fastest class there is.
    """

    origin: Record | ReadyEvent | ReadyRun
    kind: str
    body: bytes
    size: int
    incarnation: str = ""
    seq: int = 0
    line: bytes = b""
    checksum: int = 0
    is_ours: bool = False
    count: int = 1

    @classmethod
    def of(cls, record: Record | ReadyEvent | ReadyRun) -> Entry:
        """Fix the content, and the line where there is an identity; raises `InvalidRecordError`."""
        if isinstance(record, ReadyEvent):
            return cls.of_run(codec.encode_ready([record]))
        if isinstance(record, ReadyRun):
            return cls.of_run(record)
        body = codec.encode_body(record)
        entry = cls(record, codec.KINDS[type(record)], body, len(body) + codec.FRAME_ROOM)
        if record.incarnation or record.seq:
            entry.encode(RecordId(record.incarnation, entry.kind, record.seq))
        return entry

    @classmethod
    def of_run(cls, run: ReadyRun) -> Entry:
        """Return the one entry of all these lines."""
        lines, first = run.lines, run.checksums[0]
        return cls(
            run, _EVENT, b"", len(lines), run.incarnation, run.seq, lines, first, count=len(run.checksums)
        )

    @property
    def record(self) -> Record:
        """The record, of a run the first; made anew from what was ready."""
        return codec.plain_records(self.origin)[0]

    @property
    def checksums(self) -> list[int]:
        """The checksum of each record."""
        return self.origin.checksums if isinstance(self.origin, ReadyRun) else [self.checksum]

    @property
    def timestamps(self) -> list[float]:
        """The time of each record."""
        return self.origin.timestamps if isinstance(self.origin, ReadyRun) else [self.origin.timestamp]

    @property
    def last_seq(self) -> int:
        """The number of the last record."""
        return self.seq + self.count - 1

    def singles(self) -> list[Entry]:
        """Return an entry for each record."""
        if isinstance(self.origin, ReadyRun) and self.count > 1:
            return [Entry.of_run(each) for each in self.origin.singles()]
        return [self]

    @property
    def id(self) -> RecordId | None:
        """The identity, once there is one."""
        return RecordId(self.incarnation, self.kind, self.seq) if self.seq else None

    def encode(self, identity: RecordId) -> None:
        """Fix the identity and the bytes; raises `InvalidRecordError` for what is not an identity."""
        incarnation, kind, seq = identity
        self.line, self.checksum = codec.frame_record(kind, self.body, incarnation=incarnation, seq=seq)
        self.incarnation, self.seq = incarnation, seq
        self.body, self.size = b"", len(self.line)


class WriterIdentity:
    """Gives records that come without an identity this process's writer incarnation, contiguous per kind.

    Used in the backend's one ordered place (its writer thread or lock), so that a batch that failed can give
    its numbers back: a refused or unwritten record leaves no hole.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pid = 0
        self._incarnation = ""
        self._last: dict[str, int] = {}

    def next(self, kind: str) -> RecordId:
        """Return the identity that follows; in a forked child a new incarnation begins."""
        self._begin()
        return RecordId(self._incarnation, kind, self._last.get(kind, 0) + 1)

    def _begin(self) -> None:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._incarnation = mint_incarnation(self._clock.now())
            self._last = {}

    def take(self, identity: RecordId) -> None:
        """Count ``identity`` as used."""
        self._last[identity.kind] = identity.seq

    def mark(self) -> object:
        """Remember the state to go back to when a batch fails."""
        return self._pid, self._incarnation, dict(self._last)

    def rewind(self, mark: object) -> None:
        """Give back every number taken since `mark`."""
        self._pid, self._incarnation, self._last = cast("tuple[int, str, dict[str, int]]", mark)

    @contextmanager
    def renewed_on_failure(self) -> Iterator[None]:
        """Begin a new incarnation if the block fails once it took numbers: which are stored nobody knows.

        So none is given twice, and none is missing.
        """
        before = self.mark()
        try:
            yield
        except BaseException:
            if self.mark() != before:
                self._pid = 0
            raise

    def give_back(self, entries: Sequence[Entry]) -> None:
        """Take back the numbers of entries that were not stored, the last ones given of their kinds."""
        for entry in entries:
            if entry.is_ours and entry.incarnation == self._incarnation:
                self._last[entry.kind] = min(self._last[entry.kind], entry.seq - 1)

    def encode(self, entries: Sequence[Entry]) -> None:
        """Give those of ``entries`` that have no identity theirs, in order."""
        self._begin()
        last, incarnation = self._last, self._incarnation
        for entry in entries:
            kind, seq = entry.kind, entry.seq
            if not seq:
                last[kind] = entry.seq = seq = last.get(kind, 0) + 1
                head = codec.stream_head(kind, incarnation)
                entry.line, entry.checksum = codec.frame(seq, head, entry.body)
                entry.incarnation, entry.is_ours = incarnation, True
                entry.body = b""
            elif entry.incarnation == incarnation and entry.last_seq > last.get(kind, 0):
                last[kind] = entry.last_seq  # one of ours came back, as after a retry: its number is not free


def entries_of_ready(records: Sequence[Record | ReadyEvent | ReadyRun]) -> list[Entry] | None:
    """Return the entries of a recorder's batch of events in one go, ``None`` where each needs a look."""
    if len(records) > MOST_READY or not _READY.issuperset(map(type, records)):
        return None
    runs: list[ReadyRun] = []
    try:
        for kind, group in groupby(records, type):
            if kind is ReadyEvent:
                runs += _runs_of(cast("list[ReadyEvent]", list(group)))
            else:
                runs += cast("Iterable[ReadyRun]", group)
    except PersistenceError:
        return None
    return [Entry.of_run(run) for run in runs]


def _runs_of(events: list[ReadyEvent]) -> list[ReadyRun]:
    first, count = events[0].seq, len(events)
    are_neighbours = [event.seq for event in events] == list(range(first, first + count))
    if are_neighbours and len({event.incarnation for event in events}) == 1:
        return [codec.encode_ready(events)]
    return [codec.encode_ready([event]) for event in events]
