"""Take out each sync, newline guard, checksum test and cut of the stores in turn: the tests must fail.

    python tools/try_mutants.py [--seconds N] [--jobs N] [--only WORDS] [--list] [--learn]

Each mutant first meets the test that killed it last (`KILLERS`), then all that are relevant. A survivor is
printed and makes the exit code 1. With ``--seconds`` only as many are tried as fit.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.mutants import Mutant, find_mutants  # noqa: E402  # found from any folder

KILLERS = ROOT / "tests" / "faults_files" / "killers.json"
MUTATED = "papyra/persistence"
RELEVANT = [
    *("tests/faults_files/test_guards.py", "tests/faults_files/test_set_guards.py"),
    *("tests/faults_files/test_others_guards.py", "tests/faults_files/test_door.py"),
    *("tests/faults_files/test_media.py", "tests/unit/files", "tests/unit/segments"),
    *("tests/contract/test_json.py", "tests/contract/test_json_damage.py"),
    *("tests/contract/test_rotating.py", "tests/contract/test_rotating_damage.py"),
    *("tests/unit/copying", "tests/unit/stores"),
    *("tests/unit/core/test_codec.py", "tests/unit/core/test_codec_damage.py", "tests/faults_files"),
]
"""Where there is one; those that are not are of a later version."""
NEAR = {
    "spill": [
        *("tests/faults_files/test_set_guards.py", "tests/unit/files/test_spill.py"),
        "tests/unit/files/test_spill_crash.py",
    ],
    "writer|appending|lock|rewrite|scan|chain|json": [
        *("tests/faults_files/test_guards.py", "tests/unit/files/test_states.py"),
        *("tests/unit/files/test_faults.py", "tests/unit/files/test_appending.py"),
        *("tests/unit/files/test_processes.py", "tests/faults_files/test_media.py"),
    ],
    "compaction|recovery|rewrite|check|tail": [
        *("tests/unit/files/test_trials.py", "tests/unit/files/test_compaction.py"),
        *("tests/unit/files/test_crash.py", "tests/unit/files/test_damage.py"),
    ],
    "famil|folder|sealed|set|sharing|carrying|rotating|compaction|recovery|lock|chain|scan|tail": [
        "tests/faults_files/test_set_guards.py",
        *("tests/unit/files/test_set_doubt.py", "tests/unit/files/test_set_processes.py"),
        *("tests/unit/files/test_set_retention.py", "tests/unit/files/test_set_identity.py"),
        *("tests/unit/files/test_set_damage.py", "tests/unit/files/test_set_crash.py"),
    ],
    "quarantine": ["tests/unit/files/test_quarantine_room.py", "tests/unit/copying/test_restore.py"],
    "blocks|chain|index|kept|merged|numbers|pages|reading|sidecar": [
        *("tests/unit/files/test_index_guards.py", "tests/unit/files/test_index.py"),
        "tests/unit/files/test_set_index.py",
        *("tests/unit/files/test_blocks.py", "tests/unit/files/test_reading.py"),
        "tests/contract/test_rotating.py",
    ],
    "transfer|quarantined|stores": [
        *("tests/faults_files/test_set_guards.py", "tests/unit/copying", "tests/unit/stores")
    ],
}
"""The tests most likely to kill a mutant of a file with such a name: they come before all others."""
OF_THIS_SCRIPT = "tests/faults_files/test_mutants.py"
COPIED = ("papyra", "django_papyra", "tests", "tools", "docs", "example_project")
HANGS_AFTER_SECONDS = 120
"""One test."""
SHOWN_LETTERS = 70
NO_SUCH_TEST = (4, 5)
"""Exit codes of pytest for a test that was moved or renamed since."""
FAILED = re.compile(r"^(?:FAILED|ERROR) (tests/.+?)(?: - .*)?$", re.MULTILINE)


class Outcome(NamedTuple):
    """``killer`` is the test that failed, empty for a survivor."""

    mutant: Mutant
    killer: str


class Workshop:
    """A copy of the project in which one mutant lives at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changes = 0
        for name in COPIED:
            ignored = shutil.ignore_patterns("_build")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        for name in ("pyproject.toml", "README.md", "CONTRIBUTING.md", "Makefile"):
            shutil.copy2(ROOT / name, folder / name)

    def killer_of(self, mutant: Mutant, known: str) -> str:
        """Return the test that fails with ``mutant``, empty where none does."""
        path = self._folder / mutant.path
        source = path.read_bytes()
        try:
            self._put(path, mutant.apply(source))
            if known and (failed := self._first_failure([known])):
                return failed
            killer = self._first_failure(near(mutant)) or self._first_failure(
                [name for name in RELEVANT if (self._folder / name).exists()]
            )
        finally:
            self._put(path, source)
        if killer and not killer.startswith("(") and not self.is_sound([killer]):
            raise SystemExit(f"papyra: {killer} fails where nothing was taken out")
        return killer

    def is_sound(self, tests: list[str]) -> bool:
        """Whether ``tests`` pass where nothing was taken out."""
        return not self._first_failure(tests)

    def _put(self, path: Path, source: bytes) -> None:
        path.write_bytes(source)
        self._changes += 1
        when = path.stat().st_mtime + 2 * self._changes  # compiled code is told by the second and the size
        os.utime(path, (when, when))

    def _first_failure(self, tests: list[str]) -> str:
        if not tests:
            return ""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "-p", "no:cacheprovider"]
        command += [
            *("-o", f"faulthandler_timeout={HANGS_AFTER_SECONDS}", "-o", "faulthandler_exit_on_timeout=true"),
            *(f"--ignore={OF_THIS_SCRIPT}", *tests),
        ]
        environment = {**os.environ, "PYTHONPATH": str(self._folder), "PAPYRA_FAULTS": "quick", "CI": ""}
        ran = subprocess.run(
            command, cwd=self._folder, env=environment, capture_output=True, text=True, check=False
        )
        if ran.returncode == 0 or ran.returncode in NO_SUCH_TEST:
            return ""
        failed: list[str] = FAILED.findall(ran.stdout)
        if failed:
            return failed[0]
        return "(hangs)" if "Timeout (" in ran.stderr else "(does not even start)"


