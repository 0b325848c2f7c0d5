from __future__ import annotations

import asyncio
import os
import tempfile
import tracemalloc
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra.persistence import codec
from papyra.persistence._files import blocks, sidecar
from papyra.persistence._files.check import FileCheck
from papyra.persistence._files.fs import COPY_BYTES
from papyra.persistence._files.lines import LineReader
from papyra.persistence._files.numbers import Numbers
from papyra.persistence.models import PersistenceAnomalyType, RecordKind, Severity
from papyra.persistence.query import RecordQuery
from papyra.persistence.retention import RetentionPolicy, Stored, first_kept
from papyra.testing.clock import ManualClock
from papyra.testing.faults import FaultyFs
from papyra.testing.records import EPOCH
from tests.unit.files.stores import HEADER, QUARANTINE, fresh, known, line, note, opened

if TYPE_CHECKING:
    from papyra.persistence._files.lines import Block, Piece
    from papyra.persistence.json import JsonFilePersistence

EVENTS = RecordQuery(kind=RecordKind.EVENT, limit=7, newest_first=False)
LEGACY = b'{"kind":"event","system_id":"local","actor_address":"local:1","payload":{},"timestamp":%d}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.ndjson"


def index_of(path: Path) -> Path:
    return sidecar.sidecar_of(path)


def judged(data: bytes, kind: RecordKind) -> list[bytes]:
    """Return the lines that a full honest pass takes for records of ``kind``, in store order."""
    found: list[bytes] = []

    def take(part: Piece | Block) -> None:
        found.extend(
            piece.text for piece in part.pieces() if piece.head is not None and piece.head.kind == kind
        )

    check = FileCheck("", take)
    check.feed(LineReader().pieces(blocks.part_of(data, 0), len(data), is_growing=True))
    return [] if check.newer else found


def time_of(text: bytes) -> float:
    is_framed = text.startswith(codec.FRAME_HEAD)
    return (codec.decode_head(text) if is_framed else codec.decode_legacy_head(text)).timestamp


async def answers(store: JsonFilePersistence, query: RecordQuery) -> list[tuple[int, float]]:
    return [(record.seq, record.timestamp) async for record in store.iterate(query)]


SEQS = st.integers(1, 12)
TIMES = st.integers(0, 60)
PIECES = st.one_of(
    st.builds(lambda seq, time: line(seq, timestamp=EPOCH + time), SEQS, TIMES),
    st.builds(lambda seq, kind: line(seq, kind=kind), SEQS, st.sampled_from(RecordKind)),
    st.builds(lambda seq: line(seq, incarnation="another"), SEQS),
    st.builds(lambda time: LEGACY % (EPOCH + time), TIMES),
    st.builds(lambda seq: line(seq)[:-1], SEQS),
    st.builds(lambda seq: line(seq).replace(b"Actor", b"Bctor"), SEQS),
    st.sampled_from([b"rubbish\n", b"\n", b"\r\n", b"\0" * 40, HEADER, line(3)[:60], b'{"seq":']),
)
LIMITS = st.none() | st.integers(0, 60)
POLICIES = st.builds(
    lambda count, age, size: RetentionPolicy(count, age, None if size is None else size * 100),
    LIMITS,
    LIMITS,
    LIMITS,
)


