"""F7, F8 on real files: each call of a real process that touches the store fails once, with each error."""

from __future__ import annotations

import asyncio
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.budget import BUDGET, Budget, need_strace
from tests.faults_files.strace import CHANGING, Injection, disturbed, look, worker
from tests.faults_files.test_strace_crashes import acknowledged, check
from tests.faults_files.works import WORKS

if TYPE_CHECKING:
    from pathlib import Path

STEP = BUDGET.pick(quick=12, ci=8, whole=1)
ERRORS = BUDGET.pick(quick=["EIO"], ci=["EIO"], whole=["EIO", "ENOSPC"])
GOES_ON = re.compile("it is written anew|is written again, in a new segment")
"""What the log says of a failed sync that was answered with a new file."""

TRIED_AGAIN = ("write", "pwritev2", "fsync", "fdatasync", "openat", "pread64", "ftruncate", "flock")
NAMES = [name for name in WORKS if BUDGET is Budget.WHOLE or name in {"append after a tear", "repair"}]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("name", NAMES)
def test_f8_whichever_call_fails_the_caller_hears_of_it_and_nothing_acknowledged_is_lost(
    tmp_path: Path, name: str, error: str
) -> None:
    need_strace()
    work = WORKS[name]
    first = tmp_path / "looked at"
    work.prepare(first)
    seen = look(first, worker(name, first))
    tried = 0
    for kind, times in seen.calls.items():
        if BUDGET is not Budget.WHOLE and kind not in CHANGING:
            continue
        for number in range(1, times + 1, STEP):
            folder = tmp_path / f"{kind} {number}"
            work.prepare(folder)
            ending = disturbed(seen, folder, worker(name, folder), Injection(kind, number, error))
            assert ending.was_told, (kind, number)
            assert ending.code in {0, 3}, (kind, number, ending.errors)
            if kind in {"fsync", "fdatasync", "pwritev2"}:
                is_told = ending.code == 3 or GOES_ON.search(ending.errors)
                assert is_told, f"{kind} {number} failed, and nobody was told"
            tried += 1
            asyncio.run(check(work, folder, acknowledged(ending.said)))
            shutil.rmtree(folder)
    print(f"\n{name}: {tried} calls failed with {error}, nothing acknowledged was lost")  # noqa: T201  # the evidence
    assert tried > 0


@pytest.mark.parametrize("name", NAMES[: BUDGET.pick(quick=1, ci=2, whole=len(NAMES))])
def test_f8_a_call_that_is_interrupted_is_made_again(tmp_path: Path, name: str) -> None:
    need_strace()
    work = WORKS[name]
    first = tmp_path / "looked at"
    work.prepare(first)
    seen = look(first, worker(name, first))
    for kind in TRIED_AGAIN:
        if kind in seen.calls:
            folder = tmp_path / kind
            work.prepare(folder)
            ending = disturbed(seen, folder, worker(name, folder), Injection(kind, 1, "EINTR", times=2))
            assert ending.was_told, kind
            assert (ending.code, ending.said) == (0, seen.ending.said), (kind, ending.errors)
            asyncio.run(check(work, folder, acknowledged(ending.said)))
