from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from papyra.cli import app
from papyra.persistence.models import PersistenceAnomalyType, Severity

TRIALS = Path(__file__).resolve().parents[2] / "trials" / "line-format"
EXPECTED: dict[str, dict[str, Any]] = json.loads((TRIALS / "expected.json").read_text(encoding="utf-8"))
BEYOND_REPAIR = {"newer-format.ndjson"}
REPAIRABLE = sorted(
    name for name, trial in EXPECTED.items() if trial["anomalies"] and name not in BEYOND_REPAIR
)
KINDS = {"events": "event", "audits": "audit", "dead_letters": "dead_letter"}
UNVERIFIABLE = {"bad_checksum", "garbage"}  # which of the two is the reader's choice


class Shell:
    """Runs commands in this process, in a folder of their own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def run(self, line: str) -> tuple[int, str]:
        code = app.main(line.split())
        shown = self._capsys.readouterr()
        assert shown.err == ""
        return code, shown.out

    def ask(self, line: str) -> dict[str, Any]:
        code, output = self.run(f"{line} --json")
        document: dict[str, Any] = json.loads(output)
        assert document["exit_code"] == code
        return document

    def take(self, name: str) -> Path:
        return Path(shutil.copy(TRIALS / name, self.folder / "papyra.ndjson"))

    def listed(self) -> dict[str, int]:
        return {kind: len(self.ask(f"inspect {kind.replace('_', '-')}")["records"]) for kind in KINDS}

    def state(self) -> dict[str, tuple[bytes, int]]:
        return {
            path.name: (path.read_bytes(), path.stat().st_mtime_ns)
            for path in self.folder.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAPYRA_STORE", raising=False)
    return Shell(tmp_path, capsys)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_scan_tells_what_is_wrong_and_changes_nothing(name: str, shell: Shell) -> None:
    shell.take(name)
    before = shell.state()
    wanted = set(EXPECTED[name]["anomalies"])
    document = shell.ask("persistence scan")
    found = {anomaly["type"] for anomaly in document["scan"]["anomalies"]}
    assert found == wanted or (found ^ wanted) == UNVERIFIABLE
    assert document["exit_code"] == (2 if wanted else 0)
    severities = {PersistenceAnomalyType(type_).severity for type_ in found}
    worst = "damage" if Severity.DAMAGE in severities else "crash_trace"
    assert document["verdict"] == (worst if wanted else "healthy")
    assert all(anomaly["offset"] is not None for anomaly in document["scan"]["anomalies"])
    assert shell.state() == before


@pytest.mark.parametrize("name", sorted(set(EXPECTED) - BEYOND_REPAIR))
def test_inspect_lists_what_a_reader_gives_back_and_changes_nothing(name: str, shell: Shell) -> None:
    shell.take(name)
    before = shell.state()
    wanted = EXPECTED[name]["read"]
    assert shell.listed() == wanted
    counted = shell.ask("persistence inspect")["inspection"]["looked_at"]
    assert counted == {KINDS[kind]: number for kind, number in wanted.items()}
    assert shell.run("inspect summary")[0] == 0
    assert shell.state() == before


@pytest.mark.parametrize("name", REPAIRABLE)
@pytest.mark.parametrize("mode", ["repair", "quarantine"])
def test_i6_recover_then_scan_is_clean_and_a_second_time_does_nothing(
    name: str, mode: str, shell: Shell
) -> None:
    path = shell.take(name)
    before = shell.state()
    code, plan = shell.run(f"persistence recover --mode {mode} --dry-run")
    assert code == 2
    assert "Dry run: nothing was changed." in plan
    assert shell.state() == before

    code, done = shell.run(f"persistence recover --mode {mode}")
    assert code == 0
    assert done.startswith("RECOVERED  ./papyra.ndjson\nRecovery successful: ")
    assert shell.run("persistence scan")[0] == 0
    wanted, after = EXPECTED[name]["after_repair"], shell.listed()
    assert (after["audits"], after["dead_letters"]) == (wanted["audits"], wanted["dead_letters"])
    assert after["events"] >= wanted["events"]  # recovery's own records come on top
    repaired = path.read_bytes()
    assert shell.run(f"persistence recover --mode {mode}")[1].startswith("HEALTHY")
    assert path.read_bytes() == repaired


@pytest.mark.parametrize("name", REPAIRABLE)
def test_a_bare_doctor_does_what_a_start_does(name: str, shell: Shell) -> None:
    shell.take(name)
    code, first = shell.run("doctor run")
    assert (code, first.splitlines()[0]) == (0, "RECOVERED  ./papyra.ndjson")
    code, second = shell.run("doctor run")
    assert (code, second.splitlines()[0]) == (0, "HEALTHY  ./papyra.ndjson")
    assert "Persistence is healthy" in second


@pytest.mark.parametrize(("mode", "code"), [("scan_only", 0), ("fail_on_anomaly", 1), ("ignore", 0)])
@pytest.mark.parametrize("command", ["doctor run", "persistence startup-check"])
@pytest.mark.parametrize("name", ["flipped-value.ndjson", "torn-tail.ndjson"])
def test_c4_a_check_that_only_looks_changes_no_byte(
    name: str, command: str, mode: str, code: int, shell: Shell
) -> None:
    shell.take(name)
    before = shell.state()
    got, shown = shell.run(f"{command} --depth full --mode {mode}")
    assert got == code
    assert "successful" not in shown
    assert shell.state() == before


def test_recover_in_mode_ignore_changes_no_byte_and_is_no_success(shell: Shell) -> None:
    shell.take("flipped-value.ndjson")
    before = shell.state()
    code, shown = shell.run("persistence recover --mode ignore")
    assert code == 2
    assert "successful" not in shown
    assert shell.ask("doctor run --recovery-mode ignore")["verdict"] == "unrecovered"
    assert shell.state() == before


def test_c5_a_startup_check_that_recovers_really_repairs(shell: Shell) -> None:
    shell.take("torn-tail.ndjson")
    assert shell.run("persistence startup-check --mode recover")[0] == 0
    assert shell.run("persistence scan")[0] == 0


def test_compact_keeps_the_newest_of_each_kind(shell: Shell) -> None:
    path = shell.take("sound.ndjson")
    before = shell.state()
    dry = shell.ask("persistence compact --max-records 2 --dry-run")
    assert dry["compaction"]["removed"] == {"event": 4, "audit": 0, "dead_letter": 0}
    assert dry["verdict"] == "dry_run"
    assert shell.state() == before
    done = shell.ask("persistence compact --max-records 2")
    assert done["compaction"]["removed_records"] == 4
    assert done["compaction"]["reclaimed_bytes"] > 0
    assert path.stat().st_size < len(before["papyra.ndjson"][0])
    assert shell.run("persistence scan")[0] == 0


def test_compact_without_a_limit_removes_nothing(shell: Shell) -> None:
    shell.take("sound.ndjson")
    code, shown = shell.run("persistence compact")
    assert code == 0
    assert "No retention is set" in shown
    assert shell.listed()["events"] == 6
