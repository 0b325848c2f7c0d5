"""Repair a store: into quarantine first, then cut or rewrite file by file, with notes of what was lost."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Protocol

from papyra.clock import mint_incarnation
from papyra.exceptions import ForeignStoreError, StoreUnavailableError
from papyra.persistence._files.appending import newer_format
from papyra.persistence._files.check import MAX_REPORTED, Findings
from papyra.persistence._files.edits import RETENTION, Span
from papyra.persistence._files.fs import Access, opened, write_all
from papyra.persistence._files.notes import Notes
from papyra.persistence._files.quarantine import set_leftover_aside
from papyra.persistence.models import PersistenceRecoveryMode, PersistenceRecoveryReport, ScanDepth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from papyra.exceptions import StoreFailedError
    from papyra.persistence._files.edits import Edits
    from papyra.persistence._files.lines import Block, Piece
    from papyra.persistence._files.quarantine import Quarantine
    from papyra.persistence._files.scan import FileScan, OnRecord, Place, StoreScan
    from papyra.persistence._files.tally import Seal
    from papyra.persistence.entries import Entry
    from papyra.persistence.integrity import Stream
    from papyra.persistence.models import LossNote, PersistedEvent
    from papyra.persistence.query import ProgressCallback

    Encode = Callable[[Sequence[PersistedEvent]], list[Entry]]
    """Gives events identities of the writer."""
    QuarantineOf = Callable[[Place], Quarantine]


class Writer(Protocol):
    """What recovery and compaction ask of the one writer of a store, in its thread."""

    def hold(self) -> Place: ...
    def scan(
        self, depth: ScanDepth, progress: ProgressCallback | None, on_record: OnRecord | None = None
    ) -> StoreScan: ...

    def home(self, scan: StoreScan) -> FileScan | None:
        """Return the file that notes go to the end of, if it is there and takes more."""
        ...

    def header_of(self, file: FileScan) -> bytes:
        """Return a header for a file that has lost its own."""
        ...

    def note(self, entries: Sequence[Entry]) -> None:
        """Store events of the store's own."""
        ...

    def adopt(self, entries: Sequence[Entry]) -> None: ...
    def drop(self) -> None: ...
    def forget_index(self, place: Place) -> None:
        """Take the index of a file away, which is about to be changed elsewhere than at its end."""
        ...

    def rebuild_index(self, place: Place) -> None:
        """Put an index beside a file as it is now."""
        ...

    def replace(
        self,
        place: Place,
        parts: Iterable[Span | bytes],
        progress: ProgressCallback | None,
        seal: Seal | None = None,
    ) -> None: ...

    def fail(self, error: BaseException) -> StoreFailedError: ...


