"""Make retention physical: the newest run of each kind stays, and with it what explains a gap in it."""

from __future__ import annotations

import logging
from heapq import merge
from itertools import chain
from typing import TYPE_CHECKING

from papyra.clock import mint_incarnation
from papyra.exceptions import StoreUnavailableError
from papyra.persistence._files import sidecar
from papyra.persistence._files.blocks import KINDS
from papyra.persistence._files.columns import Columns
from papyra.persistence._files.edits import RETENTION
from papyra.persistence._files.fs import opened
from papyra.persistence._files.ledger import CAUSE_DAMAGED
from papyra.persistence._files.lines import Block
from papyra.persistence._files.notes import Notes
from papyra.persistence._files.quarantine import set_leftover_aside
from papyra.persistence._files.recovery import complete_edits, refuse_unrepairable, remove_footer
from papyra.persistence._files.scan import LEGACY
from papyra.persistence._files.tally import Tally
from papyra.persistence.integrity import LOSS_NOTES, loss_note_of, runs_of_heads
from papyra.persistence.models import CompactionReport, LossNote, RecordKind, ScanDepth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from papyra.persistence._files.edits import Span
    from papyra.persistence._files.lines import Piece
    from papyra.persistence._files.recovery import Encode, QuarantineOf, Writer
    from papyra.persistence._files.scan import FileScan, OnRecord, Place, StoreScan
    from papyra.persistence.integrity import Stream
    from papyra.persistence.query import ProgressCallback
    from papyra.persistence.retention import Removal, RetentionPolicy

    HeaderOf = Callable[[FileScan], bytes]

_log = logging.getLogger(__name__)


