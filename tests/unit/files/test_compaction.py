from __future__ import annotations

import zlib
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from papyra.persistence import codec
from papyra.persistence.models import RecordKind
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.clock import ManualClock
from tests.unit.files.stores import (
    HEADER,
    REPAIR,
    entries_of,
    everything,
    fresh,
    known,
    line,
    named,
    note,
    numbers,
    opened,
    quarantine_of,
    recovered,
)

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.persistence.query import Progress

AUDIT, LETTER = RecordKind.AUDIT, RecordKind.DEAD_LETTER
OTHER = "01JDGH5Q7W0000000000000002"
LEGACY = b'{"kind":"event","system_id":"local","payload":{"b":2, "a":1.50},"timestamp":1837.5}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.ndjson"


def events(first: int, last: int) -> bytes:
    return b"".join(line(seq) for seq in range(first, last + 1))


async def test_i10_the_report_is_exact_and_a_rehearsal_says_the_same_and_touches_nothing(path: Path) -> None:
    path.write_bytes(HEADER + events(1, 5) + line(1, kind=AUDIT) + line(2, kind=AUDIT) + line(1, kind=LETTER))
    policy = RetentionPolicy(events=RetentionPolicy(max_records=2), audits=RetentionPolicy(max_records=1))
    before = path.read_bytes(), path.stat().st_mtime_ns, path.parent.stat().st_mtime_ns
    async with opened(path) as store:
        rehearsed = await store.compact(policy, dry_run=True)
        assert (path.read_bytes(), path.stat().st_mtime_ns, path.parent.stat().st_mtime_ns) == before
        done = await store.compact(policy)
        assert rehearsed.dry_run
        assert not done.dry_run
        assert (rehearsed.removed, rehearsed.after_bytes) == (done.removed, done.after_bytes)
        assert done.removed == {RecordKind.EVENT: 3, AUDIT: 1, LETTER: 0}
        assert (done.before_records, done.after_records) == (8, 4)
        assert sum((await store.counts()).values()) == 4
        assert (done.before_bytes, done.after_bytes) == (len(before[0]), path.stat().st_size)
        assert done.oldest_removed == 1_750_000_001.0
        assert done.newest_removed == 1_750_000_003.0
    assert path.read_bytes() == HEADER + events(4, 5) + line(2, kind=AUDIT) + line(1, kind=LETTER)
    assert await named(path) == []


async def test_a_second_compaction_has_nothing_to_do_and_leaves_the_file(path: Path) -> None:
    path.write_bytes(HEADER + events(1, 5))
    async with opened(path, retention_policy=RetentionPolicy(max_records=2)) as store:
        await store.compact()
        inode = path.stat().st_ino
        assert (await store.compact()).removed_records == 0
        assert path.stat().st_ino == inode


async def test_appends_go_on_after_a_compaction_and_a_repetition_of_what_it_removed_is_no_new_record(
    path: Path,
) -> None:
    async with opened(path) as store:
        await store.append([known(seq) for seq in range(1, 5)])
        await store.compact(RetentionPolicy(max_records=1))
        await store.append([known(3), known(5)])
    assert await numbers(path) == [4, 5]
    assert await named(path) == []


async def test_raw_bytes_are_copied_legacy_and_newer_kinds_included(path: Path) -> None:
    body = line(1, kind=AUDIT).replace(b'"audit"', b'"weather"')[: -codec.FRAME_TAIL_LENGTH - 1]
    weather = body + b',"crc":"%08x"}\n' % zlib.crc32(body)
    path.write_bytes(LEGACY * 3 + weather + events(1, 2))
    async with opened(path) as store:
        await store.compact(RetentionPolicy(max_records=3))
    assert path.read_bytes() == LEGACY + weather + events(1, 2)
    assert await named(path) == []


async def test_a_file_of_many_megabytes_is_copied_whole(path: Path) -> None:
    large = [line(seq, payload="x" * 700_000) for seq in range(1, 9)]
    path.write_bytes(HEADER + b"".join(large[:4]) + b"rubbish\n" + b"".join(large[4:]))
    async with opened(path) as store:
        await store.compact(RetentionPolicy(max_records=6))
    assert path.read_bytes() == HEADER + b"".join(large[2:])
    assert await named(path) == []


async def test_mode_and_owner_stay(path: Path) -> None:
    path.write_bytes(HEADER + events(1, 3))
    path.chmod(0o604)
    async with opened(path) as store:
        await store.compact(RetentionPolicy(max_records=1))
    assert path.stat().st_mode & 0o777 == 0o604


