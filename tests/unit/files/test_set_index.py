from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra.persistence import codec
from papyra.persistence._files import blocks, sidecar
from papyra.persistence._files.check import FileCheck
from papyra.persistence._files.folder import find_folder
from papyra.persistence._files.ledger import Ledger
from papyra.persistence._files.lines import LineReader
from papyra.persistence._files.reading import StoreIndex, members_of
from papyra.persistence._files.segments import SegmentName, parse_name, told_apart
from papyra.persistence.models import RecordKind, Severity
from papyra.persistence.query import RecordQuery
from papyra.persistence.retention import Removal, RetentionPolicy, Stored, first_kept, first_staying
from papyra.testing.clock import ManualClock
from papyra.testing.faults import FaultyFs
from papyra.testing.records import EPOCH, event
from tests.unit.files.sets import filled, opened, scanned, seqs, words
from tests.unit.files.stores import QUICK, REPAIR
from tests.unit.files.test_index import LEGACY, PIECES, POLICIES, TIMES, time_of

if TYPE_CHECKING:
    from papyra.persistence._files.lines import Block, Piece
    from papyra.persistence.backends.rotating import RotatingFilePersistence

WRITERS = ["01JDGH5Q7W000000000000AAAA", "01JDGH5Q7W000000000000BBBB"]
FAMILIES = {False: [("event", ""), ("audit", "")], True: [("event", writer) for writer in WRITERS]}
STORE = "01JDGH5Q7W000000000000WRTR"


def judged(folder: Path, legacy: list[Path], kind: RecordKind) -> list[tuple[str, bytes]]:
    """Return family and line of what a full honest pass over all files takes for records, file by file."""
    found: list[tuple[str, bytes]] = []
    ledger = Ledger(is_set=True)
    segments = told_apart(file.name for file in folder.iterdir()).segments
    for path in [*legacy, *(folder / str(name) for name in segments)]:
        name = parse_name(path.name)
        family, data = "" if name is None else name.family, path.read_bytes()

        def take(part: Piece | Block, family: str = family) -> None:
            sound = [piece for piece in part.pieces() if piece.head is not None and piece.head.kind == kind]
            found.extend((family, piece.text) for piece in sound)

        check = FileCheck("", take, ledger=ledger)
        check.feed(LineReader().pieces(blocks.part_of(data, 0), len(data), is_growing=True))
    return found


def merged(records: list[tuple[str, bytes]]) -> list[bytes]:
    """Put records of several writers in order: the oldest part first, then each writer's in its own order."""
    highest: dict[str, float] = {}
    keyed = []
    for at, (family, text) in enumerate(records):
        highest[family] = max(highest.get(family, float("-inf")), time_of(text)) if family else float("-inf")
        keyed.append((bool(family), highest[family], family, at, text))
    return [text for *_, text in sorted(keyed)]


async def answers(store: RotatingFilePersistence, query: RecordQuery) -> list[tuple[int, float]]:
    return [(record.seq, record.timestamp) async for record in store.iterate(query)]


SEGMENTS = st.lists(st.tuples(st.integers(0, 1), st.lists(PIECES, max_size=6)), min_size=1, max_size=6)


class Case(NamedTuple):
    """Segments by family and what is added to each last one, a published file, what is kept and asked for."""

    segments: list[tuple[int, list[bytes]]]
    more: list[bytes]
    legacy: list[int]
    policy: RetentionPolicy
    since: float | None
    until: float | None
    is_shared: bool

    def expected(self, folder: Path, kind: RecordKind) -> list[bytes]:
        old = [folder.with_name("log")] if self.legacy else []
        records = judged(folder, old, kind)
        return merged(records) if self.is_shared else [text for _, text in records]

    def write(self, path: Path) -> tuple[Path, list[Path]]:
        """Write it all but ``more``; returns the folder and the last segments."""
        folder = path.with_name("log.segments") if self.legacy else path
        if self.legacy:
            path.write_bytes(b"".join(LEGACY % (EPOCH + time) for time in self.legacy))
        folder.mkdir()
        names: dict[int, SegmentName] = {}
        for which, part in self.segments:
            kind, writer = FAMILIES[self.is_shared][which]
            name = names[which] = names.get(which, SegmentName(kind, writer, 0, 1)).following(5)
            header = codec.encode_header(store=STORE, family=name.family, segment=name.number, base=name.base)
            (folder / str(name)).write_bytes(header + b"".join(part))
        return folder, [folder / str(name) for name in names.values()]


ANY_TIME = st.none() | st.builds(lambda time: EPOCH + time, TIMES)
CASES = st.builds(
    Case,
    SEGMENTS,
    st.lists(PIECES, max_size=4),
    st.lists(TIMES, max_size=4),
    POLICIES,
    ANY_TIME,
    ANY_TIME,
    st.booleans(),
)