class CompactionPlan:
    """Which records go and which damage, which goes into quarantine; made by reading only."""

    def __init__(
        self,
        scan: Callable[[OnRecord], StoreScan],
        policy: RetentionPolicy,
        removal: Removal,
        header_of: HeaderOf,
    ) -> None:
        self._kinds = {kind: Columns() for kind in RecordKind}
        self._streams: dict[Stream, int] = {}
        self._numbers: dict[Path, int] = {}
        self.scan = scan(self._collect)
        refuse_unrepairable(self.scan)
        self._place = self.scan.place
        for name, kind in self._kinds.items():
            held_back = kind.let_go(self._families_of(kind), policy.for_kind(name), removal)
            self._tell_held_back(name, held_back)
        self._spare()
        for kind in self._kinds.values():
            for at, note in kind.notes.items():
                if kind.is_going[at] and self.explains(note):
                    kind.is_going[at] = 0
        self.has_work = any(1 in kind.is_going for kind in self._kinds.values())
        self.dropped = self._find_dropped()
        for file in self.scan.files:
            if file.is_fixed and file not in self.dropped:
                self._keep_all(self._numbers.get(file.place.path, -1))
        self._gone = self._count(lambda _kind, run: run.stop - run.start)
        self.has_work = bool(self._gone)
        self.rewritten = [file for file in self.scan.files if self._has_to_be_rewritten(file)]
        for file in self.rewritten:
            complete_edits(file, header_of)
        self._remove_going()

    def _tell_held_back(self, name: RecordKind, count: int) -> None:
        if count:
            _log.warning(
                "%s: %d more records of kind %s are over their age, but no more than half of a kind goes "
                "for that at once; if the clock is right, the next run goes on",
                *(self._place.path, count, name.value),
            )

    def _collect(self, file: FileScan, part: Piece | Block) -> None:
        if not isinstance(part, Block):
            self._collect_one(file, part)
        elif not LOSS_NOTES.isdisjoint([head.event_type for head in part.heads]):
            for piece in part.pieces():
                self._collect_one(file, piece)
        else:
            number = self._number_of(file)
            for stream, run in runs_of_heads(part.heads):
                self._kinds[KINDS[stream[1]]].add(part, run, number, self._stream_of(stream))

    def _number_of(self, file: FileScan) -> int:
        return self._numbers.setdefault(file.place.path, len(self._numbers))

    def _stream_of(self, stream: Stream) -> int:
        return self._streams.setdefault(stream, len(self._streams))

    def _collect_one(self, file: FileScan, piece: Piece) -> None:
        head = piece.head
        if head is None or head.kind not in KINDS:  # a kind that only a newer version knows
            return
        kind = self._kinds[KINDS[head.kind]]
        note = loss_note_of(head)
        if note is not None:
            kind.notes[len(kind)] = note
        kind.offsets.append(piece.offset)
        kind.lengths.append(len(piece.text))
        kind.timestamps.append(head.timestamp)
        kind.endings.append(piece.ending)
        kind.seqs.append(head.seq)
        kind.streams.append(self._stream_of((head.incarnation, head.kind) if head.seq else ("", "")))
        kind.files.append(self._number_of(file))

    def _families_of(self, kind: Columns) -> list[str]:
        """Return the family of each file, the same for all where they follow each other anyway."""
        files = set(kind.files)
        paths = {file.place.path: file.family for file in self.scan.files}
        found = [paths[path] for path in self._numbers]
        writers = {family for at, family in enumerate(found) if at in files and family != LEGACY}
        return found if len(writers) > 1 else [""]

    def _count(self, what: Callable[[Columns, slice], int]) -> dict[int, int]:
        """Return the sum of ``what`` over those that go, by the number of their file."""
        found: dict[int, int] = {}
        for kind in self._kinds.values():
            for file, run in kind.going():
                found[file] = found.get(file, 0) + what(kind, run)
        return found

    def _spare(self) -> None:
        """Leave files alone of which too little would go."""
        going = self._count(lambda kind, run: sum(kind.lengths[run]) + sum(kind.endings[run]))
        for file in self.scan.files:
            number = self._numbers.get(file.place.path, -1)
            if number in going and not file.is_worth_it(going[number], is_all=self._goes_wholly(number)):
                self._keep_all(number)

    def _keep_all(self, number: int) -> None:
        for kind in self._kinds.values():
            for file, run in list(kind.going()):
                if file == number:
                    kind.is_going[run] = bytes(run.stop - run.start)

    def _goes_wholly(self, number: int) -> bool:
        return not any(
            file == number and not is_going
            for kind in self._kinds.values()
            for file, is_going in zip(kind.files, kind.is_going, strict=True)
        )

    def _find_dropped(self) -> list[FileScan]:
        """Return the oldest files of each family, up to the first in which anything stays."""
        dropped, done = [], set()
        for file in self.scan.files:
            number = self._numbers.get(file.place.path, -1)
            if (
                file.may_be_dropped
                and file.family not in done
                and self.has_work
                and self._goes_wholly(number)
            ):
                dropped.append(file)
            else:
                done.add(file.family)
        return dropped

    def _has_to_be_rewritten(self, file: FileScan) -> bool:
        return file not in self.dropped and self._numbers.get(file.place.path, -1) in self._gone

    def explains(self, note: LossNote) -> bool:
        """Whether its gap lies between records that stay, or at their end, where more may come."""
        name = KINDS.get(note.kind)
        if name is None:
            return True  # of a kind that only a newer version knows
        lowest, highest = self._kinds[name].staying(self._streams.get((note.incarnation, note.kind)))
        return lowest <= note.last and highest + 1 >= note.first

    def _remove_going(self) -> None:
        files = {self._numbers.get(file.place.path, -1): file for file in self.rewritten}
        unended: dict[int, set[int]] = {}
        for number, offset, length, ending in merge(*(kind.spans_going() for kind in self._kinds.values())):
            if number in files:
                files[number].check.edits.remove_line(offset, length, ending, RETENTION)
                if not ending:
                    unended.setdefault(number, set()).add(offset + length)
        for number, offsets in unended.items():
            files[number].check.edits.withdraw_inserts(offsets)
        for file in self.rewritten:
            remove_footer(file)
            if file.wants_footer:
                file.tally = self._tally(self._numbers[file.place.path])

    def _tally(self, number: int) -> Tally:
        tally = Tally()
        streams = list(self._streams)
        for kind in self._kinds.values():
            for at, is_going in enumerate(kind.is_going):
                if kind.files[at] == number and not is_going:
                    incarnation, _ = streams[kind.streams[at]]
                    tally.add(incarnation, kind.seqs[at], kind.timestamps[at])
        return tally

    def losses(self) -> list[LossNote]:
        """Return what is missed among the records that stay, because it goes into quarantine."""
        found = self.scan.ledger.losses()
        return [loss for loss in found if loss.cause == CAUSE_DAMAGED and self.explains(loss)]

    def size_after(self, file: FileScan) -> int:
        """Return how many bytes ``file`` will have."""
        if file in self.dropped:
            return 0
        if file not in self.rewritten:
            return file.end
        parts = file.check.edits.output(file.end)
        size = sum(len(part) if isinstance(part, bytes) else part.length for part in parts)
        seal = file.seal()
        return size if seal is None else size + len(seal(size, "0" * 64))

    def _times_going(self) -> Iterator[float]:
        for kind in self._kinds.values():
            for _, run in kind.going():
                yield from (min(kind.timestamps[run]), max(kind.timestamps[run]))

    def report(self, *, dry_run: bool, notes: int = 0, note_bytes: int = 0) -> CompactionReport:
        """Say exactly what goes, or went; ``notes`` came in its place."""
        before = sum(len(kind) for kind in self._kinds.values())
        removed = {name: sum(kind.is_going) for name, kind in self._kinds.items()}
        changed = [*self.rewritten, *self.dropped]
        quarantined = sum(removal.span.length for file in changed for removal in file.check.edits.removals())
        return CompactionReport(
            self._place.backend,
            before,
            before - sum(removed.values()) + notes,
            sum(file.end for file in self.scan.files),
            sum(self.size_after(file) for file in self.scan.files) + note_bytes,
            dry_run=dry_run,
            removed=removed,
            oldest_removed=min(self._times_going(), default=None),
            newest_removed=max(self._times_going(), default=None),
            quarantined_bytes=quarantined,
        )


