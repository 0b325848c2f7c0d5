"""Where the records of a file are: rows of blocks, extended as the file grows, read anew when in doubt."""

from __future__ import annotations

import logging
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from zlib import crc32

from papyra.exceptions import StoreUnavailableError
from papyra.persistence import codec
from papyra.persistence._files.blocks import MIXED, Blocks, part_of, reader_at
from papyra.persistence._files.fs import Access, read_all
from papyra.persistence._files.lines import Piece, Sort
from papyra.persistence._files.sidecar import StaleSidecarError, ends_as_indexed, load
from papyra.persistence.models import RecordKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from papyra.persistence._files.fs import FileInfo
    from papyra.persistence._files.scan import Place

    Lines = Sequence[tuple[int, bytes]]
    """Offset and text of records."""

Value = TypeVar("Value")

_KINDS = {kind.value: kind for kind in RecordKind}
_CACHED_BLOCKS = 4
_TRIES = 3
_log = logging.getLogger(__name__)


class IndexDoubtError(Exception):
    """Bytes changed that were indexed: the next `FileIndex.refresh` reads everything anew."""


class Spot(NamedTuple):
    """A record where it stands: ``ordinal`` counts those of its kind in the file, from 0 on."""

    file: FileIndex
    ordinal: int
    offset: int
    text: bytes

    @property
    def checksum(self) -> int:
        """The number that tells this line from others: its own checksum, or one made here for legacy."""
        return checksum_of(self.text)


class Chunk(NamedTuple):
    """Neighbouring records of one kind in one file, in its order; the first one's ordinal is ``first``."""

    file: FileIndex
    first: int
    lines: Lines

    def spot(self, at: int) -> Spot:
        return Spot(self.file, self.first + at, *self.lines[at])


