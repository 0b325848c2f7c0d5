"""Make retention physical: the newest run of each kind stays, and with it what explains a gap in it."""

from __future__ import annotations

import logging
from array import array
from itertools import chain
from math import inf
from typing import TYPE_CHECKING

from papyra.clock import mint_incarnation
from papyra.exceptions import StoreUnavailableError
from papyra.persistence._files.check import CAUSE_DAMAGED
from papyra.persistence._files.columns import Columns, kind_and_time
from papyra.persistence._files.edits import RETENTION
from papyra.persistence._files.fs import opened
from papyra.persistence._files.quarantine import set_leftover_aside
from papyra.persistence._files.recovery import Notes, complete_edits, refuse_unrepairable
from papyra.persistence._files.scan import scan_file
from papyra.persistence.integrity import loss_note_of
from papyra.persistence.models import CompactionReport, LossNote, RecordKind, ScanDepth

if TYPE_CHECKING:
    from collections.abc import Collection

    from papyra.persistence._files.lines import Piece
    from papyra.persistence._files.quarantine import Quarantine
    from papyra.persistence._files.recovery import Encode
    from papyra.persistence._files.scan import IsLive, Place
    from papyra.persistence._files.writer import FileWriter
    from papyra.persistence.integrity import Stream
    from papyra.persistence.query import ProgressCallback
    from papyra.persistence.retention import Removal, RetentionPolicy

_log = logging.getLogger(__name__)
_KINDS = {kind.value: kind for kind in RecordKind}


class _Kind:
    """What compaction knows of one kind beyond its columns."""

    def __init__(self) -> None:
        self.columns = Columns()
        self.endings = array("B")
        self.seqs = array("Q")
        self.streams = array("I")
        self.notes: dict[int, LossNote] = {}
        self.first = 0
        self.going: Collection[int] = ()
        self._staying: dict[int, tuple[int, int]] | None = None

    def staying(self, stream: int | None) -> tuple[float, float]:
        """Return the lowest and the highest number of ``stream`` among the records that stay."""
        if self._staying is None:
            found: dict[int, tuple[int, int]] = {}
            for at in range(self.first, len(self.columns)):
                seq = self.seqs[at]
                lowest, highest = found.get(self.streams[at], (seq, seq))
                found[self.streams[at]] = min(lowest, seq), max(highest, seq)
            self._staying = found
        return (inf, -inf) if stream is None else self._staying.get(stream, (inf, -inf))


class CompactionPlan:
    """Which records go and which damage, which goes into quarantine; made by reading only."""

    def __init__(
        self,
        place: Place,
        policy: RetentionPolicy,
        removal: Removal,
        progress: ProgressCallback | None,
        *,
        is_live: IsLive,
    ) -> None:
        self._place = place
        self._kinds = {kind: _Kind() for kind in RecordKind}
        self._streams: dict[Stream, int] = {}
        self.scan = scan_file(place, ScanDepth.FULL, progress, is_live=is_live, on_record=self._collect)
        refuse_unrepairable(self.scan)
        self.size = self.scan.end
        for name, kind in self._kinds.items():
            kind.first, held_back = kind.columns.first_staying(policy.for_kind(name), removal)
            if held_back:
                _log.warning(
                    "%s: %d more records of kind %s are over their age, but no more than half of a kind goes "
                    "for that at once; if the clock is right, the next run goes on",
                    *(place.path, held_back, name.value),
                )
        for kind in self._kinds.values():
            staying = {at for at, note in kind.notes.items() if at < kind.first and self.explains(note)}
            going = range(kind.first)
            kind.going = [at for at in going if at not in staying] if staying else going
        self.has_work = any(kind.going for kind in self._kinds.values())
        self.edits = complete_edits(self.scan)
        self._remove_going()

    def _collect(self, piece: Piece) -> None:
        found = kind_and_time(piece)
        if found is None:
            return
        name, timestamp = found
        kind, head = self._kinds[name], piece.head
        note = None if head is None else loss_note_of(head)
        if note is not None:
            kind.notes[len(kind.columns)] = note
        stream = ("", "") if head is None or not head.seq else (head.incarnation, head.kind)
        kind.columns.add(piece, timestamp)
        kind.endings.append(piece.ending)
        kind.seqs.append(0 if head is None else head.seq)
        kind.streams.append(self._streams.setdefault(stream, len(self._streams)))

    def explains(self, note: LossNote) -> bool:
        """Whether its gap lies between records that stay, or at their end, where more may come."""
        name = _KINDS.get(note.kind)
        if name is None:
            return True  # of a kind that only a newer version knows
        lowest, highest = self._kinds[name].staying(self._streams.get((note.incarnation, note.kind)))
        return lowest <= note.last and highest + 1 >= note.first

    def _remove_going(self) -> None:
        unended: set[int] = set()
        for kind in self._kinds.values():
            for at in kind.going:
                offset, length = kind.columns.offsets[at], kind.columns.lengths[at]
                match kind.endings[at]:
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

    def losses(self) -> list[LossNote]:
        """Return what is missed among the records that stay, because it goes into quarantine."""
        found = self.scan.check.losses()
        return [loss for loss in found if loss.cause == CAUSE_DAMAGED and self.explains(loss)]

    def report(self, *, dry_run: bool, notes: int = 0, note_bytes: int = 0) -> CompactionReport:
        """Say exactly what goes, or went; ``notes`` came in its place."""
        before = sum(len(kind.columns) for kind in self._kinds.values())
        removed = {name: len(kind.going) for name, kind in self._kinds.items()}
        times = [kind.columns.timestamps[at] for kind in self._kinds.values() for at in kind.going]
        after_bytes, quarantined = self.size, 0
        if self.has_work:
            quarantined = sum(removal.span.length for removal in self.edits.removals())
            after_bytes = note_bytes + sum(
                len(part) if isinstance(part, bytes) else part.length for part in self.edits.output(self.size)
            )
        return CompactionReport(
            self._place.backend,
            before,
            before - sum(removed.values()) + notes,
            self.size,
            after_bytes,
            dry_run=dry_run,
            removed=removed,
            oldest_removed=min(times, default=None),
            newest_removed=max(times, default=None),
            quarantined_bytes=quarantined,
        )


def compact_file(
    writer: FileWriter,
    quarantine: Quarantine,
    encode: Encode,
    policy: RetentionPolicy,
    removal: Removal,
    progress: ProgressCallback | None,
) -> CompactionReport:
    """Rewrite the file without what ``policy`` lets go. Runs in the writer thread, under the lock."""
    place = writer.hold()
    plan = CompactionPlan(place, policy, removal, progress, is_live=lambda: False)
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
    return plan.report(dry_run=False, notes=len(entries), note_bytes=len(added))
