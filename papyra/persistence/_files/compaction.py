"""Make retention physical: the newest run of each kind stays, and with it what explains a gap in it."""

from __future__ import annotations

from itertools import chain
from math import inf
from typing import TYPE_CHECKING

from papyra.clock import mint_incarnation
from papyra.exceptions import StoreUnavailableError
from papyra.persistence._files.check import CAUSE_DAMAGED
from papyra.persistence._files.edits import RETENTION
from papyra.persistence._files.fs import opened
from papyra.persistence._files.index import FileIndex, IndexDoubtError, identity_of
from papyra.persistence._files.kept import KindSequence
from papyra.persistence._files.quarantine import set_leftover_aside
from papyra.persistence._files.recovery import Notes, complete_edits, refuse_unrepairable
from papyra.persistence._files.scan import scan_file
from papyra.persistence.integrity import loss_note_of
from papyra.persistence.models import CompactionReport, LossNote, RecordKind, ScanDepth

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from papyra.persistence._files.lines import Piece
    from papyra.persistence._files.quarantine import Quarantine
    from papyra.persistence._files.recovery import Encode
    from papyra.persistence._files.scan import IsLive, Place
    from papyra.persistence._files.writer import FileWriter
    from papyra.persistence.integrity import Stream
    from papyra.persistence.query import ProgressCallback
    from papyra.persistence.retention import RetentionPolicy

_KINDS = {kind.value: kind for kind in RecordKind}


