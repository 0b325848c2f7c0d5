"""What a contender is measured with. Standard library only: it runs in every library's own environment."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import statistics
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

Figures = dict[str, float]
MEBIBYTE = 1024 * 1024
TICK_SECONDS = 0.001


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


class Stalls:
    """How many milliseconds late a coroutine of the loop came back that slept for one, each time."""

    def __init__(self) -> None:
        self.late: list[float] = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._sleep())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _sleep(self) -> None:
        while True:
            began = time.perf_counter()
            try:
                await asyncio.sleep(TICK_SECONDS)
            finally:  # the last one, which ends early or never came back in time, counts too
                late = time.perf_counter() - began - TICK_SECONDS
                self.late.append(max(late, 0.0) * 1000)

    def figures(self) -> Figures:
        """Return the longest, and the p99 of what requests would have waited, one in each millisecond."""
        return {"longest stall ms": max(self.late), "p99 ms": percentile(waits(self.late), 99)}


def waits(late: list[float]) -> list[float]:
    """Return how long each request waits that comes while the loop is late: one in each millisecond of it."""
    return [each - begun for each in late for begun in range(max(math.ceil(each), 1))]


def percentile(values: list[float], percent: int) -> float:
    """Return the value that so many percent of ``values`` do not exceed."""
    return sorted(values)[min(len(values) * percent // 100, len(values) - 1)]


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
