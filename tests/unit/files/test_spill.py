"""What was spilled is kept, told in order, and leaves only once somebody else has it."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import (
    BackendClosedError,
    InvalidRecordError,
    RecordConflictError,
    StoreFailedError,
    StoreFullError,
    StoreLockedError,
)
from papyra.persistence._files.spilled import Dropped, SpillLimits, WhenFull
from papyra.persistence._files.writer import FsyncPolicy
from papyra.persistence.models import LossNote, RecordId, RecordKind
from papyra.testing.clock import ManualClock
from papyra.testing.faults import FaultyFs, PowerLoss
from papyra.testing.records import EPOCH, INCARNATION, OTHER_INCARNATION
from tests.unit.files.spills import Target, drain, entries, spill_in
from tests.unit.files.stores import entries_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spill"


SMALL = SpillLimits(max_bytes=16_000, max_records=1_000)
"""A line of these tests has about 210 bytes, so that a segment holds nine."""


def test_what_was_spilled_is_told_in_order_and_then_gone(folder: Path) -> None:
    spill, target = spill_in(folder), Target()
    for first in range(1, 100, 10):
        spill.append(entries(range(first, first + 10)))
    spill.append(entries(range(1, 4), incarnation=OTHER_INCARNATION, kind=RecordKind.DEAD_LETTER))
    assert spill.stats().records == 103
    drain(spill, target)
    assert target.seqs() == list(range(1, 101))
    assert target.seqs(OTHER_INCARNATION, "dead_letter") == [1, 2, 3]
    assert (spill.stats().records, spill.stats().bytes, spill.stats().segments) == (0, 0, 0)
    spill.close()
    assert [entry.name for entry in folder.iterdir()] == ["spill.lock"]


def test_opening_and_looking_touch_nothing(folder: Path) -> None:
    spill = spill_in(folder)
    assert spill.stats().records == 0
    assert not spill.replay(Target())
    spill.close()
    assert not folder.exists()


def test_lines_keep_the_bytes_they_had(folder: Path) -> None:
    spill, target = spill_in(folder), Target()
    sent = entries(range(1, 50))
    spill.append(sent)
    drain(spill, target)
    assert list(target.entries.values()) == [entry.line for entry in sent]
    spill.close()


def test_a_server_that_goes_away_again_gets_the_rest_later_and_nothing_twice(folder: Path) -> None:
    spill, target = spill_in(folder, limits=SpillLimits(max_records=100_000)), Target()
    spill.append(entries(range(1, 2001)))
    target.room = 2
    with pytest.raises(ConnectionError):
        drain(spill, target)
    assert spill.stats().records == 1000
    target.room = None
    spill.append(entries(range(2001, 2011)))
    drain(spill, target)
    assert [seq for batch in target.batches for seq in batch] == list(range(1, 2011))
    spill.close()


def test_a_replay_goes_batch_by_batch(folder: Path) -> None:
    spill, target = spill_in(folder), Target()
    spill.append(entries(range(1, 1_801)))
    while spill.replay(target):
        assert len(target.batches[-1]) <= 500
        assert spill.stats().records == 1_800 - target.seqs()[-1]
    assert len(target.batches) == 4
    assert target.seqs() == list(range(1, 1_801))
    spill.close()


def test_a_batch_that_was_not_taken_counts_as_waiting_and_is_noted_when_it_is_dropped(folder: Path) -> None:
    spill, target = spill_in(folder, limits=SMALL, when_full=WhenFull.DROP_OLDEST), Target()
    spill.append(entries(range(1, 5)))
    target.room = 0
    with pytest.raises(ConnectionError):
        spill.replay(target)
    assert spill.stats().records == 4
    spill.append(entries(range(5, 76)))
    target.room = None
    drain(spill, target)
    assert target.notes() == [("RecordsDropped", LossNote(INCARNATION, "event", 1, 4, "spill_full"))]
    assert target.seqs() == list(range(5, 76))
    spill.close()


def test_what_is_refused_for_good_goes_to_quarantine_once_and_is_noted(folder: Path) -> None:
    spill, target = spill_in(folder), Target()
    spill.append(entries(range(1, 6)))
    target.refused = {2: InvalidRecordError("poison"), 4: RecordConflictError("other bytes")}
    target.room = 1
    with pytest.raises(ConnectionError):
        spill.replay(target)  # the note is not taken: all of the batch comes again
    target.room = None
    drain(spill, target)
    assert target.seqs() == [1, 3, 5]
    assert target.notes() == [("RecordsLost", LossNote(INCARNATION, "event", 2, 2, "refused: poison"))]
    kept = folder.with_name("spill.quarantine") / "quarantine.ndjson"
    assert kept.read_text().count('"reason": "refused"') == 2
    spill.close()


def test_another_process_goes_on_with_what_is_there(folder: Path) -> None:
    first = spill_in(folder)
    first.append(entries(range(1, 6)))
    first.close()
    second, target = spill_in(folder), Target()
    assert second.stats().records == 5
    second.append(entries(range(1, 4), incarnation=OTHER_INCARNATION))
    drain(second, target)
    assert (target.seqs(), target.seqs(OTHER_INCARNATION)) == ([1, 2, 3, 4, 5], [1, 2, 3])
    second.close()


def test_many_short_lives_do_not_make_many_files(folder: Path) -> None:
    for number in range(1, 21):
        spill = spill_in(folder)
        spill.append(entries([number]))
        spill.close()
    assert len(list(folder.glob("spill-*"))) == 1


def test_two_processes_never_share_a_folder(folder: Path) -> None:
    first, second = spill_in(folder), spill_in(folder)
    first.append(entries([1]))
    with pytest.raises(StoreLockedError, match="a folder of its own"):
        second.append(entries([2]))
    first.close()
    second.append(entries([2]))
    second.close()


@pytest.mark.parametrize(
    "limits", [SMALL, SpillLimits(max_bytes=1_000_000, max_records=72)], ids=["bytes", "records"]
)
def test_a_full_spill_refuses_says_why_and_keeps_what_it_has(folder: Path, limits: SpillLimits) -> None:
    spill, target = spill_in(folder, limits=limits), Target()
    kept = 0
    for number in range(1, 200):
        try:
            spill.append(entries([number]))
        except StoreFullError as error:
            assert "is full: at most" in str(error)  # noqa: PT017  # which of them is refused is not known
            break
        kept = number
    assert 60 < kept < 100
    assert spill.stats().bytes <= limits.max_bytes
    drain(spill, target)
    assert target.seqs() == list(range(1, kept + 1))
    spill.append(entries([kept + 1]))
    spill.close()


def test_a_batch_that_could_never_fit_drops_nothing(folder: Path) -> None:
    spill, target = spill_in(folder, limits=SMALL, when_full=WhenFull.DROP_OLDEST), Target()
    spill.append(entries(range(1, 11)))
    with pytest.raises(StoreFullError):
        spill.append(entries(range(11, 200)))
    drain(spill, target)
    assert target.seqs() == list(range(1, 11))
    assert target.notes() == []
    spill.close()


def test_dropping_the_oldest_is_counted_and_noted_and_the_bound_holds(folder: Path) -> None:
    spill, target = spill_in(folder, limits=SMALL, when_full=WhenFull.DROP_OLDEST), Target()
    for number in range(1, 501):
        spill.append(entries([number]))
        assert spill.stats().bytes <= SMALL.max_bytes
    dropped = spill.stats().dropped
    assert dropped > 400
    drain(spill, target)
    assert target.seqs() == list(range(dropped + 1, 501))
    assert target.notes() == [
        ("RecordsDropped", LossNote(INCARNATION, "event", 1, dropped, "spill_full")),
    ]
    assert spill.stats().dropped == 0
    spill.close()


def test_what_goes_is_written_down_and_its_name_synced_before_it_goes(tmp_path: Path) -> None:
    fs = FaultyFs(tmp_path)
    spill = spill_in(tmp_path / "spill", fs=fs, limits=SMALL, when_full=WhenFull.DROP_OLDEST)
    while "remove" not in fs.calls:
        spill.append(entries([1 + len(fs.calls)]))
    at = fs.calls.index("remove")
    assert fs.calls[at - 5 : at + 2] == [
        *("create", "write", "sync", "replace", "sync_folder"),
        *("remove", "sync_folder"),
    ]
    spill.close()


def test_what_was_dropped_is_still_told_by_another_process(folder: Path) -> None:
    first = spill_in(folder, limits=SMALL, when_full=WhenFull.DROP_OLDEST)
    for number in range(1, 101):
        first.append(entries([number]))
    dropped = first.stats().dropped
    first.close()
    second, target = spill_in(folder), Target()
    assert second.stats().dropped == dropped
    drain(second, target)
    assert target.notes()[0][1].last == dropped
    assert target.seqs() == list(range(dropped + 1, 101))
    assert not (folder / "dropped.json").exists()
    second.close()


def test_a_damaged_line_lies_in_quarantine_and_a_note_says_what_it_was(folder: Path) -> None:
    spill, target = spill_in(folder), Target()
    spill.append(entries(range(1, 8)))
    spill.close()
    (segment,) = folder.glob("spill-*")
    lines = segment.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b"orders:3", b"orders:x")
    lines[5] = b"rubbish\n"
    segment.write_bytes(b"".join(lines))
    drain(spill, target)
    assert target.seqs() == [1, 2, 4, 6, 7]
    assert sorted(note for _, note in target.notes()) == [
        LossNote(INCARNATION, "event", 3, 3, "damaged"),
        LossNote(INCARNATION, "event", 5, 5, "damaged"),
    ]
    kept = entries_of(folder.with_name("spill.quarantine"))
    assert [entry["content"] for entry in kept] == [lines[3], lines[5]]
    assert spill.stats().quarantine_bytes > 0
    spill.close()


def test_a_torn_end_is_kept_apart_and_is_no_loss(folder: Path) -> None:
    spill, target = spill_in(folder), Target()
    spill.append(entries([1, 2]))
    spill.close()
    (segment,) = folder.glob("spill-*")
    segment.write_bytes(segment.read_bytes() + entries([3])[0].line[:60])
    spill.append(entries([3, 4]))
    assert len(list(folder.glob("spill-*"))) == 2
    drain(spill, target)
    assert target.seqs() == [1, 2, 3, 4]
    assert target.notes() == []
    assert len(entries_of(folder.with_name("spill.quarantine"))) == 1
    spill.close()


def test_a_rotten_ledger_goes_to_quarantine_and_the_rest_is_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spill, target = spill_in(folder), Target()
    spill.append(entries([1, 2]))
    spill.close()
    (folder / "dropped.json").write_bytes(b'{"records":')
    drain(spill, target)
    assert target.seqs() == [1, 2]
    assert "what it told is not known" in caplog.text
    assert any(
        entry.read_bytes() == b'{"records":' for entry in folder.with_name("spill.quarantine").iterdir()
    )
    spill.close()


def test_a_full_disk_refuses_whole_and_it_works_again_with_room(tmp_path: Path) -> None:
    fs = FaultyFs(tmp_path)
    spill, target = spill_in(tmp_path / "spill", fs=fs), Target()
    spill.append(entries([1, 2]))
    fs.fill(100)
    with pytest.raises(StoreFullError):
        spill.append(entries([3, 4]))
    fs.heal()
    spill.append(entries([5, 6]))
    drain(spill, target)
    assert target.seqs() == [1, 2, 5, 6]
    assert not (tmp_path / "spill.quarantine").exists()
    spill.close()


def test_a_failed_sync_is_never_asked_again_of_the_same_file(tmp_path: Path) -> None:
    fs = FaultyFs(tmp_path)
    folder = tmp_path / "spill"
    spill, target = spill_in(folder, fs=fs), Target()
    spill.append(entries([1]))
    fs.fail("sync", errno.EIO, times=1)
    spill.append(entries([2]))
    assert len(list(folder.glob("spill-*"))) == 2
    drain(spill, target)
    assert target.seqs() == [1, 2]
    spill.append(entries([3]))
    fs.fail("sync", errno.EIO)
    with pytest.raises(StoreFailedError):
        spill.append(entries([4]))
    fs.heal()
    with pytest.raises(StoreFailedError, match="nothing more is kept here"):
        spill.append(entries([5]))
    drain(spill, target)
    assert target.seqs()[:3] == [1, 2, 3]
    spill.close()


@pytest.mark.parametrize("loss", PowerLoss)
@pytest.mark.parametrize("policy", [FsyncPolicy.INTERVAL, FsyncPolicy.OS])
def test_i1_all_since_the_last_sync_is_written_again_where_one_fails(
    policy: FsyncPolicy, loss: PowerLoss, tmp_path: Path
) -> None:
    fs, clock = FaultyFs(tmp_path), ManualClock(EPOCH)
    spill = spill_in(tmp_path / "spill", fs=fs, fsync=policy, fsync_interval_seconds=10, clock=clock)
    spill.append(entries([1, 2]))
    spill.append(entries([3]))
    clock.advance(11)
    fs.fail("sync", errno.EIO, times=1)
    spill.append(entries([4]))
    spill.sync()
    fs.cut_power(loss)
    target, again = Target(), spill_in(tmp_path / "spill")
    drain(again, target)
    assert sorted(target.seqs()) == [1, 2, 3, 4]
    again.close()


def test_the_policies_sync_when_they_say(tmp_path: Path) -> None:
    def syncs(policy: FsyncPolicy) -> list[int]:
        clock, fs = ManualClock(EPOCH), FaultyFs(tmp_path)
        spill = spill_in(tmp_path / policy, fs=fs, fsync=policy, fsync_interval_seconds=10, clock=clock)
        counts = []
        for number in range(1, 5):
            before = fs.calls.count("sync")
            spill.append(entries([number]))
            counts.append(fs.calls.count("sync") - before)
            clock.advance(6)
        before = fs.calls.count("sync")
        spill.close()
        return [*counts, fs.calls.count("sync") - before]

    assert syncs(FsyncPolicy.ALWAYS) == [2, 1, 1, 1, 0]  # the first: the header's, too
    assert syncs(FsyncPolicy.INTERVAL) == [1, 0, 1, 0, 1]
    assert syncs(FsyncPolicy.OS) == [1, 0, 0, 0, 1]


def test_a_forked_child_is_refused_and_touches_nothing(folder: Path) -> None:
    spill, target = spill_in(folder), Target()
    spill.append(entries([1]))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            spill.append(entries([2]))
        except BackendClosedError:
            spill.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    spill.append(entries([2]))
    drain(spill, target)
    assert target.seqs() == [1, 2]
    spill.close()


def test_the_ledger_stays_small_whatever_is_dropped() -> None:
    dropped = Dropped()
    for seq in range(1, 2000, 2):
        dropped.add(RecordId(INCARNATION, "event", seq), "orders")
    assert dropped.records == 1000
    assert len(dropped.ranges[INCARNATION, "event"]) <= 256
    assert Dropped.from_json(dropped.to_json()) == dropped
    covered = [note for _, note in dropped.notes()]
    assert all(any(note.first <= seq <= note.last for note in covered) for seq in range(1, 2000, 2))
