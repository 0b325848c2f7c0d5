"""Small stores to damage, and what is asked of them afterwards."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from papyra.persistence import codec
from papyra.persistence._files.fs import LocalFs
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import (
    PersistedEvent,
    PersistenceRecoveryConfig,
    PersistenceRecoveryMode,
    RecordKind,
    ScanDepth,
)
from papyra.persistence.query import RecordQuery
from papyra.testing.records import INCARNATION, MAKERS, event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from papyra.persistence.models import PersistenceRecoveryReport, Record


class QuickFs(LocalFs):
    """Waits for no disk: for tests that are about content."""

    def sync(self, fd: int) -> None:
        del fd

    sync_all = sync

    def write_synced(self, fd: int, data: bytes | memoryview) -> int:
        return self.write(fd, data)

    def sync_folder(self, folder: Path) -> None:
        del folder


class GatedFs(QuickFs):
    """Holds the writes of records while the gate is shut."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def write(self, fd: int, data: bytes | memoryview) -> int:
        if not self.gate.is_set() and b'"event"' in bytes(data):
            self.entered.set()
            assert self.gate.wait(10)
        return super().write(fd, data)


QUICK = QuickFs()
REPAIR = PersistenceRecoveryConfig(PersistenceRecoveryMode.REPAIR)
QUARANTINE = PersistenceRecoveryConfig(PersistenceRecoveryMode.QUARANTINE)
HEADER = codec.encode_header(store="5f1c0e6e4d2b4a6f9f0a1b2c3d4e5f60", family="all", segment=1)
OUR_OWN = {"RecoveryRun", "RecordsLost", "IncarnationLost"}


def line(
    seq: int, *, kind: RecordKind = RecordKind.EVENT, incarnation: str = INCARNATION, **changes: Any
) -> bytes:
    """Return the framed line of a record."""
    return codec.encode_record(MAKERS[kind](seq, **changes), incarnation=incarnation, seq=seq)


def known(
    seq: int, *, kind: RecordKind = RecordKind.EVENT, incarnation: str = INCARNATION, **changes: Any
) -> Record:
    """Return a record that comes with its identity, as the recorder's do."""
    return MAKERS[kind](seq, incarnation=incarnation, seq=seq, **changes)


def note(seq: int, payload: dict[str, object], *, type_: str = "RecordsLost", **changes: Any) -> bytes:
    """Return the line of an event that says something about the store itself."""
    return line(seq, event_type=type_, payload=payload, **changes)


@asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncIterator[JsonFilePersistence]:
    """Open the store at ``path`` for the time of a block."""
    async with JsonFilePersistence(path, **{"fs": QUICK, **options}) as store:
        yield store


@asynccontextmanager
async def hanging(
    path: Path, overflow: str, fsync: str = "os"
) -> AsyncIterator[tuple[GatedFs, JsonFilePersistence, asyncio.Task[None]]]:
    """Give a store whose thread hangs in writing event 1, and whose queue is full with one more record."""
    fs = GatedFs()
    async with opened(path, fs=fs, overflow=overflow, fsync=fsync, max_queue_bytes=1) as store:
        await store.append([known(100, incarnation="other")])
        fs.gate.clear()
        first = asyncio.create_task(store.append([known(1)]))
        assert await asyncio.to_thread(fs.entered.wait, 10)
        try:
            yield fs, store, first
        finally:
            fs.gate.set()


async def everything(store: JsonFilePersistence) -> dict[str, list[Record]]:
    """Return what reads give, oldest first, by kind; without what a recovery wrote itself."""
    found: dict[str, list[Record]] = {}
    for kind in RecordKind:
        query = RecordQuery(kind=kind, newest_first=False)
        records = [record async for record in store.iterate(query)]
        found[kind.value] = [record for record in records if not is_our_own(record)]
    return found


async def numbers(path: Path, kind: RecordKind = RecordKind.EVENT) -> list[int]:
    """Return the sequence numbers that a new opening reads, in store order."""
    async with opened(path) as store:
        return [record.seq for record in (await everything(store))[kind]]


def is_our_own(record: Record) -> bool:
    return isinstance(record, PersistedEvent) and record.event_type in OUR_OWN


async def named(path: Path, depth: ScanDepth = ScanDepth.FULL) -> list[str]:
    """Return the words of a scan's findings, sorted, each once.

    Without that of an index which is stale because a test put another file in the store's place.
    """
    async with opened(path) as store:
        found = {anomaly.type.value for anomaly in (await store.scan(depth)).anomalies}
        return sorted(found - {"stale_index"})


async def recovered(
    path: Path, config: PersistenceRecoveryConfig = REPAIR, **options: Any
) -> PersistenceRecoveryReport:
    """Recover through a new opening."""
    async with opened(path, **options) as store:
        return await store.recover(config)


def quarantine_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.quarantine")


def entries_of(folder: Path) -> list[dict[str, Any]]:
    """Return the entries of a quarantine folder, with their bytes decoded."""
    entries = folder / "quarantine.ndjson"
    found = []
    for text in entries.read_bytes().splitlines() if entries.exists() else []:
        try:
            entry = json.loads(text)
        except ValueError:  # torn by a crash before anything was cut
            continue
        content = folder / entry["file"] if "file" in entry else None
        entry["content"] = content.read_bytes() if content else base64.b64decode(entry["bytes"])
        found.append(entry)
    return found


def without(original: bytes, entries: Iterable[dict[str, Any]]) -> bytes:
    """Return ``original`` without the spans of ``entries``, each compared with what lies in quarantine."""
    spans = []
    for entry in entries:
        here = entry.get("spans", [[entry["offset"], entry["length"]]])
        assert b"".join(original[offset : offset + length] for offset, length in here) == entry["content"]
        spans += here
    kept, done = b"", 0
    for offset, length in sorted(spans):
        assert offset >= done
        kept += original[done:offset]
        done = offset + length
    return kept + original[done:]


def fresh(number: int) -> PersistedEvent:
    """Return an event without identity, as user code hands it in."""
    return event(number)