class FileIndex:
    """Belongs to one thread; `refresh` it before each use. The file stays open between.

    ``name`` is what cursors call it, among the files of a store. It changes nothing on disk.
    """

    def __init__(self, find: Callable[[], Place], name: str = "") -> None:
        self._find = find
        self.name = name
        self.stale_sidecars = 0
        """How many were met that did not fit."""
        self._place: Place | None = None
        self._fd: int | None = None
        self._file: tuple[int, int] = (0, 0)
        self._forget()

    def _forget(self) -> None:
        self.close()
        self.blocks = Blocks()
        self.size = 0
        self._modified = 0.0
        self._is_doubtful = False
        self._cache: dict[int, dict[RecordKind, Lines]] = {}

    def refresh(self) -> None:
        """Take in what was added since, or everything after the file was replaced, cut or found changed."""
        place = self._find()
        found = place.info()
        was_doubtful = self._is_doubtful
        if was_doubtful or found is None or not self._still_holds(found):
            self._forget()
        self._place = place
        if found is None:
            return
        if self._fd is None:
            self._fd = place.fs.open(place.path, Access.READ)
            found = place.fs.fstat(self._fd)
            self._file = found.key
            if not was_doubtful:
                self._load(place, found)
        if not self._is_as_before(found):
            self._extend(place, found)

    def read_anew(self, end: int) -> None:
        """Take in the bytes up to ``end``, whatever an index beside the file says."""
        self._forget()
        place = self._place = self._find()
        if place.info() is not None:
            self._fd = place.fs.open(place.path, Access.READ)
            self.blocks.feed(self.source, end)

    def _load(self, place: Place, found: FileInfo) -> None:
        try:
            self.blocks = load(place.fs, place.path, self.source, found.size) or self.blocks
        except StaleSidecarError as error:
            self.stale_sidecars += 1
            _log.info("%s: its index beside it is not used: %s", place.path, error)

    def _extend(self, place: Place, found: FileInfo) -> None:
        last, was_newer = len(self.blocks) - 1, self.blocks.newer
        self.blocks.feed(self.source, found.size)
        self._cache.pop(last, None)
        if self.blocks.newer and not was_newer:
            _log.warning("%s is written in a newer format; upgrade papyra to read it", place.path)
        self.size, self._modified = found.size, found.modified

    def _is_as_before(self, found: FileInfo) -> bool:
        return (found.size, found.modified) == (self.size, self._modified)

    def _still_holds(self, found: FileInfo) -> bool:
        if self._fd is None or found.key != self._file or found.size < self.blocks.position:
            return False
        # A repair may have cut what was read last, no record maybe, and records may stand there since.
        return self._is_as_before(found) or ends_as_indexed(self.blocks, self.source)

    def source(self, length: int, offset: int) -> bytes:
        """Read the file that was open at the last `refresh`."""
        assert self._place is not None  # noqa: S101  # set before anything is read
        assert self._fd is not None  # noqa: S101
        return read_all(self._place.fs, self._fd, length, offset)

    def count(self, kind: RecordKind) -> int:
        """Return how many records of ``kind`` are shown; of a newer format none is."""
        return 0 if self.blocks.newer else self.blocks.kinds[kind].total

    def lines(self, kind: RecordKind, block: int) -> Lines:
        """Return the records of a block; raises `IndexDoubtError` where its bytes changed since."""
        found = self._cache.get(block)
        if found is None:
            found = self._read_block(block)
            while len(self._cache) >= _CACHED_BLOCKS:
                del self._cache[next(iter(self._cache))]
            self._cache[block] = found
        lines = found.get(kind, ())
        if len(lines) != self.blocks.kinds[kind].count(block):
            raise self._doubt(block)
        return lines

    def _read_block(self, block: int) -> dict[RecordKind, Lines]:
        start, data = self.blocks.offsets[block], self._bytes_of(block)
        if self.blocks.states[block] & MIXED:
            return self._judged(block, start, data)
        texts = data.split(b"\n")
        texts.pop()
        offsets, at = [], start
        for text in texts:
            offsets.append(at)
            at += len(text) + 1
        lines = list(zip(offsets, texts, strict=True))
        present = [kind for kind, rows in self.blocks.kinds.items() if rows.count(block)]
        if len(present) == 1:
            return {present[0]: lines}
        found: dict[RecordKind, list[tuple[int, bytes]]] = {kind: [] for kind in present}
        for line in lines:
            found[_KINDS[codec.decode_head(line[1]).kind]].append(line)
        return dict(found)

    def _bytes_of(self, block: int) -> bytes:
        start = self.blocks.offsets[block]
        data = self.source(self.blocks.end(block) - start, start)
        if crc32(data) != self.blocks.checksums[block]:
            raise self._doubt(block)
        return data

    def _judged(self, block: int, start: int, data: bytes) -> dict[RecordKind, Lines]:
        found: dict[RecordKind, list[tuple[int, bytes]]] = {kind: [] for kind in RecordKind}
        for kind, piece in self._accepted(block, start, data):
            found[kind].append((piece.offset, piece.text))
        return dict(found)

    def _accepted(self, block: int, start: int, data: bytes) -> Iterator[tuple[RecordKind, Piece]]:
        reader = reader_at(start, self.blocks.states[block])
        for piece in reader.pieces(part_of(data, start), start + len(data), is_growing=True):
            kind = None if piece.head is None else _KINDS.get(piece.head.kind)
            if kind is not None and not self._is_excluded(piece.offset):
                yield kind, piece

    def pieces(self, block: int) -> Iterator[tuple[RecordKind, Piece]]:
        """Yield the records of a block as pieces of the file; raises `IndexDoubtError` as `lines` does."""
        start, data = self.blocks.offsets[block], self._bytes_of(block)
        if self.blocks.states[block] & MIXED:
            yield from self._accepted(block, start, data)
            return
        for text in data.split(b"\n")[:-1]:
            head = codec.decode_head(text)
            yield _KINDS[head.kind], Piece(Sort.RECORD, start, text, 1, head)
            start += len(text) + 1

    def _is_excluded(self, offset: int) -> bool:
        excluded = self.blocks.excluded
        at = bisect_left(excluded, offset)
        return at < len(excluded) and excluded[at] == offset

    def _doubt(self, block: int) -> IndexDoubtError:
        self._is_doubtful = True
        return IndexDoubtError(f"block {block} changed")

    def spot(self, kind: RecordKind, ordinal: int) -> Spot:
        """Return the record of ``kind`` with this number."""
        block = self.blocks.kinds[kind].block_of(ordinal)
        lines = self.lines(kind, block)
        return Spot(self, ordinal, *lines[ordinal - self.blocks.kinds[kind].before(block)])

    def chunks(
        self, kind: RecordKind, first: int, stop: int, since: float, until: float, *, is_backward: bool
    ) -> Iterator[Chunk]:
        """Yield the records from ``first`` to before ``stop``, without blocks that hold no time in range."""
        if first >= stop:
            return
        rows = self.blocks.kinds[kind]
        step = -1 if is_backward else 1
        for block in rows.blocks(rows.block_of(first), rows.block_of(stop - 1) + 1, since, until, step):
            before = rows.before(block)
            lines = self.lines(kind, block)
            low, high = max(first - before, 0), min(stop - before, len(lines))
            yield Chunk(self, before + low, lines[low:high])

    def at_offset(self, kind: RecordKind, offset: int) -> Spot | None:
        """Return the record of ``kind`` that begins there."""
        block = bisect_left(self.blocks.offsets, offset + 1) - 1
        if self.blocks.newer or block < 0 or offset >= self.blocks.position:
            return None
        for at, (begin, text) in enumerate(self.lines(kind, block)):
            if begin == offset:
                return Spot(self, self.blocks.kinds[kind].before(block) + at, begin, text)
        return None

    def search(self, kind: RecordKind, checksum: int, incarnation: str, seq: int) -> Iterator[Spot]:
        """Yield the records with this checksum and identity; for legacy (no ``seq``) there may be several."""
        if seq and seq not in self.blocks.numbers.get((incarnation, kind), ()):
            return
        needle = b'{"seq":%d,"kind":"%b","incarnation":"%b"' % (seq, kind.encode(), incarnation.encode())
        found = False
        for is_any in (False, True) if seq else (True,):  # a foreign writer may order its members differently
            for block in range(len(self.blocks)):
                if not self.blocks.kinds[kind].count(block) or not (is_any or self._has(block, needle)):
                    continue
                before = self.blocks.kinds[kind].before(block)
                for at, (offset, text) in enumerate(self.lines(kind, block)):
                    if checksum_of(text) == checksum and identity_of(text) == (incarnation, seq):
                        found = True
                        yield Spot(self, before + at, offset, text)
            if found:
                return

    def has_checksum(self, kind: RecordKind, checksum: int) -> bool:
        """Whether a framed record of ``kind`` carries this checksum."""
        needle = b',"crc":"%08x"}' % checksum
        return any(
            self.blocks.kinds[kind].count(block) and self._has(block, needle)
            for block in range(len(self.blocks))
        )

    def _has(self, block: int, needle: bytes) -> bool:
        start = self.blocks.offsets[block]
        return needle in self.source(self.blocks.end(block) - start, start)

    def close(self) -> None:
        """Let go of the file."""
        fd, self._fd = self._fd, None
        if fd is not None and self._place is not None:
            self._place.fs.close(fd)


def refreshed(files: Sequence[FileIndex], job: Callable[[], Value]) -> Value:
    """Return what ``job`` makes of the files as they are now; where one changed under it, again."""
    for _ in range(_TRIES):
        for file in files:
            file.refresh()
        try:
            return job()
        except IndexDoubtError:
            continue
    raise StoreUnavailableError("the files of the store are being changed in place by another program")


def checksum_of(text: bytes) -> int:
    """Return what `Spot.checksum` is of a line."""
    return int(codec.checksum_of(text), 16) if text.startswith(codec.FRAME_HEAD) else crc32(text)


def head_of(text: bytes) -> codec.Head:
    """Read identity and time of a sound line; legacy lines have no identity."""
    return codec.decode_head(text) if text.startswith(codec.FRAME_HEAD) else codec.decode_legacy_head(text)


def identity_of(text: bytes) -> tuple[str, int]:
    """Return incarnation and number of a sound line; ``("", 0)`` for legacy."""
    head = head_of(text)
    return head.incarnation, head.seq
