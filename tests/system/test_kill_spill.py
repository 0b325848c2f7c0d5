"""A real process that spills is killed: what it acknowledged is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.files.spills import Target, drain, spill_in

ROOT = Path(__file__).resolve().parents[2]
SPILLING = """
import sys
from pathlib import Path
from papyra.persistence._files.fs import LOCAL_FS
from tests.unit.files.spills import entries, spill_in

spill = spill_in(Path(sys.argv[1]), fs=LOCAL_FS)
for number in range(1, 100_000):
    spill.append(entries([number]))
    print(number, flush=True)
"""


@pytest.mark.parametrize("acknowledged", [1, 7, 60])
def test_i1_killed_while_it_spills_everything_acknowledged_is_told(acknowledged: int, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SPILLING, str(tmp_path / "spill")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for number in range(1, acknowledged + 1):
        assert process.stdout.readline() == f"{number}\n"
    process.kill()
    told = process.communicate(timeout=30)[0].splitlines()
    last = int(told[-1]) if told else acknowledged
    spill, target = spill_in(tmp_path / "spill"), Target()
    drain(spill, target)
    spill.close()
    assert target.seqs()[:last] == list(range(1, last + 1))
    assert len(target.seqs()) <= last + 1
    assert target.notes() == []
