"""The page on running with Redis: its server takes what its store asks for, its programs and commands run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.services.redisfixtures import StartRedis

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/how-to/run-on-redis.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent
SHOWN = "redis://localhost:6379/0"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_programs_and_commands_of_the_page_do_what_it_says(start_redis: StartRedis) -> None:
    (directives,) = blocks("ini")
    named = dict(line.split(" ", 1) for line in directives.splitlines())
    server = start_redis(login=None, has_tls=False, **named)
    programs = blocks("python")
    assert len(programs) == 2
    for program in programs:
        ran = run(sys.executable, "-W", "error", "-c", program.replace(SHOWN, server.url))
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.splitlines() == re.findall(r"print\(.*\)  # (.*)", program), ran.stderr
    commands = [line for block in blocks("shell") for line in block.splitlines()]
    assert len(commands) == 4
    for command in commands:
        ran = run("bash", "-c", command.replace(SHOWN, server.url))
        assert ran.returncode == 0, ran.stdout + ran.stderr
    with server.client() as client:
        assert client.xlen("papyra:{orders}:events") == 100
