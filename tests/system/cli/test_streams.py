from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from papyra import __version__
from papyra.cli.commands import COMMANDS, Command
from tests.system.cli.process import PAPYRA, environment, papyra

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = re.compile(
    r"\b(rich|msgspec|asyncio|papyra\.persistence|papyra\._runtime|django|decimal|ssl|logging)\b"
)
HANGING = """
import sys
from papyra.cli import app, source
from tests.unit.startup.scripted import ScriptedBackend

def say_ready():
    print("ready", file=sys.stderr, flush=True)

class Hanging(ScriptedBackend):
    async def _take_time(self, progress):
        say_ready()
        await super()._take_time(progress)

source.open_store = lambda url, **options: Hanging(hangs=True)
sys.exit(app.main())
"""
STUCK = """
import asyncio, sys, threading
from concurrent.futures import ThreadPoolExecutor
from papyra.cli import app, conduct, source
from tests.unit.startup.scripted import ScriptedBackend

threads = ThreadPoolExecutor(1)

class Stuck(ScriptedBackend):
    async def scan(self, depth=None, *, progress=None):
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(threads, threading.Event().wait)
        print("ready", file=sys.stderr, flush=True)
        await work

    async def aclose(self):
        await asyncio.get_running_loop().run_in_executor(threads, print)

conduct.CLOSING_SECONDS = conduct.INTERRUPTED_SECONDS = 0.1
source.open_store = lambda url, **options: Stuck()
sys.exit(app.main())
"""
BROKEN = """
import sys
from papyra.cli import app, source
from tests.unit.startup.scripted import ScriptedBackend

source.open_store = lambda url, **options: ScriptedBackend(scans=[ZeroDivisionError("division by zero")])
sys.exit(app.main())
"""


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """Lines as the published package wrote them, more than a pipe holds."""
    path = tmp_path / "papyra.ndjson"
    line = {
        "kind": "event",
        "system_id": "orders",
        "actor_address": "orders:1",
        "event_type": "ActorStarted",
        "payload": {"text": "läg 猫 " + "x" * 400},
    }
    lines = (json.dumps({**line, "timestamp": 1_795_569_000.0 + number}) for number in range(3000))
    path.write_text("".join(f"{text}\n" for text in lines), encoding="utf-8")
    return path


def run_script(script: str, *words: str, cwd: Path, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *words],
        cwd=cwd,
        env=environment(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def imported(*command: str, cwd: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return [
        line.rpartition("|")[2].strip()
        for line in done.stderr.splitlines()
        if line.startswith("import time:")
    ]


@pytest.mark.parametrize(
    "command",
    [
        ("-c", "import papyra"),
        ("-m", "papyra", "--help"),
        ("-m", "papyra", "--version"),
        ("-m", "papyra", "doctor", "run", "--help"),
    ],
)
def test_help_and_import_are_light(command: tuple[str, ...], tmp_path: Path) -> None:
    names = imported(*command, cwd=tmp_path)
    assert "papyra" in names
    assert [name for name in names if HEAVY.search(name)] == []


def test_help_starts_in_less_than_150_ms(tmp_path: Path) -> None:
    best = min(_seconds_for("--help", cwd=tmp_path) for _ in range(5))
    assert best < 0.15


def _seconds_for(*words: str, cwd: Path) -> float:
    start = time.perf_counter()
    assert papyra(*words, cwd=cwd).returncode == 0
    return time.perf_counter() - start


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_runs_as_a_process(command: Command, tmp_path: Path) -> None:
    name = command.name
    assert papyra(*name.split(), "--help", cwd=tmp_path).returncode == 0
    words = [] if command.has_one_store else ["--from", "memory:", "--to", "memory:"]
    done = papyra(*name.split(), *words, cwd=tmp_path, PAPYRA_STORE="memory:")
    assert (done.returncode, done.stderr) == (0, "")
    assert papyra(*name.split(), cwd=tmp_path).returncode == 64
    assert list(tmp_path.iterdir()) == []


def test_the_version_is_told(tmp_path: Path) -> None:
    assert papyra("--version", cwd=tmp_path).stdout == f"papyra {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ("inspect", "events", "--limit", "3000"),
        ("inspect", "events", "--limit", "3000", "--json"),
        ("--help",),
    ],
)
def test_a_reader_who_leaves_early_is_no_error(words: tuple[str, ...], history: Path) -> None:
    line = f"{' '.join(PAPYRA)} {' '.join(words)} | head -c 10 >/dev/null; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=history.parent,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_output_that_cannot_be_written_is_an_error(history: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{' '.join(PAPYRA)} persistence scan >/dev/full"],
        cwd=history.parent,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 70
    assert done.stderr == "papyra: the output could not be written: No space left on device\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_closed_streams_do_not_change_the_answer(closed: str, history: Path) -> None:
    for words, code in (("persistence scan", 0), ("persistence scan --nonsense", 64), ("--help", 0)):
        done = subprocess.run(
            ["bash", "-c", f"{' '.join(PAPYRA)} {words} {closed}"],
            cwd=history.parent,
            env=environment(),
            capture_output=True,
            check=False,
        )
        assert done.returncode == code, done.stderr


