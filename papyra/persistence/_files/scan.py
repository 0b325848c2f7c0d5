"""Look at a store file without touching it: all of it, or back to the newest mark that says it was clean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from papyra.clock import pause
from papyra.exceptions import StoreUnavailableError
from papyra.node import is_gone, this_node
from papyra.persistence import codec
from papyra.persistence._files.check import FileCheck, Findings
from papyra.persistence._files.fs import opened, read_all, stat_or_none
from papyra.persistence._files.ledger import Ledger
from papyra.persistence._files.lines import READ_BYTES, Block, LineReader, Piece, find_header
from papyra.persistence._files.sidecar import StaleSidecarError, load, sidecar_of
from papyra.persistence._files.tail import Mark, lines_backwards
from papyra.persistence.models import PersistenceAnomalyType, PersistenceScanReport, ScanDepth
from papyra.persistence.query import Progress

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.clock import Clock
    from papyra.persistence._files.fs import FileInfo, FileSystem
    from papyra.persistence._files.lines import Source
    from papyra.persistence._files.tally import Seal, Tally
    from papyra.persistence.integrity import OpenIncarnation
    from papyra.persistence.query import ProgressCallback

_SETTLE_TRIES = 50
_SETTLE_SECONDS = 0.02
LEGACY = "legacy"
"""The family of the files of a published set."""
IsLive = Callable[[], bool]
"""Whether some writer holds the store now, so that its last line may still be on its way."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store file really is, free of links, and what its work is done with."""

    backend: str
    fs: FileSystem
    path: Path
    clock: Clock

    @property
    def unfinished(self) -> Path:
        """The name a rewrite writes under; found without a writer at work, it is left over from a crash."""
        return self.path.with_name(f"{self.path.name}.rewrite.tmp")

    def info(self) -> FileInfo | None:
        """Return what is there, ``None`` where nothing is; raises for what can hold no records."""
        found = stat_or_none(self.fs, self.path)
        if found is not None and not found.is_file:
            raise StoreUnavailableError(f"{self.path} is not a file; name a file to keep records in")
        return found

    def has_unfinished(self) -> bool:
        return stat_or_none(self.fs, self.unfinished) is not None


@dataclass(slots=True)
class FileScan:
    """What was seen of one file: ``check`` judged the bytes from ``start`` to ``end``."""

    place: Place
    check: FileCheck
    start: int = 0
    end: int = 0
    is_read: bool = False
    """Whether its records were read, from ``start`` on."""
    void_from: int | None = None
    """From which byte on the next segment stands in for what is here."""
    is_fixed: bool = False
    """Whether nobody is to change it."""
    family: str = ""
    tally: Tally | None = None
    """What is to stay in it, where it has to be told in a footer."""
    wants_footer: bool = False
    lacks_footer: bool = False
    """Whether it wants one and has none that is true."""
    has_stale_index: bool = False
    may_be_dropped: bool = False
    """Whether compaction may take it away with the last of its records."""

    @property
    def is_whole(self) -> bool:
        """Whether all of it was read."""
        return self.is_read and not self.start

    def seal(self) -> Seal | None:
        """Return how a new content is to end; ``None`` where it may grow."""
        return None

    def is_worth_it(self, going_bytes: int, *, is_all: bool) -> bool:
        """Whether it is to be rewritten, or dropped, so that so many bytes of records go."""
        del going_bytes
        return is_all or not self.is_fixed


OnRecord = Callable[[FileScan, Piece | Block], None]


@dataclass(slots=True)
class StoreScan:
    """What was seen of a whole store, which is at ``place``: one file, or a folder of them."""

    place: Place
    depth: ScanDepth
    ledger: Ledger
    findings: Findings = field(init=False)
    """What is wrong with no one file."""
    files: list[FileScan] = field(default_factory=list)
    leftovers: list[Path] = field(default_factory=list)
    lost: tuple[OpenIncarnation, ...] = ()

    def __post_init__(self) -> None:
        self.findings = Findings(str(self.place.path))

    @property
    def newer(self) -> int:
        """The newest format of a header of a newer version, 0 for none."""
        return max((file.check.newer for file in self.files), default=0)

    def add_file(self, place: Place, on_record: OnRecord | None) -> FileScan:
        file = FileScan(place, FileCheck(str(place.path), ledger=self.ledger))
        if on_record is not None:
            file.check.on_record = partial(on_record, file)
        self.files.append(file)
        return file

    def add_leftover(self, path: Path) -> None:
        """Note what a rewrite left that did not come to its end."""
        self.leftovers.append(path)
        detail = f"{path.name}: a rewrite that did not come to its end; the store is as before it"
        self.findings.add(PersistenceAnomalyType.LEFTOVER_FILE, detail, path=str(path))

    def conclude(self) -> None:
        """Say what only all files together show: missing records and lives without an end."""
        for hole, gap in self.ledger.unexplained_holes():
            detail = f"{hole.kind} {hole.first} to {hole.last} of {hole.incarnation} are not there"
            where, offset = (gap.path, gap.offset) if gap else ("", None)
            self.findings.add(PersistenceAnomalyType.MISSING_RECORDS, detail, path=where, offset=offset)
        now = self.place.clock.now()
        self.lost = tuple(self.ledger.history.open_incarnations(now, is_gone, here=this_node()))
        for life in self.lost:
            detail = f"incarnation {life.incarnation} began, is not at work any more, and did not end"
            sample = self.ledger.samples.get(life.incarnation)
            where, offset = (sample.path, sample.span.offset) if sample else ("", None)
            self.findings.add(PersistenceAnomalyType.OPEN_INCARNATION, detail, path=where, offset=offset)

    def report(self) -> PersistenceScanReport:
        found = Findings(str(self.place.path))
        for file in self.files:
            found.join(file.check.findings)
        found.join(self.findings)
        return PersistenceScanReport(
            self.place.backend,
            tuple(found.anomalies),
            depth=self.depth,
            checked_records=sum(file.check.records for file in self.files),
            checked_bytes=sum(file.end - file.start for file in self.files if file.is_read),
            counts=found.counts,
        )


