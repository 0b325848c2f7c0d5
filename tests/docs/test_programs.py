"""The programs on the pages that explain, and on those for newcomers, print what their comments say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *(ROOT / "docs/explanation").glob("*.md"),
        *(ROOT / "docs/how-to").glob("coming-from-*.md"),
        ROOT / "docs/how-to/choose-a-store.md",
    ]
)
PROGRAMS = [
    pytest.param(program, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, program in enumerate(
        re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE), 1
    )
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_prints_what_its_comments_say(program: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(program)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "program.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    promised = re.findall(r"print\(.*\)  # (.*)", program)
    assert promised
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == promised, ran.stderr


def test_every_page_has_a_program() -> None:
    shown = {str(program.id).rpartition("-")[0] for program in PROGRAMS}
    assert shown == {page.stem for page in PAGES}
