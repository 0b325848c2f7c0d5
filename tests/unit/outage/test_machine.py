"""I1, I2, I5 over any course of outages, lost replies, full disks and deaths of the process."""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from papyra.clock import mint_incarnation
from papyra.exceptions import PersistenceError
from papyra.persistence.models import RecordId, RecordKind
from papyra.persistence.state import StoreCondition
from papyra.testing.clock import ManualClock
from papyra.testing.faults import Crash, FaultyFs, PowerLoss
from papyra.testing.records import EPOCH
from tests.budget import BUDGET, Budget
from tests.unit.outage.servers import Process, Server, numbered

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.persistence.entries import Entry

KINDS = st.sampled_from(RecordKind)


class OutageMachine(RuleBasedStateMachine):
    """One process after another writes as a recorder does: what was not acknowledged is tried again first.

    Beside it, others append records without numbers, and forget those that fail.
    """

    def __init__(self) -> None:
        super().__init__()
        logging.disable(logging.CRITICAL)
        self.scratch = tempfile.TemporaryDirectory()
        self.root = Path(self.scratch.name)
        self.server = Server()
        self.clock = ManualClock(EPOCH)
        self.acknowledged: set[RecordId] = set()
        self.acknowledged_payloads: list[int] = []
        self.payloads = 0
        self.lives = 0

    @initialize(when_full=st.sampled_from(["refuse", "drop_oldest"]), size=st.sampled_from([4096, 65_536]))
    def begin(self, when_full: str, size: int) -> None:
        self.options: dict[str, Any] = {"spill_when_full": when_full, "spill_max_bytes": size}
        self.start()

    def start(self) -> None:
        self.fs = FaultyFs(self.root)
        self.process = Process(
            self.server, self.root / "spill", clock=self.clock, fs=self.fs, seed=self.lives, **self.options
        )
        self.lives += 1
        self.incarnation = mint_incarnation(self.clock.now())
        self.last: Counter[RecordKind] = Counter()
        self.pending: list[tuple[RecordKind, range]] = []

    def die(self, loss: PowerLoss | None) -> None:
        self.fs.abandon() if loss is None else self.fs.cut_power(loss)
        self.start()

    def alive(self, work: Callable[[], None]) -> bool:
        """Do ``work``; whether it was done, and not refused nor cut short by a death."""
        try:
            work()
        except PersistenceError:
            return False
        except Crash:
            self.die(None)
            return False
        return True

    @rule(kind=KINDS, count=st.integers(1, 12))
    def emit(self, kind: RecordKind, count: int) -> None:
        first = self.last[kind] + 1
        self.last[kind] += count
        self.pending.append((kind, range(first, first + count)))
        self.write()

    @rule()
    def write(self) -> None:
        while self.pending:
            incarnation = self.incarnation
            kind, seqs = self.pending[0]
            entries = numbered(seqs, incarnation, kind)
            refused: list[int] = []

            def store(entries: list[Entry] = entries, refused: list[int] = refused) -> None:
                refused += self.process.outage.store(entries)

            if not self.alive(store):
                return
            ids = [RecordId(incarnation, kind.value, seq) for seq in seqs]
            self.acknowledged |= {one for at, one in enumerate(ids) if at not in refused}
            del self.pending[0]

    @rule(count=st.integers(1, 5))
    def append_without_numbers(self, count: int) -> None:
        numbers = range(self.payloads, self.payloads + count)
        self.payloads += count
        if self.alive(lambda: self.process.append_unnumbered(*numbers)):
            self.acknowledged_payloads += numbers

    @rule()
    def go_away(self) -> None:
        self.server.is_away = True

    @rule()
    def come_back(self) -> None:
        self.server.is_away = False

    @rule(fault=st.sampled_from(["lost_replies", "torn_batches"]))
    def be_flaky(self, fault: str) -> None:
        setattr(self.server, fault, 1)

    @rule(ahead=st.integers(1, 3), kind=KINDS)
    def refuse_one(self, ahead: int, kind: RecordKind) -> None:
        self.server.refused.add(RecordId(self.incarnation, kind.value, self.last[kind] + ahead))

    @rule(seconds=st.sampled_from([0.05, 1.0, 5.0, 60.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.alive(self.process.tick)

    @rule()
    def take_one_turn(self) -> None:
        if self.process.outage.due <= self.clock.monotonic():
            self.alive(self.process.outage.run)

    @rule()
    def close_well(self) -> None:
        if self.alive(self.process.outage.close):
            self.start()

    @rule(loss=st.sampled_from([None, *PowerLoss]))
    def die_between_two_calls(self, loss: PowerLoss | None) -> None:
        self.die(loss)

    @rule(calls=st.integers(0, 12))
    def die_soon(self, calls: int) -> None:
        self.fs.crash_at(len(self.fs.calls) + calls)

    @rule(room=st.integers(0, 4_000))
    def fill_the_disk(self, room: int) -> None:
        self.fs.fill(room)

    @precondition(lambda self: self.fs.calls)
    @rule()
    def make_room(self) -> None:
        self.fs.heal()

    def teardown(self) -> None:
        try:
            if self.lives:
                self.check()
        finally:
            logging.disable(logging.NOTSET)
            self.scratch.cleanup()

    def check(self) -> None:
        server = self.server
        server.is_away = False
        server.lost_replies = server.torn_batches = 0
        self.fs.heal()
        if self.fs.is_dead:
            self.die(None)
        for _ in range(20):  # a full spill takes the rest once there is room
            self.process.come_to_rest()
            self.write()
        assert not self.pending
        self.process.append_unnumbered("the last")
        self.process.come_to_rest()
        assert self.process.state.condition is StoreCondition.OK
        assert list(self.root.rglob("spill-*")) == []
        self.check_streams()

    def check_streams(self) -> None:
        noted = {
            RecordId(note.incarnation, note.kind, seq)
            for note in self.server.notes()
            for seq in range(note.first, note.last + 1)
        }
        refused = self.server.refused
        assert self.acknowledged <= self.server.lines.keys() | noted
        if self.options["spill_when_full"] == "refuse":
            assert noted <= refused
        streams: dict[tuple[str, str], list[int]] = {}
        for one in self.server.lines:
            streams.setdefault((one.incarnation, one.kind), []).append(one.seq)
        for (incarnation, kind), seqs in streams.items():
            # Whoever was to be told of a refusal, and to note it, may have died before.
            assert seqs == sorted(seqs)
            here = {one.seq for one in noted | refused if (one.incarnation, one.kind) == (incarnation, kind)}
            assert set(range(1, seqs[-1] + 1)) <= {*seqs, *here}
        said = Counter(payload for payload in self.server.payloads() if isinstance(payload, int))
        if self.options["spill_when_full"] == "refuse":
            assert set(self.acknowledged_payloads) <= said.keys()
        assert not said or max(said.values()) == 1


TestOutage = OutageMachine.TestCase
TestOutage.settings = settings(
    derandomize=BUDGET is not Budget.WHOLE,
    max_examples=BUDGET.pick(quick=60, ci=150, whole=2_000),
    stateful_step_count=BUDGET.pick(quick=30, ci=30, whole=60),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