async def compare(case: Case, store: RotatingFilePersistence, folder: Path, now: float) -> None:
    stats, removal = await store.stats(), Removal(now, 0.5)
    found = find_folder("rotating", QUICK, store.path, ManualClock(now))
    index = StoreIndex(lambda: members_of(found))
    removable = index.removable(case.policy, removal)
    index.close()
    for kind, could_go in zip(RecordKind, removable, strict=True):
        texts, limits = case.expected(folder, kind), case.policy.for_kind(kind)
        stored = [Stored(time_of(text), len(text) + 1) for text in texts]
        size = sum(one.size for one in stored)
        assert (stats.kinds[kind].records, stats.kinds[kind].bytes) == (len(texts), size)
        expected = [
            (codec.decode_head(text).seq if text.startswith(codec.FRAME_HEAD) else 0, time_of(text))
            for text in texts[first_kept(stored, limits, now=now) :]
            if case.since is None or time_of(text) >= case.since
            if case.until is None or time_of(text) < case.until
        ]
        query = RecordQuery(kind=kind, limit=3, newest_first=False, since=case.since, until=case.until)
        assert await answers(store, query) == expected
        assert await answers(store, replace(query, newest_first=True)) == expected[::-1]
        fitting = first_kept(stored, replace(limits, max_age_seconds=None), now=now)
        times = [one.timestamp for one in stored]
        first, _ = first_staying(times, fitting, limits.max_age_seconds, removal)
        assert could_go == (first, sum(one.size for one in stored[:first]), len(texts), size)


@settings(max_examples=150, deadline=None)
@given(case=CASES, is_small=st.booleans())
def test_every_answer_is_that_of_a_full_honest_pass_over_all_files(
    case: Case,
    is_small: bool,  # noqa: FBT001
) -> None:
    clock, options = ManualClock(EPOCH + 60), {"shared": case.is_shared}

    async def run(path: Path) -> None:
        folder, lasts = case.write(path)
        async with opened(path, retention_policy=case.policy, clock=clock, **options) as reader:
            await compare(case, reader, folder, clock.now())
            for last in lasts:
                with last.open("ab") as file:
                    file.write(b"".join(case.more))
                await compare(case, reader, folder, clock.now())
            lasts[0].unlink()
            await compare(case, reader, folder, clock.now())
        async with opened(path, clock=clock, max_bytes=1_000, **options) as writer:
            await writer.append([event(number) for number in range(9)])
        assert [*folder.glob("*.idx")]
        async with opened(path, retention_policy=case.policy, clock=clock, **options) as reader:
            await compare(case, reader, folder, clock.now())

    with (
        tempfile.TemporaryDirectory() as temporary,
        patch.object(blocks, "BLOCK_BYTES", 700 if is_small else 65536),
    ):
        asyncio.run(run(Path(temporary) / "log"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.mark.parametrize("shared", [False, True])
async def test_each_segment_has_its_index_beside_it_until_it_goes(path: Path, *, shared: bool) -> None:
    async with opened(path, shared=shared, max_bytes=1_500, max_files=3) as store:
        for number in range(40):
            await store.append([event(number)])
    segments, indexes = sorted(path.glob("*.ndjson")), sorted(path.glob("*.idx"))
    assert len(segments) == 3
    assert indexes == [sidecar.sidecar_of(segment) for segment in segments]
    for index in indexes:
        sidecar.decode(index.read_bytes())
    async with opened(path, shared=shared) as store:
        assert not (await store.scan()).has_anomalies
        total = sum(file.stat().st_size for file in path.iterdir())
        assert (await store.stats()).total_bytes == total
        await store.compact(RetentionPolicy(max_records=0))
    assert len([*path.glob("*.idx")]) <= len([*path.glob("*.ndjson")])


async def test_the_first_read_of_a_new_process_reads_no_sealed_segment_whole(path: Path) -> None:
    async with opened(path, max_bytes=100_000) as store:
        for first in range(0, 2_000, 100):
            await store.append([event(number) for number in range(first, first + 100)])

    class Reading(FaultyFs):
        read = 0

        def pread(self, fd: int, length: int, offset: int) -> bytes:
            data = super().pread(fd, length, offset)
            self.read += len(data)
            return data

    fs = Reading(path.parent)
    async with opened(path, fs=fs) as store:
        page = await store.read(RecordQuery(kind=RecordKind.EVENT, limit=50))
    assert len(page.records) == 50
    assert fs.read < sum(file.stat().st_size for file in path.glob("*.ndjson")) * 0.9


async def test_a_stale_index_is_told_and_a_recovery_puts_a_good_one_in_its_place(path: Path) -> None:
    first, *_ = await filled(path, 40)
    index = sidecar.sidecar_of(first)
    index.write_bytes(index.read_bytes()[:-3])
    report = await scanned(path)
    assert [anomaly.type.value for anomaly in report.anomalies] == ["stale_index"]
    assert report.anomalies[0].severity is Severity.CRASH_TRACE
    assert await seqs(path) == [*range(1, 41)]
    async with opened(path) as store:
        await store.recover(REPAIR)
    sidecar.decode(index.read_bytes())
    assert await words(path) == []


async def test_an_index_in_the_making_is_neither_foreign_nor_left_over(path: Path) -> None:
    first, *_ = await filled(path, 40)
    sidecar.unfinished_sidecar_of(first).write_bytes(b"half")
    assert await words(path) == []
