"""Where the records of a file are: rows of blocks, extended as the file grows, read anew when in doubt."""

from __future__ import annotations

import logging
from bisect import bisect_left
from itertools import accumulate, compress
from typing import TYPE_CHECKING, NamedTuple, Protocol
from zlib import crc32

from papyra.persistence import codec
from papyra.persistence._files.blocks import KINDS, MIXED, Blocks, bytes_of, part_of, reader_at
from papyra.persistence._files.fs import Access, read_all
from papyra.persistence._files.many import are_framed, decode_heads
from papyra.persistence._files.sidecar import StaleSidecarError, ends_as_indexed, load

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from papyra.persistence._files.numbers import Numbers
    from papyra.persistence._files.scan import Place
    from papyra.persistence.integrity import Stream
    from papyra.persistence.models import RecordKind

_CACHED_BLOCKS = 4
_log = logging.getLogger(__name__)


class IndexDoubtError(Exception):
    """Bytes changed that were indexed: the next `FileIndex.refresh` reads everything anew."""


class Seen(Protocol):
    """What tells one state of a file from another."""

    @property
    def key(self) -> tuple[int, int]: ...
    @property
    def size(self) -> int: ...
    @property
    def modified(self) -> float: ...


class Lines(NamedTuple):
    """The texts of records; where no ``offsets`` are told they stand line by line from ``start`` on."""

    texts: Sequence[bytes] = ()
    start: int = 0
    offsets: Sequence[int] | None = None

    def offset(self, at: int) -> int:
        if self.offsets is not None:
            return self.offsets[at]
        return self.start + sum(map(len, self.texts[:at])) + at

    def at_offset(self, offset: int) -> int | None:
        """Return which one begins there."""
        offsets = self.offsets
        if offsets is None:
            offsets = [*accumulate((len(text) + 1 for text in self.texts), initial=self.start)]
        at = bisect_left(offsets, offset)
        return at if at < len(self.texts) and offsets[at] == offset else None


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
    """Of the ``lines`` of one kind in a block, those from ``low`` to before ``high``.

    ``before``: how many of the kind stand in the file before that block.
    """

    file: FileIndex
    block: int
    before: int
    lines: Lines
    low: int
    high: int

    @property
    def texts(self) -> Sequence[bytes]:
        return self.lines.texts[self.low : self.high]

    def spot(self, at: int) -> Spot:
        return Spot(self.file, self.before + at, self.lines.offset(at), self.lines.texts[at])


