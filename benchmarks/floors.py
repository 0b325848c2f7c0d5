"""What the machine does at best: the bare loops that every figure stands beside. Each prints its own rate."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LINE = b'{"seq":1042,"kind":"event",' + b"x" * 270 + b',"crc":"19c773f0"}\n'


def durable_lines(folder: Path, *, batches: int = 400, lines: int = 64) -> float:
    """Write and fdatasync ``lines`` lines at a time through one descriptor; return lines a second."""
    path = folder / f"floor-{lines}.ndjson"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    block = LINE * lines
    began = time.perf_counter()
    for _ in range(batches):
        os.write(descriptor, block)
        os.fdatasync(descriptor)
    rate = batches * lines / (time.perf_counter() - began)
    os.close(descriptor)
    path.unlink()
    print(f"floor: {lines} lines a write + fdatasync: {rate:,.0f} lines/s")
    return rate


def start_of_python(*, rounds: int = 9) -> float:
    """Start the interpreter and end it; return the median of seconds."""
    seconds = median_start([sys.executable, "-c", "pass"], rounds=rounds)
    print(f"floor: python -c pass: {seconds * 1000:.0f} ms")
    return seconds


def median_start(command: list[str], *, rounds: int) -> float:
    """Run ``command`` to its end ``rounds`` times; return the median of seconds."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - began)
    return sorted(taken)[rounds // 2]
