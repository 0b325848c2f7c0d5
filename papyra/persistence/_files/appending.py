"""An open store file that takes whole lines: header first, a torn tail kept apart, part writes taken back."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from papyra.clock import mint_incarnation
from papyra.exceptions import NewerFormatError
from papyra.persistence import codec
from papyra.persistence._files.fs import (
    Access,
    opened,
    parts_written,
    read_all,
    stat_or_none,
    write_all,
    write_and_sync,
)
from papyra.persistence._files.lines import LineReader, Sort, read_header
from papyra.persistence.integrity import HistoryCheck

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.persistence._files.lines import Source
    from papyra.persistence._files.scan import Place

FAMILY = "all"
"""What the one file of this store holds: records of every kind."""


class AppendFile:
    """Made by opening, which creates a file that is missing; nothing that is there is changed before `write`.

    ``OSError`` out of `sync` means that nothing since ``synced`` is known to be on the medium, now or later.
    """

    def __init__(self, place: Place, header: Callable[[], bytes] | None = None) -> None:
        self._place = place
        self._header = header or partial(new_header, place)
        self._fs = place.fs
        is_new = stat_or_none(self._fs, place.path) is None
        self._fd = self._fs.open(place.path, Access.CREATE if is_new else Access.APPEND)
        self.kind = self._fs.kind(self._fd)
        has_synced_writes = self._fs.has_synced_writes(self._fd)
        self._write_synced = self._fs.write_synced if has_synced_writes else partial(write_and_sync, self._fs)
        try:
            found = self._fs.fstat(self._fd)
            self._key = found.key
            self.end = found.size
            self.synced = 0
            self.is_doubtful = False
            """Whether a `write_synced` wrote what it could not make durable."""
            self._needs_newline = False
            if self.end:
                self._look_at_ends()
            else:
                self._write_header()
            self.sync()  # a record of a process that was killed may be readable, yet not on the medium
            self._fs.sync_folder(place.path.parent)
        except BaseException:
            self.close()
            raise

    def _look_at_ends(self) -> None:
        refuse_newer(self._place, self._fd)
        # A torn last line stays as it is, for a scan to find, and the next line begins a new one.
        self._needs_newline = read_all(self._fs, self._fd, 1, self.end - 1) != b"\n"

    def _write_header(self) -> None:
        try:
            self.write(self._header())
        except OSError:
            self.take_back()
            raise

    def is_current(self) -> bool:
        """Whether the store's path still names this file, with nothing in it that we have not written."""
        found = stat_or_none(self._fs, self._place.path)
        return found is not None and found.key == self._key and found.size == self.end

    def write(self, data: bytes) -> None:
        """Add whole lines in one write; after an error call `take_back`."""
        data = self._on_a_line_of_its_own(data)
        write_all(self._fs, self._fd, data)
        self._has_grown(data)

    def write_synced(self, data: bytes) -> None:
        """Add whole lines, on the medium when this returns; after an error see `is_doubtful`."""
        data = self._on_a_line_of_its_own(data)
        written = 0
        try:
            for written in parts_written(self._write_synced, self._fd, data):  # noqa: B007  # read below
                pass
        except OSError:
            self.is_doubtful = self._may_be_longer_than(self.end + written)
            raise
        self._has_grown(data)
        self.synced = self.end

    def _may_be_longer_than(self, size: int) -> bool:
        try:
            return self._fs.fstat(self._fd).size != size
        except OSError:
            return True

    def _on_a_line_of_its_own(self, data: bytes) -> bytes:
        return b"\n" + data if self._needs_newline else data

    def _has_grown(self, data: bytes) -> None:
        self.end += len(data)
        self._needs_newline = False

    def take_back(self) -> bool:
        """Cut off what a failed `write` left; whether that worked."""
        try:
            self._fs.truncate(self._fd, self.end)
        except OSError:
            return False
        return True

    def sync(self) -> None:
        self._fs.sync(self._fd)
        self.synced = self.end

    def read(self, length: int, offset: int) -> bytes:
        return read_all(self._fs, self._fd, length, offset)

    def close(self, *, keeping: int | None = None) -> None:
        """Let go of the file; of one in doubt, cut off what is not to be kept of it, where that can be."""
        fd, self._fd = self._fd, -1
        if fd >= 0 and keeping is not None:
            with suppress(OSError):
                self._fs.truncate(fd, keeping)
        if fd >= 0:
            self._fs.close(fd)


def new_header(place: Place) -> bytes:
    """Return the first line of a store that begins now."""
    return codec.encode_header(store=mint_incarnation(place.clock.now()), family=FAMILY, segment=1)


def refuse_newer(place: Place, fd: int) -> None:
    """Raise `NewerFormatError` where the open file begins with the header of a newer version."""
    header = read_header(partial(read_all, place.fs, fd), place.fs.fstat(fd).size)
    if header is not None and header.format > codec.FORMAT:
        raise newer_format(place, header.format)


def newer_format(place: Place, found: int | None) -> NewerFormatError:
    """Return the error for a store that only a newer version may touch."""
    which = f"format {found}" if found is not None else "a newer format"
    return NewerFormatError(
        f"{place.path} is written in {which}, this version knows up to {codec.FORMAT}: upgrade papyra; "
        "nothing was read or changed"
    )


def read_history(*places: Place) -> HistoryCheck:
    """Read every identity that files hold."""
    history = HistoryCheck()
    for place in places:
        if stat_or_none(place.fs, place.path) is not None:
            with opened(place.fs, place.path) as fd:
                _read_into(history, partial(read_all, place.fs, fd), place.fs.fstat(fd).size)
    return history


def _read_into(history: HistoryCheck, source: Source, size: int) -> None:
    for piece in LineReader().pieces(source, size):
        if piece.sort is Sort.RECORD and piece.head is not None:
            history.add(piece.head, checksum=codec.checksum_of(piece.text))
