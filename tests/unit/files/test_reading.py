from __future__ import annotations

import asyncio
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papyra.exceptions import PersistenceError
from papyra.persistence._files.columns import Columns
from papyra.persistence._files.lines import Piece, Sort
from papyra.persistence.models import PersistedEvent, RecordKind, ScanDepth
from papyra.persistence.query import RecordQuery
from papyra.persistence.retention import RetentionPolicy, Stored, first_kept
from papyra.testing.clock import ManualClock
from tests.unit.files.stores import (
    HEADER,
    REPAIR,
    everything,
    fresh,
    known,
    line,
    named,
    note,
    numbers,
    opened,
)

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.persistence.json import JsonFilePersistence

EVENTS = RecordQuery(kind=RecordKind.EVENT, limit=3)
FORWARD = replace(EVENTS, newest_first=False)
LETTER = RecordKind.DEAD_LETTER
LEGACY = b'{"kind":"event","system_id":"local","actor_address":"local:%d","payload":{},"timestamp":1837.5}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.ndjson"


def events(first: int, last: int) -> bytes:
    return b"".join(line(seq) for seq in range(first, last + 1))


async def page(store: JsonFilePersistence, query: RecordQuery) -> tuple[list[int], RecordQuery | None]:
    found = await store.read(query)
    following = replace(query, cursor=found.cursor) if found.cursor else None
    return [record.seq for record in found.records], following


async def pages(store: JsonFilePersistence, query: RecordQuery | None) -> list[int]:
    seen: list[int] = []
    while query is not None:
        found, query = await page(store, query)
        seen += found
    return seen


async def test_a_reader_follows_the_file_of_another_process(path: Path) -> None:
    async with opened(path) as store:
        assert await store.list_events() == ()
        path.write_bytes(HEADER + events(1, 2))
        assert len(await store.list_events()) == 2
        seen: list[int] = []
        with path.open("ab") as file:
            file.write(line(3))
            file.flush()
            assert len(await store.list_events()) == 3
            for text in (line(4)[:50], line(4)[50:-1], line(4)[-1:] + line(5)[:-1], b"\n" + line(6)):
                file.write(text)
                file.flush()
                seen = [event.seq for event in await store.list_events()]
        assert seen == [1, 2, 3, 4, 5, 6]
        path.write_bytes(HEADER + events(7, 8))
        assert [event.seq for event in await store.list_events()] == [7, 8]
        path.unlink()
        assert await store.list_events() == ()


async def test_a_record_that_rots_after_it_was_indexed_is_not_returned(path: Path) -> None:
    path.write_bytes(HEADER + events(1, 3))
    async with opened(path) as store:
        assert len(await store.list_events()) == 3
        path.write_bytes(path.read_bytes().replace(b'{"number":2}', b'{"number":9}'))
        assert [event.seq for event in await store.list_events()] == [1, 3]
        assert (await store.stats()).kinds[RecordKind.EVENT].records == 2


@pytest.mark.parametrize("query", [EVENTS, FORWARD])
async def test_pages_give_every_record_once_while_others_are_appended(path: Path, query: RecordQuery) -> None:
    path.write_bytes(HEADER + events(1, 8))
    async with opened(path) as store:
        seen, following = await page(store, query)
        await store.append([fresh(1)])
        seen += await pages(store, following)
    expected = [*range(1, 9), 1]
    assert seen == (expected if query is FORWARD else expected[7::-1])


@pytest.mark.parametrize("query", [EVENTS, FORWARD])
async def test_i10_a_compaction_between_two_pages_repeats_and_skips_nothing(
    path: Path, query: RecordQuery
) -> None:
    path.write_bytes(HEADER + events(1, 8))
    for kept in range(9):
        async with opened(path) as store:
            path.write_bytes(HEADER + events(1, 8))
            seen, following = await page(store, query)
            assert following is not None
            await store.compact(RetentionPolicy(max_records=kept))
            seen += await pages(store, following)
        remaining = list(range(9 - kept, 9))
        if query is FORWARD:
            assert seen == [1, 2, 3, *(seq for seq in remaining if seq > 3)], kept
        else:
            assert seen == [8, 7, 6, *(seq for seq in remaining[::-1] if seq < 6)], kept


@pytest.mark.parametrize("query", [EVENTS, FORWARD])
async def test_legacy_records_keep_their_place_across_a_compaction(path: Path, query: RecordQuery) -> None:
    path.write_bytes(b"".join(LEGACY % number for number in range(8)))
    async with opened(path) as store:
        first = await store.read(query)
        await store.compact(RetentionPolicy(max_records=7))
        second = await store.read(replace(query, cursor=first.cursor))
    addresses = [record.actor_address[6:] for record in second.records if isinstance(record, PersistedEvent)]
    assert addresses == (["3", "4", "5"] if query is FORWARD else ["4", "3", "2"])


