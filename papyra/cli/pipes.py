"""Records on stdin and stdout, as the lines of the file format; what the file store does with a file."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from papyra.exceptions import NewerFormatError, RecordDecodeError, RecordTooLargeError, StoreUnavailableError
from papyra.persistence import codec
from papyra.persistence.entries import Entry
from papyra.persistence.threads import WriterThread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from papyra.persistence.models import Record

_CHUNK_BYTES = 1024 * 1024
_MAX_LINE_BYTES = 4 * codec.MAX_RECORD_BYTES


class PipeReader:
    """Reads lines from an open file descriptor; legacy ones only before the first framed one."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._thread: WriterThread[None, None] = WriterThread("papyra stdin", lambda items: items)
        self._is_framed = False
        self.left_out = 0
        """How many lines so far were no record."""
        self.unknown = 0
        """How many records so far are of a kind that only a newer version knows."""

    async def pages(self) -> AsyncIterator[Sequence[Record]]:
        """Yield the records of each megabyte; raises `NewerFormatError` at such a header."""
        held: list[bytes] = []  # a pipe gives little at a time: joined only once its line has ended
        held_bytes = 0
        while chunk := await self._thread.run(self._read):
            first, *lines = chunk.split(b"\n")
            held.append(first)
            held_bytes += len(first)
            if lines:
                whole = b"".join(held)
                held = [lines.pop()]
                held_bytes = len(held[0])
                yield self._records([whole, *lines])
            if held_bytes > _MAX_LINE_BYTES:
                raise RecordTooLargeError(f"stdin: a line of more than {_MAX_LINE_BYTES} bytes is no record")
        yield self._records([b"".join(held)])

    def _read(self) -> bytes:
        try:
            return os.read(self._fd, _CHUNK_BYTES)
        except OSError as error:
            raise StoreUnavailableError(f"stdin gives no records: {error.strerror}") from error

    def _records(self, lines: Sequence[bytes]) -> list[Record]:
        found = []
        for line in lines:
            text = line.removesuffix(b"\r")
            if text.strip():
                record = self._record(text)
                if record is not None:
                    found.append(record)
        return found

    def _record(self, line: bytes) -> Record | None:
        try:
            if codec.is_framed(line) and codec.has_sound_checksum(line):
                self._is_framed = True
                if codec.decode_head(line).kind == codec.HEADER_KIND:
                    _check_header(line)
                    return None
                record = codec.decode_record(line)
            elif self._is_framed or line.startswith(codec.FRAME_HEAD):
                self.left_out += 1
                return None
            else:
                record = codec.decode_legacy(line)
        except RecordDecodeError:
            self.left_out += 1
            return None
        self.unknown += record is None
        return record

    async def aclose(self) -> None:
        """Let go of the thread."""
        await self._thread.aclose(lambda: None)


def _check_header(line: bytes) -> None:
    header = codec.decode_header(line)
    if header.format > codec.FORMAT:
        raise NewerFormatError(
            f"stdin is written in format {header.format}, this version knows up to {codec.FORMAT}: "
            "upgrade papyra"
        )


class PipeWriter:
    """Writes lines to an open file descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._thread: WriterThread[None, None] = WriterThread("papyra stdout", lambda items: items)

    async def append(self, records: Sequence[Record]) -> None:
        """Write ``records``, each with its identity; `StoreUnavailableError`: nobody takes them."""
        data = b"".join(Entry.of(record).line for record in records)
        await self._thread.run(self._writing(data))

    def _writing(self, data: bytes) -> Callable[[], None]:
        def write() -> None:
            left = memoryview(data)
            try:
                with io.FileIO(self._fd, "w", closefd=False) as stream:
                    while left:
                        left = left[stream.write(left) :]
            except OSError as error:
                raise StoreUnavailableError(f"stdout takes no more records: {error.strerror}") from error

        return write

    async def aclose(self) -> None:
        """Let go of the thread."""
        await self._thread.aclose(lambda: None)
