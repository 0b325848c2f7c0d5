"""What `BasePersistence` does for every backend, seen through the smallest backend there is."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, ClassVar

import pytest

from papyra.exceptions import (
    AppendError,
    BackendClosedError,
    InvalidRecordError,
    RecordConflictError,
    StoreFailedError,
    StoreFullError,
)
from papyra.persistence.backend import Capabilities, PersistenceBackend
from papyra.persistence.base import BasePersistence, Refused
from papyra.persistence.entries import Entry, WriterIdentity
from papyra.persistence.models import (
    CompactionReport,
    PersistenceRecoveryConfig,
    PersistenceRecoveryReport,
    PersistenceScanReport,
    Record,
    RecordId,
    RecordKind,
    ScanDepth,
    StoreStats,
)
from papyra.persistence.query import Page, ProgressCallback, RecordQuery
from papyra.testing import ManualClock
from papyra.testing.records import INCARNATION, audit, event, letter, numbers

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.persistence.retention import RetentionPolicy


class Bare(BasePersistence):
    """Keeps entries in a list; refuses, raises and waits as a test says."""

    name: ClassVar[str] = "bare"
    capabilities: ClassVar[Capabilities] = Capabilities(
        is_durable=False, is_shared=False, can_tear=False, can_be_damaged=False
    )

    def __init__(self) -> None:
        super().__init__(clock=ManualClock())
        self.entries: list[Entry] = []
        self.fault: Exception | None = None
        self.refuse: Callable[[Entry], bool] = lambda _: False
        self.closings = 0

    async def _append(self, entries: list[Entry]) -> Refused:
        if self.fault is not None:
            raise self.fault
        self._writer_identity.encode(entries)
        refused: Refused = []
        for position, entry in enumerate(entries):
            if self.refuse(entry):
                refused.append((position, RecordConflictError("told to")))
            else:
                self.entries.append(entry)
        return refused

    async def _read(self, query: RecordQuery) -> Page[Record]:
        if self.fault is not None:
            raise self.fault
        found = [entry.record for entry in self.entries if query.matches(entry.record)]
        return Page(found[::-1] if query.newest_first else found, None)

    async def _scan(self, depth: ScanDepth, progress: ProgressCallback | None) -> PersistenceScanReport:
        del progress
        if self.fault is not None:
            raise self.fault
        return PersistenceScanReport(self.name, (), depth=depth)

    async def _recover(
        self, config: PersistenceRecoveryConfig, depth: ScanDepth, progress: ProgressCallback | None
    ) -> PersistenceRecoveryReport:
        del config
        return PersistenceRecoveryReport(self.name, await self._scan(depth, progress))

    async def _compact(
        self, policy: RetentionPolicy, *, dry_run: bool, progress: ProgressCallback | None
    ) -> CompactionReport:
        del policy, dry_run, progress
        if self.fault is not None:
            raise self.fault
        return CompactionReport(self.name, 0, 0)

    async def _stats(self) -> StoreStats:
        return StoreStats(backend=self.name, kinds={}, total_bytes=0)

    async def _close(self) -> None:
        self.closings += 1


def test_a_subclass_of_the_base_is_a_backend() -> None:
    assert isinstance(Bare(), PersistenceBackend)
    assert not isinstance(object(), PersistenceBackend)


async def test_refusals_keep_their_place_in_the_batch_that_was_handed_over() -> None:
    bare = Bare()
    bare.refuse = lambda entry: entry.record.timestamp == event(4).timestamp
    bad = event(0, timestamp=float("nan"))
    with pytest.raises(AppendError) as caught:
        await bare.append([bad, event(1), bad, event(4), letter(5)])
    assert [(position, type(reason)) for position, reason in caught.value.refused] == [
        (0, InvalidRecordError),
        (2, InvalidRecordError),
        (3, RecordConflictError),
    ]
    assert numbers(entry.record for entry in bare.entries) == [1, 5]


async def test_a_batch_in_which_nothing_can_be_stored_does_not_reach_the_medium() -> None:
    bare = Bare()
    bare.fault = AssertionError("was asked")
    with pytest.raises(AppendError):
        await bare.append([event(0, timestamp=float("nan"))])
    await bare.append([])


async def test_a_list_that_changes_while_it_is_stored_is_stored_as_it_was_handed_over() -> None:
    bare = Bare()
    batch: list[Record] = [event(number) for number in range(500)]
    task = asyncio.create_task(bare.append(batch))
    await asyncio.sleep(0)
    batch.clear()
    await task
    assert len(bare.entries) == 500
    assert bare.metrics.snapshot()["records_written"] == 500


async def test_i8_encoding_a_large_batch_lets_the_loop_turn() -> None:
    bare, turns = Bare(), 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(count())
    await bare.append([event(number) for number in range(1_000)])
    assert turns >= 9
    turns = 0
    await bare.append([letter(number, error="x" * 200_000) for number in range(10)])
    assert turns >= 4
    counter.cancel()


async def test_errors_are_counted_and_reach_the_caller() -> None:
    bare = Bare()
    bare.fault = StoreFullError("no room")
    for use in (bare.append([event(1)]), bare.scan(), bare.recover(), bare.compact()):
        with pytest.raises(StoreFullError):
            await use
    counted = bare.metrics.snapshot()
    assert {name: count for name, count in counted.items() if count} == {
        "write_errors": 1,
        "scans": 1,
        "scan_errors": 1,
        "recoveries": 1,
        "recovery_errors": 1,
        "compactions": 1,
        "compaction_errors": 1,
    }


async def test_a_published_method_does_not_hide_an_error_of_the_store() -> None:
    bare = Bare()
    bare.fault = StoreFailedError("gone")
    with pytest.raises(StoreFailedError):
        await bare.record_event(event(1))
    with pytest.raises(StoreFailedError):
        await bare.record_audit(audit(1))


async def test_closing_twice_frees_once_and_then_nothing_is_done() -> None:
    bare = Bare()
    async with bare:
        await bare.append([event(1)])
        assert not bare.closed
    await bare.aclose()
    assert (bare.closed, bare.closings) == (True, 1)
    with pytest.raises(BackendClosedError, match="bare"):
        await bare.append([event(2)])


async def test_kinds_that_a_store_has_not_seen_count_zero() -> None:
    assert await Bare().counts() == dict.fromkeys(RecordKind, 0)


class TestEntry:
    def test_its_content_is_fixed_when_it_is_made(self) -> None:
        payload = {"n": 1}
        entry = Entry.of(event(1, payload=payload))
        payload["n"] = 2
        assert entry.line == b""
        entry.encode(RecordId(INCARNATION, "event", 5))
        assert b'"payload":{"n":1}' in entry.line
        assert entry.id == RecordId(INCARNATION, "event", 5)

    def test_a_record_with_an_identity_has_its_line_at_once(self) -> None:
        entry = Entry.of(event(1, incarnation=INCARNATION, seq=3))
        assert entry.line.startswith(b'{"seq":3,')
        assert entry.size == len(entry.line)

    def test_its_size_is_never_less_than_that_of_its_line(self) -> None:
        entry = Entry.of(letter(1, error="x" * 500))
        before = entry.size
        entry.encode(RecordId("x" * 64, "dead_letter", 2**63 - 1))
        assert before >= entry.size > 500


class TestWriterIdentity:
    def entries(self, *records: Record) -> list[Entry]:
        return [Entry.of(record) for record in records]

    def ids(self, entries: list[Entry]) -> list[tuple[str, int]]:
        return [(entry.id.kind, entry.id.seq) for entry in entries if entry.id is not None]

    def test_numbers_are_given_per_kind_from_one(self) -> None:
        identity = WriterIdentity(ManualClock())
        batch = self.entries(event(1), letter(1), event(2))
        identity.encode(batch)
        assert self.ids(batch) == [("event", 1), ("dead_letter", 1), ("event", 2)]
        assert len({entry.id.incarnation for entry in batch if entry.id}) == 1

    def test_numbers_of_a_batch_that_failed_are_given_again(self) -> None:
        identity = WriterIdentity(ManualClock())
        identity.encode(self.entries(event(1)))
        mark = identity.mark()
        identity.encode(self.entries(event(2), audit(1)))
        identity.rewind(mark)
        batch = self.entries(event(3), audit(2))
        identity.encode(batch)
        assert self.ids(batch) == [("event", 2), ("audit", 1)]

    def test_identities_of_others_are_left_alone_and_use_no_number(self) -> None:
        identity = WriterIdentity(ManualClock())
        batch = self.entries(event(1), event(2, incarnation=INCARNATION, seq=77), event(3))
        identity.encode(batch)
        assert self.ids(batch) == [("event", 1), ("event", 77), ("event", 2)]

    def test_one_of_its_own_that_came_back_is_not_given_again(self) -> None:
        identity = WriterIdentity(ManualClock())
        incarnation = identity.next("event").incarnation
        batch = self.entries(event(1), event(2, incarnation=incarnation, seq=2), event(3))
        identity.encode(batch)
        assert self.ids(batch) == [("event", 1), ("event", 2), ("event", 3)]

    @pytest.mark.parametrize("is_forked", [False, True])
    def test_a_forked_process_is_an_incarnation_of_its_own(
        self, monkeypatch: pytest.MonkeyPatch, *, is_forked: bool
    ) -> None:
        identity = WriterIdentity(ManualClock())
        identity.encode(self.entries(event(1)))
        before = identity.next("event")
        if is_forked:
            monkeypatch.setattr("os.getpid", lambda: 1)
        after = identity.next("event")
        assert (before == after) is not is_forked
        assert after.seq == (1 if is_forked else 2)


def test_metrics_are_thread_safe_and_refuse_unknown_names() -> None:
    metrics = Bare().metrics

    def count() -> None:
        for _ in range(2_000):
            metrics.add("scans")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.scans == metrics.snapshot()["scans"] == 8_000
    with pytest.raises(KeyError):
        metrics.add("weather")
    with pytest.raises(AttributeError):
        _ = metrics.weather  # type: ignore[attr-defined]
    metrics.reset()
    assert metrics.scans == 0
