"""What a store does while its server is away: nothing acknowledged is lost or doubled, and it is told."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import (
    ConfigurationError,
    StoreFailedError,
    StoreUnavailableError,
)
from papyra.persistence.outage import OutageOptions
from papyra.persistence.state import StoreCondition
from papyra.testing.records import EPOCH
from tests.unit.outage.servers import Process, Server, spilled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from papyra.exceptions import PersistenceError
    from papyra.persistence.entries import Entry

OK, SPILLING, DEGRADED = StoreCondition.OK, StoreCondition.SPILLING, StoreCondition.DEGRADED


def test_while_the_server_answers_nothing_is_written_beside_it(server: Server, tmp_path: Path) -> None:
    process = Process(server, tmp_path / "spill")
    process.append([1, 2])
    process.tick()
    process.outage.close()
    assert server.seqs() == [1, 2]
    assert process.state.is_ok
    assert not (tmp_path / "spill").exists()


def test_i1_what_is_appended_while_it_is_away_is_there_in_order_once_it_is_back(
    server: Server, tmp_path: Path
) -> None:
    process = Process(server, tmp_path)
    process.append([1])
    server.is_away = True
    for number in range(2, 50):
        process.append([number])
    assert server.seqs() == [1]
    assert (process.state.condition, process.state.waiting) == (SPILLING, 48)
    assert process.state.since == EPOCH
    assert "connection refused" in process.state.reason
    server.is_away = False
    process.come_to_rest()
    process.append([50])
    assert server.seqs() == list(range(1, 51))
    assert (process.state.condition, process.state.waiting) == (OK, 0)
    assert spilled(tmp_path) == []


@pytest.mark.parametrize("fault", ["lost_replies", "torn_batches"])
def test_i2_a_batch_in_doubt_is_sent_again_with_the_same_numbers_and_stored_once(
    fault: str, server: Server, tmp_path: Path
) -> None:
    process = Process(server, tmp_path)
    process.append_unnumbered("a")
    setattr(server, fault, 1)
    process.append_unnumbered("b", "c", "d")
    setattr(server, fault, 1)
    process.come_to_rest()
    process.append_unnumbered("e")
    assert server.payloads() == ["a", "b", "c", "d", "e"]
    assert [one.seq for one in server.lines] == [1, 2, 3, 4, 5]
    assert len({one.incarnation for one in server.lines}) == 1


def test_new_records_stay_behind_those_that_wait(server: Server, tmp_path: Path) -> None:
    process = Process(server, tmp_path)
    server.is_away = True
    process.append(range(1, 3_001))
    server.is_away = False
    process.clock.advance(5)
    process.outage.run()
    process.append([3_001])
    assert 0 < len(server.seqs()) < 3_000
    process.come_to_rest()
    assert server.seqs() == list(range(1, 3_002))


def test_a_replay_comes_to_its_end_beside_traffic_that_never_ends(server: Server, tmp_path: Path) -> None:
    process = Process(server, tmp_path)
    server.is_away = True
    process.append(range(1, 5_001))
    server.is_away = False
    process.clock.advance(5)
    last = 5_000
    for _ in range(30):
        process.outage.run()
        process.append(range(last + 1, last + 601))
        last += 600
        if process.state.is_ok:
            break
    assert process.state.is_ok
    assert server.seqs() == list(range(1, last + 1))


def test_a_turn_of_a_replay_is_short(server: Server, tmp_path: Path) -> None:
    process = Process(server, tmp_path)
    server.is_away = True
    process.append(range(1, 5_001))
    server.is_away = False
    server.calls.clear()
    process.clock.advance(5)
    process.outage.run()
    assert [len(call) for call in server.calls] == [500]


def test_it_is_asked_at_moments_spread_at_random_and_at_most_five_seconds_apart(
    server: Server, tmp_path: Path
) -> None:
    server.is_away = True
    moments = []
    for seed in (1, 2):
        process = Process(server, tmp_path / str(seed), seed=seed)
        process.append([1])
        server.calls.clear()
        asked: list[float] = []
        for _ in range(30):
            process.clock.advance(max(process.outage.due - process.clock.monotonic(), 0))
            asked.append(process.clock.monotonic())
            process.outage.run()
        assert len(server.calls) == 30
        pauses = [later - earlier for earlier, later in pairwise(asked)]
        assert max(pauses) <= 5
        assert max(pauses[:2]) <= 0.8
        moments.append(asked)
    assert moments[0] != moments[1]


def test_while_it_is_away_callers_do_not_wait_for_it(server: Server, tmp_path: Path) -> None:
    process = Process(server, tmp_path)
    server.is_away = True
    for number in range(1, 20):
        process.append([number])
    assert len(server.calls) == 1


def test_without_a_folder_an_append_waits_so_long_and_then_fails(server: Server) -> None:
    process = Process(server, None, retry_seconds=10)
    server.is_away = True
    with pytest.raises(StoreUnavailableError, match="connection refused"):
        process.append([1])
    assert 2 < process.clock.monotonic() <= 10
    assert len(server.calls) == len(process.pauses) + 1
    server.is_away = False
    server.lost_replies = 1
    process.append([1])
    assert server.seqs() == [1]


def test_without_a_folder_a_store_that_closes_waits_no_longer(server: Server) -> None:
    process = Process(server, None, retry_seconds=10)
    process.is_closing = server.is_away = True
    with pytest.raises(StoreUnavailableError):
        process.append([1])
    assert len(process.pauses) == 1


def test_a_batch_that_nobody_kept_costs_no_later_record_its_number(server: Server) -> None:
    process = Process(server, None)
    process.append_unnumbered("a")
    server.lost_replies = 1
    with pytest.raises(StoreUnavailableError):
        process.append_unnumbered("b")
    process.append_unnumbered("c")
    assert server.payloads() == ["a", "b", "c"]
    assert [one.seq for one in server.lines] == [1, 2, 1]


def test_other_errors_reach_the_caller_and_nothing_is_kept(tmp_path: Path) -> None:
    def send(_: Sequence[Entry]) -> dict[int, PersistenceError]:
        raise StoreFailedError("the medium is broken")

    process = Process(Server(), tmp_path)
    process.send = send
    with pytest.raises(StoreFailedError, match="the medium is broken"):
        process.append([1])
    assert process.state.is_ok  # the backend tells what its callers were told
    assert spilled(tmp_path) == []


def test_a_fault_of_ours_in_a_replay_costs_no_record(tmp_path: Path) -> None:
    def send(_: Sequence[Entry]) -> dict[int, PersistenceError]:
        raise ZeroDivisionError("a bug")

    server = Server(is_away=True)
    process = Process(server, tmp_path)
    process.append([1])
    process.send = send
    process.clock.advance(5)
    with pytest.raises(ZeroDivisionError):
        process.outage.run()
    assert process.state.condition is SPILLING
    assert process.outage.due > process.clock.monotonic()
    process.send = server
    server.is_away = False
    process.come_to_rest()
    assert server.seqs() == [1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"spill_max_bytes": 100}, "spill_max_bytes"),
        ({"spill_max_bytes": "many"}, "spill_max_bytes"),
        ({"spill_when_full": "explode"}, "explode"),
        ({"retry_seconds": -1}, "retry_seconds"),
        ({"retry_seconds": float("nan")}, "retry_seconds"),
        ({"retry_seconds": True}, "retry_seconds"),
    ],
)
def test_an_option_that_cannot_be_is_named(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        OutageOptions(**options).checked()  # type: ignore[arg-type]  # that is the point
