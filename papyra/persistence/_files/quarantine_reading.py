"""Read what lies in a quarantine folder: entry by entry, and the records that can still be read in them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import TYPE_CHECKING

from papyra.clock import minted_at
from papyra.exceptions import ConfigurationError, RecordDecodeError
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


class QuarantineReader:
    """Changes nothing; a folder that is not there holds nothing."""

    def __init__(self, fs: FileSystem, folder: Path) -> None:
        self._fs = fs
        self._folder = folder

    def entries(self) -> Iterator[QuarantineEntry]:
        """Yield what lies here, the oldest first, then files that were set aside whole."""
        names: dict[str, int] = {}
        for position, line in self._lines():
            try:
                found = json.loads(line)
                digest, length = str(found["sha256"]), int(found["length"])
            except (ValueError, KeyError, TypeError):  # torn by a crash: its bytes are still in the store
                continue
            preview, actual = self._looked_at(found)
            name = digest[:_SHORT_DIGEST]
            names[name] = names.get(name, 0) + 1
            yield QuarantineEntry(
                name=name if names[name] == 1 else f"{name}.{names[name]}",
                reason=str(found.get("reason", "")),
                store=str(found.get("store", "")),
                found_at=_number(found.get("found_at")),
                offset=found.get("offset") if type(found.get("offset")) is int else None,
                length=length,
                position=position,
                preview=preview,
                is_intact=actual == digest,
            )
        yield from self._set_aside()

    def _looked_at(self, found: dict[str, object]) -> tuple[bytes, str]:
        source, size = self._content(found)
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
            preview, digest = self._looked_at({"file": name})
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
            try:
                report = json.loads(read_all(self._fs, fd, info.size, 0))
            except ValueError:
                return {}
        return report if isinstance(report, dict) else {}

    def pages(self, entry: QuarantineEntry) -> Iterator[QuarantinePage]:
        """Yield the records of ``entry`` that can be read, and the bytes that are none."""
        found: dict[str, object] = {"file": entry.name}
        if entry.position is not None:
            with opened(self._fs, self._folder / ENTRIES) as fd:
                found = json.loads(self._line_at(fd, entry.position))
        source, size = self._content(found)
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

    def _content(self, found: dict[str, object]) -> tuple[Source, int]:
        if "file" not in found:
            try:
                data = base64.b64decode(str(found.get("bytes", "")), validate=True)
            except binascii.Error:
                data = b""
            return (lambda length, offset: data[offset : offset + length]), len(data)
        path = self._folder / str(found["file"])
        if path.parent != self._folder:
            raise ConfigurationError(f"{self._folder}: an entry names a file elsewhere: {path.name!r:.100}")
        info = stat_or_none(self._fs, path)
        if info is None:
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


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