def compact(
    writer: Writer,
    quarantine: QuarantineOf,
    encode: Encode,
    policy: RetentionPolicy,
    removal: Removal,
    progress: ProgressCallback | None,
) -> CompactionReport:
    """Rewrite or drop files without what ``policy`` lets go. Runs in the writer thread, under the lock."""
    place = writer.hold()
    plan = CompactionPlan(
        lambda on_record: writer.scan(ScanDepth.FULL, progress, on_record), policy, removal, writer.header_of
    )
    if not plan.has_work:
        return plan.report(dry_run=False)
    writer.drop()
    for path in plan.scan.leftovers:
        set_leftover_aside(place, quarantine(place), path)
    run = mint_incarnation(place.clock.now())
    for file in (*plan.rewritten, *plan.dropped):
        with opened(file.place.fs, file.place.path) as fd:
            like = file.place.fs.fstat(fd)
            if like.size != file.end:
                raise StoreUnavailableError(
                    f"{file.place.path} is being written by a program that takes no lock"
                )
            quarantine(file.place).keep(fd, file.check.edits.removals(), like=like, run=run)
    entries = encode([*Notes(plan.scan).losses(plan.losses())])
    added = b"".join(entry.line for entry in entries)
    report = plan.report(dry_run=False, notes=len(entries), note_bytes=len(added))
    if plan.scan.ledger.is_set:
        writer.note(entries)
        writer.drop()
        added = b""
    _remove([file.place for file in plan.dropped])
    for file in plan.rewritten:  # the oldest first, so that a crash leaves no hole
        writer.replace(file.place, chain(_output(file), (added,)), progress, file.seal())
        writer.rebuild_index(file.place)
    if added:
        writer.adopt(entries)
    return report


def _remove(places: list[Place]) -> None:
    for place in places:
        sidecar.remove(place.fs, place.path)
        place.fs.remove(place.path)
    for place in places[:1]:
        place.fs.sync_folder(place.path.parent)


def _output(file: FileScan) -> Iterator[Span | bytes]:
    """Return the new content, with what was noted after the scan."""
    edits, fs = file.check.edits, file.place.fs
    with opened(fs, file.place.path) as fd:
        size = fs.fstat(fd).size
        if size > file.end > 0 and fs.pread(fd, 1, file.end - 1) != b"\n":
            edits.remove(file.end, 1, RETENTION)  # the newline that keeps a note apart from an unended line
    return edits.output(size)
