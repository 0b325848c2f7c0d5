"""papyra's segments, of one writer and of three in turns: what reading them takes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from benchmarks.contenders.reading import each_of, newest_of, range_of
from benchmarks.stores import WRITERS, made_set
from papyra.persistence.backends.rotating import RotatingFilePersistence

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from benchmarks.meter import Figures


@asynccontextmanager
async def _opened(records: int, writers: int = 1) -> AsyncIterator[RotatingFilePersistence]:
    path = await made_set(records, writers)
    async with RotatingFilePersistence(path, max_files=None, shared=writers > 1) as store:
        yield store


async def read_all(records: int) -> Figures:
    """Read every event of one writer."""
    async with _opened(records) as store:
        return await each_of(store)


async def read_all_shared(records: int) -> Figures:
    """Read every event of three writers."""
    async with _opened(records, WRITERS) as store:
        return await each_of(store)


async def newest(records: int) -> Figures:
    """Read the newest 50 events of one writer, again and again."""
    async with _opened(records) as store:
        return await newest_of(store)


async def newest_shared(records: int) -> Figures:
    """Read the newest 50 events of three writers, again and again."""
    async with _opened(records, WRITERS) as store:
        return await newest_of(store)


async def time_range(records: int) -> Figures:
    """Read the first page of a time range, of one writer's records."""
    async with _opened(records) as store:
        return await range_of(store, records)


async def time_range_shared(records: int) -> Figures:
    """Read the first page of a time range, of three writers' records."""
    async with _opened(records, WRITERS) as store:
        return await range_of(store, records)


MEASURES: Mapping[str, object] = {
    function.__name__: function
    for function in (read_all, read_all_shared, newest, newest_shared, time_range, time_range_shared)
}
