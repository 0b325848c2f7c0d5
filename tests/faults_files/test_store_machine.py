from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from papyra.persistence.json import JsonFilePersistence
from tests.budget import BUDGET, Budget
from tests.faults_files.machine import StoreMachine
from tests.faults_files.works import NAME, WORKS, open_segments

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.persistence.base import BasePersistence
    from papyra.testing.faults import FaultyFs

TRIED = settings(
    derandomize=BUDGET is not Budget.WHOLE,
    max_examples=BUDGET.pick(quick=12, ci=30, whole=400),
    stateful_step_count=BUDGET.pick(quick=25, ci=30, whole=60),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


class JsonMachine(StoreMachine):
    def open(self, folder: Path, fs: FaultyFs) -> BasePersistence:
        return JsonFilePersistence(folder / NAME, fs=fs)

    def newest_file(self, folder: Path) -> Path | None:
        path = folder / NAME
        return path if path.exists() else None


class SegmentsMachine(StoreMachine):
    def open(self, folder: Path, fs: FaultyFs) -> BasePersistence:
        return open_segments(folder, fs=fs, max_files=10_000)  # only what it is told may go

    def newest_file(self, folder: Path) -> Path | None:
        found = sorted(folder.glob("segments/*.ndjson"), key=lambda path: path.stat().st_mtime_ns)
        return found[-1] if found else None


TestJsonMachine = JsonMachine.TestCase
TestJsonMachine.settings = TRIED

TestSegmentsMachine = pytest.mark.skipif(
    not WORKS["rotate, seal and drop"].is_there, reason="this store is not part of this version"
)(SegmentsMachine.TestCase)
TestSegmentsMachine.settings = TRIED