class FileIndex:
    """Belongs to one thread; `refresh` it before each use. The file stays open between.

    ``name`` is what cursors call it among the files of a store. It changes nothing on disk.
    """

    def __init__(self, name: str, place: Place) -> None:
        self.name = name
        self.place = place
        self._fd: int | None = None
        self._file: tuple[int, int] = (0, 0)
        self._forget()

    def _forget(self) -> None:
        self.close()
        self._begin(Blocks())
        self.size = 0
        self._modified = 0.0
        self._is_doubtful = False

    def _begin(self, blocks: Blocks) -> None:
        self.blocks = blocks
        self._cache: dict[int, dict[RecordKind, Lines]] = {}
        self._times: dict[tuple[RecordKind, int, int], list[float]] = {}

    def refresh(self, place: Place, found: Seen | None) -> bool:
        """Take in what was added since, or everything after the file was replaced, cut or found changed.

        Returns whether anything is new. Raises ``FileNotFoundError`` where it went meanwhile.
        """
        was_doubtful = self._is_doubtful
        self._cache.clear()  # whoever changes bytes in place may leave size and time as they were
        if was_doubtful or found is None or not self._still_holds(found):
            self._forget()
        self.place = place
        if found is None:
            return True
        if self._fd is None:
            self._fd = place.fs.open(place.path, Access.READ)
            found = place.fs.fstat(self._fd)
            self._file = found.key
            if not was_doubtful:
                self._load(found.size)
        if self._is_as_before(found):
            return False
        self._extend(found)
        return True

    def read_anew(self, taken: Mapping[Stream, Numbers]) -> None:
        """Read all of it again, without the records of these numbers."""
        self._begin(Blocks(taken))
        self.blocks.feed(self.source, self.size)

    def _load(self, size: int) -> None:
        try:
            blocks = load(self.place.fs, self.place.path, self.source, size)
        except StaleSidecarError as error:
            _log.info("%s: its index beside it is not used: %s", self.place.path, error)
        else:
            self._begin(blocks or self.blocks)

    def _extend(self, found: Seen) -> None:
        was_newer = self.blocks.newer
        self.blocks.feed(self.source, found.size)
        if self.blocks.newer and not was_newer:
            _log.warning("%s is written in a newer format; upgrade papyra to read it", self.place.path)
        self.size, self._modified = found.size, found.modified

    def _is_as_before(self, found: Seen) -> bool:
        return (found.size, found.modified) == (self.size, self._modified)

    def _still_holds(self, found: Seen) -> bool:
        if self._fd is None or found.key != self._file or found.size < self.blocks.position:
            return False
        # A repair may have cut what was read last, no record maybe, and records may stand there since.
        return self._is_as_before(found) or ends_as_indexed(self.blocks, self.source)

    def source(self, length: int, offset: int) -> bytes:
        """Read the file that was open at the last `refresh`."""
        assert self._fd is not None  # noqa: S101  # set before anything is read
        return read_all(self.place.fs, self._fd, length, offset)

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
        lines = found.get(kind, _NO_LINES)
        if len(lines.texts) != self.blocks.kinds[kind].count(block):
            raise self._doubt(block)
        return lines

    def times(self, kind: RecordKind, block: int) -> list[float]:
        """Return the times of what `lines` returns."""
        texts, mark = self.lines(kind, block).texts, (kind, block, self.blocks.checksums[block])
        found = self._times.get(mark)
        if found is None:
            found = _times_of(texts)
            while len(self._times) >= _CACHED_BLOCKS:
                del self._times[next(iter(self._times))]
            self._times[mark] = found
        return found

    def _read_block(self, block: int) -> dict[RecordKind, Lines]:
        start = self.blocks.offsets[block]
        data = bytes_of(self.source, start, self.blocks.end(block))
        if crc32(data) != self.blocks.checksums[block]:
            raise self._doubt(block)
        if self.blocks.states[block] & MIXED:
            return self._judged(block, start, data)
        texts = data.split(b"\n")
        texts.pop()
        present = [kind for kind, rows in self.blocks.kinds.items() if rows.count(block)]
        if len(present) == 1:
            return {present[0]: Lines(texts, start)}
        heads = decode_heads(data) or map(head_of, texts)
        offsets = [*accumulate((len(text) + 1 for text in texts), initial=start)][:-1]
        return _by_kind([head.kind for head in heads], offsets, texts)

    def _judged(self, block: int, start: int, data: bytes) -> dict[RecordKind, Lines]:
        reader = reader_at(start, self.blocks.states[block])
        kinds, offsets, texts = list[str](), list[int](), list[bytes]()
        for piece in reader.pieces(part_of(data, start), start + len(data), is_growing=True):
            head = piece.head
            if head is not None and head.kind in KINDS and not self._is_excluded(piece.offset):
                kinds.append(head.kind)
                offsets.append(piece.offset)
                texts.append(piece.text)
        return _by_kind(kinds, offsets, texts)

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
        at = ordinal - self.blocks.kinds[kind].before(block)
        return Spot(self, ordinal, lines.offset(at), lines.texts[at])

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
            low, high = max(first - before, 0), min(stop - before, len(lines.texts))
            yield Chunk(self, block, before, lines, low, high)

    def at_offset(self, kind: RecordKind, offset: int) -> Spot | None:
        """Return the record of ``kind`` that begins there."""
        block, rows = bisect_left(self.blocks.offsets, offset + 1) - 1, self.blocks.kinds[kind]
        if self.blocks.newer or block < 0 or offset >= self.blocks.position:
            return None
        lines = self.lines(kind, block)
        at = lines.at_offset(offset)
        return None if at is None else Spot(self, rows.before(block) + at, offset, lines.texts[at])

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
                lines = self.lines(kind, block)
                for at, text in enumerate(lines.texts):
                    if checksum_of(text) == checksum and identity_of(text) == (incarnation, seq):
                        found = True
                        yield Spot(self, before + at, lines.offset(at), text)
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
        return needle in bytes_of(self.source, start, self.blocks.end(block))

    def close(self) -> None:
        """Let go of the file."""
        fd, self._fd = self._fd, None
        if fd is not None:
            self.place.fs.close(fd)


_NO_LINES = Lines()


def _by_kind(kinds: Sequence[str], offsets: Sequence[int], texts: Sequence[bytes]) -> dict[RecordKind, Lines]:
    found = {}
    for kind in {*kinds}:
        chosen = [*map(kind.__eq__, kinds)]
        found[KINDS[kind]] = Lines([*compress(texts, chosen)], 0, [*compress(offsets, chosen)])
    return found


def _times_of(texts: Sequence[bytes]) -> list[float]:
    heads = decode_heads(b"\n".join([*texts, b""])) if are_framed(texts) else None
    if heads is None or len(heads) != len(texts):
        heads = [*map(head_of, texts)]
    return [head.timestamp for head in heads]


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
