"""F1, F2, F4: what disks and hands do to bytes, blocks and names, beyond what the contract tries."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import PersistenceError, StoreUnavailableError
from papyra.persistence._files.lock import StoreLock
from papyra.persistence.models import Record, RecordKind
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.faults import FaultyFs
from tests.budget import BUDGET
from tests.faults_files.works import BEFORE, NAME, RUBBISH, SOUND, TORN
from tests.unit.files.stores import (
    HEADER,
    QUARANTINE,
    REPAIR,
    entries_of,
    everything,
    known,
    line,
    named,
    numbers,
    opened,
    quarantine_of,
    recovered,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.persistence.query import Progress

MANY = [known(seq, kind=kind) for seq in range(1, 61) for kind in (RecordKind.EVENT, RecordKind.DEAD_LETTER)]
LONG = HEADER + b"".join(
    line(seq, kind=kind) for seq in range(1, 61) for kind in RecordKind if kind != "audit"
)
AFTER = known(1, incarnation="01JDGH5Q7W000000000000AFTR")
LEGACY_AUDIT = b'{"kind":"audit","system_id":"%s"}\n' % (b"a" * 200)
ROUNDS = BUDGET.pick(quick=6, ci=20, whole=200)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / NAME


async def mine(path: Path) -> list[Record]:
    async with opened(path) as store:
        found = await everything(store)
    return [record for records in found.values() for record in records if record != AFTER]


async def check(path: Path, *, may_lose: int, written: list[Record]) -> None:
    """Nothing is altered, no more is lost than was touched, it is told, and a repair ends clean."""
    kept = await mine(path)
    assert [record for record in kept if record not in written] == [], "altered"
    assert len([record for record in written if record not in kept]) <= may_lose
    assert len(kept) == len(set(map(repr, kept)))
    assert await named(path) != []
    async with opened(path) as store:
        await store.append([AFTER])
    await recovered(path)
    assert await named(path) == []
    assert sorted(map(repr, await mine(path))) == sorted(map(repr, kept))
    async with opened(path) as store:
        assert (await everything(store))["event"].count(AFTER) == 1
    shutil.rmtree(quarantine_of(path), ignore_errors=True)


def touched(content: bytes, start: int, size: int) -> int:
    return content[start : start + size].count(b"\n") + 1


@pytest.mark.parametrize("size", [512, 4096])
@pytest.mark.parametrize("how", ["zeroed", "of another file", "doubled", "swapped", "of an older file"])
async def test_f2_a_block_that_is_not_its_own_costs_the_records_it_touches(
    path: Path, how: str, size: int
) -> None:
    chosen = random.Random(f"{how} {size}")  # noqa: S311  # the same places each time
    blocks = len(LONG) // size - 1
    older = HEADER + line(1, incarnation="01JDGH5Q7W00000000000000LD") * 3 + LONG[len(HEADER) :]
    for _ in range(ROUNDS):
        at, other = (block * size for block in chosen.sample(range(1, blocks + 1), 2))
        damaged = bytearray(LONG)
        cost = touched(LONG, at, size)
        match how:
            case "zeroed":
                damaged[at : at + size] = bytes(size)
            case "of another file":
                damaged[at : at + size] = chosen.randbytes(size)
            case "doubled":
                damaged[at : at + size] = LONG[other : other + size]
            case "swapped":
                damaged[at : at + size], damaged[other : other + size] = (
                    LONG[other : other + size],
                    LONG[at : at + size],
                )
                cost += touched(LONG, other, size)
            case _:
                damaged[at : at + size] = older[at : at + size]
        path.write_bytes(damaged)
        await check(path, may_lose=cost, written=MANY)


async def test_f1_a_header_torn_at_any_byte_costs_no_record(path: Path) -> None:
    for end in range(1, len(HEADER)):
        path.write_bytes(HEADER[:end])
        async with opened(path) as store:
            await store.append([known(1), known(2)])
        assert await numbers(path) == [1, 2]
        await recovered(path)
        assert await named(path) == []
        assert await numbers(path) == [1, 2]


async def test_f1_the_last_batch_torn_at_any_byte_leaves_its_whole_lines(path: Path) -> None:
    start = len(HEADER + line(1))
    whole = HEADER + b"".join(map(line, range(1, 5)))
    for end in range(start, len(whole), BUDGET.pick(quick=17, ci=5, whole=1)):
        path.write_bytes(whole[:end])
        expected = list(range(1, whole[:end].count(b"\n")))
        if whole[end : end + 1] == b"\n":
            expected.append(len(expected) + 1)
        assert await numbers(path) == expected
        async with opened(path) as store:  # the recorder hands the batch in again
            await store.append([known(seq) for seq in range(2, 5)])
        assert await numbers(path) == [1, 2, 3, 4]
        await recovered(path)
        assert await named(path) == []
        assert await numbers(path) == [1, 2, 3, 4]
        shutil.rmtree(quarantine_of(path), ignore_errors=True)


@pytest.mark.parametrize("config", [REPAIR, QUARANTINE], ids=["repair", "quarantine"])
async def test_f1_i4_a_quarantine_torn_at_any_byte_takes_everything_again(path: Path, config: object) -> None:
    damaged = SOUND.replace(line(3), line(3) + RUBBISH) + TORN
    path.write_bytes(damaged)
    await recovered(path, config)  # type: ignore[arg-type]
    entries = (quarantine_of(path) / "quarantine.ndjson").read_bytes()
    assert entries.count(b"\n") == 2
    for end in range(0, len(entries), BUDGET.pick(quick=23, ci=7, whole=1)):
        path.write_bytes(damaged)  # a crash before the cut: what was taken out is in the store still
        (quarantine_of(path) / "quarantine.ndjson").write_bytes(entries[:end])
        await recovered(path, config)  # type: ignore[arg-type]
        assert await named(path) == []
        kept = [entry["content"] for entry in entries_of(quarantine_of(path))]
        assert sorted({*kept}) == sorted([RUBBISH, TORN])


async def test_f1_a_lock_note_torn_at_any_byte_locks_nobody_out(path: Path) -> None:
    lock = path.with_name(f"{NAME}.lock")
    async with opened(path) as store:
        await store.append([known(1)])
    note = lock.read_bytes()
    for end in range(0, len(note), 7):
        lock.write_bytes(note[:end])
        async with opened(path) as store:
            await store.append([known(1), known(2)])
    assert await numbers(path) == [1, 2]


def test_f1_behind_a_torn_lock_note_a_doubt_is_read(path: Path) -> None:
    fs = FaultyFs(path.parent)
    lock = StoreLock(fs, path)
    lock.acquire()
    for room in range(1, 60, 7):
        fs.fill(room)
        lock.sign(1.0)
        fs.fill(None)
        lock.doubt(7, 1.0)
        assert StoreLock(fs, path).doubtful_from() == 7
    lock.release()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def move(path: Path) -> None:
    path.rename(path.with_name("moved.ndjson"))


def replace(path: Path) -> None:
    path.unlink()
    path.write_bytes(HEADER + line(1))


@pytest.mark.parametrize("what", [Path.unlink, empty, move, replace])
async def test_f4_a_file_taken_away_under_its_writer_costs_nothing_that_comes_after(
    path: Path, what: Callable[[Path], None]
) -> None:
    async with opened(path) as store, opened(path) as reader:
        await store.append([known(1), known(2)])
        await reader.list_events()
        what(path)
        await store.append([known(3)])
        assert [event.seq for event in await reader.list_events()][-1:] == [3]
        await store.append([known(4)])
    assert (await numbers(path))[-2:] == [3, 4]
    assert set(await named(path)) <= {"missing_records"}


async def test_f4_a_link_in_place_of_the_file_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real" / NAME, tmp_path / "link.ndjson"
    real.parent.mkdir()
    real.write_bytes(SOUND + TORN)
    link.symlink_to(real)
    await recovered(link)
    assert link.is_symlink()
    assert await numbers(real) == [1, 2, 3, 4, 5]
    assert quarantine_of(real).is_dir()
    assert await named(link) == []


@pytest.mark.parametrize("name", [f"{NAME}.lock", f"{NAME}.quarantine", f"{NAME}.rewrite.tmp"])
@pytest.mark.parametrize("how", ["folder", "pipe", "file"])
async def test_f4_something_else_in_the_place_of_a_sidecar_is_told_and_costs_nothing(
    path: Path, name: str, how: str
) -> None:
    damaged = SOUND.replace(line(3), line(3) + RUBBISH) + TORN
    path.write_bytes(damaged)
    place = path.with_name(name)
    match how:
        case "folder":
            place.mkdir()
        case "pipe":
            os.mkfifo(place)
        case _:
            place.write_bytes(b"not ours\n")
    assert len(await mine(path)) == len(BEFORE)
    try:
        await recovered(path)
    except PersistenceError:
        assert path.read_bytes() == damaged
    else:
        kept = [entry["content"] for entry in entries_of(quarantine_of(path))]
        assert RUBBISH in kept
        assert TORN in kept
    assert len(await mine(path)) == len(BEFORE)
    assert place.exists() or name.endswith(".tmp")


async def test_f4_what_is_not_ours_in_the_folder_is_never_touched(path: Path) -> None:
    path.write_bytes(SOUND + TORN)
    strangers = {
        name: name.encode()
        for name in (f"{NAME}.1", f"{NAME}.bak", f"{NAME}.tmp", "other.ndjson", f"{NAME}.rewrite.tmp.tmp")
    }
    for name, content in strangers.items():
        (path.parent / name).write_bytes(content)
    await recovered(path, QUARANTINE)
    async with opened(path) as store:
        await store.append([AFTER])
        await store.compact(RetentionPolicy(max_records=1))
    assert {name: (path.parent / name).read_bytes() for name in strangers} == strangers


async def test_a_damaged_header_is_never_taken_for_a_newer_format(path: Path) -> None:
    header = HEADER.replace(b'"format":1', b'"format":9')
    path.write_bytes(header + line(1))
    async with opened(path) as store:
        await store.append([known(2)])
    assert await numbers(path) == [1, 2]
    await recovered(path)
    assert await named(path) == []


@pytest.mark.parametrize("work", ["recover", "compact"])
async def test_i4_a_program_that_takes_no_lock_and_writes_meanwhile_loses_nothing(
    path: Path, work: str
) -> None:
    path.write_bytes(SOUND.replace(line(3), line(3) + RUBBISH) + TORN)
    late = [b"\n" + line(1, incarnation="01JDGH5Q7W000000000000LATE")]

    def meanwhile(done: Progress) -> None:
        if done.total_bytes and late:  # the scan has seen how long the file is
            with path.open("ab") as file:
                file.write(late.pop())

    policy = RetentionPolicy(max_records=2)
    async with opened(path) as store:
        task = (
            store.recover(REPAIR, progress=meanwhile)
            if work == "recover"
            else store.compact(policy, progress=meanwhile)
        )
        with pytest.raises(StoreUnavailableError, match="takes no lock"):
            await task
    assert path.read_bytes().endswith(line(1, incarnation="01JDGH5Q7W000000000000LATE"))
    assert len(await mine(path)) == len(BEFORE) + 1


def padded(text: bytes, length: int) -> bytes:
    return text[:-2] + b" " * (length - len(text)) + text[-2:]


@pytest.mark.parametrize("is_legacy", [False, True])
async def test_i2_a_line_exchanged_under_a_reader_is_never_read_as_what_stood_there(
    path: Path, *, is_legacy: bool
) -> None:
    many = 400  # more than a reader holds
    if is_legacy:
        lines = [b'{"kind":"event","system_id":"a","timestamp":%d.5}\n' % (1000 + seq) for seq in range(2000)]
        other = padded(b'{"kind":"dead_letter"}\n', len(lines[-1]))
    else:
        lines = [HEADER, *(line(seq, payload="x" * 300) for seq in range(1, many))]
        short = line(1, kind=RecordKind.DEAD_LETTER, payload="")
        other = line(1, kind=RecordKind.DEAD_LETTER, payload="x" * (len(lines[-1]) - len(short)))
    assert len(other) == len(lines[-1])
    last = LEGACY_AUDIT if is_legacy else line(1, kind=RecordKind.AUDIT)
    path.write_bytes(b"".join(lines) + last)
    async with opened(path) as store:
        before = await store.list_events()
        with path.open("r+b") as file:
            file.seek(-len(other) - len(last), os.SEEK_END)
            file.write(other)
        assert await store.list_events() == before[:-1]
        assert len(await store.list_audits()) == 1
        assert len(await store.list_dead_letters()) == 1


async def test_i2_a_record_exchanged_for_another_is_read_as_it_is_now(path: Path) -> None:
    lines = [HEADER, *(line(seq, payload="x" * 300) for seq in range(1, 400))]
    path.write_bytes(b"".join(lines))
    async with opened(path) as store:
        before = await store.list_events()
        times = path.stat()
        with path.open("r+b") as file:
            file.seek(-len(lines[-1]), os.SEEK_END)
            file.write(line(399, payload="y" * 300))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        after = await store.list_events()
    assert after[:-1] == before[:-1]
    assert after[-1].payload == "y" * 300


async def test_a_doubt_and_the_leftover_of_a_rewrite_together_hold_no_writer_up(path: Path) -> None:
    path.write_bytes(SOUND)
    path.with_name(f"{NAME}.lock").write_text('{"doubtful_from": 0}')
    path.with_name(f"{NAME}.rewrite.tmp").write_bytes(RUBBISH)
    async with opened(path) as store:
        await store.append([known(6)])
    assert await numbers(path) == [1, 2, 3, 4, 5, 6]
    assert RUBBISH in [kept.read_bytes() for kept in quarantine_of(path).iterdir()]