class Recovery:
    """Makes the next scan of the same depth clean. Runs in the writer thread, under the lock.

    Killed at any point, it leaves of each file the old or the new one, and every byte in the store or in
    quarantine. Notes of losses are durable before anything is cut.
    """

    def __init__(
        self,
        writer: Writer,
        quarantine: QuarantineOf,
        encode: Encode,
        *,
        mode: PersistenceRecoveryMode,
    ) -> None:
        self._writer = writer
        self._place = writer.hold()
        self._quarantine = quarantine
        self._encode = encode
        self._mode = mode
        self._run = ""
        self._progress: ProgressCallback | None = None
        self._set_aside: list[str] = []
        self._quarantined_bytes = 0

    def run(self, depth: ScanDepth, progress: ProgressCallback | None) -> PersistenceRecoveryReport:
        """Do it, and say what was done.

        What a repair of the tail removes or moves may be the mark it began at, or lines that were counted:
        where the next scan of the tail reaches further back and meets damage there, everything is repaired.
        """
        self._progress = progress
        report = self._repaired(depth)
        if depth is ScanDepth.FULL or not report.scan.has_anomalies:
            return report
        if self._is_all_left(self._writer.scan(depth, progress)):
            return report
        return _joined(report, self._repaired(ScanDepth.FULL))

    def _repaired(self, depth: ScanDepth) -> PersistenceRecoveryReport:
        self._run = mint_incarnation(self._place.clock.now())  # offsets in quarantine are of one file
        scan = self._writer.scan(depth, self._progress)
        refuse_unrepairable(scan)
        report = scan.report()
        left = tuple(self.left(scan).anomalies)
        if self._is_all_left(scan):
            return PersistenceRecoveryReport(self._place.backend, report, left=left)
        if depth is not ScanDepth.FULL and any(map(_has_to_be_read_whole, scan.files)):
            return self._repaired(ScanDepth.FULL)
        self._writer.drop()
        losses = scan.ledger.losses()
        for path in scan.leftovers:
            self._set_aside += set_leftover_aside(self._place, self._quarantine(self._place), path)
        moved = self.put_names_right(scan)
        if moved:
            scan = self._writer.scan(depth, self._progress)
        edited = self._repair(scan, losses)
        return PersistenceRecoveryReport(
            self._place.backend,
            report,
            tuple(map(str, (*moved, *edited))),
            tuple(self._set_aside),
            quarantined_bytes=self._quarantined_bytes,
            quarantine=self._folder if self._quarantined_bytes or self._set_aside else "",
            losses=tuple(losses),
            left=left,
        )

    @property
    def _folder(self) -> str:
        return str(self._quarantine(self._place).folder)

    def _is_all_left(self, scan: StoreScan) -> bool:
        return self.left(scan).counts == scan.report().counts

    def left(self, scan: StoreScan) -> Findings:
        """Return the findings that nothing is to be done about."""
        return Findings(str(scan.place.path))

    def put_names_right(self, scan: StoreScan) -> list[Path]:
        """Give files their names back; returns those that have new ones."""
        del scan
        return []

    def fill_gaps(self, scan: StoreScan) -> list[Path]:
        """Stand in for files that are not there; returns what was made."""
        del scan
        return []

    def _repair(self, scan: StoreScan, losses: list[LossNote]) -> list[Path]:
        files = [file for file in scan.files if not file.is_fixed]
        ordered = [file for file in files if file.check.unordered]
        if ordered:
            self._put_in_order(scan.depth, ordered)
        home = self._writer.home(scan)
        edits = {file.place.path: complete_edits(file, self._writer.header_of) for file in files}
        edited = [file for file in files if edits[file.place.path] or file.lacks_footer]
        for file in edited:
            self._keep(scan, file, edits[file.place.path], losses)
        notes = Notes(scan)
        events = [*notes.losses(losses), *notes.lost_incarnations()]
        entries = self._encode([*events, notes.recovery(self._summary(scan, losses))])
        if home is None:
            self._writer.note(entries)
        else:
            added = b"".join(entry.line for entry in entries)
            self._change(home, edits[home.place.path], added, has_losses=bool(losses))
            self._writer.adopt(entries)
        self._writer.drop()
        for file in edited:
            if file is not home:
                self._change(file, edits[file.place.path], b"", has_losses=False)
        changed = [file.place.path for file in edited]
        made = self.fill_gaps(scan)
        for file in files:
            if file in edited or file is home or file.has_stale_index:
                self._writer.rebuild_index(file.place)
        return [*changed, *made]

    def _keep(self, scan: StoreScan, file: FileScan, edits: Edits, losses: list[LossNote]) -> None:
        place, quarantine = file.place, self._quarantine(file.place)
        with opened(place.fs, place.path) as fd:
            like = place.fs.fstat(fd)
            if like.size != file.end:
                raise StoreUnavailableError(f"{place.path} is being written by a program that takes no lock")
            if edits and self._mode is PersistenceRecoveryMode.QUARANTINE:
                summary = self._summary(scan, losses)
                self._set_aside.append(str(quarantine.set_aside(place.path, like=like, report=summary)))
            self._quarantined_bytes += quarantine.keep(fd, edits.removals(), like=like, run=self._run)

    def _summary(self, scan: StoreScan, losses: list[LossNote]) -> dict[str, object]:
        return {
            "run": self._run,
            "mode": self._mode.value,
            "depth": scan.depth.value,
            "found": {type_.value: count for type_, count in scan.report().counts.items()},
            "losses": len(losses),
            "quarantined_bytes": self._quarantined_bytes,
            "quarantine": self._folder,
        }

    def _change(self, file: FileScan, edits: Edits, added: bytes, *, has_losses: bool) -> None:
        seal = file.seal()
        change = edits.as_tail_change(file.end) if seal is None else None
        if change is not None and has_losses and change[0] < file.end:
            change = None  # a full disk between the cut and its note would leave the loss untold
        if change is None:
            parts = chain(edits.output(file.end), (added,))
            self._writer.replace(file.place, parts, self._progress, seal)
        else:
            self._writer.forget_index(file.place)
            with opened(file.place.fs, file.place.path, Access.APPEND) as fd:
                self._change_tail(fd, change[0], change[1] + added)

    def _change_tail(self, fd: int, kept: int, added: bytes) -> None:
        fs = self._place.fs
        fs.truncate(fd, kept)
        try:
            write_all(fs, fd, added)
        except OSError:
            with suppress(OSError):
                fs.truncate(fd, kept)
            raise
        try:
            fs.sync(fd)
        except OSError as error:
            raise self._writer.fail(error) from error

    def _put_in_order(self, depth: ScanDepth, files: list[FileScan]) -> None:
        """Let the records of a stream trade places among themselves, within their file."""
        places: dict[tuple[Path, Stream], list[tuple[int, Span]]] = {
            (file.place.path, stream): [] for file in files for stream in file.check.unordered
        }
        edits = {file.place.path: file.check.edits for file in files}

        def collect(file: FileScan, part: Piece | Block) -> None:
            for piece in part.pieces():
                if piece.head is not None:
                    key = file.place.path, (piece.head.incarnation, piece.head.kind)
                    if key in places:
                        places[key].append((piece.head.seq, Span(piece.offset, len(piece.text))))

        self._writer.scan(depth, self._progress, collect)
        for (path, _), found in places.items():
            for (_, at), (_, source) in zip(found, sorted(found), strict=True):
                if at != source:
                    edits[path].put(at, source)


