"""A spill to test, and the server that takes from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from papyra.persistence import codec
from papyra.persistence._files.spill import Spill
from papyra.persistence.entries import Entry, WriterIdentity
from papyra.persistence.models import LossNote, RecordId, RecordKind
from papyra.testing.clock import ManualClock
from papyra.testing.records import EPOCH, INCARNATION, MAKERS
from tests.unit.files.stores import QUICK

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from papyra.exceptions import PersistenceError
    from papyra.persistence.models import PersistedEvent


class Target:
    """Takes entries as a server does: durable at once, each identity once; may be away."""

    def __init__(self) -> None:
        self.entries: dict[RecordId, bytes] = {}
        self.batches: list[list[int]] = []
        self.room: int | None = None
        self.refused: dict[int, PersistenceError] = {}
        """What is refused for good, by its number."""

    def __call__(self, batch: Sequence[Entry]) -> dict[int, PersistenceError]:
        if self.room is not None:
            if self.room == 0:
                raise ConnectionError("the server is away")
            self.room -= 1
        self.batches.append([entry.seq for entry in batch])
        refused: dict[int, PersistenceError] = {}
        for at, entry in enumerate(batch):
            if entry.incarnation == INCARNATION and entry.seq in self.refused:
                refused[at] = self.refused[entry.seq]
                continue
            identity = RecordId(entry.incarnation, entry.kind, entry.seq)
            assert self.entries.setdefault(identity, entry.line) == entry.line
            assert codec.has_sound_checksum(entry.line[:-1])
        return refused

    def seqs(self, incarnation: str = INCARNATION, kind: str = "event") -> list[int]:
        return [one.seq for one in self.entries if (one.incarnation, one.kind) == (incarnation, kind)]

    def notes(self) -> list[tuple[str, LossNote]]:
        """Return type and note of every loss note that came."""
        found = []
        for line in self.entries.values():
            record: Any = codec.decode_record(line[:-1])
            note = LossNote.from_payload(getattr(record, "payload", None))
            if note is not None:
                found.append((record.event_type, note))
        return found


def entries(
    numbers: Iterable[int], *, incarnation: str = INCARNATION, kind: RecordKind = RecordKind.EVENT
) -> list[Entry]:
    return [Entry.of(MAKERS[kind](number, incarnation=incarnation, seq=number)) for number in numbers]


class Encoder:
    """Gives notes identities, as a backend's writer does."""

    def __init__(self) -> None:
        self._identity = WriterIdentity(ManualClock(EPOCH))

    def __call__(self, events: Sequence[PersistedEvent]) -> list[Entry]:
        encoded = [Entry.of(event) for event in events]
        self._identity.encode(encoded)
        return encoded


def spill_in(folder: Path, **options: Any) -> Spill:
    return Spill(folder, options.pop("encode", Encoder()), **{"fs": QUICK, **options})


def drain(spill: Spill, target: Target) -> None:
    while spill.replay(target):
        pass
