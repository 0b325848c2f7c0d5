"""What a contender is measured with. Standard library only: it runs in every library's own environment."""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

Figures = dict[str, float]
MEBIBYTE = 1024 * 1024


class Meter:
    """CPU time of the process, all its threads, and wall time of a block; older garbage goes first."""

    cpu = wall = 0.0

    def __enter__(self) -> Self:
        gc.collect()
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu, self.wall = time.process_time() - self._cpu, time.perf_counter() - self._wall

    def rates(self, count: int) -> Figures:
        """Return how many a second, by either clock."""
        return {"cpu": count / self.cpu, "wall": count / self.wall}


def expect(counted: int, wanted: int) -> None:
    """Refuse a figure for work that was not done."""
    if counted != wanted:
        raise SystemExit(f"{counted:,} of {wanted:,} were done: no figure")


def resident() -> int:
    """Return the bytes of memory this process holds, by Linux's own count."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def memory(before: int, count: int) -> Figures:
    """Return what ``count`` more of something added to `resident`."""
    grown = resident() - before
    return {"each": grown / count, "mb": grown / MEBIBYTE}


async def pauses(is_done: Callable[[], bool]) -> Figures:
    """Return how many milliseconds a coroutine that only sleeps for 0 seconds is kept waiting."""
    cpu: list[float] = []
    wall: list[float] = []
    while not is_done():
        cpu_began, wall_began = time.process_time(), time.perf_counter()
        await asyncio.sleep(0)
        cpu.append((time.process_time() - cpu_began) * 1000)
        wall.append((time.perf_counter() - wall_began) * 1000)
    return {
        "max cpu": max(cpu),
        "max wall": max(wall),
        "p50 cpu": statistics.median(cpu),
        "p50 wall": statistics.median(wall),
    }
