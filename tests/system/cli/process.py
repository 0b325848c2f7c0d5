"""Run papyra as a shell would: another process, its streams, its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
PAPYRA = (sys.executable, "-m", "papyra")


def environment(**more: str) -> dict[str, str]:
    """Return a shell's environment that finds this checkout and nothing of the tester's own settings."""
    kept = {
        name: os.environ[name] for name in ("PATH", "HOME", "COVERAGE_PROCESS_START") if name in os.environ
    }
    return {**kept, "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", **more}


def papyra(*words: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PAPYRA, *map(str, words)],
        cwd=cwd,
        env=environment(**env),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def papyra_json(*words: str | Path, cwd: Path) -> dict[str, Any]:
    done = papyra(*words, "--json", cwd=cwd)
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["exit_code"] == done.returncode
    return document
