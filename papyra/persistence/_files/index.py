"""Where the records of a file are, kept in memory, extended as the file grows, built anew when in doubt."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from papyra.persistence._files.check import FileCheck
from papyra.persistence._files.columns import Columns, is_intact, kind_and_time
from papyra.persistence._files.fs import Access, read_all
from papyra.persistence._files.lines import LineReader
from papyra.persistence.models import RecordKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.persistence._files.fs import FileInfo
    from papyra.persistence._files.ledger import Ledger
    from papyra.persistence._files.lines import Piece
    from papyra.persistence._files.scan import Place
    from papyra.persistence.integrity import HistoryCheck

_BLOCK_BYTES = 64 * 1024
_SEAM_BYTES = 128
_log = logging.getLogger(__name__)


class FileIndex:
    """Belongs to one reader thread; `refresh` it before each use. The file stays open between."""

    def __init__(self, find: Callable[[], Place], ledger: Ledger | None = None) -> None:
        self._find = find
        self._ledger = ledger
        self.generation = 0
        """How often everything was forgotten."""
        self._place: Place | None = None
        self._fd: int | None = None
        self._file: tuple[int, int] = (0, 0)
        self._block = (0, b"")
        self._forget()

    def _forget(self) -> None:
        self.close()
        self.generation += 1
        self.kinds = {kind: Columns() for kind in RecordKind}
        self._reader = LineReader()
        self._check = FileCheck("", self._take, ledger=self._ledger)
        self.is_doubtful = False
        """Whether a record was not there any more: the next `refresh` reads everything anew."""
        self._is_newer = False
        self.size = 0
        self._modified = 0.0
        self._seam = b""  # the bytes before the place where reading goes on

    @property
    def history(self) -> HistoryCheck:
        return self._check.history

    def refresh(self) -> None:
        """Take in what was added since, or everything after the file was replaced, cut or found changed."""
        place = self._find()
        found = place.info()
        if self.is_doubtful or found is None or not self._still_holds(found):
            self._forget()
        self._place = place
        if found is None:
            return
        if self._fd is None:
            self._fd = place.fs.open(place.path, Access.READ)
            found = place.fs.fstat(self._fd)
            self._file = found.key
        if self._is_as_before(found):
            return
        self._block = (0, b"")
        if found.size > self._reader.position and not self._is_newer:
            self._check.feed(self._reader.blocks(self._source, found.size, is_growing=True))
            if self._check.newer:
                self._is_newer = True
                self.kinds = {kind: Columns() for kind in RecordKind}
                _log.warning("%s is written in a newer format; upgrade papyra to read it", place.path)
        self.size, self._modified = found.size, found.modified
        self._seam = self._read_seam()

    def _is_as_before(self, found: FileInfo) -> bool:
        return (found.size, found.modified) == (self.size, self._modified)

    def _still_holds(self, found: FileInfo) -> bool:
        if self._fd is None or found.key != self._file or found.size < self._reader.position:
            return False
        if self._is_as_before(found):
            return True
        # A repair may have cut what was read last, no record maybe, and records may stand there since.
        return self._read_seam() == self._seam and self._still_holds_newest()

    def _read_seam(self) -> bytes:
        length = min(_SEAM_BYTES, self._reader.position)
        return self._source(length, self._reader.position - length)

    def _still_holds_newest(self) -> bool:
        self._block = (0, b"")
        return all(
            self.line(kind, len(columns) - 1) is not None for kind, columns in self.kinds.items() if columns
        )

    def _source(self, length: int, offset: int) -> bytes:
        assert self._place is not None  # noqa: S101  # set before anything is read
        assert self._fd is not None  # noqa: S101
        return read_all(self._place.fs, self._fd, length, offset)

    def _take(self, piece: Piece) -> None:
        found = kind_and_time(piece)
        if found is not None:
            self.kinds[found[0]].add(piece, found[1])

    def line(self, kind: RecordKind, at: int, *, is_forward: bool = True) -> bytes | None:
        """Return the line of the record ``at`` this place; ``None`` where its bytes changed since."""
        columns = self.kinds[kind]
        offset, length = columns.offsets[at], columns.lengths[at]
        begin, block = self._block
        if not begin <= offset <= offset + length <= begin + len(block):
            begin = offset if is_forward else max(offset + length - _BLOCK_BYTES, 0)
            begin = min(begin, offset)
            block = self._source(max(_BLOCK_BYTES, offset + length - begin), begin)
            self._block = begin, block
        text = block[offset - begin : offset - begin + length]
        if len(text) == length and is_intact(text, columns.checksums[at]):
            return text
        self.is_doubtful = True
        return None

    def close(self) -> None:
        """Let go of the file."""
        fd, self._fd = self._fd, None
        self._block = (0, b"")
        if fd is not None and self._place is not None:
            self._place.fs.close(fd)
