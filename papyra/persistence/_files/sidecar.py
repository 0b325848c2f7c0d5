"""The index of a file on disk, beside it: a cache that is believed only where all of it fits the file.

Whoever writes the store writes it; readers only read. It may be missing, old or torn at any time.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec

from papyra.persistence._files.blocks import Blocks, bytes_of
from papyra.persistence._files.fs import Access, opened, read_all, stat_or_none, write_all
from papyra.persistence._files.numbers import Numbers
from papyra.persistence._files.segments import INDEX_SUFFIX, UNFINISHED_SUFFIX
from papyra.persistence.models import LossNote, RecordKind

if TYPE_CHECKING:
    from array import array
    from pathlib import Path

    from papyra.persistence._files.fs import FileSystem
    from papyra.persistence._files.lines import Source

VERSION = 1

_HEAD = Struct("<8sIIQ")  # magic, version, crc of what follows, its length
_MAGIC = b"papyraIX"
_TOP_BYTES = 4096
_SMALL_BLOCK = 4096
_log = logging.getLogger(__name__)


class StaleSidecarError(Exception):
    """Says why a sidecar is not that of the file it stands beside."""


class _Rows(msgspec.Struct, array_like=True):
    counts: bytes
    sizes: bytes
    oldest: bytes
    newest: bytes


class _Body(msgspec.Struct, array_like=True):
    top: int
    position: int
    is_framed: bool
    is_midline: bool
    newer: int
    offsets: bytes
    checksums: bytes
    states: bytes
    excluded: bytes
    kinds: dict[str, _Rows]
    numbers: list[tuple[str, str, list[tuple[int, int]]]]
    notes: list[tuple[str, str, int, int, str]]


_decode = msgspec.msgpack.Decoder(_Body).decode


def sidecar_of(path: Path) -> Path:
    """Return where the index of the file at ``path`` stands."""
    return path.with_name(f"{path.name}{INDEX_SUFFIX}")


def unfinished_sidecar_of(path: Path) -> Path:
    """Return the name it is written under."""
    return path.with_name(f"{path.name}{INDEX_SUFFIX}{UNFINISHED_SUFFIX}")


def encode(blocks: Blocks, top: int) -> bytes:
    """Return the content of a sidecar; ``top`` is the `checksum_of_top` of the file."""
    body = _Body(
        top,
        blocks.position,
        blocks.is_framed,
        blocks.is_midline,
        blocks.newer,
        _packed(blocks.offsets),
        _packed(blocks.checksums),
        _packed(blocks.states),
        _packed(blocks.excluded),
        {
            kind.value: _Rows(
                _packed(rows.counts), _packed(rows.bytes), _packed(rows.oldest), _packed(rows.newest)
            )
            for kind, rows in blocks.kinds.items()
        },
        [(incarnation, kind, list(runs)) for (incarnation, kind), runs in blocks.numbers.items()],
        list(blocks.notes),
    )
    content = msgspec.msgpack.encode(body)
    return _HEAD.pack(_MAGIC, VERSION, crc32(content), len(content)) + content


def decode(data: bytes) -> tuple[Blocks, int]:
    """Read `encode` back; raises `StaleSidecarError` for what is not whole or not of this version."""
    if len(data) < _HEAD.size:
        raise StaleSidecarError("it is cut short")
    magic, version, checksum, length = _HEAD.unpack_from(data)
    content = data[_HEAD.size :]
    if (magic, version) != (_MAGIC, VERSION):
        raise StaleSidecarError("it is not an index that this version writes")
    if (checksum, length) != (crc32(content), len(content)):
        raise StaleSidecarError("it is not what was written")
    try:
        body = _decode(content)
        return _blocks_of(body), body.top
    except (msgspec.DecodeError, ValueError, KeyError) as error:
        raise StaleSidecarError(f"it cannot be read: {error}") from error


def _blocks_of(body: _Body) -> Blocks:
    blocks = Blocks()
    blocks.position, blocks.newer = body.position, body.newer
    blocks.is_framed, blocks.is_midline = body.is_framed, body.is_midline
    for column, data in (
        (blocks.offsets, body.offsets),
        (blocks.checksums, body.checksums),
        (blocks.states, body.states),
        (blocks.excluded, body.excluded),
    ):
        _unpack(column, data)
    for kind in RecordKind:
        rows, packed = blocks.kinds[kind], body.kinds[kind.value]
        _unpack(rows.counts, packed.counts)
        _unpack(rows.bytes, packed.sizes)
        _unpack(rows.oldest, packed.oldest)
        _unpack(rows.newest, packed.newest)
    blocks.numbers = {(incarnation, kind): Numbers(runs) for incarnation, kind, runs in body.numbers}
    blocks.notes = [LossNote(*note) for note in body.notes]
    return blocks


def _packed(column: array[int] | array[float]) -> bytes:
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return column.tobytes()


def _unpack(column: array[int] | array[float], data: bytes) -> None:
    column.frombytes(data)
    if sys.byteorder == "big":
        column.byteswap()


def checksum_of_top(source: Source) -> int:
    """Return the checksum of the file's first line, which names its store; of 4 KiB where it is longer."""
    return crc32(source(_TOP_BYTES, 0).partition(b"\n")[0])


