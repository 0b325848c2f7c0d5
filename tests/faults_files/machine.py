"""A store and a dict side by side, for Hypothesis to find the steps after which they differ (F18)."""

from __future__ import annotations

import asyncio
import errno
import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from papyra.exceptions import AppendError, PersistenceError, RecordConflictError
from papyra.persistence.models import (
    PersistenceAnomalyType,
    PersistenceRecoveryConfig,
    PersistenceRecoveryMode,
    Record,
    RecordKind,
    ScanDepth,
    Severity,
)
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.faults import Crash, FaultyFs, PowerLoss
from papyra.testing.records import MAKERS
from tests.faults_files.works import everything

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from papyra.persistence.base import BasePersistence
    from papyra.persistence.models import CompactionReport

Id = tuple[str, str, int]
LIFE = "01JDGH5Q7W0000000000000LF"
ENDS = st.sampled_from([None, *PowerLoss])
"""``None`` is a killed process."""
MODES = st.sampled_from([PersistenceRecoveryMode.REPAIR, PersistenceRecoveryMode.QUARANTINE])
ERRORS = st.sampled_from([errno.EIO, errno.ENOSPC, errno.EACCES])
SIZES = st.sampled_from([0, 10, 10, 100, 1_000])


HARMLESS = {type_ for type_ in PersistenceAnomalyType if type_.severity is Severity.CRASH_TRACE} | {
    PersistenceAnomalyType.MISSING_RECORDS,
    PersistenceAnomalyType.OUT_OF_ORDER,
}


def identity(record: Record) -> Id:
    return record.incarnation, record.kind.value, record.seq


