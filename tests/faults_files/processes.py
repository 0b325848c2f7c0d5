"""Programs for tests with real processes; each gets the store's path and says what was acknowledged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from papyra.persistence import run_sync
from papyra.persistence._files.segments import LOCK_NAME
from papyra.persistence.backends.rotating import RotatingFilePersistence
from papyra.persistence.json import JsonFilePersistence

if TYPE_CHECKING:
    from papyra.persistence.base import BasePersistence
    from papyra.persistence.models import PersistedEvent

ROOT = Path(__file__).resolve().parents[2]
FORMS = {"one file": "log.ndjson", "segments": "log"}
"""What a store is called in a folder of its own, by its form."""

HEAD = """
import asyncio, itertools, os, signal, sys, threading
from papyra.exceptions import *
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence import run_sync
from papyra.testing.records import event
from tests.faults_files.processes import newest_file, store_at

path, me = sys.argv[1], sys.argv[2]

def say(text):
    os.write(1, f"{text}\\n".encode())

def mine(number):
    return event(number, actor_path=f"/{me}", payload={"number": number, "text": "x" * (number * 97 % 3000)})
"""

RACER = """
async def main():
    store = store_at(path)
    sys.stdin.readline()  # all begin at once
    for number in itertools.count():
        try:
            await store.append([mine(number)])
        except StoreLockedError:
            say("locked")
            break
        say(number)
        if number == 30:
            break
    await store.aclose()

asyncio.run(main())
"""

HOLDER = """
async def main():
    store = store_at(path)
    for number in itertools.count():
        await store.append([mine(number)])
        say(number)
        if number == int(sys.argv[3]):
            sys.stdin.readline()

asyncio.run(main())
"""


def store_at(path: str | Path) -> BasePersistence:
    """Open what is called as in `FORMS`; some ten records fill a segment."""
    path = Path(path)
    if ".ndjson" in path.name:
        return JsonFilePersistence(path)
    return RotatingFilePersistence(path, max_bytes=30_000, max_files=None)


def newest_file(path: str | Path) -> Path:
    """Return the file that is written to."""
    path = Path(path)
    return max(path.glob("*.ndjson")) if path.is_dir() else path


def lock_of(path: Path) -> Path:
    return path / LOCK_NAME if path.is_dir() else path.with_name(f"{path.name}.lock")


def started(program: str, path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HEAD + program, str(path), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def ran(program: str, path: Path, *arguments: str, seconds: float = 60) -> tuple[int, list[str], str]:
    """Run it to its end; returns its code, what it said, and its errors."""
    process = started(program, path, *arguments)
    try:
        said, errors = process.communicate("\n", timeout=seconds)
    finally:
        process.kill()
    return process.returncode, said.splitlines(), errors


def numbers_of(path: Path) -> dict[str, list[int]]:
    """Return what is stored, by who wrote it, in store order."""
    found: dict[str, list[int]] = {}
    for event in stored(path):
        found.setdefault(event.actor_path.strip("/"), []).append(int(event.actor_address.partition(":")[2]))
    return found


def stored(path: Path) -> tuple[PersistedEvent, ...]:
    store = store_at(path)
    try:
        return run_sync(store.list_events())
    finally:
        run_sync(store.aclose())


def findings(path: Path) -> list[str]:
    store = store_at(path)
    try:
        return [anomaly.type.value for anomaly in run_sync(store.scan()).anomalies]
    finally:
        run_sync(store.aclose())
