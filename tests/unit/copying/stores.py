"""Stores to copy between, by the form of their URL."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from papyra.persistence.entries import Entry
from papyra.persistence.models import RecordKind
from papyra.persistence.query import RecordQuery
from papyra.persistence.stores import open_store
from papyra.testing.records import INCARNATION, MAKERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from papyra.persistence.base import BasePersistence
    from papyra.persistence.models import Record

FORMS = ("ndjson:{place}.ndjson", "segments:{place}")
"""What a copy goes from and to here."""


def url(form: str, folder: Path, name: str) -> str:
    return form.format(place=folder / name)


@asynccontextmanager
async def opened(store_url: str) -> AsyncIterator[BasePersistence]:
    """Open the store for the time of a block."""
    backend = cast("BasePersistence", open_store(store_url))
    try:
        yield backend
    finally:
        await backend.aclose()


def records(
    numbers: Iterable[int], *, kind: RecordKind = RecordKind.EVENT, incarnation: str = INCARNATION
) -> list[Record]:
    """Return records with their identity."""
    return [MAKERS[kind](number, incarnation=incarnation, seq=number) for number in numbers]


async def fill(store_url: str, *batches: list[Record]) -> None:
    async with opened(store_url) as store:
        for batch in batches:
            await store.append(batch)


async def lines(store_url: str, kind: RecordKind = RecordKind.EVENT) -> list[bytes]:
    """Return what a new opening reads, oldest first, as lines."""
    async with opened(store_url) as store:
        query = RecordQuery(kind=kind, newest_first=False)
        return [Entry.of(record).line async for record in store.iterate(query)]


async def seqs(store_url: str, kind: RecordKind = RecordKind.EVENT) -> list[int]:
    async with opened(store_url) as store:
        query = RecordQuery(kind=kind, newest_first=False)
        return [record.seq async for record in store.iterate(query)]


async def named(store_url: str) -> set[str]:
    """Return the words of what a scan of a new opening finds."""
    async with opened(store_url) as store:
        return {anomaly.type.value for anomaly in (await store.scan()).anomalies}


def path_of(store_url: str) -> Path:
    return Path(store_url.partition(":")[2])


def files_of(store_url: str) -> list[Path]:
    """Return the files that hold the store's records."""
    path = path_of(store_url)
    return sorted(path.glob("*.ndjson")) if path.is_dir() else [path]
