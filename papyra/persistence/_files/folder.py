"""A folder of segments as it is on the disk: which files it has, and what they say at their ends."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from papyra.exceptions import RecordDecodeError, StoreUnavailableError
from papyra.persistence import codec
from papyra.persistence._files.fs import opened, read_all, stat_or_none
from papyra.persistence._files.lines import ENDS_BYTES, read_header
from papyra.persistence._files.lock import StoreLock
from papyra.persistence._files.scan import Place
from papyra.persistence._files.segments import LOCK_NAME, SegmentName, told_apart, writer_lock_name
from papyra.persistence.footers import Footer, decode_footer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from papyra.clock import Clock
    from papyra.persistence._files.fs import FileSystem
    from papyra.persistence._files.lines import Source


class Segment(NamedTuple):
    """A file that is a segment by its name."""

    name: SegmentName
    size: int
    modified: float
    key: tuple[int, int]
    """Which file it is, whatever its name."""


class Listing(NamedTuple):
    """What is in a folder, and which older files beside it belong to the store."""

    segments: tuple[Segment, ...] = ()
    strange: tuple[SegmentName, ...] = ()
    """Segments by their names that are no files."""
    leftovers: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    writers: tuple[str, ...] = ()
    legacy: tuple[Path, ...] = ()

    def families(self) -> dict[str, list[Segment]]:
        """Return the segments of each family in order."""
        found: dict[str, list[Segment]] = {}
        for segment in self.segments:
            found.setdefault(segment.name.family, []).append(segment)
        return found


@dataclass(frozen=True, slots=True)
class Folder:
    """Where a set of segments is, free of links. ``legacy``: the name of a published set it goes on from."""

    backend: str
    fs: FileSystem
    path: Path
    clock: Clock
    legacy: Path | None = None

    @property
    def place(self) -> Place:
        """The folder as the place of the whole store."""
        return Place(self.backend, self.fs, self.path, self.clock)

    def place_of(self, name: SegmentName | str) -> Place:
        return Place(self.backend, self.fs, self.path / str(name), self.clock)

    def listing(self) -> Listing:
        """Look; a folder that is not there is empty."""
        legacy = self._legacy()
        try:
            names = told_apart(self.fs.names(self.path))
        except FileNotFoundError:
            return Listing(legacy=legacy)
        segments, strange = [], []
        for name in names.segments:
            try:
                found = self.fs.lstat(self.path / str(name))
            except FileNotFoundError:  # retention took it just now
                continue
            if found.is_file:
                segments.append(Segment(name, found.size, found.modified, found.key))
            else:
                strange.append(name)
        return Listing(
            tuple(segments), tuple(strange), names.leftovers, names.foreign, names.writer_locks, legacy
        )

    def is_shared(self) -> bool:
        """Whether there are, or were, several writers."""
        return any(segment.name.writer for segment in self.listing().segments)

    def size(self) -> int:
        """Return how many bytes lie here, legacy files included."""
        try:
            names = self.fs.names(self.path)
        except FileNotFoundError:
            names = []
        paths = [*(self.path / name for name in names), *self._legacy()]
        found = (stat_or_none(self.fs, path) for path in paths)
        return sum(info.size for info in found if info is not None and info.is_file)

    def _legacy(self) -> tuple[Path, ...]:
        """Return the files of a published set, the oldest first: the highest number, and ``NAME`` last."""
        if self.legacy is None:
            return ()
        numbered = re.compile(re.escape(self.legacy.name) + r"\.([1-9][0-9]{0,8})\Z", re.ASCII)
        found = {0: self.legacy}
        for name in self.fs.names(self.legacy.parent):
            if match := numbered.match(name):
                found[int(match[1])] = self.legacy.with_name(name)
        files = (found[number] for number in sorted(found, reverse=True))
        return tuple(path for path in files if (info := stat_or_none(self.fs, path)) and info.is_file)


def find_folder(backend: str, fs: FileSystem, path: Path, clock: Clock) -> Folder:
    """Return where the segments of ``path`` are: in it or, where a published set has that name, beside it."""
    path = fs.resolve(path)
    beside = path.with_name(f"{path.name}.segments")
    found = stat_or_none(fs, path)
    if found is not None and not found.is_file and not found.is_folder:
        raise StoreUnavailableError(f"{path} is neither a file nor a folder, so it holds no store")
    if found is not None and found.is_folder:
        return Folder(backend, fs, path, clock)
    first = stat_or_none(fs, path.with_name(f"{path.name}.1"))
    if found is not None or stat_or_none(fs, beside) is not None or (first is not None and first.is_file):
        return Folder(backend, fs, beside, clock, path)
    return Folder(backend, fs, path, clock)


def read_footer(source: Source, size: int) -> Footer | None:
    """Return the footer in the last line of ``size`` bytes, ``None`` where there is none of that size."""
    start = max(size - ENDS_BYTES, 0)
    tail = source(size - start, start)
    line = tail[:-1].rpartition(b"\n")[2]
    if not tail.endswith(b"\n") or not codec.is_framed(line) or not codec.has_sound_checksum(line):
        return None
    try:
        footer = decode_footer(line)
    except RecordDecodeError:
        return None
    return footer if footer.bytes == size - len(line) - 1 else None


def ends_of(place: Place) -> tuple[codec.Header | None, Footer | None]:
    """Return the header and the footer of a segment."""
    with opened(place.fs, place.path) as fd:
        source = partial(read_all, place.fs, fd)
        size = place.fs.fstat(fd).size
        return read_header(source, size), read_footer(source, size)


def refuse_shared(folder: Folder) -> None:
    """Raise for a folder that only those open who share it."""
    if folder.is_shared():
        raise StoreUnavailableError(f"{folder.path} is written by several writers; open it with shared=True")


def most_told(stores: Iterable[str]) -> str:
    """Return the store's id as most headers tell it, "" where none does; a file of another one is foreign."""
    told = sorted(filter(None, stores))
    return max(told, key=told.count, default="")


def store_lock(folder: Folder) -> StoreLock:
    """Return the lock that the one writer of a folder holds."""
    return StoreLock(folder.fs, folder.path / LOCK_NAME.removesuffix(".lock"), shown=folder.path)


def writer_lock(folder: Folder, writer: str) -> StoreLock:
    """Return the lock that one of several writers of a folder holds."""
    return StoreLock(folder.fs, folder.path / writer_lock_name(writer), shown=folder.path)