@settings(max_examples=150, deadline=None)
@given(
    parts=st.lists(st.lists(PIECES, max_size=8), min_size=1, max_size=4),
    policy=POLICIES,
    has_header=st.booleans(),
    times=st.tuples(st.none() | TIMES, st.none() | TIMES),
    is_small=st.booleans(),
)
def test_every_answer_is_that_of_a_full_honest_pass(
    parts: list[list[bytes]],
    policy: RetentionPolicy,
    has_header: bool,  # noqa: FBT001
    times: tuple[int | None, int | None],
    is_small: bool,  # noqa: FBT001
) -> None:
    clock = ManualClock(EPOCH + 60)
    since, until = (None if time is None else EPOCH + time for time in times)

    async def compare(store: JsonFilePersistence, data: bytes) -> None:
        stats = await store.stats()
        for kind in RecordKind:
            texts = judged(data, kind)
            stored = [Stored(time_of(text), len(text) + 1) for text in texts]
            assert stats.kinds[kind].records == len(texts)
            assert stats.kinds[kind].bytes == sum(one.size for one in stored)
            kept = texts[first_kept(stored, policy.for_kind(kind), now=clock.now()) :]
            expected = [
                (codec.decode_head(text).seq if text.startswith(codec.FRAME_HEAD) else 0, time_of(text))
                for text in kept
                if (since is None or time_of(text) >= since) and (until is None or time_of(text) < until)
            ]
            query = RecordQuery(kind=kind, limit=3, newest_first=False, since=since, until=until)
            assert await answers(store, query) == expected
            assert await answers(store, replace(query, newest_first=True)) == expected[::-1]

    async def run(path: Path) -> None:
        async with opened(path, retention_policy=policy, clock=clock) as reader:
            for part in parts:
                with path.open("ab") as file:
                    file.write(b"".join(part))
                await compare(reader, path.read_bytes())
        async with opened(path, clock=clock) as writer:
            await writer.append([known(seq, incarnation="third") for seq in range(1, 4)])
        assert index_of(path).exists()
        async with opened(path, retention_policy=policy, clock=clock) as reader:
            await compare(reader, path.read_bytes())

    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(blocks, "BLOCK_BYTES", 700 if is_small else 65536),
    ):
        (Path(folder) / "log.ndjson").write_bytes(HEADER if has_header else b"")
        asyncio.run(run(Path(folder) / "log.ndjson"))


async def test_a_sidecar_torn_at_any_byte_or_with_any_bit_flipped_is_not_believed(path: Path) -> None:
    async with opened(path) as store:
        await store.append([fresh(number) for number in range(1, 10)])
    whole = index_of(path).read_bytes()
    sidecar.decode(whole)
    for length in range(len(whole)):
        with pytest.raises(sidecar.StaleSidecarError):
            sidecar.decode(whole[:length])
    for bit in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(sidecar.StaleSidecarError):
            sidecar.decode(bytes(flipped))
    for text in (b"", whole[:-1], whole + b"x", b"\0" * len(whole)):
        index_of(path).write_bytes(text)
        async with opened(path) as store:
            assert [seq for seq, _ in await answers(store, EVENTS)] == [*range(1, 10)]
            assert index_of(path).read_bytes() == text  # a reader writes nothing


async def test_the_first_read_after_a_clean_end_does_not_read_the_file(path: Path) -> None:
    path.write_bytes(HEADER + b"".join(line(seq) for seq in range(1, 4000)))

    class Reading(FaultyFs):
        read = 0

        def pread(self, fd: int, length: int, offset: int) -> bytes:
            data = super().pread(fd, length, offset)
            self.read += len(data)
            return data

    async with opened(path) as store:
        await store.append([known(4000)])
    fs = Reading(path.parent)
    async with opened(path, fs=fs) as store:
        page = await store.read(RecordQuery(kind=RecordKind.EVENT, limit=50))
    assert page.records[0].seq == 4000
    assert fs.read < path.stat().st_size / 3


async def test_a_sidecar_of_a_beginning_is_gone_on_from_and_one_of_more_than_there_is_is_not_believed(
    path: Path,
) -> None:
    async with opened(path) as store:
        await store.append([known(seq) for seq in range(1, 6)])
    with path.open("ab") as file:
        file.write(line(6) + line(2))
    async with opened(path) as store:
        assert not (await store.scan()).counts.get(PersistenceAnomalyType.STALE_INDEX)
        assert [seq for seq, _ in await answers(store, EVENTS)] == [*range(1, 7)]
    os.truncate(path, len(HEADER + line(1)))
    async with opened(path) as store:
        assert [seq for seq, _ in await answers(store, EVENTS)] == [1]


