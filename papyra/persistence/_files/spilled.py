"""What a spill decides: how much it may hold, what to note of records it dropped or lost. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator  # noqa: TC003  # told of in signatures only
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from papyra.persistence import codec
from papyra.persistence._files.damage import claimed_identity, is_torn
from papyra.persistence._files.edits import Removal, Span
from papyra.persistence._files.lines import Piece, Sort
from papyra.persistence.models import EventType, LossNote, PersistenceAnomalyType, RecordId

if TYPE_CHECKING:
    from collections.abc import Mapping

    from papyra.persistence.integrity import Stream

CAUSE_DROPPED = "spill_full"
CAUSE_DAMAGED = "damaged"
CAUSE_REFUSED = "refused"
MAX_RANGES = 256

_NAME = re.compile(r"spill-([0-9]{8,})\.ndjson\Z")


class WhenFull(StrEnum):
    """What an append to a full spill does: it is refused, or the oldest records go and are counted."""

    REFUSE = "refuse"
    DROP_OLDEST = "drop_oldest"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpillLimits:
    """How much a spill may hold. What goes at once, replayed or dropped, is a segment: an eighth."""

    max_bytes: int = 64 * 1024 * 1024
    max_records: int = 200_000

    @property
    def segment_bytes(self) -> int:
        """How long a segment gets before the next one begins."""
        return max(self.max_bytes // 8, 1)

    @property
    def segment_records(self) -> int:
        """The same in records."""
        return max(self.max_records // 8, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpillStats:
    """What waits in a spill; ``dropped`` records went for want of room and were not yet told of."""

    records: int = 0
    bytes: int = 0
    segments: int = 0
    dropped: int = 0
    quarantine_bytes: int = 0


def segment_name(number: int) -> str:
    """Return the name of a segment file."""
    return f"spill-{number:08d}.ndjson"


def segment_number(name: str) -> int | None:
    """Return the number in the name of a segment file, ``None`` for any other file."""
    found = _NAME.match(name)
    return int(found[1]) if found else None


class _Range(NamedTuple):
    first: int
    last: int
    system_id: str


@dataclass(slots=True)
class Dropped:
    """Which records went for want of room, as few ranges; a range may cover numbers that were never here."""

    records: int = 0
    through: int = 0
    """The highest segment of which they are."""
    ranges: dict[Stream, list[_Range]] = field(default_factory=dict)
    is_damaged: bool = False
    """Whether there is a ledger that cannot be read."""

    def add(self, identity: RecordId, system_id: str) -> None:
        """Count one record."""
        self.records += 1
        seq = identity.seq
        ranges = self.ranges.setdefault((identity.incarnation, identity.kind), [])
        if ranges and ranges[-1].last + 1 == seq:
            ranges[-1] = ranges[-1]._replace(last=seq)
        elif not any(one.first <= seq <= one.last for one in ranges):
            ranges.append(_Range(seq, seq, system_id))
            if len(ranges) > MAX_RANGES:
                hull = _Range(
                    min(one.first for one in ranges), max(one.last for one in ranges), ranges[0].system_id
                )
                ranges[:] = [hull]

    def notes(self) -> Iterator[tuple[str, LossNote]]:
        """Yield a loss note for each range, with the system it is about."""
        for (incarnation, kind), ranges in self.ranges.items():
            for one in ranges:
                yield one.system_id, LossNote(incarnation, kind, one.first, one.last, CAUSE_DROPPED)

    def to_json(self) -> bytes:
        """Return what `from_json` reads."""
        ranges = [[*stream, *one] for stream, ranges in self.ranges.items() for one in ranges]
        return json.dumps({"records": self.records, "through": self.through, "ranges": ranges}).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Dropped:
        """Read `to_json` back; raises ``ValueError``."""
        try:
            raw = json.loads(text)
            ranges: dict[Stream, list[_Range]] = {}
            for incarnation, kind, first, last, system_id in raw["ranges"]:
                one = _Range(int(first), int(last), str(system_id))
                ranges.setdefault((str(incarnation), str(kind)), []).append(one)
            return cls(int(raw["records"]), int(raw["through"]), ranges)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a ledger of dropped records: {error}") from error


def note_type(note: LossNote) -> str:
    """Return the type of the event that carries ``note``."""
    return (EventType.RECORDS_DROPPED if note.cause == CAUSE_DROPPED else EventType.RECORDS_LOST).value


class SegmentCheck:
    """Looks at the pieces of one segment: which are records, what is damaged, what that took with it."""

    def __init__(self) -> None:
        self.removals: list[Removal] = []
        self._damage = 0
        self._seen: dict[Stream, tuple[int, int]] = {}
        self._ids: set[RecordId] = set()
        self._claims: set[RecordId] = set()
        self._gaps: list[LossNote] = []

    def is_record(self, piece: Piece) -> bool:
        """Whether ``piece`` is to be replayed; takes note of what it is otherwise."""
        head = piece.head
        if piece.sort is Sort.RECORD and head is not None and head.kind in _KINDS:
            self._take(RecordId(head.incarnation, head.kind, head.seq))
            return True
        if piece.sort is Sort.RECORD and head is not None:
            self._remove(piece, PersistenceAnomalyType.NEWER_FORMAT)
        elif piece.sort not in {Sort.HEADER, Sort.BLANK}:
            self._take_damage(piece)
        return False

    def _take(self, identity: RecordId) -> None:
        stream = identity.incarnation, identity.kind
        self._ids.add(identity)
        last, damage = self._seen.get(stream, (0, 0))
        skipped = identity.seq - last - 1
        if last and 0 < skipped <= self._damage - damage:
            self._gaps.append(LossNote(*stream, last + 1, identity.seq - 1, CAUSE_DAMAGED))
        self._seen[stream] = max(identity.seq, last), self._damage

    def _take_damage(self, piece: Piece) -> None:
        if piece.is_last and (is_torn(piece.text) or not piece.text.strip(b"\0")):
            if piece.offset:  # else a header that was never finished, in which nothing stood
                self._remove(piece, PersistenceAnomalyType.TORN_TAIL)
            return
        self._damage += 1
        claim = claimed_identity(piece.text)
        if claim is not None and claim.kind in _KINDS:
            self._claims.add(claim)
        framed = codec.is_framed(piece.text)
        self._remove(piece, PersistenceAnomalyType.BAD_CHECKSUM if framed else PersistenceAnomalyType.GARBAGE)

    def _remove(self, piece: Piece, type_: PersistenceAnomalyType) -> None:
        self.removals.append(Removal(Span(piece.offset, len(piece.text) + piece.ending), type_.value))

    def losses(self) -> list[LossNote]:
        """Return what damage took: numbers that it explains, and those that damaged lines say they were."""
        noted = list(self._gaps)
        for claim in sorted(self._claims - self._ids):
            is_covered = any(
                (note.incarnation, note.kind) == (claim.incarnation, claim.kind)
                and note.first <= claim.seq <= note.last
                for note in noted
            )
            if not is_covered:
                note = LossNote(claim.incarnation, claim.kind, claim.seq, claim.seq, CAUSE_DAMAGED)
                noted.append(note)
        return noted


_KINDS: Mapping[str, type] = {kind: cls for cls, kind in codec.KINDS.items()}