class _Going:
    """What goes of one kind: the records before ``first``, except notes that still explain something."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.count = 0
        self.oldest = inf
        self.newest = -inf

    def add(self, timestamp: float) -> None:
        self.count += 1
        self.oldest = min(self.oldest, timestamp)
        self.newest = max(self.newest, timestamp)


class CompactionPlan:
    """Which records go and which damage, which goes into quarantine; made by reading only.

    What it remembers does not grow with the records. The index beside the file is not believed here: what it
    said would be gone for good.
    """

    def __init__(
        self, place: Place, policy: RetentionPolicy, progress: ProgressCallback | None, *, is_live: IsLive
    ) -> None:
        self._place = place
        self._before = 0
        self._notes: dict[int, LossNote] = {}
        self._staying: dict[Stream, tuple[int, int]] | None = None
        self.scan = scan_file(place, ScanDepth.FULL, progress, is_live=is_live, on_record=self._collect)
        refuse_unrepairable(self.scan)
        self.size = self.scan.end
        self._index = FileIndex(lambda: place)
        try:
            self._index.read_anew(self.size)
            if self._before != sum(self._index.count(kind) for kind in RecordKind):
                raise StoreUnavailableError(f"{place.path} is being changed by another program; try again")
            self._going = {
                kind: _Going(self._sequence(kind).first_kept(policy.for_kind(kind), place.clock.now()))
                for kind in RecordKind
            }
            self.edits = complete_edits(self.scan)
            self._remove_going()
            self._losses = self._explained(self.scan.check.losses())
        except IndexDoubtError as error:
            raise StoreUnavailableError(
                f"{place.path} is being changed by another program; try again"
            ) from error
        finally:
            self._index.close()
        self.has_work = any(going.count for going in self._going.values())

    def _collect(self, piece: Piece) -> None:
        head = piece.head
        if head is None or head.kind not in _KINDS:
            return
        self._before += 1
        note = loss_note_of(head)
        if note is not None:
            self._notes[piece.offset] = note

    def _sequence(self, kind: RecordKind) -> KindSequence:
        return KindSequence((self._index,), kind)

    def _explains(self, note: LossNote) -> bool:
        """Whether its gap lies between records that stay, or at their end, where more may come."""
        if note.kind not in _KINDS:
            return True  # of a kind that only a newer version knows
        lowest, highest = self._staying_of((note.incarnation, note.kind))
        return lowest <= note.last and highest + 1 >= note.first

    def _staying_of(self, stream: Stream) -> tuple[float, float]:
        """Return the lowest and the highest number of ``stream`` among the records that stay."""
        if self._staying is None:
            self._staying = {}
            for kind, going in self._going.items():
                sequence = self._sequence(kind)
                for spot in sequence.walk(going.first, len(sequence)):
                    incarnation, seq = identity_of(spot.text)
                    lowest, highest = self._staying.get((incarnation, kind), (seq, seq))
                    self._staying[incarnation, kind.value] = min(lowest, seq), max(highest, seq)
        return self._staying.get(stream, (inf, -inf))

    def _remove_going(self) -> None:
        unended: set[int] = set()
        for piece in self._pieces_going():
            offset, length = piece.offset, len(piece.text)
            match piece.ending:
                case 1:
                    self.edits.remove(offset, length + 1, RETENTION)
                case 0:
                    self.edits.remove(offset, length, RETENTION)
                    unended.add(offset + length)
                case _:  # the carriage return is an edit of its own
                    self.edits.remove(offset, length, RETENTION)
                    self.edits.remove(offset + length + 1, 1, RETENTION)
        if unended:
            self.edits.withdraw_inserts(unended)

    def _pieces_going(self) -> Iterator[Piece]:
        left = {kind: going.first for kind, going in self._going.items()}
        for block in range(len(self._index.blocks)):
            if not any(left.values()):
                return
            for kind, piece in self._index.pieces(block):
                if left[kind]:
                    left[kind] -= 1
                    note = self._notes.get(piece.offset)
                    if piece.head is not None and (note is None or not self._explains(note)):
                        self._going[kind].add(piece.head.timestamp)
                        yield piece

    def _explained(self, losses: Iterable[LossNote]) -> list[LossNote]:
        return [loss for loss in losses if loss.cause == CAUSE_DAMAGED and self._explains(loss)]

    def losses(self) -> list[LossNote]:
        """Return what is missed among the records that stay, because it goes into quarantine."""
        return self._losses

    def report(self, *, dry_run: bool, notes: int = 0, note_bytes: int = 0) -> CompactionReport:
        """Say exactly what goes, or went; ``notes`` came in its place."""
        removed = {kind: going.count for kind, going in self._going.items()}
        parts = [going for going in self._going.values() if going.count]
        after_bytes, quarantined = self.size, 0
        if self.has_work:
            quarantined = sum(removal.span.length for removal in self.edits.removals())
            after_bytes = note_bytes + sum(
                len(part) if isinstance(part, bytes) else part.length for part in self.edits.output(self.size)
            )
        return CompactionReport(
            self._place.backend,
            self._before,
            self._before - sum(removed.values()) + notes,
            self.size,
            after_bytes,
            dry_run=dry_run,
            removed=removed,
            oldest_removed=min((going.oldest for going in parts), default=None),
            newest_removed=max((going.newest for going in parts), default=None),
            quarantined_bytes=quarantined,
        )


def compact_file(
    writer: FileWriter,
    quarantine: Quarantine,
    encode: Encode,
    policy: RetentionPolicy,
    progress: ProgressCallback | None,
) -> CompactionReport:
    """Rewrite the file without what ``policy`` lets go. Runs in the writer thread, under the lock."""
    place = writer.hold()
    plan = CompactionPlan(place, policy, progress, is_live=lambda: False)
    if not plan.has_work:
        return plan.report(dry_run=False)
    writer.drop()
    set_leftover_aside(place, quarantine)
    with opened(place.fs, place.path) as fd:
        like = place.fs.fstat(fd)
        if like.size != plan.size:
            raise StoreUnavailableError(f"{place.path} is being written by a program that takes no lock")
        run = mint_incarnation(place.clock.now())
        quarantine.keep(fd, plan.edits.removals(), like=like, run=run)
        entries = encode([*Notes(plan.scan, fd).losses(plan.losses())])
    added = b"".join(entry.line for entry in entries)
    writer.replace(chain(plan.edits.output(plan.size), (added,)), progress)
    writer.adopt(entries)
    writer.rebuild_index()
    return plan.report(dry_run=False, notes=len(entries), note_bytes=len(added))
