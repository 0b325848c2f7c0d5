"""What redis-py does at best: bare pipelines and reads, beside which the figures of the Redis store stand."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import redis

from benchmarks.meter import Meter, expect, percentile
from benchmarks.servers import EVENTS, fields_of, server

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.meter import Figures

BATCH = 100
CHUNK = 1_000
FEW = 50


def pipelines(records: int) -> Figures:
    """Send a hundred XADD in one pipeline, each when the last was answered; the entries are made already."""
    took = []
    entries: list[Any] = [fields_of(number) for number in range(1, records + 1)]
    with server() as url, redis.Redis.from_url(url) as client:
        with Meter() as meter:
            for first in range(0, records, BATCH):
                began = time.perf_counter()
                with client.pipeline(transaction=False) as pipeline:
                    for fields in entries[first : first + BATCH]:
                        pipeline.xadd(EVENTS, fields)
                    pipeline.execute()
                took.append(time.perf_counter() - began)
        expect(client.xlen(EVENTS), records)
    return {**meter.rates(records), "p99 ms": percentile(took, 99) * 1000}


def chunks(records: int) -> Figures:
    """Read the stream a thousand entries at a time, and parse the body of each."""
    with server(records) as url, redis.Redis.from_url(url) as client:
        seen, start = 0, "-"
        with Meter() as meter:
            while found := client.xrange(EVENTS, min=start, count=CHUNK):
                for _, fields in found:
                    seen += json.loads(fields[b"body"])["kind"] == "event"
                start = f"({found[-1][0].decode()}"
        expect(seen, records)
    return meter.rates(records)


def last_entries(records: int) -> Figures:
    """Read the newest 50 entries and parse their bodies, again and again."""
    took = []
    with server(records) as url, redis.Redis.from_url(url) as client:
        for _ in range(300):
            began = time.perf_counter()
            found = [json.loads(fields[b"body"]) for _, fields in client.xrevrange(EVENTS, count=FEW)]
            took.append(time.perf_counter() - began)
            expect(len(found), FEW)
    return {"p50 ms": percentile(took, 50) * 1000, "p99 ms": percentile(took, 99) * 1000}


MEASURES: Mapping[str, object] = {
    function.__name__: function for function in (pipelines, chunks, last_entries)
}