def test_a_terminal_without_unicode_gets_escapes(history: Path) -> None:
    done = papyra("inspect", "events", "--limit", "1", cwd=history.parent, PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert r"l\xe4g \u732b" in done.stdout


@pytest.mark.parametrize(
    "words", [("persistence", "scan"), ("doctor", "run"), ("persistence", "scan", "--json")]
)
def test_ctrl_c_exits_with_130_and_one_line(words: tuple[str, ...], tmp_path: Path) -> None:
    with run_script(HANGING, *words, "--store", "memory:", cwd=tmp_path) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "papyra: interrupted\n")
    assert (json.loads(out)["exit_code"] == 130) if "--json" in words else out == ""


def test_ctrl_c_does_not_wait_for_a_disk_that_hangs(tmp_path: Path) -> None:
    with run_script(STUCK, "persistence", "scan", "--store", "memory:", cwd=tmp_path) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "papyra: interrupted\n")


def test_a_doctor_does_not_wait_longer_than_told_for_a_disk_that_hangs(tmp_path: Path) -> None:
    words = ("doctor", "run", "--timeout", "0.1", "--store", "memory:")
    with run_script(STUCK, *words, cwd=tmp_path) as process:
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 69
    assert "Reason: the store did not answer within 0.1 s" in out


def test_our_own_fault_is_one_line_and_70(tmp_path: Path) -> None:
    with run_script(BROKEN, "persistence", "scan", "--store", "memory:", cwd=tmp_path) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (70, "")
    assert err.count("\n") == 1
    assert err.startswith("papyra: unexpected ZeroDivisionError: division by zero; this is a fault of papyra")


def test_papyra_debug_shows_the_traceback(tmp_path: Path) -> None:
    script = ("persistence", "scan", "--store", "memory:")
    with run_script(BROKEN, *script, cwd=tmp_path, PAPYRA_DEBUG="1") as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == 70
    assert err.startswith("Traceback (most recent call last):")


def on_a_terminal(*words: str, cwd: Path, **env: str) -> str:
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            [*PAPYRA, *words],
            cwd=cwd,
            env=environment(TERM="xterm-256color", COLUMNS="120", **env),
            stdout=theirs,
            stderr=subprocess.PIPE,
        ):
            os.close(theirs)
            shown = b""
            while True:
                try:
                    part = os.read(ours, 65_536)
                except OSError:  # the other end is closed
                    break
                if not part:
                    break
                shown += part
    finally:
        os.close(ours)
    return shown.decode()


def test_colours_on_a_terminal_only_and_not_with_no_color(history: Path) -> None:
    assert "\x1b[" in on_a_terminal("persistence", "scan", cwd=history.parent)
    assert "\x1b[" not in papyra("persistence", "scan", cwd=history.parent).stdout
    plain = on_a_terminal("persistence", "scan", cwd=history.parent, NO_COLOR="1")
    assert "HEALTHY" in plain
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", plain)


def test_a_terminal_gets_one_json_object_as_a_pipe_does(history: Path) -> None:
    shown = on_a_terminal("persistence", "scan", "--json", cwd=history.parent)
    assert json.loads(shown)["verdict"] == "healthy"
