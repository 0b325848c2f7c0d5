"""Killed in any call, with or without the power: what a spill acknowledged is told, to the end."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import PersistenceError
from papyra.persistence._files.spilled import SpillLimits, WhenFull
from papyra.testing.faults import Crash, FaultyFs, PowerLoss
from papyra.testing.records import INCARNATION
from tests.unit.files.spills import Encoder, Target, drain, entries, spill_in

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.persistence._files.spill import Spill

LIMITS = SpillLimits(max_bytes=6_000)
"""So that a segment holds three records."""


def forget_everything(root: Path) -> None:
    for path in sorted(root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def killed(fs: FaultyFs, spill: Spill, loss: PowerLoss | None) -> bool:
    """End the process, if it has not ended; whether it had."""
    was_killed = fs.is_dead
    if was_killed:
        fs.abandon()
    with suppress(PersistenceError, Crash):
        spill.close()
    if loss is not None:
        fs.cut_power(loss)
    return was_killed


@pytest.mark.parametrize("loss", [None, *PowerLoss], ids=str)
def test_i1_killed_in_any_call_of_appends_what_was_acknowledged_is_told(
    tmp_path: Path, loss: PowerLoss | None
) -> None:
    for at in range(200):
        forget_everything(tmp_path)
        fs, acknowledged = FaultyFs(tmp_path), 0
        fs.crash_at(at)
        spill = spill_in(tmp_path / "spill", fs=fs, limits=LIMITS)
        with suppress(PersistenceError, Crash):
            for number in range(1, 13):
                spill.append(entries([number]))
                acknowledged = number
        was_killed = killed(fs, spill, loss)
        target = Target()
        again = spill_in(tmp_path / "spill", limits=LIMITS)
        again.append(entries([20]))
        drain(again, target)
        again.close()
        assert target.seqs()[:acknowledged] == list(range(1, acknowledged + 1)), at
        assert set(target.seqs()) <= {*range(1, acknowledged + 2), 20}, at
        assert target.seqs()[-1] == 20
        if not was_killed:
            assert at > 20
            return
    pytest.fail("it never came to its end")


@pytest.mark.parametrize("loss", [None, *PowerLoss], ids=str)
def test_killed_in_any_call_of_a_replay_everything_arrives_and_the_target_knows_it_by_identity(
    tmp_path: Path, loss: PowerLoss | None
) -> None:
    for at in range(200):
        forget_everything(tmp_path)
        first = spill_in(tmp_path / "spill", limits=LIMITS)
        for number in range(1, 13):
            first.append(entries([number]))
        first.close()
        segment = sorted((tmp_path / "spill").glob("spill-*"))[1]
        damaged = segment.read_bytes().splitlines(keepends=True)
        damaged[2] = b"rubbish\n"
        segment.write_bytes(b"".join(damaged))
        fs, target, encode = FaultyFs(tmp_path), Target(), Encoder()
        fs.crash_at(at)
        spill = spill_in(tmp_path / "spill", fs=fs, limits=LIMITS, encode=encode)
        with suppress(PersistenceError, Crash):
            drain(spill, target)
        was_killed = killed(fs, spill, loss)
        again = spill_in(tmp_path / "spill", limits=LIMITS, encode=encode)
        drain(again, target)
        again.close()
        lost = {note.first for _, note in target.notes()}
        assert len(lost) == 1
        assert set(target.seqs()) == set(range(1, 13)) - lost, at
        kept = tmp_path / "spill.quarantine" / "quarantine.ndjson"
        assert b"cnViYmlzaAo=" in kept.read_bytes(), at
        if not was_killed:
            assert at > 10
            return
    pytest.fail("it never came to its end")


@pytest.mark.parametrize("loss", [None, *PowerLoss], ids=str)
def test_killed_in_any_call_while_it_drops_every_record_is_told_or_noted(
    tmp_path: Path, loss: PowerLoss | None
) -> None:
    for at in range(400):
        forget_everything(tmp_path)
        fs, acknowledged = FaultyFs(tmp_path), 0
        fs.crash_at(at)
        options = {"limits": LIMITS, "when_full": WhenFull.DROP_OLDEST}
        spill = spill_in(tmp_path / "spill", fs=fs, **options)
        with suppress(PersistenceError, Crash):
            for number in range(1, 41):
                spill.append(entries([number]))
                acknowledged = number
        was_killed = killed(fs, spill, loss)
        target = Target()
        again = spill_in(tmp_path / "spill", **options)
        drain(again, target)
        again.close()
        noted = {
            seq
            for _, note in target.notes()
            if note.incarnation == INCARNATION
            for seq in range(note.first, note.last + 1)
        }
        assert noted | set(target.seqs()) >= set(range(1, acknowledged + 1)), at
        assert not noted & set(target.seqs()), at
        if not was_killed:
            assert at > 50
            return
    pytest.fail("it never came to its end")
