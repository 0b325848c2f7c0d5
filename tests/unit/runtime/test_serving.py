"""A process that serves a system until a signal asks it to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import asyncio, sys
from papyra import Actor, ActorSystem
from papyra.persistence.json import JsonFilePersistence

class Slow(Actor):
    async def on_start(self):
        print("ready", flush=True)
    async def on_stop(self):
        print("stopping", flush=True)
        await asyncio.sleep(float(sys.argv[2]))

async def main():
    system = ActorSystem(persistence=JsonFilePersistence(sys.argv[1]))
    await system.start()
    system.spawn(Slow, name="slow")
    print("signal", await system.serve(), flush=True)

asyncio.run(main())
"""


def serve(folder: Path, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder / "log.ndjson"), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_r6_the_first_signal_stops_it_in_order(tmp_path: Path, number: int) -> None:
    process = serve(tmp_path, 0)
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert out == f"stopping\nsignal {int(number)}\n"
    assert '"event_type":"SystemStopped"' in (tmp_path / "log.ndjson").read_text()


def test_r6_the_second_signal_does_not_wait(tmp_path: Path) -> None:
    process = serve(tmp_path, 60)
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "stopping\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM
    assert '"event_type":"SystemStopped"' not in (tmp_path / "log.ndjson").read_text()