class StoreMachine(RuleBasedStateMachine):
    """``sure`` was acknowledged; ``maybe`` was tried without an answer, or lost to a flipped bit."""

    loses_on_power_loss: ClassVar[bool] = False

    def open(self, folder: Path, fs: FaultyFs) -> BasePersistence:
        raise NotImplementedError

    def newest_file(self, folder: Path) -> Path | None:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="papyra-machine-"))
        self.folder = self.root / "store"
        self.folder.mkdir()
        self.runner = asyncio.Runner()
        self.sure: dict[Id, Record] = {}
        self.maybe: dict[Id, Record] = {}
        self.gone: set[Id] = set()
        self.life = 0
        self.last: dict[RecordKind, int] = {}
        self.was_flipped = False
        self.is_out_of_order = False
        self.start()

    def start(self) -> None:
        """Begin a new process, whose recorder begins a new life."""
        self.fs = FaultyFs(self.folder)
        self.store = self.open(self.folder, self.fs)
        self.life += 1
        self.last = dict.fromkeys(RecordKind, 0)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def end(self, loss: PowerLoss | None) -> None:
        self.fs.abandon() if loss is None else self.fs.cut_power(loss)
        with suppress(PersistenceError, Crash):
            self.run(self.store.aclose())
        self.start()

    def teardown(self) -> None:
        with suppress(PersistenceError, Crash):
            self.run(self.store.aclose())
        self.runner.close()
        shutil.rmtree(self.root)

    def fresh(self, kinds: list[RecordKind], size: int) -> list[Record]:
        made = []
        for kind in kinds:
            self.last[kind] += 1
            seq = self.last[kind]
            changes = {"actor_path": "x" * size} if kind is RecordKind.EVENT else {}
            made.append(MAKERS[kind](seq, incarnation=f"{LIFE}{self.life:02}", seq=seq, **changes))
        return made

    def tried(self, batch: list[Record]) -> None:
        self.maybe |= {identity(one): one for one in batch if identity(one) not in self.sure}

    def acknowledged(self, batch: list[Record]) -> None:
        for one in batch:
            self.maybe.pop(identity(one), None)
            self.sure[identity(one)] = one

    def append(self, batch: list[Record]) -> None:
        """Append under whatever fault is set; what is not acknowledged may be there or not."""
        self.tried(batch)
        self.run(self.store.append(batch))
        self.acknowledged(batch)

    @rule(kinds=st.lists(st.sampled_from(RecordKind), min_size=1, max_size=4), size=SIZES)
    def append_some(self, kinds: list[RecordKind], size: int) -> None:
        self.append(self.fresh(kinds, size))

    @precondition(lambda self: self.sure or self.maybe)
    @rule(places=st.lists(st.integers(0, 1000), min_size=1, max_size=3))
    def append_again(self, places: list[int]) -> None:
        known = [*self.sure.values(), *self.maybe.values()]
        batch = [known[place % len(known)] for place in places]
        unsure = {one.incarnation for one in batch if identity(one) in self.maybe}
        self.is_out_of_order |= bool(unsure)
        # whoever sends what was not acknowledged sends all of it, in order
        again = [one for one in self.maybe.values() if one.incarnation in unsure]
        self.append([*(one for one in batch if identity(one) in self.sure), *again])

    @precondition(lambda self: self.sure)
    @rule(place=st.integers(0, 1000))
    def append_other_content(self, place: int) -> None:
        one = list(self.sure.values())[place % len(self.sure)]
        try:
            self.run(self.store.append([replace(one, timestamp=one.timestamp + 1)]))
        except AppendError as error:
            refused = error.refused
        else:
            raise AssertionError("other content under a stored identity was taken")
        assert [type(reason) for _, reason in refused] == [RecordConflictError]

    @rule(
        number=st.integers(0, 25),
        loss=ENDS,
        kinds=st.lists(st.sampled_from(RecordKind), min_size=1, max_size=3),
    )
    def crash_in_an_append(self, number: int, loss: PowerLoss | None, kinds: list[RecordKind]) -> None:
        self.fs.crash_at(len(self.fs.calls) + number)
        with suppress(PersistenceError, Crash):
            for _ in range(3):
                self.append(self.fresh(kinds, 0))
        self.end(loss)

    @rule(number=st.integers(0, 25), loss=ENDS, mode=MODES)
    def crash_in_a_recovery(self, number: int, loss: PowerLoss | None, mode: PersistenceRecoveryMode) -> None:
        self.fs.crash_at(len(self.fs.calls) + number)
        with suppress(PersistenceError, Crash):
            self.run(self.store.recover(PersistenceRecoveryConfig(mode)))
        self.end(loss)

    @rule(number=st.integers(0, 25), loss=ENDS, keep=st.integers(1, 6))
    def crash_in_a_compaction(self, number: int, loss: PowerLoss | None, keep: int) -> None:
        before = self.run(everything(self.store))
        self.fs.crash_at(len(self.fs.calls) + number)
        with suppress(PersistenceError, Crash):
            self.run(self.store.compact(RetentionPolicy(max_records=keep)))
        self.end(loss)
        self.forget_removed(before)

    @rule(loss=ENDS)
    def lose_power(self, loss: PowerLoss | None) -> None:
        self.end(loss)

    @rule()
    def open_again(self) -> None:
        self.run(self.store.aclose())
        self.start()

    @rule(error=ERRORS, after=st.integers(0, 12), kinds=st.lists(st.sampled_from(RecordKind), min_size=1))
    def fail_in_an_append(self, error: int, after: int, kinds: list[RecordKind]) -> None:
        self.fs.fail(None, error, after=after, times=1)
        with suppress(PersistenceError):
            self.append(self.fresh(kinds, 0))
            self.append(self.fresh(kinds, 0))
        self.reopen_healed()

    @rule(error=ERRORS, after=st.integers(0, 25), mode=MODES)
    def fail_in_a_recovery(self, error: int, after: int, mode: PersistenceRecoveryMode) -> None:
        self.fs.fail(None, error, after=after, times=1)
        with suppress(PersistenceError):
            self.run(self.store.recover(PersistenceRecoveryConfig(mode)))
        self.reopen_healed()

    @rule(room=st.integers(0, 900), kinds=st.lists(st.sampled_from(RecordKind), min_size=1))
    def fill_the_disk(self, room: int, kinds: list[RecordKind]) -> None:
        self.fs.fill(room)
        for _ in range(3):
            with suppress(PersistenceError):
                self.append(self.fresh(kinds, 100))
        self.fs.heal()
        self.append(self.fresh(kinds, 0))

    def reopen_healed(self) -> None:
        self.fs.heal()
        with suppress(PersistenceError):
            self.run(self.store.aclose())
        self.start()

    @precondition(lambda self: not self.was_flipped or len(self.sure) > 3)
    @rule(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def flip_a_bit(self, place: float, bit: int) -> None:
        self.run(self.store.aclose())
        path = self.newest_file(self.folder)
        if path is None or not path.stat().st_size:
            self.start()
            return
        self.start()
        before = self.run(everything(self.store))
        self.run(self.store.aclose())
        content = bytearray(path.read_bytes())
        content[int(place * len(content))] ^= 1 << bit
        path.write_bytes(content)
        was_flipped, self.was_flipped = self.was_flipped, True
        self.start()
        after = self.run(everything(self.store))
        lost = [one for one in before if one not in after]
        assert len(lost) <= 1
        for one in lost:
            self.maybe[identity(one)] = self.sure.pop(identity(one), one)
        # the same bit again would be as it was before
        assert was_flipped or self.run(self.store.scan()).has_anomalies

    @rule(mode=MODES)
    def recover(self, mode: PersistenceRecoveryMode) -> None:
        before = self.run(everything(self.store))
        self.run(self.store.recover(PersistenceRecoveryConfig(mode)))
        report = self.run(self.store.scan())
        assert report.anomalies == ()
        assert sorted(map(repr, self.run(everything(self.store)))) == sorted(map(repr, before))

    @rule(keep=st.integers(0, 6))
    def compact(self, keep: int) -> None:
        before = self.run(everything(self.store))
        policy = RetentionPolicy(max_records=keep)
        rehearsed = self.run(self.store.compact(policy, dry_run=True))
        report: CompactionReport = self.run(self.store.compact(policy))
        assert report.removed == rehearsed.removed
        assert sum(self.run(self.store.counts()).values()) == report.after_records
        self.forget_removed(before)

    def forget_removed(self, before: list[Record]) -> None:
        """Retention takes the oldest of a kind and nothing else (I7)."""
        after = self.run(everything(self.store))
        for kind in RecordKind:
            old = [one for one in before if one.kind is kind]
            new = [one for one in after if one.kind is kind]
            assert new == old[len(old) - len(new) :]
            for one in old[: len(old) - len(new)]:
                self.sure.pop(identity(one), None)
                self.maybe.pop(identity(one), None)
                self.gone.add(identity(one))

    @rule(depth=st.sampled_from(ScanDepth))
    def scan(self, depth: ScanDepth) -> None:
        files = {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}
        report = self.run(self.store.scan(depth))
        assert {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()} == files
        if not self.was_flipped:  # what a full disk refused is missing, and nobody made a note of it here
            assert {anomaly.type for anomaly in report.anomalies} <= HARMLESS, report.anomalies

    @invariant()
    def what_was_acknowledged_is_there_and_nothing_else(self) -> None:
        found = self.run(everything(self.store))
        ids = [identity(one) for one in found]
        assert len(set(ids)) == len(ids), "read twice"
        by_id = dict(zip(ids, found, strict=True))
        assert {name: one for name, one in self.sure.items() if by_id.get(name) != one} == {}
        assert {name for name in ids if name in self.gone} == set(), "came back from the dead"
        known = self.sure | self.maybe
        assert {name: one for name, one in by_id.items() if known.get(name) != one} == {}
        if not self.is_out_of_order:
            ordered = sorted(found, key=lambda one: (one.kind, one.incarnation, one.seq))
            assert sorted(found, key=lambda one: (one.kind, one.incarnation)) == ordered
