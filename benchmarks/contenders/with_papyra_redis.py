"""papyra's Redis store: batches that are waited for, the newest page, a scan, and reading it all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.meter import Meter, expect, percentile
from benchmarks.redis_floors import BATCH, FEW
from benchmarks.servers import server
from benchmarks.stores import one_event, ready_event
from papyra.clock import mint_incarnation
from papyra.persistence.backends.redis import RedisStreamsConfig, RedisStreamsPersistence
from papyra.persistence.models import RecordKind, ScanDepth
from papyra.persistence.query import RecordQuery

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.meter import Figures
    from papyra.persistence.models import Record
    from papyra.persistence.ready import ReadyEvent


def _store(url: str) -> RedisStreamsPersistence:
    return RedisStreamsPersistence(RedisStreamsConfig(url, system_id="bench"))


async def append_batches(records: int) -> Figures:
    """Hand over a hundred events at a time, as the recorder does, each batch when the last is stored."""
    life = mint_incarnation(time.time())
    return await _append(
        [[ready_event(first + at, life) for at in range(BATCH)] for first in range(1, records, BATCH)]
    )


async def append_records(records: int) -> Figures:
    """Hand over a hundred records at a time, as a user's code does."""
    return await _append(
        [[one_event(first + at) for at in range(BATCH)] for first in range(1, records, BATCH)]
    )


async def _append(batches: Sequence[Sequence[Record | ReadyEvent]]) -> Figures:
    took = []
    records = len(batches) * BATCH
    with server() as url:
        async with _store(url) as store:
            with Meter() as meter:
                for batch in batches:
                    began = time.perf_counter()
                    await store.append(batch)  # type: ignore[arg-type]  # as the recorder hands them over
                    took.append(time.perf_counter() - began)
            expect((await store.counts())[RecordKind.EVENT], records)
    return {**meter.rates(records), "p99 ms": percentile(took, 99) * 1000}


async def scan(records: int) -> Figures:
    """Scan at full depth."""
    with server(records) as url:
        async with _store(url) as store:
            with Meter() as meter:
                report = await store.scan(ScanDepth.FULL)
            expect(report.checked_records, records)
            expect(sum(report.counts.values()), 0)
    return meter.rates(records)


async def read_all(records: int) -> Figures:
    """Read every event as a record, page by page."""
    seen = 0
    with server(records) as url:
        async with _store(url) as store:
            with Meter() as meter:
                async for _ in store.iterate(RecordQuery(kind=RecordKind.EVENT)):
                    seen += 1
    expect(seen, records)
    return meter.rates(seen)


async def newest(records: int) -> Figures:
    """Read the newest 50 events, again and again."""
    took = []
    query = RecordQuery(kind=RecordKind.EVENT, limit=FEW)
    with server(records) as url:
        async with _store(url) as store:
            for _ in range(300):
                began = time.perf_counter()
                page = await store.read(query)
                took.append(time.perf_counter() - began)
                expect(len(page.records), FEW)
    return {"p50 ms": percentile(took, 50) * 1000, "p99 ms": percentile(took, 99) * 1000}


MEASURES: Mapping[str, object] = {
    function.__name__: function for function in (append_batches, append_records, scan, read_all, newest)
}
