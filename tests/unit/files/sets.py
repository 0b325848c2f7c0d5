"""Small sets of segments to damage, and what is asked of them afterwards."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from papyra.persistence.backends.rotating import RotatingFilePersistence
from papyra.persistence.models import PersistedEvent, RecordKind, ScanDepth
from papyra.persistence.query import RecordQuery
from papyra.testing.records import INCARNATION, MAKERS, event, letter
from tests.unit.files.stores import QUICK, REPAIR

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from papyra.persistence.models import (
        PersistenceRecoveryConfig,
        PersistenceRecoveryReport,
        PersistenceScanReport,
        Record,
    )

SMALL = 2_000
"""Bytes of a segment that holds a handful of records."""


@asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncIterator[RotatingFilePersistence]:
    """Open the set at ``path`` for the time of a block."""
    async with RotatingFilePersistence(
        path, **{"fs": QUICK, "max_bytes": SMALL, "max_files": 100, **options}
    ) as store:
        yield store


def known(kind: RecordKind, first: int, last: int) -> list[Record]:
    """Return records that come with their identities."""
    return [MAKERS[kind](number, incarnation=INCARNATION, seq=number) for number in range(first, last + 1)]


async def filled(path: Path, records: int = 20, **options: Any) -> list[Path]:
    """Store so many events and letters, each by itself, and return the files of events."""
    async with opened(path, **options) as store:
        for number in range(1, records + 1):
            await store.append([event(number, incarnation=INCARNATION, seq=number)])
            await store.append([letter(number, incarnation=INCARNATION, seq=number)])
    return files(path)


def files(path: Path, kind: str = "event") -> list[Path]:
    return sorted(path.glob(f"{kind}-*.ndjson"))


async def seqs(path: Path, kind: RecordKind = RecordKind.EVENT, **options: Any) -> list[int]:
    """Return the numbers that a new opening reads, in store order, of those that came with an identity."""
    async with opened(path, **options) as store:
        return await seqs_in(store, kind)


async def seqs_in(store: RotatingFilePersistence, kind: RecordKind = RecordKind.EVENT) -> list[int]:
    query = RecordQuery(kind=kind, newest_first=False)
    found = [record async for record in store.iterate(query)]
    return [record.seq for record in found if record.incarnation == INCARNATION]


async def scanned(path: Path, depth: ScanDepth = ScanDepth.FULL, **options: Any) -> PersistenceScanReport:
    async with opened(path, **options) as store:
        return await store.scan(depth)


async def words(path: Path, depth: ScanDepth = ScanDepth.FULL, **options: Any) -> list[str]:
    """Return the words of a scan's findings, sorted, each once."""
    return sorted({anomaly.type.value for anomaly in (await scanned(path, depth, **options)).anomalies})


async def recovered(
    path: Path, config: PersistenceRecoveryConfig = REPAIR, **options: Any
) -> PersistenceRecoveryReport:
    async with opened(path, **options) as store:
        return await store.recover(config)


async def is_clean_after_repair(path: Path, **options: Any) -> PersistenceRecoveryReport:
    """Recover, and see that every depth is clean then and that once was enough."""
    report = await recovered(path, **options)
    for depth in ScanDepth:
        assert (await scanned(path, depth)).anomalies == (), depth
    before = contents(path)
    again = await recovered(path)
    assert (again.scan.anomalies, again.losses) == ((), ())
    assert contents(path) == before
    return report


def contents(path: Path) -> dict[str, bytes]:
    """Return the bytes of every segment."""
    return {file.name: file.read_bytes() for file in sorted(path.glob("*.ndjson"))}


def quarantined(path: Path) -> bytes:
    """Return everything that lies in quarantine as it is there."""
    folder = path.with_name(f"{path.name}.quarantine")
    return b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


def fresh(number: int) -> PersistedEvent:
    return event(number)