def load(fs: FileSystem, path: Path, source: Source, size: int) -> Blocks | None:
    """Return the index of an open file of ``size`` bytes, or of its beginning; ``None`` without a sidecar.

    Raises `StaleSidecarError` where there is one that does not fit.
    """
    try:
        with opened(fs, sidecar_of(path)) as fd:
            data = read_all(fs, fd, fs.fstat(fd).size, 0)
    except OSError:
        return None  # missing, as a rule; whatever else is wrong with it, the file itself has everything
    blocks, top = decode(data)
    if blocks.position > size:
        raise StaleSidecarError(f"it covers {blocks.position} bytes of a file that has {size}")
    if top != checksum_of_top(source):
        raise StaleSidecarError("the file begins with another line")
    if not ends_as_indexed(blocks, source):
        raise StaleSidecarError("the last lines that it knows are others")
    return blocks


def ends_as_indexed(blocks: Blocks, source: Source) -> bool:
    """Whether the last blocks are still the bytes that were indexed."""
    for block in range(len(blocks) - 1, -1, -1):
        start, end = blocks.offsets[block], blocks.end(block)
        if crc32(bytes_of(source, start, end)) != blocks.checksums[block]:
            return False
        if end - start >= _SMALL_BLOCK:
            return True
    return True


def save(fs: FileSystem, path: Path, blocks: Blocks, source: Source, *, is_lasting: bool = False) -> None:
    """Put the index beside the file. What fails is only logged: a cache is no reason to fail a write.

    Unless ``is_lasting`` a power loss may leave an older one, or a torn one, which a scan then mentions.
    """
    unfinished = unfinished_sidecar_of(path)
    try:
        data = encode(blocks, checksum_of_top(source))
        _remove(fs, unfinished)
        fd = fs.open(unfinished, Access.CREATE)
        try:
            fs.copy_access(fs.stat(path), fd)
            write_all(fs, fd, data)
            if is_lasting:
                fs.sync_all(fd)
        finally:
            fs.close(fd)
        fs.replace(unfinished, sidecar_of(path))
        if is_lasting:
            fs.sync_folder(path.parent)
    except OSError as error:
        _log.warning("%s: the index could not be written: %s", path, error)
        with suppress(OSError):
            _remove(fs, unfinished)


def discard(fs: FileSystem, path: Path) -> None:
    """Take the index away for good, before the file is changed elsewhere than at its end."""
    if remove(fs, path):
        fs.sync_folder(path.parent)


def remove(fs: FileSystem, path: Path) -> bool:
    """Take the index away, before its file goes; whether there was one."""
    return _remove(fs, sidecar_of(path)) | _remove(fs, unfinished_sidecar_of(path))


def _remove(fs: FileSystem, path: Path) -> bool:
    if stat_or_none(fs, path) is None:
        return False
    fs.remove(path)
    return True