async def test_a_scan_names_a_stale_index_and_a_recovery_puts_a_good_one_in_its_place(path: Path) -> None:
    async with opened(path) as store:
        await store.append([known(seq) for seq in range(1, 6)])
    path.write_bytes(HEADER + line(7) + line(8))
    async with opened(path) as store:
        report = await store.scan()
        assert [anomaly.type.value for anomaly in report.anomalies] == ["stale_index"]
        assert report.anomalies[0].severity is Severity.CRASH_TRACE
        assert [seq for seq, _ in await answers(store, EVENTS)] == [7, 8]
        await store.recover(QUARANTINE)
        assert not (await store.scan()).has_anomalies
    sidecar.decode(index_of(path).read_bytes())


async def test_a_block_that_changed_in_place_is_read_anew_whatever_the_sidecar_says(path: Path) -> None:
    with patch.object(blocks, "BLOCK_BYTES", 1000):
        async with opened(path) as store:
            for seq in range(1, 60):
                await store.append([known(seq)])
        path.write_bytes(path.read_bytes().replace(b'{"number":9}', b'{"number":8}'))
        async with opened(path) as store:
            assert [seq for seq, _ in await answers(store, EVENTS)] == [s for s in range(1, 60) if s != 9]


async def test_the_writer_indexes_what_it_writes_as_a_reader_would(path: Path) -> None:
    async with opened(path) as store:
        for first in range(1, 900, 300):
            await store.append([known(seq) for seq in range(first, first + 300)])
            await store.append(
                [known(first, kind=RecordKind.AUDIT), known(first, kind=RecordKind.DEAD_LETTER)]
            )
        await store.append([known(902), known(901), fresh(3)])
    loss = {"incarnation": "gone", "kind": "event", "first": 2, "last": 3, "cause": "damaged"}
    with path.open("ab") as file:
        file.write(note(903, loss))
    async with opened(path) as store:
        await store.append([fresh(4)])
    written, _ = sidecar.decode(index_of(path).read_bytes())
    data = path.read_bytes()
    read = blocks.Blocks()
    read.feed(blocks.part_of(data, 0), len(data))
    assert written.position == read.position == len(data)
    assert written.notes == read.notes
    assert list(written.excluded) == list(read.excluded)
    assert {stream: list(runs) for stream, runs in written.numbers.items()} == {
        stream: list(runs) for stream, runs in read.numbers.items()
    }
    assert {kind: rows.stats() for kind, rows in written.kinds.items()} == {
        kind: rows.stats() for kind, rows in read.kinds.items()
    }


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 4))))
def test_numbers_are_what_a_set_would_hold(steps: list[tuple[int, int]]) -> None:
    numbers, held = Numbers(), set[int]()
    for first, count in steps:
        if count > 1 and numbers.extend(first, count):
            assert all(first > number for number in held)
            held |= set(range(first, first + count))
        else:
            assert numbers.add(first) is (first not in held)
            held.add(first)
        runs = list(numbers)
        assert {number for begin, end in runs for number in range(begin, end)} == held
        assert all(end < begin for (_, end), (begin, _) in pairwise(runs))
        assert all((number in numbers) is (number in held) for number in range(45))


async def test_what_an_operation_remembers_does_not_grow_with_the_records(path: Path) -> None:
    peaks: dict[str, list[int]] = {"read": [], "dry run": [], "compact": []}
    for count in (3_000, 24_000):
        text = b"".join(line(seq) + line(seq, kind=RecordKind.AUDIT) for seq in range(1, count // 2 + 1))
        for name, one in peaks.items():
            path.write_bytes(HEADER + text)
            index_of(path).unlink(missing_ok=True)
            async with opened(path) as store:
                tracemalloc.start()
                if name == "read":
                    await store.read(EVENTS)
                else:
                    await store.compact(RetentionPolicy(max_records=count // 4), dry_run=name == "dry run")
                one.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
    for few, many in peaks.values():
        assert many - few < 21_000 * 64 + COPY_BYTES, peaks
    assert peaks["read"][1] - peaks["read"][0] < 1_000_000, peaks
