from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import PersistenceError
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import RecordKind
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.faults import Crash, FaultyFs
from tests.unit.files.stores import (
    HEADER,
    QUARANTINE,
    REPAIR,
    entries_of,
    everything,
    fresh,
    known,
    line,
    named,
    numbers,
    opened,
    quarantine_of,
    recovered,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from papyra.persistence.models import PersistenceRecoveryConfig

    Work = Callable[[JsonFilePersistence], Awaitable[object]]

SOUND = [line(1), line(2), line(1, kind=RecordKind.AUDIT), line(4)]
RUBBISH = b"rubbish\n"
TORN = line(5)[:70]
IN_THE_MIDDLE = HEADER + SOUND[0] + SOUND[1] + RUBBISH + SOUND[2] + SOUND[3] + TORN
AT_THE_END = HEADER + b"".join(SOUND[:3]) + TORN
OUT_OF_ORDER = HEADER + line(1) + line(3) + line(2) + line(2) + line(1, kind=RecordKind.AUDIT)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.ndjson"


async def crashed(path: Path, at: int, work: Work) -> bool:
    """Do ``work`` in a process that is killed in its ``at``-th call; whether it was."""
    fs = FaultyFs(path.parent)
    fs.crash_at(at)
    store = JsonFilePersistence(path, fs=fs)
    try:
        await work(store)
    except (PersistenceError, Crash):
        assert fs.is_dead
    if fs.is_dead:
        fs.abandon()
    with suppress(PersistenceError, Crash):  # of a process that is dead: frees its threads, touches nothing
        await store.aclose()
    if fs.is_dead:  # perhaps only now, at its end
        fs.abandon()
    return fs.is_dead


def forget_everything(path: Path) -> None:
    for entry in [*path.parent.iterdir(), *quarantine_of(path).glob("*")]:
        if entry.is_file():
            entry.unlink()
    if quarantine_of(path).exists():
        quarantine_of(path).rmdir()


async def sound_lines(path: Path) -> int:
    async with opened(path) as store:
        return sum(map(len, (await everything(store)).values()))


@pytest.mark.parametrize("original", [b"", HEADER + line(1), AT_THE_END])
async def test_i1_i5_killed_in_any_call_of_an_append_the_acknowledged_stays(
    path: Path, original: bytes
) -> None:
    for at in range(100):
        forget_everything(path)
        if original:
            path.write_bytes(original)
        before = await sound_lines(path)
        acknowledged: list[int] = []

        async def work(store: JsonFilePersistence, acknowledged: list[int] = acknowledged) -> None:
            for number in range(11, 14):
                await store.append([known(number)])
                acknowledged.append(number)

        was_killed = await crashed(path, at, work)
        found = [seq for seq in await numbers(path) if seq > 10]
        assert found[: len(acknowledged)] == acknowledged, at
        async with opened(path) as store:
            await store.append([known(number) for number in range(11, 15)])
        assert [seq for seq in await numbers(path) if seq > 10] == [11, 12, 13, 14], at
        await recovered(path)
        assert await named(path) == [], at
        assert await sound_lines(path) == before + 4, at
        if not was_killed:
            return
    pytest.fail("it never came to its end")


@pytest.mark.parametrize("config", [REPAIR, QUARANTINE])
@pytest.mark.parametrize("original", [IN_THE_MIDDLE, AT_THE_END, OUT_OF_ORDER])
async def test_i4_i6_killed_in_any_call_a_recovery_is_done_again_and_loses_no_byte(
    path: Path, original: bytes, config: PersistenceRecoveryConfig
) -> None:
    path.write_bytes(original)
    sound = await sound_lines(path)
    for at in range(100):
        forget_everything(path)
        path.write_bytes(original)
        was_killed = await crashed(path, at, lambda store: store.recover(config))
        assert await sound_lines(path) == sound, at
        assert gone(original, path) == [], at
        await recovered(path, config)
        assert await named(path) == [], at
        assert await sound_lines(path) == sound, at
        assert gone(original, path) == [], at
        async with opened(path) as store:
            await store.append([fresh(1)])
        assert await named(path) == [], at
        if not was_killed:
            return
    pytest.fail("it never came to its end")


def gone(original: bytes, path: Path) -> list[bytes]:
    """Return the lines of ``original`` that are neither in the store nor in its quarantine."""
    kept = path.read_bytes() + b"\n".join(entry["content"] for entry in entries_of(quarantine_of(path)))
    return [text for text in original.splitlines(keepends=True) if text not in kept]


async def test_i4_i10_killed_in_any_call_a_compaction_leaves_all_or_what_is_to_stay(path: Path) -> None:
    original = HEADER + line(1) + RUBBISH + b"".join(line(seq) for seq in range(2, 7))
    policy = RetentionPolicy(max_records=2)
    for at in range(100):
        forget_everything(path)
        path.write_bytes(original)
        was_killed = await crashed(path, at, lambda store: store.compact(policy))
        assert await numbers(path) in ([1, 2, 3, 4, 5, 6], [5, 6]), at
        if path.read_bytes() != original:
            assert [entry["content"] for entry in entries_of(quarantine_of(path))] == [RUBBISH]
        async with opened(path) as store:
            await store.compact(policy)
        assert await numbers(path) == [5, 6], at
        await recovered(path)
        assert await named(path) == [], at
        assert [entry["content"] for entry in entries_of(quarantine_of(path))] == [RUBBISH], at
        if not was_killed:
            return
    pytest.fail("it never came to its end")


async def test_a_leftover_of_a_killed_rewrite_is_named_and_moved_to_quarantine(path: Path) -> None:
    path.write_bytes(IN_THE_MIDDLE)
    leftover = path.with_name("log.ndjson.rewrite.tmp")
    leftover.write_bytes(b"half a file")
    assert "leftover_file" in await named(path)
    report = await recovered(path)
    assert await named(path) == []
    assert not leftover.exists()
    assert b"half a file" in [
        quarantine_of(path).joinpath(name).read_bytes() for name in report.quarantined_files
    ]


async def test_a_leftover_beside_no_file_at_all_is_moved_too(path: Path) -> None:
    path.with_name("log.ndjson.rewrite.tmp").write_bytes(b"half a file")
    report = await recovered(path)
    assert len(report.quarantined_files) == 1
    assert await named(path) == []
    assert path.read_bytes().count(b'"RecoveryRun"') == 1


async def test_a_large_range_lies_in_a_file_of_its_own(path: Path) -> None:
    rubbish = bytes(range(1, 10)) * 400_000 + b"\n"
    path.write_bytes(HEADER + SOUND[0] + rubbish + SOUND[1])
    await recovered(path)
    (entry,) = entries_of(quarantine_of(path))
    assert entry["content"] == rubbish
    assert entry["file"] == f"{entry['sha256']}.bin"
    assert await named(path) == []


@pytest.mark.parametrize("is_given_to_the_store", [True, False])
async def test_quarantine_may_lie_anywhere(path: Path, *, is_given_to_the_store: bool) -> None:
    path.write_bytes(IN_THE_MIDDLE)
    path.chmod(0o640)
    elsewhere = path.parent / "some" / "where"
    if is_given_to_the_store:
        await recovered(path, quarantine_dir=elsewhere)
    else:
        await recovered(path, replace(REPAIR, quarantine_dir=str(elsewhere)))
    assert [entry["content"] for entry in entries_of(elsewhere)] == [RUBBISH, TORN]
    assert (elsewhere / "quarantine.ndjson").stat().st_mode & 0o777 == 0o640
    assert not quarantine_of(path).exists()


async def test_a_torn_quarantine_entry_is_kept_apart_from_the_next(path: Path) -> None:
    path.write_bytes(IN_THE_MIDDLE)
    quarantine_of(path).mkdir()
    (quarantine_of(path) / "quarantine.ndjson").write_bytes(b'{"store":"log.nd')
    await recovered(path)
    lines = (quarantine_of(path) / "quarantine.ndjson").read_bytes().splitlines()
    assert lines[0] == b'{"store":"log.nd'
    assert len(lines) == 3
