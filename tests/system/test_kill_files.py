from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from papyra.clock import mint_incarnation
from papyra.persistence import codec
from papyra.persistence.json import FsyncPolicy
from papyra.persistence.models import (
    EventType,
    PersistedEvent,
    PersistenceRecoveryConfig,
    PersistenceRecoveryMode,
    Record,
    RecordKind,
)
from papyra.persistence.query import RecordQuery
from tests.budget import BUDGET
from tests.system.appender import Form, record

if TYPE_CHECKING:
    from papyra.persistence.base import BasePersistence

ROOT = Path(__file__).resolve().parents[2]
REPAIR = PersistenceRecoveryConfig(PersistenceRecoveryMode.REPAIR)
WRITTEN_BY_A_REPAIR = {EventType.RECOVERY_RUN, EventType.RECORDS_LOST}
ROUNDS = BUDGET.pick(quick=2, ci=2, whole=60)
SECONDS = BUDGET.pick(quick=2.0, ci=2.0, whole=40.0)
LONGEST_LIFE_SECONDS = 0.25


def live_and_die(form: Form, path: Path, ack_log: Path, fsync: FsyncPolicy) -> None:
    """Let processes append until a random moment after the first acknowledgement, and kill them."""
    before = ack_log.stat().st_size if ack_log.exists() else 0
    with ExitStack() as stack:
        processes = []
        for _ in range(2 if form is Form.SHARED else 1):
            incarnation = mint_incarnation(time.time())  # noqa: TID251  # a name, and no more
            words = ["-m", "tests.system.appender", form, str(path), str(ack_log), incarnation, fsync]
            process = subprocess.Popen([sys.executable, *words], cwd=ROOT, stderr=subprocess.PIPE, text=True)
            processes.append(stack.enter_context(process))
        deadline = time.monotonic() + 20
        while not (ack_log.exists() and ack_log.stat().st_size > before):
            assert all(each.poll() is None for each in processes), [each.stderr for each in processes]
            assert time.monotonic() < deadline, "nothing was acknowledged"
            time.sleep(0.005)
        time.sleep(random.uniform(0, LONGEST_LIFE_SECONDS))  # noqa: S311  # any moment will do
        for process in processes:
            process.kill()


def acknowledged(ack_log: Path) -> list[Record]:
    lines = [line.split() for line in ack_log.read_text(encoding="ascii").splitlines()]
    return [record(incarnation, RecordKind(kind), int(seq)) for incarnation, kind, seq in lines]


async def everything(store: BasePersistence) -> list[Record]:
    queries = [RecordQuery(kind=kind, newest_first=False) for kind in RecordKind]
    return [one for query in queries async for one in store.iterate(query)]


async def check(form: Form, path: Path, acks: list[Record]) -> None:
    """Every acknowledged record that compaction was not told to remove is there, once and to the byte."""
    async with form.open(path) as store:
        found = await everything(store)
        assert not (await store.scan()).has_damage
    by_identity = {(one.incarnation, one.kind, one.seq): one for one in found}
    assert len(by_identity) == len(found), "nothing is read twice"
    expected = [one for one in acks if one.kind is not RecordKind.AUDIT]
    assert [one for one in expected if by_identity.get((one.incarnation, one.kind, one.seq)) != one] == []
    lines = Counter(form.content(path).splitlines(keepends=True))
    for one in expected:
        assert lines[codec.encode_record(one, incarnation=one.incarnation, seq=one.seq)] == 1
    for one in found:
        if not (isinstance(one, PersistedEvent) and one.event_type in WRITTEN_BY_A_REPAIR):
            assert one == record(one.incarnation, one.kind, one.seq), "not acknowledged: whole or absent"


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("fsync", FsyncPolicy)
@pytest.mark.parametrize("is_repaired", [False, True])
def test_i1_i5_i6_killed_at_any_moment_an_acknowledged_record_is_there(
    tmp_path: Path, *, form: Form, is_repaired: bool, fsync: FsyncPolicy
) -> None:
    path, ack_log = tmp_path / "log", tmp_path / "acknowledged"
    deadline = time.monotonic() + SECONDS
    lives = 0
    while lives < ROUNDS and time.monotonic() < deadline:
        lives += 1
        live_and_die(form, path, ack_log, fsync)
        if is_repaired:
            asyncio.run(repair(form, path))
    acks = acknowledged(ack_log)
    print(f"\n{form}, {fsync}: killed {lives} times, {len(acks)} records acknowledged")  # noqa: T201  # the evidence
    assert len(acks) > 20
    asyncio.run(check(form, path, acks))
    asyncio.run(repair(form, path))
    asyncio.run(check(form, path, acks))
    asyncio.run(go_on(form, path))
    asyncio.run(check(form, path, acks))


async def repair(form: Form, path: Path) -> None:
    async with form.open(path) as store:
        await store.recover(REPAIR)
        assert (await store.scan()).anomalies == ()


async def go_on(form: Form, path: Path) -> None:
    one = record(mint_incarnation(1.0), RecordKind.EVENT, 1)
    async with form.open(path) as store:
        await store.append([one])
    async with form.open(path) as store:
        assert one in await everything(store)
        assert (await store.scan()).anomalies == ()
