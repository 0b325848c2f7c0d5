"""The commands on the page about backups print what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from papyra.testing.records import INCARNATION, event, letter
from tests.unit.copying.stores import fill

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/how-to/back-up-and-restore.md").read_text(encoding="utf-8")


def steps() -> list[tuple[str, list[str]]]:
    """Return each command of the page with the lines it promises."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


async def test_every_step_does_what_the_page_says(tmp_path: Path) -> None:
    events = [event(number, incarnation=INCARNATION, seq=number) for number in range(1, 1041)]
    letters = [letter(number, incarnation=INCARNATION, seq=number) for number in range(1, 3)]
    await fill(f"ndjson:{tmp_path / 'papyra.ndjson'}", [*events], [*letters])
    (tmp_path / "backup").mkdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    assert len(steps()) > 8
    for command, promised in steps():
        command = command.replace("--max-age 90d", "--max-age 90000d")  # noqa: PLW2901  # the records are of 2025
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        shown = done.stdout.splitlines()
        if promised[-1:] == ["…"]:
            promised = promised[:-1]  # noqa: PLW2901  # the page shows how it begins
            shown = shown[: len(promised)]
        assert shown == promised, command
