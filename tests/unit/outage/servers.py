"""A server in memory that goes away, loses replies and refuses; and processes that write to it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from papyra.exceptions import InvalidRecordError, PersistenceError, StoreUnavailableError
from papyra.persistence import codec
from papyra.persistence.entries import Entry, WriterIdentity
from papyra.persistence.metrics import PersistenceMetrics
from papyra.persistence.models import LossNote, RecordId, RecordKind
from papyra.persistence.outage import Outage, OutageOptions
from papyra.persistence.state import StateTracker
from papyra.testing.clock import ManualClock
from papyra.testing.records import EPOCH, INCARNATION, MAKERS, event
from tests.unit.files.stores import QUICK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from papyra.persistence._files.fs import FileSystem
    from papyra.persistence.state import StoreState

STORE = "server"


@dataclass
class Server:
    """Takes each identity once, in order; what is to happen is told before."""

    is_away: bool = False
    lost_replies: int = 0
    """So many batches are stored and then not answered."""
    torn_batches: int = 0
    """Of so many only the first half is stored before it goes away."""
    refused: set[RecordId] = field(default_factory=set)
    lines: dict[RecordId, bytes] = field(default_factory=dict)
    calls: list[list[RecordId]] = field(default_factory=list)

    def __call__(self, entries: Sequence[Entry]) -> dict[int, PersistenceError]:
        self.calls.append([_id(entry) for entry in entries])
        if self.is_away:
            raise StoreUnavailableError("connection refused")
        if self.torn_batches:
            self.torn_batches -= 1
            self._take(entries[: len(entries) // 2])
            raise StoreUnavailableError("connection reset")
        refusals = self._take(entries)
        if self.lost_replies:
            self.lost_replies -= 1
            raise StoreUnavailableError("no answer")
        return refusals

    def _take(self, entries: Sequence[Entry]) -> dict[int, PersistenceError]:
        refusals: dict[int, PersistenceError] = {}
        for at, entry in enumerate(entries):
            if _id(entry) in self.refused:
                refusals[at] = InvalidRecordError("poison")
                continue
            assert codec.has_sound_checksum(entry.line[:-1])
            assert self.lines.setdefault(_id(entry), entry.line) == entry.line
        return refusals

    def seqs(self, incarnation: str = INCARNATION, kind: str = "event") -> list[int]:
        """Return the numbers of a stream, in the order in which they came."""
        return [one.seq for one in self.lines if (one.incarnation, one.kind) == (incarnation, kind)]

    def payloads(self) -> list[object]:
        """Return what the events say, in the order in which they came."""
        records: list[Any] = [codec.decode_record(line[:-1]) for line in self.lines.values()]
        return [getattr(record, "payload", None) for record in records]

    def notes(self) -> list[LossNote]:
        found = (LossNote.from_payload(payload) for payload in self.payloads())
        return [note for note in found if note is not None]


def _id(entry: Entry) -> RecordId:
    return RecordId(entry.incarnation, entry.kind, entry.seq)


class Process:
    """One process that writes to ``server``, as a backend's writer thread does, without the thread."""

    def __init__(
        self,
        server: Server,
        spill_dir: Path | None,
        *,
        clock: ManualClock | None = None,
        fs: FileSystem = QUICK,
        seed: int = 0,
        **options: Any,
    ) -> None:
        self.send: Callable[[Sequence[Entry]], Mapping[int, PersistenceError]] = server
        """May be another server from now on."""
        self.clock = clock or ManualClock(EPOCH)
        self.tracker = StateTracker(STORE, self.clock)
        self.metrics = PersistenceMetrics()
        self.pauses: list[float] = []
        self.is_closing = False
        self.outage = Outage(
            STORE,
            self._send,
            WriterIdentity(self.clock),
            options=OutageOptions(spill_dir, **options),
            tracker=self.tracker,
            metrics=self.metrics,
            pause=self._pause,
            clock=self.clock,
            draw=random.Random(seed).random,  # noqa: S311  # no secret
            fs=fs,
        )

    def _send(self, entries: Sequence[Entry]) -> Mapping[int, PersistenceError]:
        return self.send(entries)

    def _pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.clock.advance(seconds)
        return not self.is_closing

    @property
    def state(self) -> StoreState:
        return self.tracker.state

    def append(self, numbers: Iterable[int], incarnation: str = INCARNATION) -> None:
        """Store events with these numbers; what is refused is not looked at."""
        self.outage.store(numbered(numbers, incarnation))

    def append_one_by_one(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self.append([number])

    def append_unnumbered(self, *payloads: object) -> None:
        self.outage.store([Entry.of(event(1, payload=payload)) for payload in payloads])

    def tick(self) -> None:
        """Do what is due, until nothing is."""
        while self.outage.due <= self.clock.monotonic():
            self.outage.run()

    def come_to_rest(self) -> None:
        """Let the next retry come, and what follows from it."""
        self.tick()
        for _ in range(3):
            self.clock.advance(5)
            self.tick()


def numbered(
    numbers: Iterable[int], incarnation: str = INCARNATION, kind: RecordKind = RecordKind.EVENT
) -> list[Entry]:
    return [Entry.of(MAKERS[kind](number, incarnation=incarnation, seq=number)) for number in numbers]


def spilled(root: Path) -> list[str]:
    """Return the segments under ``root``."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("spill-*"))