async def test_a_cursor_whose_place_is_lost_is_an_error_and_never_a_guess(path: Path) -> None:
    path.write_bytes(HEADER + line(1) + line(3) + line(2) + line(4) + line(5))
    async with opened(path) as store:
        _, following = await page(store, replace(FORWARD, limit=2))
        assert following is not None
        await store.recover(REPAIR)
        with pytest.raises(PersistenceError, match="begin again"):
            await store.read(following)
        for nonsense in ("", "x", "1.2.3.4", "1.zz.0.1.a"):
            with pytest.raises(ValueError, match="not a cursor"):
                await store.read(replace(EVENTS, cursor=nonsense or "."))


async def test_a_cursor_on_a_record_that_went_to_quarantine_is_an_error(path: Path) -> None:
    path.write_bytes(HEADER + events(1, 6))
    async with opened(path) as store:
        _, following = await page(store, FORWARD)
        assert following is not None
        path.write_bytes(path.read_bytes().replace(b'{"number":3}', b'{"number":9}'))
        await store.recover(REPAIR)
        with pytest.raises(PersistenceError, match="begin again"):
            await store.read(following)


async def test_a_filter_finds_what_it_names_across_pages(path: Path) -> None:
    texts = [line(seq, event_type="Odd" if seq % 2 else "Even") for seq in range(1, 11)]
    path.write_bytes(HEADER + b"".join(texts))
    async with opened(path) as store:
        assert await pages(store, replace(FORWARD, type="Odd", limit=2)) == [1, 3, 5, 7, 9]
        assert await pages(store, replace(EVENTS, type="Even", limit=2)) == [10, 8, 6, 4, 2]


async def test_a_long_line_without_end_is_read_in_bounded_memory_and_its_records_are_found(
    path: Path,
) -> None:
    with path.open("wb") as file:
        file.write(HEADER + line(1))
        for seq in range(2, 4):
            file.seek(70 * 1024 * 1024, 1)
            file.write(b"x" + line(seq)[:-1])
    async with opened(path) as store:
        tracemalloc.start()
        report = await store.scan()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 210 * 1024 * 1024
        assert report.has_damage
        assert [event.seq for event in await store.list_events()] == [1, 2, 3]


@pytest.mark.parametrize(
    "noise", [b',"crc":"00000000"}', b'{"seq":', b'{"seq":1,"crc":"00000000"}', b'"\\', b"{["]
)
async def test_noise_made_to_be_slow_is_not(path: Path, noise: bytes) -> None:
    path.write_bytes(HEADER + noise * (4 * 1024 * 1024 // len(noise)) + b"x" + line(1))
    async with opened(path) as store, asyncio.timeout(20):
        assert (await store.scan()).has_damage
        assert [event.seq for event in await store.list_events()] == [1]


async def test_retention_holds_at_reads_and_stats_count_what_is_stored(path: Path) -> None:
    clock = ManualClock()
    texts = [line(seq, timestamp=clock.now() - 100 + 10 * seq) for seq in range(1, 10)]
    path.write_bytes(HEADER + b"".join(texts))
    size = len(texts[0])
    for policy, kept in (
        (RetentionPolicy(max_records=3), [7, 8, 9]),
        (RetentionPolicy(max_age_seconds=45), [6, 7, 8, 9]),
        (RetentionPolicy(max_total_bytes=size * 2), [8, 9]),
        (RetentionPolicy(max_records=5, events=RetentionPolicy(max_records=1)), [9]),
        (RetentionPolicy(max_records=0), []),
    ):
        async with opened(path, retention_policy=policy, clock=clock) as store:
            assert [event.seq for event in await store.list_events()] == kept
            stats = (await store.stats()).kinds[RecordKind.EVENT]
            assert (stats.records, stats.bytes) == (9, size * 9)
            assert (stats.oldest, stats.newest) == (clock.now() - 90, clock.now() - 10)


async def test_stats_count_quarantine_as_part_of_the_store(path: Path) -> None:
    path.write_bytes(HEADER + line(1) + b"rubbish\n")
    async with opened(path) as store:
        await store.recover(REPAIR)
        stats = await store.stats()
    assert stats.quarantine_bytes > 0
    assert stats.total_bytes == path.stat().st_size + stats.quarantine_bytes


LIMITS = st.none() | st.integers(0, 60)


@given(
    rows=st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=12),
    more=st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=5),
    limits=st.tuples(LIMITS, LIMITS, LIMITS),
    times=st.tuples(st.integers(0, 100), st.integers(0, 100)),
)
def test_i10_the_columns_keep_what_the_rule_keeps(
    rows: list[tuple[int, int]],
    more: list[tuple[int, int]],
    limits: tuple[int | None, int | None, int | None],
    times: tuple[int, int],
) -> None:
    policy = RetentionPolicy(limits[0], limits[1], limits[2])
    columns, stored = Columns(), []
    for batch, now in zip((rows, more), times, strict=True):
        for timestamp, size in batch:
            columns.add(Piece(Sort.LEGACY, 0, b"x" * (size - 1), 1), timestamp)
            stored.append(Stored(timestamp, size))
        assert columns.first_kept(policy, now) == first_kept(stored, policy, now=now)


