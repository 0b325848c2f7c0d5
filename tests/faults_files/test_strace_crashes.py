"""F5 on real files: the shipped code in a process of its own, killed in each call that touches the store.

The number of points in calls that change something may not fall: `crash_points.json` has the floors.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from papyra.exceptions import PersistenceError
from papyra.persistence.models import Record, RecordKind
from papyra.testing.faults import Crash, FaultyFs, PowerLoss
from papyra.testing.records import MAKERS
from tests.budget import BUDGET, Budget, need_strace
from tests.faults_files.strace import CHANGING, Injection, disturbed, look, worker
from tests.faults_files.works import (
    BATCHES,
    BEFORE,
    MANY,
    REPAIR,
    RUBBISH,
    WORKS,
    Work,
    everything,
    one,
)
from tests.unit.files.stores import entries_of

FLOORS: dict[str, dict[str, int]] = json.loads(
    Path(__file__).with_name("crash_points.json").read_text(encoding="utf-8")
)
STEP = BUDGET.pick(quick=10, ci=5, whole=1)
AFTER = one(77, incarnation="01JDGH5Q7W000000000000AFTR")
LATER = [one(seq, incarnation="01JDGH5Q7W0000000000LATER0") for seq in (1, 2, 3)]
EVERY_ONE = [*BEFORE, *(record for batch in BATCHES for record in batch), *MANY, *LATER, AFTER]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    need_strace()
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout.strip()
    if kind == "tmpfs":
        pytest.skip("files in memory prove nothing here: set TMPDIR to a folder on a disk")
    return tmp_path


def acknowledged(said: str) -> list[Record]:
    words = [text.split() for text in said.splitlines()]
    return [
        MAKERS[RecordKind(kind)](int(seq), incarnation=incarnation, seq=int(seq))
        for kind, seq, incarnation in words
    ]


@pytest.mark.parametrize("name", WORKS)
def test_f5_killed_in_any_call_that_touches_the_store_nothing_acknowledged_is_lost(
    place: Path, name: str
) -> None:
    work = WORKS[name]
    first = place / "looked at"
    work.prepare(first)
    seen = look(first, worker(name, first))
    assert seen.ending.code == 0, seen.ending.errors
    tried: Counter[str] = Counter()
    for kind, times in seen.calls.items():
        if BUDGET is not Budget.WHOLE and kind not in CHANGING:
            continue
        for number in range(1, times + 2, STEP):
            folder = place / f"{kind} {number}"
            work.prepare(folder)
            ending = disturbed(seen, folder, worker(name, folder), Injection(kind, number))
            assert ending.was_killed is (number <= times), (kind, number, ending.code, ending.errors)
            tried[kind] += ending.was_killed
            asyncio.run(check(work, folder, acknowledged(ending.said)))
            shutil.rmtree(folder)
    points = f"{tried.total()} points in {len(tried)} kinds of calls"
    print(f"\n{name}: killed at {points}, nothing lost")  # noqa: T201  # the evidence
    changing = sum(count for kind, count in tried.items() if kind in CHANGING)
    assert changing >= FLOORS[BUDGET].get(name, 1), "fewer crash points than there were"


async def check(work: Work, folder: Path, said: list[Record]) -> None:
    """All that was acknowledged is there once; it goes on; a second crash and a recovery change nothing."""
    sure = [*work.must_stay, *said]
    await look_for(work, folder, sure)
    kept = b"".join(path.read_bytes() for path in folder.rglob("*.ndjson"))
    for quarantine in folder.glob("*.quarantine"):
        kept += b"".join(entry["content"] for entry in entries_of(quarantine))
    assert [damage for damage in work.damage if damage not in kept] == []
    store = work.open(folder)
    await store.append([AFTER])
    await store.aclose()
    sure.append(AFTER)
    await look_for(work, folder, sure)
    sure += await crash_again(work, folder)
    await look_for(work, folder, sure)
    store = work.open(folder)
    await store.recover(REPAIR)
    assert (await store.scan()).anomalies == ()
    await store.aclose()
    await look_for(work, folder, sure)


async def crash_again(work: Work, folder: Path) -> list[Record]:
    """Append until the process dies in a call and the power goes with it; returns what was acknowledged."""
    fs = FaultyFs(folder)
    fs.crash_at(7)
    store = work.open(folder, fs=fs)
    done: list[Record] = []
    with suppress(Crash, PersistenceError):
        for record in LATER:
            await store.append([record])
            done.append(record)
    fs.cut_power(PowerLoss.ALL_GONE)
    with suppress(Crash, PersistenceError):
        await store.aclose()
    return done


async def look_for(work: Work, folder: Path, sure: list[Record]) -> None:
    store = work.open(folder)
    found = await everything(store)
    report = await store.scan()
    await store.aclose()
    if work.drops_oldest:
        newest = max((record.seq for record in sure if record in MANY), default=0)
        kept = [record.seq for record in found if record in MANY]
        assert kept == list(range(kept[0] if kept else 1, max([newest, *kept]) + 1)), "only the oldest may go"
        sure = [record for record in sure if record not in MANY]
    assert [record for record in sure if found.count(record) != 1] == []
    assert [record for record in found if record not in EVERY_ONE] == [], "read as it was never written"
    assert RUBBISH in work.damage or not report.has_damage
