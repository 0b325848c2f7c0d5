"""Processes that end while records wait, and those that come after or live beside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from papyra.persistence.outage import CLOSING_SECONDS
from papyra.persistence.state import StoreCondition
from papyra.testing.records import OTHER_INCARNATION
from tests.unit.outage.servers import STORE, Process, Server, spilled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

    from papyra.exceptions import PersistenceError
    from papyra.persistence.entries import Entry

OK, SPILLING, DEGRADED = StoreCondition.OK, StoreCondition.SPILLING, StoreCondition.DEGRADED


def test_i5_the_next_process_sends_what_an_earlier_one_left_before_its_own(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = Process(server, tmp_path)
    server.is_away = True
    first.append([1, 2, 3])
    first.outage.close()
    assert "3 records wait in" in caplog.text
    second = Process(server, tmp_path)
    second.append([4])
    assert (second.state.condition, second.state.waiting) == (SPILLING, 4)
    server.is_away = False
    second.come_to_rest()
    assert server.seqs() == [1, 2, 3, 4]
    assert spilled(tmp_path) == []


def test_a_process_that_starts_while_it_is_away_keeps_its_records_too(server: Server, tmp_path: Path) -> None:
    server.is_away = True
    process = Process(server, tmp_path)
    process.tick()
    process.append([1])
    assert process.state.condition is SPILLING
    server.is_away = False
    process.come_to_rest()
    assert server.seqs() == [1]


def test_processes_beside_each_other_keep_out_of_each_others_way(server: Server, tmp_path: Path) -> None:
    server.is_away = True
    first, second = Process(server, tmp_path), Process(server, tmp_path)
    first.append([1, 2])
    second.append([1, 2], OTHER_INCARNATION)
    assert {path.split("/")[1] for path in spilled(tmp_path)} == {"1", "2"}
    server.is_away = False
    second.come_to_rest()
    assert (server.seqs(), server.seqs(OTHER_INCARNATION)) == ([], [1, 2])
    first.come_to_rest()
    assert server.seqs() == [1, 2]


def test_who_lives_on_sends_what_a_neighbour_left(server: Server, tmp_path: Path) -> None:
    server.is_away = True
    first, second = Process(server, tmp_path), Process(server, tmp_path)
    first.append([1, 2])
    second.append([1, 2], OTHER_INCARNATION)
    server.is_away = False
    second.come_to_rest()
    first.outage.close()
    second.clock.advance(60)
    second.tick()
    assert server.seqs() == [1, 2]
    assert second.state.is_ok


def test_folders_do_not_pile_up_however_many_processes_die(server: Server, tmp_path: Path) -> None:
    server.is_away = True
    for number in range(1, 6):
        process = Process(server, tmp_path)
        process.append([number])
        process.outage.close()
    assert [path.name for path in (tmp_path / STORE).iterdir()] == ["1"]


def test_closing_goes_on_with_a_replay_and_gives_up_in_time(server: Server, tmp_path: Path) -> None:
    process = Process(server, tmp_path)
    server.is_away = True
    process.append(range(1, 3_001))
    server.is_away = False
    process.clock.advance(5)
    process.outage.run()
    process.outage.close()
    assert server.seqs() == list(range(1, 3_001))

    slow = Process(server, tmp_path)
    server.is_away = True
    slow.append(range(1, 3_001), OTHER_INCARNATION)
    server.is_away = False
    slow.clock.advance(5)

    def send(entries: Sequence[Entry]) -> dict[int, PersistenceError]:
        slow.clock.advance(CLOSING_SECONDS / 2)
        return server(entries)

    slow.send = send
    slow.outage.run()
    slow.outage.close()
    assert len(server.seqs(OTHER_INCARNATION)) == 1_500
    last = Process(server, tmp_path)
    last.come_to_rest()
    assert server.seqs(OTHER_INCARNATION) == list(range(1, 3_001))


def test_closing_while_it_is_away_tries_nothing(server: Server, tmp_path: Path) -> None:
    process = Process(server, tmp_path)
    server.is_away = True
    process.append([1])
    server.calls.clear()
    process.outage.close()
    assert server.calls == []
