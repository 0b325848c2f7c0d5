"""What is measured of reading a store, whatever files it is in."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.file_floors import FEW
from benchmarks.meter import Meter, expect, percentile
from benchmarks.stores import BEGAN, SECONDS_EACH
from papyra.persistence.models import RecordKind
from papyra.persistence.query import RecordQuery

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.meter import Figures
    from papyra.persistence.backend import PersistenceBackend

PAGES = 100


async def each_of(store: PersistenceBackend) -> Figures:
    """Read every event as a record, page by page."""
    stored = (await store.counts())[RecordKind.EVENT]
    seen = 0
    with Meter() as meter:
        async for _ in store.iterate(RecordQuery(kind=RecordKind.EVENT)):
            seen += 1
    expect(seen, stored)
    return meter.rates(seen)


async def newest_of(store: PersistenceBackend) -> Figures:
    """Read the newest 50 events, again and again."""
    return await _pages(store, lambda _: RecordQuery(kind=RecordKind.EVENT, limit=FEW))


async def range_of(store: PersistenceBackend, records: int) -> Figures:
    """Read the first page of a time range that ends somewhere in the middle, each time another."""
    span = records * SECONDS_EACH

    def query(number: int) -> RecordQuery:
        until = BEGAN + span * (0.2 + 0.6 * number / PAGES)
        return RecordQuery(kind=RecordKind.EVENT, limit=FEW, since=until - span / 10, until=until)

    return await _pages(store, query)


async def _pages(store: PersistenceBackend, query: Callable[[int], RecordQuery]) -> Figures:
    took = []
    for number in range(PAGES + 1):
        began = time.perf_counter()
        page = await store.read(query(number))
        took.append((time.perf_counter() - began) * 1000)
        expect(len(page.records), FEW)
    first, *others = took
    return {"p50 ms": percentile(others, 50), "p99 ms": percentile(others, 99), "first ms": first}
