"""Repair a store file: into quarantine first, then cut or rewrite, with notes of what was lost."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from papyra.clock import mint_incarnation
from papyra.exceptions import ForeignStoreError, RecordDecodeError, StoreUnavailableError
from papyra.persistence import codec
from papyra.persistence._files.appending import new_header, newer_format
from papyra.persistence._files.check import MAX_REPORTED
from papyra.persistence._files.edits import Span
from papyra.persistence._files.fs import Access, opened, read_all, write_all
from papyra.persistence._files.quarantine import set_leftover_aside
from papyra.persistence._files.scan import scan_file
from papyra.persistence.models import (
    EventType,
    PersistedEvent,
    PersistenceRecoveryMode,
    PersistenceRecoveryReport,
    ScanDepth,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from papyra.persistence._files.edits import Edits
    from papyra.persistence._files.lines import Piece
    from papyra.persistence._files.quarantine import Quarantine
    from papyra.persistence._files.scan import FileScan
    from papyra.persistence._files.writer import FileWriter
    from papyra.persistence.entries import Entry
    from papyra.persistence.integrity import Stream
    from papyra.persistence.models import LossNote, PersistenceScanReport
    from papyra.persistence.query import ProgressCallback

    Encode = Callable[[Sequence[PersistedEvent]], Sequence[Entry]]
    """Gives events identities of the writer."""


class Recovery:
    """Makes the next scan of the same depth clean. Runs in the writer thread, under the lock.

    Killed at any point, it leaves the old file or the new one, and every byte in the store or in quarantine.
    """

    def __init__(
        self,
        writer: FileWriter,
        quarantine: Quarantine,
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
        if report.scan.has_anomalies:
            self._writer.rebuild_index()
        if depth is ScanDepth.FULL or not report.scan.has_anomalies or not self._scan(depth).has_anomalies:
            return report
        report = _joined(report, self._repaired(ScanDepth.FULL))
        self._writer.rebuild_index()
        return report

    def _scan(self, depth: ScanDepth) -> PersistenceScanReport:
        return scan_file(self._place, depth, self._progress, is_live=lambda: False).report()

    def _repaired(self, depth: ScanDepth) -> PersistenceRecoveryReport:
        self._run = mint_incarnation(self._place.clock.now())  # offsets in quarantine are of one file
        scan = scan_file(self._place, depth, self._progress, is_live=lambda: False)
        refuse_unrepairable(scan)
        report = scan.report()
        if not report.has_anomalies:
            return PersistenceRecoveryReport(self._place.backend, report)
        self._writer.drop()
        losses = scan.check.losses()
        self._set_aside += set_leftover_aside(self._place, self._quarantine)
        edits = complete_edits(scan)
        if scan.end:
            entries = self._repair(scan, edits, losses)
            self._writer.adopt(entries)
        else:
            event = Notes(scan).recovery(self._summary(scan, losses))
            self._writer.append(self._encode([event]))
        return PersistenceRecoveryReport(
            self._place.backend,
            report,
            (str(self._place.path),) if edits else (),
            tuple(self._set_aside),
            quarantined_bytes=self._quarantined_bytes,
            quarantine=str(self._quarantine.folder) if self._quarantined_bytes or self._set_aside else "",
            losses=tuple(losses),
        )

    def _repair(self, scan: FileScan, edits: Edits, losses: list[LossNote]) -> Sequence[Entry]:
        place = self._place
        with opened(place.fs, place.path, Access.APPEND) as fd:
            like = place.fs.fstat(fd)
            if like.size != scan.end:
                raise StoreUnavailableError(f"{place.path} is being written by a program that takes no lock")
            if scan.check.unordered:
                self._put_in_order(scan, edits)
            if edits and self._mode is PersistenceRecoveryMode.QUARANTINE:
                summary = self._summary(scan, losses)
                self._set_aside.append(str(self._quarantine.set_aside(place.path, like=like, report=summary)))
            self._quarantined_bytes += self._quarantine.keep(fd, edits.removals(), like=like, run=self._run)
            notes = Notes(scan, fd)
            events = [*notes.losses(losses), *notes.lost_incarnations()]
            entries = self._encode([*events, notes.recovery(self._summary(scan, losses))])
            added = b"".join(entry.line for entry in entries)
            change = edits.as_tail_change(scan.end)
            if change is not None and losses and change[0] < scan.end:
                change = None  # a full disk between the cut and its note would leave the loss untold
            if change is not None:
                self._change_tail(fd, change[0], change[1] + added)
        if change is None:
            self._writer.replace(chain(edits.output(scan.end), (added,)), self._progress)
        return entries

    def _summary(self, scan: FileScan, losses: list[LossNote]) -> dict[str, object]:
        return {
            "run": self._run,
            "mode": self._mode.value,
            "depth": scan.depth.value,
            "found": {type_.value: count for type_, count in scan.check.findings.counts.items()},
            "losses": len(losses),
            "quarantined_bytes": self._quarantined_bytes,
            "quarantine": str(self._quarantine.folder),
        }

    def _change_tail(self, fd: int, kept: int, added: bytes) -> None:
        fs = self._place.fs
        self._writer.forget_index()
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

    def _put_in_order(self, scan: FileScan, edits: Edits) -> None:
        """Let the records of a stream trade places among themselves."""
        places: dict[Stream, list[tuple[int, Span]]] = {stream: [] for stream in scan.check.unordered}

        def collect(piece: Piece) -> None:
            if piece.head is not None and (piece.head.incarnation, piece.head.kind) in places:
                span = Span(piece.offset, len(piece.text))
                places[piece.head.incarnation, piece.head.kind].append((piece.head.seq, span))

        scan_file(self._place, scan.depth, self._progress, is_live=lambda: False, on_record=collect)
        for found in places.values():
            for (_, at), (_, source) in zip(found, sorted(found), strict=True):
                if at != source:
                    edits.put(at, source)


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


def refuse_unrepairable(scan: FileScan) -> None:
    """Raise for a store that nobody may change: of a newer format, or with lines of another store in it."""
    if scan.check.newer:
        raise newer_format(scan.place, scan.check.newer)
    if scan.check.is_foreign:
        raise ForeignStoreError(
            f"{scan.place.path} holds lines of two stores, as after copying one file onto the end of "
            "another: take them apart at the second header; nothing was changed"
        )


def complete_edits(scan: FileScan) -> Edits:
    """Return the edits of ``scan`` with a new header where the old one was damaged, or nothing is left."""
    check, edits = scan.check, scan.check.edits
    is_empty = scan.end > 0 and edits.as_tail_change(scan.end) == (0, b"")
    if check.header is None and (check.has_lost_header or is_empty):
        edits.insert(0, new_header(scan.place))
    return edits


class Notes:
    """Makes the events that a store writes about itself, of what ``scan`` found.

    ``fd`` is the file it read, for the systems' names.
    """

    def __init__(self, scan: FileScan, fd: int | None = None) -> None:
        self._scan = scan
        self._fd = fd

    def losses(self, losses: Iterable[LossNote]) -> Iterator[PersistedEvent]:
        for loss in losses:
            yield self._event(self._system_of(loss.incarnation), EventType.RECORDS_LOST, loss.to_payload())

    def lost_incarnations(self) -> Iterator[PersistedEvent]:
        for life in self._scan.lost:
            payload = {"closes": life.incarnation, "last_seen": life.last_seen}
            yield self._event(self._system_of(life.incarnation), EventType.INCARNATION_LOST, payload)

    def recovery(self, summary: Mapping[str, object]) -> PersistedEvent:
        newest = next(reversed(self._scan.check.samples), "")
        return self._event(self._system_of(newest), EventType.RECOVERY_RUN, summary)

    def _event(self, system_id: str, type_: EventType, payload: object) -> PersistedEvent:
        return PersistedEvent(system_id, "", type_.value, payload, self._scan.place.clock.now())

    def _system_of(self, incarnation: str) -> str:
        span = self._scan.check.samples.get(incarnation)
        if span is None or self._fd is None:
            return ""
        line = read_all(self._scan.place.fs, self._fd, span.length, span.offset)
        try:
            record = codec.decode_record(line) if incarnation else codec.decode_legacy(line)
        except RecordDecodeError:
            return ""
        return record.system_id if record is not None else ""
