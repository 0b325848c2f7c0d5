"""The folder of a spill: its lock, its segments, and the ledger of what had to go."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from papyra.exceptions import StoreLockedError
from papyra.persistence import codec
from papyra.persistence._files.fs import Access, opened, read_all, stat_or_none, write_all
from papyra.persistence._files.lines import LineReader
from papyra.persistence._files.lock import StoreLock
from papyra.persistence._files.quarantine import Quarantine
from papyra.persistence._files.scan import Place
from papyra.persistence._files.spilled import Dropped, SegmentCheck, segment_name, segment_number
from papyra.persistence.models import PersistenceAnomalyType

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from papyra.clock import Clock
    from papyra.persistence._files.fs import FileSystem
    from papyra.persistence._files.lines import Piece

_log = logging.getLogger(__name__)

FAMILY = "spill"
LEDGER = "dropped.json"


@dataclass(slots=True)
class Segment:
    """A file of a spill, and what is in it."""

    number: int
    path: Path
    records: int = 0
    bytes: int = 0
    sent: int = 0
    """So many of its records were taken, as far as this process knows."""
    synced_bytes: int = 0
    """So far the medium has it; what an earlier process left is taken to be there."""
    synced_records: int = 0


class SpillFolder:
    """What stands in the folder; `acquire` it before anything is changed."""

    def __init__(self, fs: FileSystem, folder: Path, clock: Clock) -> None:
        self.path = folder.absolute()
        self.quarantine_path = self.path.with_name(f"{self.path.name}.quarantine")
        self.segments: list[Segment] = []
        self.dropped = Dropped()
        self._fs = fs
        self._clock = clock
        self._lock = StoreLock(fs, self.path / FAMILY)
        self._number = 0

    @property
    def is_held(self) -> bool:
        """Whether this process has it."""
        return self._lock.is_held

    def acquire(self) -> bool:
        """Take the folder, and read it; whether its newest segment may be gone on with."""
        self._make()
        try:
            doubtful = self._lock.acquire()
        except StoreLockedError as error:
            words = f"{self.path} is in use by another process; give each process a folder of its own"
            raise StoreLockedError(words) from error
        try:
            self._lock.sign(self._clock.now())
            self._read()
        except BaseException:
            self.release()
            raise
        return doubtful is None

    def doubt(self) -> None:
        """Tell the next process that the newest segment is not to be gone on with."""
        self._lock.doubt(0, self._clock.now())

    def release(self) -> None:
        """Let another process have it."""
        self._lock.release()

    def _make(self) -> None:
        missing = []
        folder = self.path
        while stat_or_none(self._fs, folder) is None:
            missing.append(folder)
            folder = folder.parent
        if missing:
            self._fs.make_folder(self.path, 0o700)
        for made in reversed(missing):
            self._fs.sync_folder(made.parent)

    def _read(self) -> None:
        self.dropped = self.read_ledger()
        if self.dropped.is_damaged:
            self._set_ledger_aside()
        self.segments = []
        for number, path in self.files():
            if number <= self.dropped.through:  # the ledger counts it: killed before it was removed
                self._fs.remove(path)  # if it comes back, it goes again
                continue
            self.segments.append(self._count(number, path))
        self._number = max(self.dropped.through, *(segment.number for segment in self.segments), 0)

    def _set_ledger_aside(self) -> None:
        ledger = self.path / LEDGER
        like = self._fs.stat(ledger)
        report: dict[str, object] = {"store": LEDGER, "reason": PersistenceAnomalyType.GARBAGE.value}
        quarantine = Quarantine(Place(FAMILY, self._fs, ledger, self._clock), self.quarantine_path)
        quarantine.set_aside(ledger, like=like, report=report)
        self.forget_dropped()

    def is_empty(self) -> bool:
        """Whether nothing waits here, as far as names tell."""
        return not self.files() and stat_or_none(self._fs, self.path / LEDGER) is None

    def read_ledger(self) -> Dropped:
        """Return what had to go and was not told of yet."""
        ledger = self.path / LEDGER
        found = stat_or_none(self._fs, ledger)
        if found is None:
            return Dropped()
        with opened(self._fs, ledger) as fd:
            text = read_all(self._fs, fd, found.size, 0)
        try:
            return Dropped.from_json(text)
        except ValueError as error:
            _log.warning("%s: %s; it goes to quarantine, and what it told is not known", ledger, error)
            return Dropped(is_damaged=True)

    def counted(self) -> list[Segment]:
        """Return the segments as they stand there, without the lock."""
        return [self._count(number, path) for number, path in self.files()]

    def _count(self, number: int, path: Path) -> Segment:
        check = SegmentCheck()
        with opened(self._fs, path) as fd:
            records = sum(check.is_record(piece) for piece in self.pieces(fd))
            size = self._fs.fstat(fd).size
            return Segment(number, path, records, size, synced_bytes=size, synced_records=records)

    def files(self) -> list[tuple[int, Path]]:
        """Return numbers and places of the segments, in order."""
        try:
            names = self._fs.names(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return []
        numbered = ((segment_number(name), name) for name in names)
        return sorted((number, self.path / name) for number, name in numbered if number is not None)

    def create(self) -> int:
        """Begin a new segment and return its open file; it is durable, the header included."""
        self._number += 1
        path = self.path / segment_name(self._number)
        header = self.header()
        fd = self._fs.open(path, Access.CREATE)
        try:
            write_all(self._fs, fd, header)
            self._fs.sync(fd)
            self._fs.sync_folder(self.path)
        except OSError:
            self._fs.close(fd)
            with suppress(OSError):
                self._fs.remove(path)
            raise
        self.segments.append(Segment(self._number, path, bytes=len(header), synced_bytes=len(header)))
        return fd

    def header(self) -> bytes:
        """Return the first line of the newest segment."""
        return codec.encode_header(store=FAMILY, family=FAMILY, segment=self._number)

    def pieces(self, fd: int) -> Iterator[Piece]:
        """Yield what stands in an open segment."""
        size = self._fs.fstat(fd).size
        return LineReader().pieces(lambda length, offset: read_all(self._fs, fd, length, offset), size)

    def write_ledger(self) -> None:
        """Make `dropped` durable."""
        unfinished = self.path / f"{LEDGER}.tmp"
        if stat_or_none(self._fs, unfinished) is not None:
            self._fs.remove(unfinished)
        with opened(self._fs, unfinished, Access.CREATE) as fd:
            write_all(self._fs, fd, self.dropped.to_json())
            self._fs.sync(fd)
        self._fs.replace(unfinished, self.path / LEDGER)
        self._fs.sync_folder(self.path)

    def forget_dropped(self) -> None:
        """Remove the ledger, which was told."""
        self._fs.remove(self.path / LEDGER)  # if it comes back, it is told again, as after a kill before this
        self.dropped = Dropped()

    def remove(self, segment: Segment) -> None:
        """Remove ``segment``, durably."""
        self._fs.remove(segment.path)
        self._fs.sync_folder(self.path)
        self.segments.remove(segment)

    def place(self, segment: Segment) -> Place:
        """Return where ``segment`` is."""
        return Place(FAMILY, self._fs, segment.path, self._clock)

    def quarantine(self, segment: Segment) -> Quarantine:
        """Return where damaged lines of ``segment`` are kept."""
        return Quarantine(self.place(segment), self.quarantine_path)

    def quarantine_size(self) -> int:
        """Return how many bytes lie in quarantine."""
        return Quarantine(Place(FAMILY, self._fs, self.path, self._clock), self.quarantine_path).size()
