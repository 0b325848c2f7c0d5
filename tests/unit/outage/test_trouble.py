"""Records that are refused, and a spill that is full, broken or not to be read."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import (
    RecordConflictError,
    StoreFullError,
    StoreUnavailableError,
)
from papyra.persistence.models import RecordId, StoreStats
from papyra.persistence.state import StoreCondition
from papyra.testing.faults import FaultyFs
from papyra.testing.records import INCARNATION
from tests.unit.outage.servers import STORE, Process, Server, numbered

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from papyra.exceptions import PersistenceError
    from papyra.persistence.entries import Entry

OK, SPILLING, DEGRADED = StoreCondition.OK, StoreCondition.SPILLING, StoreCondition.DEGRADED


def test_a_refused_record_is_told_to_its_caller(server: Server, tmp_path: Path) -> None:
    process = Process(server, tmp_path)
    server.refused.add(RecordId(INCARNATION, "event", 2))
    assert list(process.outage.store(numbered([1, 2, 3]))) == [1]
    assert server.seqs() == [1, 3]


def test_i4_a_record_that_is_refused_after_it_was_acknowledged_is_kept_and_noted(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    process = Process(server, tmp_path)
    server.is_away = True
    process.append([1, 2, 3])
    server.is_away = False
    server.refused.add(RecordId(INCARNATION, "event", 2))
    process.come_to_rest()
    assert server.seqs() == [1, 3]
    assert [(note.first, note.last, note.cause) for note in server.notes()] == [(2, 2, "refused: poison")]
    kept = tmp_path / STORE / "1.quarantine" / "quarantine.ndjson"
    assert '"reason": "refused"' in kept.read_text()
    assert "was refused for good" in caplog.text
    stats = process.outage.add_to(StoreStats(backend="x", kinds={}, total_bytes=0))
    assert stats.quarantine_bytes == stats.total_bytes == kept.stat().st_size


def test_a_conflict_found_by_a_replay_leaves_no_hole_and_no_note(server: Server, tmp_path: Path) -> None:
    process = Process(server, tmp_path)

    def conflicting(entries: Sequence[Entry]) -> dict[int, PersistenceError]:
        server(entries)
        return {0: RecordConflictError("other bytes")}

    server.is_away = True
    process.append([1])
    server.is_away = False
    process.send = conflicting
    process.come_to_rest()
    assert server.notes() == []
    assert (tmp_path / STORE / "1.quarantine" / "quarantine.ndjson").exists()
    assert process.state.is_ok


def test_a_full_spill_refuses_and_takes_records_again_once_there_is_room(
    server: Server, tmp_path: Path
) -> None:
    process = Process(server, tmp_path, spill_max_bytes=4096)
    server.is_away = True
    with pytest.raises(StoreFullError, match="wait here until their store is back; nothing was kept"):
        process.append_one_by_one(range(1, 100))
    number = process.state.waiting + 1
    assert 5 < number < 20
    server.is_away = False
    process.come_to_rest()
    process.append(range(number, number + 3))
    assert server.seqs() == list(range(1, number + 3))


def test_a_full_spill_that_drops_says_which(server: Server, tmp_path: Path) -> None:
    process = Process(server, tmp_path, spill_max_bytes=4096, spill_when_full="drop_oldest")
    server.is_away = True
    for number in range(1, 101):
        process.append([number])
    server.is_away = False
    process.come_to_rest()
    kept = server.seqs()
    noted = [seq for note in server.notes() for seq in range(note.first, note.last + 1)]
    assert kept[-1] == 100
    assert sorted(kept + noted) == list(range(1, 101))
    assert process.metrics.records_dropped == len(noted)
    stats = process.outage.add_to(StoreStats(backend="x", kinds={}, total_bytes=0))
    assert (stats.dropped_records, stats.waiting_records) == (len(noted), 0)


@pytest.mark.parametrize("when_full", ["refuse", "drop_oldest"])
def test_a_spill_that_is_full_as_the_server_comes_back_refuses_and_drops_nothing_more(
    when_full: str, server: Server, tmp_path: Path
) -> None:
    process = Process(server, tmp_path, spill_max_bytes=400_000, spill_when_full=when_full)
    server.is_away = True
    process.append(range(1, 1_501))
    server.is_away = False
    process.clock.advance(5)
    process.outage.run()
    process.append(range(1_501, 2_901))
    process.come_to_rest()
    assert server.seqs() == list(range(1, 2_901))


def test_notes_of_a_spill_do_not_get_before_records_of_the_same_writer(
    server: Server, tmp_path: Path
) -> None:
    process = Process(server, tmp_path, spill_max_bytes=4096, spill_when_full="drop_oldest")
    server.is_away = True
    for number in range(30):
        process.append_unnumbered(number)
    server.is_away = False
    process.come_to_rest()
    assert server.notes()
    for incarnation in {one.incarnation for one in server.lines}:
        seqs = server.seqs(incarnation)
        assert seqs == sorted(seqs)


def test_a_disk_that_is_full_too_is_told_and_overcome(server: Server, tmp_path: Path) -> None:
    fs = FaultyFs(tmp_path)
    process = Process(server, tmp_path / "spill", fs=fs)
    server.is_away = True
    fs.fill(0)
    with pytest.raises(StoreFullError):
        process.append([1])
    fs.fill(None)
    process.append([1])
    server.is_away = False
    process.come_to_rest()
    assert server.seqs() == [1]
    assert process.state.is_ok


def test_a_spill_whose_disk_lies_twice_does_not_end_the_store(server: Server, tmp_path: Path) -> None:
    fs = FaultyFs(tmp_path)
    process = Process(server, tmp_path / "spill", fs=fs)
    server.is_away = True
    process.append([1])
    fs.fail("sync", errno.EIO)
    with pytest.raises(StoreUnavailableError, match="server is away, and"):
        process.append([2])
    with pytest.raises(StoreUnavailableError):
        process.append([2])
    server.is_away = False
    process.come_to_rest()
    process.append([2])
    assert server.seqs() == [1, 2]
    assert process.state.is_ok


def test_a_folder_that_cannot_be_read_is_no_reason_to_do_without_the_server(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / STORE / "1").mkdir(parents=True)
    (tmp_path / STORE / "1" / "spill-00000001.ndjson").mkdir()
    (tmp_path / STORE / "1" / "spill.lock").mkdir()
    process = Process(server, tmp_path)
    process.append([1])
    assert server.seqs() == [1]
    assert "is not sent" in caplog.text