class Trial:
    """All mutants, several at once, until the time is up."""

    def __init__(self, mutants: list[Mutant], killers: dict[str, str], deadline: float) -> None:
        self._mutants = mutants
        self._killers = killers
        self._deadline = deadline
        self._here = threading.local()
        self.outcomes: list[Outcome] = []

    def run(self, folder: Path, jobs: int) -> None:
        """Try them, each in a copy of the project in ``folder``."""
        with ThreadPoolExecutor(jobs) as pool:
            for outcome in pool.map(lambda mutant: self._try(folder, mutant), self._mutants):
                if outcome is not None:
                    self.outcomes.append(outcome)

    def _try(self, folder: Path, mutant: Mutant) -> Outcome | None:
        if time.monotonic() > self._deadline:
            return None
        if not hasattr(self._here, "workshop"):
            self._here.workshop = Workshop(Path(tempfile.mkdtemp(dir=folder)))
        killer = self._here.workshop.killer_of(mutant, self._killers.get(mutant.name, ""))
        said = f"killed by {killer}" if killer else "SURVIVED"
        print(f"{mutant.path}:{mutant.line} {mutant.kind}: {_short(mutant)}: {said}", flush=True)
        return Outcome(mutant, killer)


def near(mutant: Mutant) -> list[str]:
    """Return the tests that are most likely to kill ``mutant``."""
    stem = Path(mutant.path).stem
    return [test for words, tests in NEAR.items() if re.match(words, stem) for test in tests]


def _short(mutant: Mutant) -> str:
    text = " ".join(mutant.text.split())
    return text if len(text) <= SHOWN_LETTERS else f"{text[:SHOWN_LETTERS]}..."


def all_mutants() -> list[Mutant]:
    """Return every mutant there is, those of each kind in turn, so that a short trial meets all kinds."""
    found: dict[str, list[Mutant]] = {}
    for path in sorted((ROOT / MUTATED).rglob("*.py")):
        for mutant in find_mutants(str(path.relative_to(ROOT)), path.read_bytes()):
            found.setdefault(mutant.kind, []).append(mutant)
    rounds = max(map(len, found.values()), default=0)
    return [kind[at] for at in range(rounds) for kind in found.values() if at < len(kind)]


def learn(outcomes: list[Outcome], killers: dict[str, str]) -> None:
    """Write down which test killed which mutant, and forget those that are no more."""
    tests = ((outcome.mutant.name, outcome.killer) for outcome in outcomes)
    learnt = {name: killer for name, killer in tests if killer.startswith("tests/")}
    here = {mutant.name for mutant in all_mutants()}
    kept = {name: killer for name, killer in {**killers, **learnt}.items() if name in here}
    KILLERS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def main() -> int:
    """Try what was asked for; return the exit code."""
    asked = arguments()
    killers: dict[str, str] = json.loads(KILLERS.read_text(encoding="utf-8")) if KILLERS.exists() else {}
    mutants = [mutant for mutant in all_mutants() if asked.only in f"{mutant.name} {mutant.line}"]
    mutants.sort(key=lambda mutant: mutant.name in killers)  # those that nobody has met yet come first
    if asked.list:
        for mutant in sorted(mutants):
            print(f"{mutant.path}:{mutant.line} {mutant.kind}: {_short(mutant)}")
        return 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="papyra-mutants-") as folder:
        known = sorted({killers[mutant.name] for mutant in mutants if mutant.name in killers})
        if known and not asked.seconds and not Workshop(Path(folder) / "sound").is_sound(known):
            print("the tests fail where nothing was taken out", file=sys.stderr)
            return 1
        trial = Trial(mutants, killers, began + (asked.seconds or 1e9))
        trial.run(Path(folder), asked.jobs)
    survivors = [outcome.mutant for outcome in trial.outcomes if not outcome.killer]
    if asked.learn:
        learn(trial.outcomes, killers)
    tried, seconds = len(trial.outcomes), time.monotonic() - began
    print(f"{tried} of {len(mutants)} guards taken out in {seconds:.0f} s, {len(survivors)} survived")
    for mutant in survivors:
        print(f"SURVIVED {mutant.path}:{mutant.line} {mutant.kind}: {mutant.text}", file=sys.stderr)
    return 1 if survivors or not tried else 0


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.0, help="begin no more after so long")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--only", default="", help="those whose name or line has these words")
    parser.add_argument("--list", action="store_true", help="say which there are, and try none")
    parser.add_argument("--learn", action="store_true", help=f"write {KILLERS.name} anew")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
