"""What is measured of the Redis store, beside which bare redis-py, and what is wanted."""

from __future__ import annotations

from benchmarks.entries import Entry, Goal, Row

PIPELINES, REDIS = "bare redis-py", "Redis store"
MILLION = 1_000_000

APPEND = Row(
    "redis-append",
    "append to Redis streams, acknowledged, a hundred at a time",
    "Wall time decides: client and server take turns. The pipelines send entries that are made already, with "
    "the same fields; papyra encodes each record, gives it its number and has the server store it once.",
    (
        Entry(PIPELINES, "pipelines", 100_000, "XADD in pipelines of 100"),
        Entry(REDIS, "append_batches", 100_000, "the recorder's events, 100 each time"),
        Entry(REDIS, "append_records", 100_000, "a user's records, 100 each time"),
    ),
    (Goal("batches over the pipelines", "3.11", 1, 0, figure="wall", at_least=0.8),),
    figures=("wall", "cpu", "p99 ms"),
    with_uvloop=False,
)
SCAN = Row(
    "redis-scan",
    "scan and read a Redis stream of 1 M entries",
    "The bare loop reads a thousand entries at a time and parses each body with json.",
    (
        Entry(PIPELINES, "chunks", MILLION, "XRANGE by 1,000 + json"),
        Entry(REDIS, "scan", MILLION, "full depth"),
        Entry(REDIS, "read_all", 100_000, "100 k records"),
    ),
    (Goal("a full scan over the bare loop", "3.11", 1, 0, figure="wall", at_least=0.6),),
    figures=("wall", "cpu"),
    with_uvloop=False,
    most_rounds=3,
)
PAGES = Row(
    "redis-pages",
    "the newest 50 of a Redis stream of 1 M entries: ms",
    "50 records each time. The bare loop parses the bodies of the last 50 entries with json.",
    (
        Entry(PIPELINES, "last_entries", MILLION, "XREVRANGE + json"),
        Entry(REDIS, "newest", MILLION, "newest 50"),
    ),
    (Goal("newest 50, ms", "3.11", 1, figure="p50 ms", at_most=5),),
    figures=("p50 ms", "p99 ms"),
    unit="ms",
    with_uvloop=False,
    less_is_better=True,
    most_rounds=3,
)
REDIS_ROWS = (APPEND, SCAN, PAGES)
