"""Look at a folder of segments without touching it: names, what files say of themselves, records."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from papyra.persistence._files.carrying import find_notes
from papyra.persistence._files.check import FileCheck, Findings
from papyra.persistence._files.folder import most_told, read_footer
from papyra.persistence._files.fs import opened, read_all
from papyra.persistence._files.ledger import Ledger
from papyra.persistence._files.lines import Block, read_header
from papyra.persistence._files.scan import (
    LEGACY,
    FileScan,
    StoreScan,
    Watch,
    find_end,
    look_at_index,
    read_file,
)
from papyra.persistence._files.sealed import SegmentScan, judge_seal
from papyra.persistence._files.segments import NameGap, SegmentName, find_gaps
from papyra.persistence._files.tail import MAX_TAIL_LINES, Mark, lines_backwards
from papyra.persistence._files.tally import Tally
from papyra.persistence.models import PersistenceAnomalyType, RecordKind, ScanDepth

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.persistence._files.folder import Folder, Listing
    from papyra.persistence._files.lines import Piece, Source
    from papyra.persistence._files.scan import OnRecord
    from papyra.persistence.query import ProgressCallback

    IsLive = Callable[[str], bool]
    """Whether somebody writes to this family now."""

_TRIES = 100


@dataclass(slots=True)
class SetScan(StoreScan):
    """What was seen of a folder of segments."""

    gaps: list[NameGap] = field(default_factory=list)
    misplaced: list[SegmentScan] = field(default_factory=list)
    """Files whose header has another name than they have."""
    left: Findings = field(init=False)
    """Findings that nobody is to do anything about."""

    def __post_init__(self) -> None:
        StoreScan.__post_init__(self)
        self.left = Findings("")


def scan_set(  # noqa: PLR0913  # what to look at, and who else is there
    folder: Folder,
    depth: ScanDepth,
    progress: ProgressCallback | None,
    *,
    is_live: IsLive,
    is_held: IsLive = lambda _: False,
    on_record: OnRecord | None = None,
    counts: bool = False,
) -> SetScan:
    """Scan the folder as it is now, whatever a live writer adds, seals or drops meanwhile.

    With ``counts``, what stays in each segment is counted for its footer. Files of families that are held by
    others are not to be changed.
    """
    with ExitStack() as stack:
        listing, fds = _open_all(folder, stack)
        scan = SetScan(folder.place, depth, Ledger(is_set=True))
        run = _Run(scan, folder, listing, fds, progress, is_live, is_held, on_record, counts=counts)
        run.all()
    return scan


def _open_all(folder: Folder, stack: ExitStack) -> tuple[Listing, dict[str, int]]:
    """Open everything at once, so that retention takes nothing away that is to be read."""
    for _ in range(_TRIES):
        with ExitStack() as attempt:
            listing = folder.listing()
            names = [*map(str, listing.legacy), *(str(segment.name) for segment in listing.segments)]
            try:
                fds = {
                    name: attempt.enter_context(opened(folder.fs, folder.place_of(name).path))
                    for name in names
                }
            except FileNotFoundError:
                continue
            stack.push(attempt.pop_all())
            return listing, fds
    return folder.listing(), {}


class _Run:
    def __init__(  # noqa: PLR0913, PLR0917  # what one scan is made of
        self,
        scan: SetScan,
        folder: Folder,
        listing: Listing,
        fds: dict[str, int],
        progress: ProgressCallback | None,
        is_live: IsLive,
        is_held: IsLive,
        on_record: OnRecord | None,
        *,
        counts: bool,
    ) -> None:
        self._scan = scan
        self._folder = folder
        self._listing = listing
        self._fds = fds
        self._watch = Watch(progress, sum(folder.fs.fstat(fd).size for fd in fds.values()))
        self._is_live = is_live
        self._is_held = is_held
        self._on_record = on_record
        self._counts = counts

    def all(self) -> None:
        scan = self._scan
        if scan.depth is not ScanDepth.TAIL:
            self._legacy()
        families: dict[str, list[SegmentScan]] = {}
        for segment in self._listing.segments:
            families.setdefault(segment.name.family, []).append(self._segment(segment.name))
        self._names(families)
        for family in families.values():
            self._family(family)
        self._explain_holes()
        scan.conclude()
        self._others()

    def _legacy(self) -> None:
        for path in self._listing.legacy:
            file = self._scan.add_file(self._folder.place_of(str(path)), self._on_record)
            file.family, file.is_fixed, file.may_be_dropped = LEGACY, True, True
            self._read(file, self._fds[str(path)], lambda: False)
            self._scan.left.join(file.check.findings)

    def _segment(self, name: SegmentName) -> SegmentScan:
        place, scan = self._folder.place_of(name), self._scan
        file = SegmentScan(
            place, FileCheck(str(place.path), ledger=scan.ledger, family=name.family), name=name
        )
        file.family = name.family
        file.is_held = file.is_fixed = self._is_held(name.family)
        file.tally = Tally() if self._counts else None
        file.check.on_record = partial(self._take, file)
        scan.files.append(file)
        return file

    def _take(self, file: SegmentScan, part: Piece | Block) -> None:
        if file.tally is not None:
            for head in part.heads if isinstance(part, Block) else (part.head,):
                if head is not None:
                    file.tally.add(head.incarnation, head.seq, head.timestamp)
        if self._on_record is not None:
            self._on_record(file, part)

    def _source(self, file: SegmentScan) -> Source:
        return self._watch.source(file, self._fds[str(file.name)])

    def _names(self, families: dict[str, list[SegmentScan]]) -> None:
        """Look at headers and footers, and tell from them and the names what is in a wrong place."""
        for family in families.values():
            for file in family:
                fd = self._fds[str(file.name)]
                file.end = self._folder.fs.fstat(fd).size
                source = partial(read_all, self._folder.fs, fd)
                file.header_line = read_header(source, file.end)
                file.footer_line = read_footer(source, file.end)
        store = most_told(
            file.header_line.store for family in families.values() for file in family if file.header_line
        )
        names = {file.name for family in families.values() for file in family}
        for family in families.values():
            for file in list(family):
                self._name(file, store, names)
                if file.is_copy:
                    family.remove(file)
                    self._scan.files.remove(file)
            for file, following in pairwise(family):
                file.follow(following)

    def _name(self, file: SegmentScan, store: str, names: set[SegmentName]) -> None:
        header = file.header_line
        if header is None:
            return
        if header.store != store:
            detail = f"a segment of store {header.store!r:.100} in the folder of store {store!r:.100}"
            file.check.findings.add(PersistenceAnomalyType.FOREIGN_FILE, detail)
            file.check.is_foreign = True
        elif (right := file.right_name) is not None and right != file.name:
            file.is_copy = right in names
            what = "a copy of" if file.is_copy else "by its header it is"
            file.check.findings.add(PersistenceAnomalyType.BAD_HEADER, f"{what} {right}")
            self._scan.misplaced.append(file)
            if file.is_copy:
                self._scan.findings.join(file.check.findings)

    def _family(self, family: list[SegmentScan]) -> None:
        if not family:
            return
        depth, last = self._scan.depth, family[-1]
        find_end(last, self._fds[str(last.name)], self._source(last), partial(self._is_live, last.family))
        chosen = family
        if depth is ScanDepth.TAIL:
            chosen = self._tail_of(family)
        elif depth is ScanDepth.FOOTERS:
            chosen = [file for file in family if file.footer_line is None]
        for file in chosen:
            read_file(file, self._source(file))
            self._watch.finished(file)
        self._judge(family, chosen if depth is ScanDepth.TAIL else family)

    def _judge(self, family: list[SegmentScan], judged: list[SegmentScan]) -> None:
        for file in judged:
            judge_seal(file, self._source(file), self._scan.depth)
            look_at_index(file, self._fds[str(file.name)], partial(self._is_live, file.family))
            if file.is_held:
                self._scan.left.join(file.check.findings)
        told = {file.name.number: file.told_records for file in family if file.told_records is not None}
        for gap in find_gaps([file.name for file in family], told):
            self._gap(gap)

    def _tail_of(self, family: list[SegmentScan]) -> list[SegmentScan]:
        """Return the files back to the newest clean mark, the oldest first; of other kinds, the last."""
        mark = Mark()
        chosen: list[SegmentScan] = []
        for file in reversed(family):
            file.start = mark.find(lines_backwards(self._source(file), file.end)) or 0
            chosen.insert(0, file)
            is_enough = mark.is_clean or mark.lines >= MAX_TAIL_LINES
            if is_enough or file.name.kind != RecordKind.EVENT:
                break
        return chosen

    def _gap(self, gap: NameGap) -> None:
        if any(
            gap.name.number <= name.number <= gap.last and name.family == gap.name.family
            for name in self._listing.strange
        ):
            return
        self._scan.gaps.append(gap)
        files = (
            f"segments {gap.name.number} to {gap.last}"
            if gap.last > gap.name.number
            else f"segment {gap.last}"
        )
        last = gap.name.base + gap.records - 1
        detail = (
            f"{gap.name.family}: {files} with records {gap.name.base} to {last} of the family are not there"
        )
        path = str(self._folder.path / str(gap.name))
        self._scan.findings.add(PersistenceAnomalyType.MISSING_RECORDS, detail, path=path)

    def _read(self, file: FileScan, fd: int, live: Callable[[], bool]) -> None:
        source = self._watch.source(file, fd)
        find_end(file, fd, source, live)
        read_file(file, source)
        self._watch.finished(file)

    def _explain_holes(self) -> None:
        """Look for the notes of what is missed in events that were not read."""
        ledger = self._scan.ledger
        if next(ledger.unexplained_holes(), None) is None:
            return
        for file in self._scan.files:
            if isinstance(file, SegmentScan) and file.name.kind == RecordKind.EVENT and not file.is_whole:
                for _, note in find_notes(self._source(file), file.end):
                    ledger.history.note(note)

    def _others(self) -> None:
        scan, listing = self._scan, self._listing
        if not self._is_live("") and self._folder.listing().leftovers == listing.leftovers:
            for name in listing.leftovers:
                scan.add_leftover(self._folder.path / name)
        if scan.depth is not ScanDepth.TAIL:
            for name in listing.foreign:
                self._stranger(name, "not a file of this store; it is left alone")
        for segment in listing.strange:
            self._stranger(str(segment), "not a file, in the place of a segment; it is left alone")

    def _stranger(self, name: str, detail: str) -> None:
        path = str(self._folder.path / name)
        for findings in (self._scan.findings, self._scan.left):
            findings.add(PersistenceAnomalyType.FOREIGN_FILE, f"{name}: {detail}", path=path)
