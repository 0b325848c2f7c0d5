"""Look at a store file without touching it: all of it, or back to the newest mark that says it was clean."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from papyra.exceptions import RecordDecodeError, StoreUnavailableError
from papyra.node import is_gone, this_node
from papyra.persistence import codec
from papyra.persistence._files.check import FileCheck
from papyra.persistence._files.fs import opened, read_all, stat_or_none
from papyra.persistence._files.lines import MAX_LINE_BYTES, READ_BYTES, LineReader, Piece, Sort
from papyra.persistence._files.sidecar import StaleSidecarError, load, sidecar_of
from papyra.persistence.models import (
    EventType,
    PersistenceAnomalyType,
    PersistenceScanReport,
    RecordKind,
    ScanDepth,
)
from papyra.persistence.query import Progress

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.clock import Clock
    from papyra.persistence._files.fs import FileInfo, FileSystem
    from papyra.persistence._files.lines import Source
    from papyra.persistence.integrity import OpenIncarnation
    from papyra.persistence.query import ProgressCallback

MAX_TAIL_LINES = 10_000

_CLEAN = frozenset({"healthy", "recovered"})
_SETTLE_TRIES = 50
_SETTLE_SECONDS = 0.02
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
    """What was seen: ``check`` judged the bytes from ``start`` to ``end``."""

    place: Place
    check: FileCheck
    depth: ScanDepth
    start: int = 0
    end: int = 0
    has_leftover: bool = False
    lost: tuple[OpenIncarnation, ...] = ()

    def report(self) -> PersistenceScanReport:
        findings = self.check.findings
        return PersistenceScanReport(
            self.place.backend,
            tuple(findings.anomalies),
            depth=self.depth,
            checked_records=self.check.records,
            checked_bytes=self.end - self.start,
            counts=dict(findings.counts),
        )


def scan_file(
    place: Place,
    depth: ScanDepth,
    progress: ProgressCallback | None,
    *,
    is_live: IsLive,
    on_record: Callable[[Piece], None] | None = None,
) -> FileScan:
    """Scan the file as it is now, whatever a live writer adds meanwhile. No file: nothing is found."""
    scan = FileScan(place, FileCheck(str(place.path), on_record), depth)
    if place.info() is not None:
        with opened(place.fs, place.path) as fd:
            _read(scan, fd, progress, is_live)
            _look_at_index(scan, fd, is_live)
    scan.has_leftover = place.has_unfinished() and not is_live() and place.has_unfinished()
    if scan.has_leftover:
        detail = f"{place.unfinished.name}: a rewrite that did not come to its end; the store is as before it"
        scan.check.findings.add(PersistenceAnomalyType.LEFTOVER_FILE, detail)
    return scan


def _read(scan: FileScan, fd: int, progress: ProgressCallback | None, is_live: IsLive) -> None:
    fs, check = scan.place.fs, scan.check

    def source(length: int, offset: int) -> bytes:
        if progress is not None:
            done = max(offset - scan.start, 0)
            progress(Progress(records=check.records, bytes=done, total_bytes=scan.end - scan.start))
        return read_all(fs, fd, length, offset)

    scan.end = _settled_end(source, lambda: fs.fstat(fd).size, is_live)
    reader = LineReader()
    if scan.depth is ScanDepth.TAIL:
        scan.start, is_framed = _tail_start(source, scan.end)
        reader = LineReader(is_framed=is_framed)
        reader.position = scan.start
        if scan.start > 0:
            check.feed(_header_of(source))
    if not check.newer:
        check.feed(reader.pieces(source, scan.end))
    check.finish()
    scan.lost = tuple(check.history.open_incarnations(scan.place.clock.now(), is_gone, here=this_node()))
    for life in scan.lost:
        detail = f"incarnation {life.incarnation} began, is not at work any more, and did not end"
        span = check.samples.get(life.incarnation)
        offset = span.offset if span else None
        check.findings.add(PersistenceAnomalyType.OPEN_INCARNATION, detail, offset=offset)


def _look_at_index(scan: FileScan, fd: int, is_live: IsLive) -> None:
    place = scan.place
    try:
        load(place.fs, place.path, partial(read_all, place.fs, fd), place.fs.fstat(fd).size)
    except StaleSidecarError as error:
        if not is_live():  # else the file was replaced meanwhile, and its index with it
            detail = f"{sidecar_of(place.path).name} is no index of this file: {error}; reads do without"
            scan.check.findings.add(PersistenceAnomalyType.STALE_INDEX, detail)


def _settled_end(source: Source, size_now: Callable[[], int], is_live: IsLive) -> int:
    """Return up to where to look: a line that a live writer is at is waited for, then left out."""
    size = size_now()
    if size == 0 or source(1, size - 1) == b"\n" or not is_live():
        return size
    begun = _line_start(source, size)
    for _ in range(_SETTLE_TRIES):
        threading.Event().wait(_SETTLE_SECONDS)
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


def _header_of(source: Source) -> Iterator[Piece]:
    line, newline, _ = source(READ_BYTES, 0).partition(b"\n")
    for piece in LineReader().pieces(lambda _, offset: (line + newline)[offset:], len(line + newline)):
        if piece.sort is Sort.HEADER:
            yield piece


def _tail_start(source: Source, end: int) -> tuple[int, bool]:
    """Return where a scan of the tail begins, and whether that is behind the first frame."""
    checked = ""
    for count, (offset, line) in enumerate(_lines_backwards(source, end), start=1):
        head = _event_or_none(line)
        if head is not None:
            if checked and head.event_type == EventType.SYSTEM_STARTED and head.incarnation == checked:
                return offset, True
            if not checked and head.event_type == EventType.SYSTEM_STOPPED:
                return offset, True
            if not checked and head.event_type == EventType.STARTUP_CHECKED and _verdict(head) in _CLEAN:
                checked = head.incarnation
        if count == MAX_TAIL_LINES:
            return offset, source(len(codec.FRAME_HEAD), 0) == codec.FRAME_HEAD
    return 0, False


def _event_or_none(line: bytes) -> codec.Head | None:
    if not codec.is_framed(line) or not codec.has_sound_checksum(line):
        return None
    try:
        head = codec.decode_head(line)
    except RecordDecodeError:
        return None
    return head if head.kind == RecordKind.EVENT else None


def _verdict(head: codec.Head) -> object:
    try:
        payload = msgspec.json.decode(head.payload)
    except msgspec.DecodeError:
        return None
    return payload.get("verdict") if isinstance(payload, dict) else None


def _lines_backwards(source: Source, end: int) -> Iterator[tuple[int, bytes]]:
    held, at, step = b"", end, READ_BYTES
    while at > 0:
        step = min(step, at)
        at -= step
        held, *lines = (source(step, at) + held).split(b"\n")
        stop = at + len(held) + sum(len(line) + 1 for line in lines)
        for line in reversed(lines):
            yield stop - len(line), line
            stop -= len(line) + 1
        if len(held) > MAX_LINE_BYTES:
            yield at, held
            return
        step = READ_BYTES if lines else step * 2
    if held:
        yield 0, held
