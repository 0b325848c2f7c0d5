"""D3: imports, checks, migrations to make, static files and ``--help`` need nothing that can be down."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_d3_nothing_of_ours_opens_a_database_or_a_socket() -> None:
    done = run("-m", "tests.django.offline")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert not [line for line in lines if "by papyra" in line]
    assert [line for line in lines if line == "sqlite3 by others"], (
        "the trap works: Django's own look was caught"
    )


def test_d3_wrong_settings_do_not_keep_anything_from_being_imported(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text("from tests.django.settings import *\nPAPYRA = {'NOPE': 1}\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = run("-m", "django", "check", DJANGO_SETTINGS_MODULE="wrong", PYTHONPATH=path)
    assert done.returncode == 1
    assert "papyra.E001" in done.stderr
    assert "did you mean" in done.stderr or "known:" in done.stderr
    assert "Traceback" not in done.stderr