class Watch:
    """Tells a caller how far the reading of one or many files has come."""

    def __init__(self, progress: ProgressCallback | None, total_bytes: int) -> None:
        self._progress = progress
        self._total_bytes = total_bytes
        self._records = 0
        self._bytes = 0

    def source(self, file: FileScan, fd: int) -> Source:
        """Return what reads ``file`` and tells of it."""

        def read(length: int, offset: int) -> bytes:
            if self._progress is not None:
                done = self._bytes + max(offset - file.start, 0)
                total = max(self._total_bytes, done)
                self._progress(
                    Progress(records=self._records + file.check.records, bytes=done, total_bytes=total)
                )
            return read_all(file.place.fs, fd, length, offset)

        return read

    def finished(self, file: FileScan) -> None:
        self._records += file.check.records
        self._bytes += file.end - file.start


def scan_file(
    place: Place,
    depth: ScanDepth,
    progress: ProgressCallback | None,
    *,
    is_live: IsLive,
    on_record: OnRecord | None = None,
) -> StoreScan:
    """Scan the file as it is now, whatever a live writer adds meanwhile. No file: nothing is found."""
    scan = StoreScan(place, depth, Ledger())
    file = scan.add_file(place, on_record)
    if place.info() is not None:
        with opened(place.fs, place.path) as fd:
            source = Watch(progress, place.fs.fstat(fd).size).source(file, fd)
            find_end(file, fd, source, is_live)
            if depth is ScanDepth.TAIL:
                file.start = Mark().find(lines_backwards(source, file.end)) or 0
            read_file(file, source)
            look_at_index(file, fd, is_live)
        scan.conclude()
    if place.has_unfinished() and not is_live() and place.has_unfinished():
        scan.add_leftover(place.unfinished)
    return scan


def find_end(file: FileScan, fd: int, source: Source, is_live: IsLive) -> None:
    """Settle up to where ``file`` is to be read."""
    fs = file.place.fs
    file.end = _settled_end(source, lambda: fs.fstat(fd).size, is_live)


def read_file(file: FileScan, source: Source) -> None:
    """Judge what is between ``start`` and ``end``, with the header before it."""
    check, file.is_read = file.check, True
    reader = LineReader()
    if file.start > 0:
        is_framed = any(source(len(codec.FRAME_HEAD), at) == codec.FRAME_HEAD for at in (0, file.start))
        reader = LineReader(is_framed=is_framed)
        reader.position = file.start
        header = find_header(source, file.start)
        check.feed([] if header is None else [header])
    void_from = file.end if file.void_from is None else file.void_from
    if not check.newer:
        check.feed(reader.blocks(source, min(file.end, void_from)))
    check.finish()
    if void_from < file.end:
        detail = "a sync failed here; what follows was written again in the next segment"
        check.findings.add(PersistenceAnomalyType.UNCLEAN_SEAL, detail, offset=void_from)
        check.edits.remove(void_from, file.end - void_from, PersistenceAnomalyType.UNCLEAN_SEAL)
    if check.footer is not None and not check.ledger.is_set:
        check.refuse_footer("a footer, as segments have it, in a file that is all there is")


def look_at_index(file: FileScan, fd: int, is_live: IsLive) -> None:
    """See whether the index beside ``file`` is one of it; none is as good."""
    place = file.place
    try:
        load(place.fs, place.path, partial(read_all, place.fs, fd), place.fs.fstat(fd).size)
    except StaleSidecarError as error:
        if not is_live():  # else the file was replaced meanwhile, and its index with it
            file.has_stale_index = True
            if not file.check.findings.counts:  # else that is why
                detail = f"{sidecar_of(place.path).name} is no index of this file: {error}; reads do without"
                file.check.findings.add(PersistenceAnomalyType.STALE_INDEX, detail)


def _settled_end(source: Source, size_now: Callable[[], int], is_live: IsLive) -> int:
    """Return up to where to look: a line that a live writer is at is waited for, then left out."""
    size = size_now()
    if size == 0 or source(1, size - 1) == b"\n" or not is_live():
        return size
    begun = _line_start(source, size)
    for _ in range(_SETTLE_TRIES):
        pause(_SETTLE_SECONDS)
        size = size_now()
        start = _line_start(source, size)
        if start != begun:
            return start
        if not is_live():
            return size
    return begun


def _line_start(source: Source, end: int) -> int:
    at = end
    while at > 0:
        step = min(READ_BYTES, at)
        at -= step
        newline = source(step, at).rfind(b"\n")
        if newline >= 0:
            return at + newline + 1
    return 0
