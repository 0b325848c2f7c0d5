"""Where bytes go before they leave a store: a JSON line for each finding, large ones in a file beside it."""

from __future__ import annotations

import base64
import hashlib
import json
from itertools import groupby
from typing import TYPE_CHECKING

from papyra.exceptions import StoreFullError
from papyra.persistence._files.edits import Removal, Span
from papyra.persistence._files.fs import COPY_BYTES, Access, opened, read_all, stat_or_none, write_all
from papyra.persistence.models import PersistenceAnomalyType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from papyra.persistence._files.fs import FileInfo, FileSystem
    from papyra.persistence._files.scan import Place

ENTRIES = "quarantine.ndjson"
MAX_INLINE_BYTES = COPY_BYTES
MAX_QUARANTINE_BYTES = 1024 * 1024 * 1024

_SMALL = frozenset({PersistenceAnomalyType.CRLF.value, PersistenceAnomalyType.BLANK_LINE.value})
_MAX_TOGETHER = 1000
_ABOUT_AN_ENTRY = 512
"""Bytes of an entry, or of a report, beside what it keeps."""

Key = tuple[str, int, int, str]


class Quarantine:
    """The quarantine folder of one store. Everything put in is durable when `keep` or `set_aside` returns.

    Nothing is ever removed to make room: what would bring it over ``max_bytes`` is refused before a byte of
    it is written, and so the store stays as it is.
    """

    def __init__(self, place: Place, folder: Path, *, max_bytes: int | None = None) -> None:
        self._place = place
        self._max_bytes = max_bytes
        self._fs: FileSystem = place.fs
        self._folder = folder
        self._entries = folder / ENTRIES

    @property
    def folder(self) -> Path:
        return self._folder

    def size(self) -> int:
        """Return how many bytes lie here."""
        try:
            names = self._fs.names(self._folder)
        except (FileNotFoundError, NotADirectoryError):
            return 0
        found = (stat_or_none(self._fs, self._folder / name) for name in names)
        return sum(info.size for info in found if info is not None and info.is_file)

    def keep(self, fd: int, removals: Iterable[Removal], *, like: FileInfo, run: str) -> int:
        """Copy ``removals`` out of the open store file; returns how many bytes they are.

        A removal that lies here already, as after a crash between this and the cut, is not copied again.
        Raises `StoreFullError` where there is no room for all of them.
        """
        groups = [group for group in _together(removals) if group]
        if groups:
            self._make(like)
            known = self._known()
            places = {key[:3] for key in known}
            self._check_room(sum(self._need(group) for group in groups if self._where(group) not in places))
            self._append((self._entry(fd, group, known, like, run) for group in groups), like)
        return sum(removal.span.length for group in groups for removal in group)

    def _where(self, group: list[Removal]) -> tuple[str, int, int]:
        spans = [removal.span for removal in group]
        return self._place.path.name, spans[0].offset, sum(span.length for span in spans)

    def _need(self, group: list[Removal]) -> int:
        _, _, length = self._where(group)
        return _ABOUT_AN_ENTRY + (length if length > MAX_INLINE_BYTES else length * 4 // 3)

    def _check_room(self, needed: int) -> None:
        if self._max_bytes is None or not needed:
            return
        held = self.size()
        if held + needed > self._max_bytes:
            raise StoreFullError(
                f"{self._folder} holds {held:,} bytes and may hold {self._max_bytes:,}: no room for "
                f"{needed:,} more, so the store is left as it is; look at what lies there, move it away, "
                "or recover with a quarantine folder of another name"
            )

    def _entry(self, fd: int, group: list[Removal], known: set[Key], like: FileInfo, run: str) -> bytes:
        spans = [removal.span for removal in group]
        where = self._where(group)
        store, offset, length = where
        sha256 = self._digest(fd, spans)
        if (*where, sha256) in known:
            return b""
        entry: dict[str, object] = {
            "store": store,
            "offset": offset,
            "length": length,
            "reason": group[0].reason,
            "sha256": sha256,
            "found_at": self._place.clock.now(),
            "run": run,
        }
        if len(spans) > 1:
            entry["spans"] = [list(span) for span in spans]
        if length > MAX_INLINE_BYTES:
            entry["file"] = f"{sha256}.bin"
            self._write(f"{sha256}.bin", self._chunks(fd, spans), like)
        else:
            entry["bytes"] = base64.b64encode(b"".join(self._chunks(fd, spans))).decode("ascii")
        return json.dumps(entry).encode() + b"\n"

    def _digest(self, fd: int, spans: list[Span]) -> str:
        digest = hashlib.sha256()
        for chunk in self._chunks(fd, spans):
            digest.update(chunk)
        return digest.hexdigest()

    def _chunks(self, fd: int, spans: list[Span]) -> Iterator[bytes]:
        for offset, length in spans:
            for done in range(0, length, COPY_BYTES):
                yield read_all(self._fs, fd, min(COPY_BYTES, length - done), offset + done)

    def set_aside(self, path: Path, *, like: FileInfo, report: dict[str, object]) -> Path:
        """Copy the whole file at ``path`` here, named by its content, with ``report`` beside it.

        Raises `StoreFullError` where there is no room for it.
        """
        self._make(like)
        with opened(self._fs, path) as fd:
            whole = [Span(0, self._fs.fstat(fd).size)]
            name = f"{path.name}.{self._digest(fd, whole)[:16]}"
            if stat_or_none(self._fs, self._folder / name) is None:
                self._check_room(whole[0].length + _ABOUT_AN_ENTRY)
                self._write(name, self._chunks(fd, whole), like)
        text = json.dumps(report, indent=1).encode() + b"\n"
        self._write(f"{name}.report.json", iter((text,)), like)
        return self._folder / name

    def _make(self, like: FileInfo) -> None:
        missing = []
        folder = self._folder
        while stat_or_none(self._fs, folder) is None:
            missing.append(folder)
            folder = folder.parent
        if missing:
            readable = like.mode & 0o444
            self._fs.make_folder(self._folder, 0o700 | readable | readable >> 2)
        for made in reversed(missing):
            self._fs.sync_folder(made.parent)

    def _write(self, name: str, chunks: Iterator[bytes], like: FileInfo) -> None:
        unfinished = self._folder / f"{name}.tmp"
        if stat_or_none(self._fs, unfinished) is not None:  # of a crash: its bytes are still in the store
            self._fs.remove(unfinished)
        try:
            with opened(self._fs, unfinished, Access.CREATE) as fd:
                self._fs.copy_access(like, fd)
                for chunk in chunks:
                    write_all(self._fs, fd, chunk)
                self._fs.sync_all(fd)
            self._fs.replace(unfinished, self._folder / name)
        except OSError:
            if stat_or_none(self._fs, unfinished) is not None:
                self._fs.remove(unfinished)
            raise
        self._fs.sync_folder(self._folder)

    def _append(self, lines: Iterable[bytes], like: FileInfo) -> None:
        is_new = stat_or_none(self._fs, self._entries) is None
        with opened(self._fs, self._entries, Access.CREATE if is_new else Access.APPEND) as fd:
            if is_new:
                self._fs.copy_access(like, fd)
            size = self._fs.fstat(fd).size
            try:
                if size and self._fs.pread(fd, 1, size - 1) != b"\n":
                    write_all(
                        self._fs, fd, b"\n"
                    )  # a crash tore the last entry, whose bytes are still in the store
                for line in lines:
                    if line:
                        write_all(self._fs, fd, line)
                self._fs.sync_all(fd)
            except OSError:
                self._fs.truncate(fd, size)
                raise
        self._fs.sync_folder(self._folder)

    def _known(self) -> set[Key]:
        known: set[Key] = set()
        if stat_or_none(self._fs, self._entries) is None:
            return known
        with opened(self._fs, self._entries) as fd:
            size = self._fs.fstat(fd).size
            rest = b""
            for offset in range(0, size, COPY_BYTES):
                *lines, rest = (rest + read_all(self._fs, fd, COPY_BYTES, offset)).split(b"\n")
                known.update(key for key in map(_key_or_none, lines) if key is not None)
        return known


def _key_or_none(line: bytes) -> Key | None:
    try:
        entry = json.loads(line)
        return str(entry["store"]), int(entry["offset"]), int(entry["length"]), str(entry["sha256"])
    except (ValueError, KeyError, TypeError):
        return None


def _together(removals: Iterable[Removal]) -> Iterator[list[Removal]]:
    """Put runs of line ends and blank lines into one entry each: a file may have millions of them."""
    for reason, run in groupby(removals, key=lambda removal: removal.reason):
        if reason not in _SMALL:
            yield from ([removal] for removal in run)
            continue
        batch: list[Removal] = []
        for removal in run:
            batch.append(removal)
            if len(batch) == _MAX_TOGETHER:
                yield batch
                batch = []
        yield batch


def set_leftover_aside(place: Place, quarantine: Quarantine, path: Path | None = None) -> tuple[str, ...]:
    """Move what an interrupted rewrite left into quarantine; returns where it lies now. Needs the lock."""
    path = path or place.unfinished
    found = stat_or_none(place.fs, path)
    if found is None:
        return ()
    report = {"store": place.path.name, "reason": PersistenceAnomalyType.LEFTOVER_FILE.value}
    kept = quarantine.set_aside(path, like=found, report=dict(report))
    place.fs.remove(path)
    place.fs.sync_folder(path.parent)
    return (str(kept),)