async def test_a_tail_scan_reads_back_to_the_newest_clean_mark_only(path: Path) -> None:
    checked = note(3, {"verdict": "healthy"}, type_="StartupChecked")
    life = [line(2, event_type="SystemStarted", payload={}), checked]
    path.write_bytes(HEADER + line(1) + b"rubbish\n" + b"".join(life) + events(4, 9))
    async with opened(path) as store:
        full = await store.scan()
        tail = await store.scan(depth=ScanDepth.TAIL)
    assert full.has_damage
    assert [anomaly.type.value for anomaly in tail.anomalies] == ["open_incarnation"]
    assert tail.checked_records == 8
    path.write_bytes(path.read_bytes() + note(10, {}, type_="SystemStopped") + b"rubbish\n" + line(11))
    async with opened(path) as store:
        tail = await store.scan(depth=ScanDepth.TAIL)
        assert [anomaly.type.value for anomaly in tail.anomalies] == ["garbage"]
        await store.recover(REPAIR, depth=ScanDepth.TAIL)
    assert await named(path) == ["garbage"]
    assert await numbers(path) == list(range(1, 12))


SIBLING = "01SIBLING"


@pytest.mark.parametrize(
    "newest",
    [line(2, incarnation=SIBLING), line(1, kind=RecordKind.AUDIT, incarnation=SIBLING)],
    ids=["an event", "an audit"],
)
async def test_a_tail_scan_finds_a_life_lost_that_went_on_after_anothers_mark(
    path: Path, newest: bytes
) -> None:
    sibling = note(1, {}, type_="SystemStarted", incarnation=SIBLING)
    ended = note(1, {}, type_="SystemStarted") + note(2, {"verdict": "healthy"}, type_="StartupChecked")
    path.write_bytes(HEADER + sibling + ended + note(3, {}, type_="SystemStopped") + newest)
    async with opened(path) as store:
        tail = await store.scan(depth=ScanDepth.TAIL)
    assert [anomaly.type.value for anomaly in tail.anomalies] == ["open_incarnation"]
    assert SIBLING in str(tail.anomalies[0].detail)


async def test_a_tail_scan_of_a_long_history_without_a_mark_is_bounded(path: Path) -> None:
    path.write_bytes(HEADER + b"rubbish\n" + events(1, 12_000))
    async with opened(path) as store:
        tail = await store.scan(depth=ScanDepth.TAIL)
    assert not tail.has_anomalies
    assert tail.checked_records < 10_001


@pytest.mark.parametrize("junk", [b"rubbish ", b"\n", b"\0"])
@pytest.mark.parametrize("length", [8, 300, 600, 900, 3000])
async def test_i1_a_reader_that_saw_the_damage_misses_nothing_written_after_its_repair(
    path: Path, junk: bytes, length: int
) -> None:
    path.write_bytes(HEADER + line(1) + line(2) + junk * (length // len(junk)) + b"\n")
    async with opened(path) as reader:
        assert len(await reader.list_events()) == 2
        async with opened(path) as other:
            await other.recover(REPAIR)
            await other.append([known(3), known(4), known(5)])
            assert await reader.list_events() == await other.list_events()
        assert [record.seq for record in (await everything(reader))["event"]] == [1, 2, 3, 4, 5]
        await reader.append([known(6)])
        assert [record.seq for record in (await everything(reader))["event"]] == [1, 2, 3, 4, 5, 6]


async def test_i1_a_store_that_repaired_itself_reads_what_it_wrote_since(path: Path) -> None:
    path.write_bytes(HEADER + line(1) + b"rubbish " * 60 + b"\n")
    async with opened(path) as store:
        assert len(await store.list_events()) == 1
        await store.recover(REPAIR)
        await store.append([known(2)])
        assert [event.event_type for event in await store.list_events()] == [
            "ActorStarted",
            "RecoveryRun",
            "ActorStarted",
        ]


async def test_i6_a_repair_of_a_long_tail_leaves_the_next_scan_clean(path: Path) -> None:
    doubled = line(12_000) * 50
    path.write_bytes(HEADER + events(1, 2005) + b"rubbish\n" + events(2006, 12_000) + doubled)
    async with opened(path) as store:
        report = await store.recover(REPAIR, depth=ScanDepth.TAIL)
        assert not (await store.scan(ScanDepth.TAIL)).has_anomalies
    words = {type_.value: count for type_, count in report.scan.counts.items()}
    assert words == {"duplicate_record": 50, "garbage": 1}
    assert report.quarantined_bytes == len(doubled) + len(b"rubbish\n")