async def test_i4_damage_goes_to_quarantine_with_a_note_and_is_never_dropped(path: Path) -> None:
    rotten = line(4).replace(b"Started", b"Stopped")
    path.write_bytes(HEADER + events(1, 3) + rotten + line(5) + b"rubbish\n" + line(6) + line(7)[:50])
    async with opened(path) as store:
        report = await store.compact(RetentionPolicy(max_records=3))
        counted = await store.counts()
    assert [entry["content"] for entry in entries_of(quarantine_of(path))] == [
        rotten,
        b"rubbish\n",
        line(7)[:50],
    ]
    assert report.quarantined_bytes == len(rotten) + 8 + 50
    assert sum(report.removed.values()) == 2
    assert report.after_records == counted[RecordKind.EVENT]
    assert report.after_bytes == path.stat().st_size
    assert await numbers(path) == [3, 5, 6]
    assert await named(path) == []


@pytest.mark.parametrize("kept", range(1, 8))
async def test_a_loss_note_stays_as_long_as_it_explains_a_gap_among_what_stays(path: Path, kept: int) -> None:
    gap = {"incarnation": OTHER, "kind": "dead_letter", "first": 3, "last": 4, "cause": "overflow"}
    letters = [line(seq, kind=LETTER, incarnation=OTHER) for seq in (1, 2, 5, 6, 7, 8, 9)]
    path.write_bytes(HEADER + line(1) + note(2, gap) + events(3, 5) + b"".join(letters))
    policy = RetentionPolicy(
        events=RetentionPolicy(max_records=2), dead_letters=RetentionPolicy(max_records=kept)
    )
    async with opened(path) as store:
        await store.compact(policy)
        assert not (await store.scan()).has_anomalies
        again = path.read_bytes()
        await store.compact(policy)
        assert path.read_bytes() == again
        found = [event.seq for event in await store.list_events()]
    assert found == ([2, 4, 5] if kept >= 6 else [4, 5])


async def test_a_missing_prefix_is_no_finding_also_where_recovery_notes_lead(path: Path) -> None:
    path.write_bytes(HEADER + events(1, 3) + b"rubbish\n" + events(5, 6))
    await recovered(path)
    async with opened(path) as store:
        for number in range(6):
            await store.append([fresh(number)])
        for kept in range(8, -1, -1):
            await store.compact(RetentionPolicy(max_records=kept))
            assert not (await store.scan()).has_anomalies, kept


async def test_everything_may_go_and_the_store_goes_on(path: Path) -> None:
    for original in (HEADER + events(1, 3), LEGACY, events(1, 2)[:-1]):
        path.write_bytes(original)
        async with opened(path) as store:
            await store.compact(RetentionPolicy(max_records=0))
            assert await store.list_events() == ()
            await store.append([fresh(1)])
        assert len(await numbers(path)) == 1
        assert await named(path) == []


async def test_a_caller_who_gives_up_ends_a_task_that_has_changed_nothing(path: Path) -> None:
    original = HEADER + events(1, 3) + b"rubbish\n" + line(4)
    path.write_bytes(original)

    def give_up(_: Progress) -> None:
        raise TimeoutError("enough")

    async with opened(path) as store:
        for task in (
            store.scan,
            partial(store.recover, REPAIR),
            partial(store.compact, RetentionPolicy(max_records=1)),
        ):
            with pytest.raises(TimeoutError, match="enough"):
                await task(progress=give_up)
        assert path.read_bytes() == original
        assert {entry.name for entry in path.parent.iterdir()} == {"log.ndjson", "log.ndjson.lock"}
        await store.append([fresh(1)])


ROWS = st.lists(
    st.tuples(st.sampled_from(list(RecordKind)), st.integers(1, 3), st.booleans()), min_size=1, max_size=12
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, limit=st.integers(0, 6), seconds=st.integers(0, 12) | st.none())
async def test_i10_what_reads_show_is_what_a_compaction_keeps(
    path: Path, rows: list[tuple[RecordKind, int, bool]], limit: int, seconds: int | None
) -> None:
    clock = ManualClock(1_750_000_012.0)
    seqs: dict[object, int] = {}
    texts = []
    for kind, life, is_crlf in rows:
        seq = seqs[kind, life] = seqs.get((kind, life), 0) + 1
        text = line(seq, kind=kind, incarnation=f"life-{life}")
        texts.append(text[:-1] + b"\r\n" if is_crlf else text)
    path.write_bytes(HEADER + b"".join(texts))
    policy = RetentionPolicy(limit, seconds)
    async with opened(path, retention_policy=policy, clock=clock) as store:
        shown = await everything(store)
        await store.compact()
        assert await everything(store) == shown
        counts = await store.counts()
    async with opened(path, clock=clock) as store:
        assert await everything(store) == shown
    assert counts == {kind: len(shown[kind]) for kind in RecordKind}
    assert set(await named(path)) <= {"crlf"}
