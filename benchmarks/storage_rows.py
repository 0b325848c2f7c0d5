"""What is measured of the file store, beside which bare loop, and what is wanted."""

from __future__ import annotations

from itertools import product

from benchmarks.entries import Entry, Goal, Row

LOOP, FILE, SEGMENTS = "bare loop", "JSON file", "segments"
MILLION, FEW = 1_000_000, 10_000
LARGE = 10 * MILLION

APPEND = Row(
    "storage-append",
    "append to a JSON file, acknowledged",
    "Wall time decides: it is the disk's. Policy `always` unless it says otherwise: a record is acknowledged "
    "when it is on the medium. p99 is of one acknowledgement: of a record, of a batch, of a loop's turn.",
    (
        Entry(LOOP, "durable_many", 64_000, "64 lines a write + fdatasync"),
        Entry(FILE, "append_by_many", 64_000, "64 tasks, each awaits each record"),
        Entry(LOOP, "durable_one", 2_000, "1 line a write + fdatasync"),
        Entry(FILE, "append_by_one", 2_000, "1 task, awaits each record"),
        Entry(FILE, "append_batches", 200_000, "the recorder's batches of 1,000"),
        Entry(FILE, "append_unsynced", 200_000, "the same, policy os"),
    ),
    (
        Goal("64 tasks over the bare loop", "3.11", 1, 0, figure="wall", at_least=0.4),
        Goal("64 tasks over the bare loop, p99", "3.11", 1, 0, figure="p99 ms", at_most=3),
        Goal("1 task over the bare loop", "3.11", 3, 2, figure="wall", at_least=0.55),
        Goal("batches, records a second", "3.11", 4, figure="wall", at_least=300_000),
        Goal("policy os, records a second", "3.11", 5, figure="wall", at_least=400_000),
    ),
    figures=("wall", "cpu", "p99 ms"),
    with_uvloop=False,
)
SCAN = Row(
    "storage-scan",
    "scan a JSON file, and read one and segments",
    "The bare loop cuts the file into lines, and computes and compares each one's checksum. Reading makes a "
    "record of each line, page by page.",
    (
        Entry(LOOP, "checksums", MILLION, "1 M records"),
        Entry(FILE, "scan", MILLION, "1 M records, full depth"),
        Entry(FILE, "read_all", 200_000, "200 k records"),
        Entry(SEGMENTS, "read_all", 200_000, "200 k records"),
        Entry(SEGMENTS, "read_all_shared", 200_000, "200 k records, 3 writers in turns"),
    ),
    (
        Goal("a full scan over the bare loop", "3.11", 1, 0, at_least=0.6),
        Goal("records read a second", "3.11", 2, at_least=500_000),
        Goal("records read a second, of segments", "3.11", 3, at_least=500_000),
        Goal("records read a second, of 3 writers", "3.11", 4, at_least=500_000),
    ),
    with_uvloop=False,
)
_SAYS_PAGES = (
    "50 records each time; the first read, which makes the index where none is beside the file, is not in "
    "the medians. The bare loop decodes the last 50 lines."
)


_WANTED = (("newest 50", 1), ("first page of a time range", 2))


def _pages(name: str, title: str, records: int, say: str) -> Row:
    return Row(
        name,
        f"pages of {title} records: ms",
        _SAYS_PAGES,
        (
            Entry(LOOP, "last_lines", records, say),
            Entry(FILE, "newest", records, f"newest, {say}"),
            Entry(SEGMENTS, "newest", records, f"newest, {say}"),
            Entry(SEGMENTS, "newest_shared", records, f"newest, {say}, 3 writers in turns"),
            Entry(FILE, "time_range", records, f"first page of a time range, {say}"),
            Entry(SEGMENTS, "time_range", records, f"first page of a time range, {say}"),
            Entry(SEGMENTS, "time_range_shared", records, f"first page of a time range, {say}, 3 writers"),
        ),
        tuple(
            Goal(f"{what}, {of}, ms", "3.11", at, figure="p50 ms", at_most=most)
            for at, ((what, most), of) in enumerate(product(_WANTED, (FILE, SEGMENTS, "3 writers")), 1)
        ),
        figures=("p50 ms", "p99 ms", "first ms"),
        unit="ms",
        with_uvloop=False,
        less_is_better=True,
        most_rounds=3,
    )


PAGES = _pages("storage-pages", "1 M", MILLION, "of 1 M")
LARGE_PAGES = _pages("storage-pages-large", "10 M", LARGE, "of 10 M")
OPEN = Row(
    "storage-open",
    "open a JSON file, scan its tail and append: ms",
    "After a crash the life did not end, and the last line is torn.",
    (
        Entry(FILE, "open_clean", FEW, "closed, 10 k records"),
        Entry(FILE, "open_clean", MILLION, "closed, 1 M records"),
        Entry(FILE, "open_crashed", MILLION, "crashed, 1 M records"),
    ),
    (
        Goal("closed, 1 M records over 10 k", "3.11", 1, 0, figure="cpu ms", at_most=1.5),
        Goal("crashed, ms", "3.11", 2, figure="cpu ms", at_most=100),
    ),
    figures=("cpu ms", "wall ms"),
    unit="ms",
    with_uvloop=False,
    less_is_better=True,
)
COMPACT = Row(
    "storage-compact",
    "compact a JSON file, bytes of it",
    "The older half goes, each line that stays is checked. The copy is `shutil.copyfile` and a sync.",
    (
        Entry(LOOP, "copy", MILLION, "copy of 1 M records"),
        Entry(FILE, "compact", MILLION, "1 M records, half stay"),
    ),
    (Goal("compaction over a plain copy", "3.11", 1, 0, figure="wall", at_least=0.25),),
    figures=("wall", "cpu"),
    with_uvloop=False,
)
_COSTS = {
    "cost_of_append": "append, batches of 1,000",
    "cost_of_scan": "scan, full depth",
    "cost_of_first_page": "first page",
    "cost_of_reading": "read each record",
    "cost_of_stats": "stats",
    "cost_of_compact": "compact, half stay",
}
COSTS = Row(
    "storage-costs",
    "what work on a JSON file of 1 M records costs its process",
    "Memory is the process's highest less what it was before, by Linux's count. The longest stall is how "
    "late a coroutine came back that slept for a millisecond; p99 is of what requests would have waited for "
    "the loop, one in each millisecond: a long stall holds up many.",
    tuple(Entry(FILE, name, MILLION, say) for name, say in _COSTS.items()),
    (
        *(
            Goal(f"{say}, MB", "3.11", at, figure="peak mb", at_most=64)
            for at, say in enumerate(_COSTS.values())
        ),
        *(
            Goal(f"{say}, p99 of the stalls in ms", "3.11", at, figure="p99 ms", at_most=10)
            for at, say in enumerate(_COSTS.values())
        ),
    ),
    figures=("peak mb", "longest stall ms", "p99 ms", "seconds"),
    unit="MB, ms, s",
    with_uvloop=False,
    less_is_better=True,
    most_rounds=1,
)
STORAGE = (APPEND, SCAN, PAGES, OPEN, COMPACT, COSTS)
