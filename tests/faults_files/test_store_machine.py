from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import RecordKind
from tests.budget import BUDGET, Budget
from tests.faults_files.machine import SIZES, Id, StoreMachine, identity
from tests.faults_files.works import NAME, open_segments

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.persistence.base import BasePersistence
    from papyra.persistence.models import Record
    from papyra.persistence.retention import RetentionPolicy
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
    def open(self, folder: Path, fs: FaultyFs, policy: RetentionPolicy | None = None) -> BasePersistence:
        return JsonFilePersistence(folder / NAME, policy, fs=fs)

    def newest_file(self, folder: Path) -> Path | None:
        path = folder / NAME
        return path if path.exists() else None


class SegmentsMachine(StoreMachine):
    def open(self, folder: Path, fs: FaultyFs, policy: RetentionPolicy | None = None) -> BasePersistence:
        # only what it is told may go
        return open_segments(folder, retention_policy=policy, fs=fs, max_files=10_000)

    def newest_file(self, folder: Path) -> Path | None:
        found = sorted(folder.glob("segments/*.ndjson"), key=lambda path: path.stat().st_mtime_ns)
        return found[-1] if found else None


class SharedMachine(SegmentsMachine):
    """``beside``: what another one wrote since ours was opened, which ours need not know of."""

    def start(self) -> None:
        self.beside: set[Id] = set()
        super().start()

    def known_to_the_writer(self) -> list[Record]:
        return [one for one in self.sure.values() if identity(one) not in self.beside]

    def open(self, folder: Path, fs: FaultyFs, policy: RetentionPolicy | None = None) -> BasePersistence:
        return open_segments(folder, retention_policy=policy, fs=fs, max_files=10_000, shared=True)

    def see_what_stays(self, old: list[Record], new: list[Record], kept: list[Record]) -> None:
        """See that what goes may go; file by file, it is not always the very oldest that went."""
        assert [one for one in new if one not in old] == []
        assert [one for one in kept if one not in new] == []

    @rule(kinds=st.lists(st.sampled_from(RecordKind), min_size=1, max_size=4), size=SIZES)
    def another_writes(self, kinds: list[RecordKind], size: int) -> None:
        """Let a second writer come, append beside the first one, and go."""
        mine = self.store, self.life, self.last
        self.store = self.open(self.folder, self.fs)
        self.begin_a_life()
        batch = self.fresh(kinds, size)
        self.append(batch)
        self.beside |= {*map(identity, batch)}
        self.run(self.store.aclose())
        self.store, self.life, self.last = mine


TestJsonMachine = JsonMachine.TestCase
TestJsonMachine.settings = TRIED

TestSegmentsMachine = SegmentsMachine.TestCase
TestSegmentsMachine.settings = TRIED

TestSharedMachine = SharedMachine.TestCase
TestSharedMachine.settings = TRIED