def _has_to_be_read_whole(file: FileScan) -> bool:
    has_work = bool(file.check.edits) or file.lacks_footer
    return has_work and file.wants_footer and not file.is_whole and not file.is_fixed


def _joined(tail: PersistenceRecoveryReport, full: PersistenceRecoveryReport) -> PersistenceRecoveryReport:
    """Return what both did, the second after the first; bytes and files are counted through already."""
    counts = Counter(tail.scan.counts)
    counts.update(full.scan.counts)
    anomalies = (*tail.scan.anomalies, *full.scan.anomalies)[:MAX_REPORTED]
    return replace(
        full,
        scan=replace(full.scan, anomalies=anomalies, counts=dict(counts)),
        repaired_files=full.repaired_files or tail.repaired_files,
        losses=(*tail.losses, *full.losses),
    )


def refuse_unrepairable(scan: StoreScan) -> None:
    """Raise for a store that nobody may change: of a newer format, or with lines of another store in it."""
    if scan.newer:
        raise newer_format(scan.place, scan.newer)
    for file in scan.files:
        if file.check.is_foreign:
            raise ForeignStoreError(
                f"{file.place.path} holds lines of two stores, as after copying one file onto the end of "
                "another: take them apart at the second header; nothing was changed"
            )


def complete_edits(file: FileScan, header_of: Callable[[FileScan], bytes]) -> Edits:
    """Return the edits of ``file`` with a new header where the old one was damaged, or nothing is left."""
    check, edits = file.check, file.check.edits
    is_empty = file.end > 0 and edits.as_tail_change(file.end) == (0, b"")
    is_bare = not file.end and file.lacks_footer
    if check.header is None and (check.has_lost_header or is_empty or is_bare):
        edits.insert(0, header_of(file))
    if edits:
        remove_footer(file)
    return edits


def remove_footer(file: FileScan) -> None:
    """Leave the footer out, which tells of what is changed now."""
    if file.check.footer is not None:
        file.check.leave_footer_out(RETENTION)
