"""I1 and I6: killed at any moment, the store is sound again and holds every record that was acknowledged.

A few kills each time; ``PAPYRA_KILLS=100`` makes it a soak test, ``PAPYRA_KILL_SEED`` repeats one.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from typing import TYPE_CHECKING

from tests.system.example.project import Identity, Project, acknowledged

if TYPE_CHECKING:
    from pathlib import Path

KILLS = int(os.environ.get("PAPYRA_KILLS", "4"))
LONGEST_SECONDS = 1.5
FOR_EVER = "1000000"


def start_and_kill(project: Project, ledger: Path, after_seconds: float) -> bool:
    """Let the demo serve round after round, and kill it; whether it had begun to record."""
    before = ledger.stat().st_size if ledger.exists() else 0
    with project.start("papyra_demo", "--rounds", FOR_EVER, "--ack-log", ledger) as process:
        try:
            out, err = process.communicate(timeout=after_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
    assert process.returncode == -signal.SIGKILL, out + err
    return ledger.exists() and ledger.stat().st_size > before


def start_doctor_and_kill(project: Project, after_seconds: float) -> None:
    """Cut a repair short, or let it come to its end."""
    with project.start("papyra_doctor") as process:
        try:
            process.communicate(timeout=after_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    assert process.returncode in {0, -signal.SIGKILL}


def check(project: Project, ledger: Path, known: set[Identity]) -> set[Identity]:
    """Assert that the store is sound after the doctor, and return what it has acknowledged so far."""
    doctor = project.manage("papyra_doctor", "--json")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert json.loads(doctor.stdout)["verdict"] in {"healthy", "recovered"}
    scan = project.manage("papyra_scan", "--json")
    assert (scan.returncode, json.loads(scan.stdout)["verdict"]) == (0, "healthy")
    stored, promised = project.identities(), acknowledged(ledger)
    assert known <= promised
    assert promised <= set(stored), f"lost: {sorted(promised - set(stored))[:10]}"
    assert set(stored.values()) <= {1}, f"twice: {[one for one, count in stored.items() if count > 1][:10]}"
    return promised


def test_i1_i6_killed_at_random_moments_nothing_acknowledged_is_lost(
    project: Project, tmp_path: Path
) -> None:
    seed = os.environ.get("PAPYRA_KILL_SEED") or str(random.randrange(10**6))  # noqa: S311  # no secret
    print(f"PAPYRA_KILL_SEED={seed}")  # noqa: T201  # shown when it fails
    chance = random.Random(seed)  # noqa: S311
    ledger = tmp_path / "acknowledged"
    promised: set[Identity] = set()
    began = 0
    for _ in range(KILLS):
        # The first half second passes in imports; what matters begins then.
        began += start_and_kill(project, ledger, chance.uniform(0.5, 0.5 + LONGEST_SECONDS))
        if chance.random() < 0.5:
            start_doctor_and_kill(project, chance.uniform(0.3, 0.8))
        promised = check(project, ledger, promised)
    while not began:  # so slow a machine needs one longer run
        began += start_and_kill(project, ledger, 20.0)
        promised = check(project, ledger, promised)
    done = project.manage("papyra_demo")
    assert (done.returncode, done.stdout.endswith("doctor: healthy\n")) == (0, True), done.stderr
    lost = [one for one in project.records() if one.get("event_type") == "IncarnationLost"]
    ended = [one for one in project.records() if one.get("event_type") == "SystemStopped"]
    started = {one["incarnation"] for one in project.records() if one.get("event_type") == "SystemStarted"}
    closed = {one["payload"]["closes"] for one in lost} | {one["incarnation"] for one in ended}
    assert started == closed, "every run has an end on record, its own or a stranger's"
