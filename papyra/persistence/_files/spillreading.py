"""One pass over a segment of a spill, a batch at a time, so that others get their turn in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from papyra.exceptions import RecordDecodeError
from papyra.persistence import codec
from papyra.persistence._files.edits import Span
from papyra.persistence._files.fs import GivenUp
from papyra.persistence._files.spilled import SegmentCheck
from papyra.persistence.entries import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from papyra.exceptions import PersistenceError
    from papyra.persistence._files.lines import Piece
    from papyra.persistence._files.spillfolder import Segment, SpillFolder

    Send = Callable[[Sequence[Entry]], Mapping[int, PersistenceError]]
    """Returns once these are durable where they belong, but for those it refuses for good, by position.

    It knows those it has already.
    """

_BATCH_RECORDS = 500
_BATCH_BYTES = 1024 * 1024


class Line(NamedTuple):
    """A record to send, and where it stands."""

    entry: Entry
    span: Span


class SegmentReading:
    """Its file stays open from the first batch to the last; the owner closes ``fd``."""

    def __init__(self, folder: SpillFolder, segment: Segment, fd: int) -> None:
        self.segment = segment
        self.fd = fd
        self.check = SegmentCheck()
        self.system_id = ""
        self._batches = self._read(folder)
        self._number = 0
        self._batch: list[Line] | None = None

    def lines(self) -> list[Line]:
        """Return what is to be sent now, the same until `took`; nothing at the end."""
        while self._batch is None:
            batch = next(self._batches, [])
            sent = min(
                self.segment.sent - self._number, len(batch)
            )  # in an earlier pass, which an error ended
            self._number += sent
            if sent < len(batch) or not batch:
                self._batch = batch[sent:]
        return self._batch

    def took(self) -> None:
        """Note that all of `lines` is where it belongs."""
        self._number += len(self.lines())
        self.segment.sent = self._number
        self._batch = None

    def _read(self, folder: SpillFolder) -> Iterator[list[Line]]:
        batch: list[Line] = []
        size = 0
        for piece in folder.pieces(self.fd):
            entry = entry_of(piece) if self.check.is_record(piece) else None
            if entry is None:
                continue
            self.system_id = self.system_id or entry.record.system_id
            batch.append(Line(entry, Span(piece.offset, len(piece.text) + piece.ending)))
            size += entry.size
            if len(batch) >= _BATCH_RECORDS or size >= _BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


def entry_of(piece: Piece) -> Entry | None:
    """Return the record in a sound ``piece``."""
    try:
        record = codec.decode_record(piece.text)
    except RecordDecodeError:
        return None
    head = piece.head
    if record is None or head is None:
        return None
    line = piece.text + b"\n"
    checksum = int(codec.checksum_of(piece.text), 16)
    return Entry(record, head.kind, b"", len(line), head.incarnation, head.seq, line, checksum)


def guarded(send: Send) -> Send:
    """Keep what ``send`` raises, such as a ``ConnectionError``, from being taken for the disk's."""

    def call(batch: Sequence[Entry]) -> Mapping[int, PersistenceError]:
        try:
            return send(batch)
        except BaseException as error:
            raise GivenUp(error) from error

    return call
