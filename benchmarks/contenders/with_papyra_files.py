"""papyra's JSON file: appends that are waited for, scans, pages, opening, compaction, and what each costs."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contenders.reading import each_of, newest_of, range_of
from benchmarks.file_floors import FEW
from benchmarks.meter import MEBIBYTE, Meter, Stalls, expect, percentile, resident
from benchmarks.stores import copied, folder, made, one_event, ready_event
from papyra.clock import mint_incarnation
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import RecordKind, ScanDepth
from papyra.persistence.query import RecordQuery
from papyra.persistence.retention import RetentionPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from benchmarks.meter import Figures

BATCH = 1_000  # the recorder's


async def append_by_many(records: int) -> Figures:
    """Let 64 tasks append one record after the other, each when the last is durable."""
    return await _append(records, producers=64)


async def append_by_one(records: int) -> Figures:
    """Append one record after the other, each when the last is durable."""
    return await _append(records, producers=1)


async def _append(records: int, *, producers: int) -> Figures:
    event, took = one_event(), list[float]()
    with folder() as place:
        async with JsonFilePersistence(place / "store.ndjson") as store:
            await store.record_event(event)

            async def produce() -> None:
                for _ in range(records // producers):
                    began = time.perf_counter()
                    await store.record_event(event)
                    took.append(time.perf_counter() - began)

            with Meter() as meter:
                async with asyncio.TaskGroup() as group:
                    for _ in range(producers):
                        group.create_task(produce())
            expect((await store.counts())[RecordKind.EVENT], len(took) + 1)
    return {**meter.rates(len(took)), "p99 ms": percentile(took, 99) * 1000}


async def append_batches(records: int) -> Figures:
    """Hand over a thousand events at a time, as the recorder does, each batch when the last is durable."""
    return await _batches(records, "always")


async def append_unsynced(records: int) -> Figures:
    """Do the same with policy ``os``."""
    return await _batches(records, "os")


async def _batches(records: int, policy: str) -> Figures:
    life, took = mint_incarnation(time.time()), list[float]()
    with folder() as place:
        async with JsonFilePersistence(place / "store.ndjson", fsync=policy) as store:
            batches = [
                [ready_event(first + at, life) for at in range(BATCH)] for first in range(1, records, BATCH)
            ]
            with Meter() as meter:
                for batch in batches:
                    began = time.perf_counter()
                    await store.append(batch)  # type: ignore[arg-type]  # as the recorder hands them over
                    took.append(time.perf_counter() - began)
            expect((await store.counts())[RecordKind.EVENT], records)
    return {**meter.rates(records), "p99 ms": percentile(took, 99) * 1000}


async def scan(records: int) -> Figures:
    """Scan at full depth."""
    async with JsonFilePersistence(made(records)) as store:
        with Meter() as meter:
            report = await store.scan(ScanDepth.FULL)
        expect(report.checked_records, records)
        expect(sum(report.counts.values()), 0)
    return meter.rates(records)


async def read_all(records: int) -> Figures:
    """Read every event as a record, page by page."""
    async with JsonFilePersistence(made(records)) as store:
        return await each_of(store)


async def newest(records: int) -> Figures:
    """Read the newest 50 events, again and again."""
    async with JsonFilePersistence(made(records)) as store:
        return await newest_of(store)


async def time_range(records: int) -> Figures:
    """Read the first page of a time range that ends somewhere in the middle, each time another."""
    async with JsonFilePersistence(made(records)) as store:
        return await range_of(store, records)


async def open_clean(records: int) -> Figures:
    """Open a store that was closed, look whether it is sound and append a record."""
    with copied(records) as path:
        return await _open(path)


async def open_crashed(records: int) -> Figures:
    """Do the same where the life did not end and the last line is torn."""
    with copied(records) as path:
        text = path.read_bytes()
        kept = text.rindex(b"\n", 0, len(text) - 1) - 100
        with path.open("r+b") as file:
            file.truncate(kept)
        return await _open(path)


async def _open(path: Path) -> Figures:
    with Meter() as meter:
        async with JsonFilePersistence(path) as store:
            await store.scan(ScanDepth.TAIL)
            await store.record_event(one_event())
    return {"wall ms": meter.wall * 1000, "cpu ms": meter.cpu * 1000}


async def compact(records: int) -> Figures:
    """Let the older half go for good."""
    with copied(records) as path:
        size = path.stat().st_size
        async with JsonFilePersistence(path) as store:
            with Meter() as meter:
                report = await store.compact(RetentionPolicy(max_records=records // 2))
            expect(report.after_records, sum((await store.counts()).values()))
    return meter.rates(size)


async def cost_of_append(records: int) -> Figures:
    """Hand over so many records in batches, made as they go."""
    life = mint_incarnation(time.time())
    with folder() as place:

        async def work(store: JsonFilePersistence) -> None:
            for first in range(1, records, BATCH):
                batch = [ready_event(first + at, life) for at in range(BATCH)]
                await store.append(batch)  # type: ignore[arg-type]  # as the recorder hands them over

        return await _cost(place / "store.ndjson", work)


async def cost_of_scan(records: int) -> Figures:
    """Scan at full depth."""
    return await _cost(made(records), lambda store: store.scan(ScanDepth.FULL))


async def cost_of_first_page(records: int) -> Figures:
    """Read the newest 50 of a store that nothing was read of."""
    query = RecordQuery(kind=RecordKind.EVENT, limit=FEW)
    return await _cost(made(records), lambda store: store.read(query))


async def cost_of_reading(records: int) -> Figures:
    """Read every event and keep none."""

    async def work(store: JsonFilePersistence) -> None:
        async for _ in store.iterate(RecordQuery(kind=RecordKind.EVENT)):
            pass

    return await _cost(made(records), work)


async def cost_of_stats(records: int) -> Figures:
    """Count everything."""
    return await _cost(made(records), lambda store: store.stats())


async def cost_of_compact(records: int) -> Figures:
    """Let the older half go for good."""
    policy = RetentionPolicy(max_records=records // 2)
    with copied(records) as path:
        return await _cost(path, lambda store: store.compact(policy))


async def _cost(path: Path, work: Callable[[JsonFilePersistence], Awaitable[object]]) -> Figures:
    """Do ``work``; return what it added to the memory at most, and how late a waiting loop was."""
    async with JsonFilePersistence(path) as store:
        before = resident()
        with Meter() as meter:
            async with Stalls() as stalls:
                await work(store)
        peak = _highest() - before
    return {"peak mb": max(peak, 0) / MEBIBYTE, **stalls.figures(), "seconds": meter.wall}


def _highest() -> int:
    """Return the most bytes of memory this process ever held, by Linux's own count."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("/proc/self/status has no VmHWM: no figure")


MEASURES: Mapping[str, object] = {
    function.__name__: function
    for function in (
        append_by_many,
        append_by_one,
        append_batches,
        append_unsynced,
        scan,
        read_all,
        newest,
        time_range,
        open_clean,
        open_crashed,
        compact,
        cost_of_append,
        cost_of_scan,
        cost_of_first_page,
        cost_of_reading,
        cost_of_stats,
        cost_of_compact,
    )
}
