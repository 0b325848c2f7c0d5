"""Programs for tests with real processes; each gets the store's path and says what was acknowledged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from papyra.persistence import run_sync
from papyra.persistence.json import JsonFilePersistence

if TYPE_CHECKING:
    from papyra.persistence.models import PersistedEvent

ROOT = Path(__file__).resolve().parents[2]

HEAD = """
import asyncio, itertools, os, signal, sys, threading
from papyra.exceptions import *
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence import run_sync
from papyra.testing.records import event

path, me = sys.argv[1], sys.argv[2]

def say(text):
    os.write(1, f"{text}\\n".encode())

def mine(number):
    return event(number, actor_path=f"/{me}", payload={"number": number, "text": "x" * (number * 97 % 3000)})
"""

RACER = """
async def main():
    store = JsonFilePersistence(path)
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
    store = JsonFilePersistence(path)
    for number in itertools.count():
        await store.append([mine(number)])
        say(number)
        if number == int(sys.argv[3]):
            sys.stdin.readline()

asyncio.run(main())
"""


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
    store = JsonFilePersistence(path)
    try:
        return run_sync(store.list_events())
    finally:
        run_sync(store.aclose())


def findings(path: Path) -> list[str]:
    store = JsonFilePersistence(path)
    try:
        return [anomaly.type.value for anomaly in run_sync(store.scan()).anomalies]
    finally:
        run_sync(store.aclose())
