"""Read what lies in a quarantine folder: entry by entry, and the records that can still be read in them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from typing import TYPE_CHECKING, cast

from papyra.clock import minted_at
from papyra.exceptions import RecordDecodeError
from papyra.persistence import codec
from papyra.persistence._files.fs import COPY_BYTES, opened, read_all, stat_or_none
from papyra.persistence._files.lines import LineReader, Sort
from papyra.persistence._files.quarantine import ENTRIES
from papyra.persistence.quarantined import PREVIEW_BYTES, QuarantineEntry, QuarantinePage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from papyra.persistence._files.fs import FileSystem
    from papyra.persistence._files.lines import Piece
    from papyra.persistence.models import Record

    Source = Callable[[int, int], bytes]

_PAGE_RECORDS = 500
_REPORT = ".report.json"
_UNFINISHED = ".tmp"
_LARGE = ".bin"
_SHORT_DIGEST = 12
_LARGE_NAME = re.compile(r"[0-9a-f]{64}\.bin\Z")
_MAX_NUMBER = 2**63


class QuarantineReader:
    """Changes nothing; a folder that is not there holds nothing."""

    def __init__(self, fs: FileSystem, folder: Path) -> None:
        self._fs = fs
        self._folder = folder

    def entries(self) -> Iterator[QuarantineEntry]:
        """Yield what lies here, the oldest first, then files that were set aside whole."""
        names: dict[str, int] = {}
        for position, line in self._lines():
            found = _object(line)
            length = _whole(found.get("length"))
            if "sha256" not in found or length is None:
                continue  # torn by a crash: its bytes are still in the store
            digest = str(found["sha256"])
            preview, actual = self._looked_at(found)
            name = digest[:_SHORT_DIGEST]
            names[name] = names.get(name, 0) + 1
            yield QuarantineEntry(
                name=name if names[name] == 1 else f"{name}.{names[name]}",
                reason=str(found.get("reason", "")),
                store=str(found.get("store", "")),
                found_at=_number(found.get("found_at")),
                offset=_whole(found.get("offset")),
                length=length,
                position=position,
                preview=preview,
                is_intact=actual == digest,
            )
        yield from self._set_aside()

    def _looked_at(self, found: dict[str, object], *, is_whole: bool = False) -> tuple[bytes, str]:
        source, size = self._content(found, is_whole=is_whole)
        digest = hashlib.sha256()
        for offset in range(0, size, COPY_BYTES):
            digest.update(source(min(COPY_BYTES, size - offset), offset))
        return source(PREVIEW_BYTES, 0), digest.hexdigest()

    def _set_aside(self) -> Iterator[QuarantineEntry]:
        try:
            names = self._fs.names(self._folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        for name in names:
            if name == ENTRIES or name.endswith((_REPORT, _UNFINISHED, _LARGE)):
                continue
            info = stat_or_none(self._fs, self._folder / name)
            if info is None or not info.is_file:
                continue
            report = self._report(name)
            preview, digest = self._looked_at({"file": name}, is_whole=True)
            yield QuarantineEntry(
                name=name,
                reason=str(report.get("reason") or "set_aside"),
                store=name.rpartition(".")[0],
                found_at=minted_at(str(report.get("run", ""))),
                offset=None,
                length=info.size,
                preview=preview,
                is_intact=digest.startswith(name.rpartition(".")[2]),
                position=None,
            )

    def _report(self, name: str) -> dict[str, object]:
        path = self._folder / f"{name}{_REPORT}"
        info = stat_or_none(self._fs, path)
        if info is None:
            return {}
        with opened(self._fs, path) as fd:
            return _object(read_all(self._fs, fd, info.size, 0))

    def pages(self, entry: QuarantineEntry) -> Iterator[QuarantinePage]:
        """Yield the records of ``entry`` that can be read, and the bytes that are none."""
        found: dict[str, object] = {"file": entry.name}
        if entry.position is not None:
            with opened(self._fs, self._folder / ENTRIES) as fd:
                found = _object(self._line_at(fd, entry.position))
        source, size = self._content(found, is_whole=entry.position is None)
        records: list[tuple[Record, bytes]] = []
        rest: list[bytes] = []
        held = 0
        for piece in LineReader().pieces(source, size):
            record = _record_or_none(piece)
            if record is not None:
                records.append((record, piece.text + b"\n"))
            elif piece.sort is not Sort.HEADER:
                rest.append(piece.text + b"\n" * (piece.ending > 0))
            held += len(piece.text)
            if len(records) + len(rest) >= _PAGE_RECORDS or held > COPY_BYTES:
                yield QuarantinePage(tuple(records), tuple(rest))
                records, rest, held = [], [], 0
        if records or rest:
            yield QuarantinePage(tuple(records), tuple(rest))

    def _content(self, found: dict[str, object], *, is_whole: bool) -> tuple[Source, int]:
        """Return what is in an entry, or in a file that was set aside whole; nothing where it is not here."""
        if "file" not in found:
            try:
                data = base64.b64decode(str(found.get("bytes", "")), validate=True)
            except binascii.Error:
                data = b""
            return (lambda length, offset: data[offset : offset + length]), len(data)
        name = str(found["file"])
        is_ours = is_whole or _LARGE_NAME.match(name)  # else an entry that was altered to name another file
        path = self._folder / name
        info = stat_or_none(self._fs, path) if is_ours else None
        if info is None or not info.is_file:
            return (lambda length, offset: b""), 0  # noqa: ARG005  # as its type says

        def source(length: int, offset: int) -> bytes:
            with opened(self._fs, path) as fd:
                return read_all(self._fs, fd, length, offset)

        return source, info.size

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        path = self._folder / ENTRIES
        if stat_or_none(self._fs, path) is None:
            return
        with opened(self._fs, path) as fd:
            size = self._fs.fstat(fd).size
            rest, start = b"", 0
            for offset in range(0, size, COPY_BYTES):
                *lines, rest = (rest + read_all(self._fs, fd, COPY_BYTES, offset)).split(b"\n")
                for line in lines:
                    yield start, line
                    start += len(line) + 1

    def _line_at(self, fd: int, position: int) -> bytes:
        parts = []
        while chunk := self._fs.pread(fd, COPY_BYTES, position):
            head, newline, _ = chunk.partition(b"\n")
            parts.append(head)
            position += len(chunk)
            if newline:
                break
        return b"".join(parts)


def _record_or_none(piece: Piece) -> Record | None:
    if piece.sort is not Sort.RECORD:
        return None
    try:
        return codec.decode_record(piece.text)
    except RecordDecodeError:
        return None


def _object(text: bytes) -> dict[str, object]:
    """Return the JSON object that ``text`` is, empty for anything else, however somebody has altered it."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _whole(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < _MAX_NUMBER else None


def _number(value: object) -> float | None:
    is_number = type(value) in {int, float} and 0 <= cast("float", value) < _MAX_NUMBER
    return float(cast("float", value)) if is_number else None
