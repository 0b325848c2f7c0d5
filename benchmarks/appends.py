"""Durable appends to the JSON file, each acknowledged, beside a bare loop that syncs 64 lines at a time."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

from benchmarks import floors
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import PersistedEvent

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 5


async def acknowledged_per_second(path: Path, *, producers: int, total: int) -> float:
    """Let ``producers`` tasks each await every append; return acknowledged records a second."""
    backend = JsonFilePersistence(path)
    event = PersistedEvent("bench", "bench:1", "Measured", {"text": "x" * 150, "n": 1}, 1795569868.123456)
    await backend.record_event(event)

    async def produce() -> None:
        for _ in range(total // producers):
            await backend.record_event(event)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(producers):
            group.create_task(produce())
    taken = time.perf_counter() - began
    await backend.aclose()
    return total / taken


def run(folder: Path) -> None:
    """Interleave floor and figures, so that a noisy neighbour meets all of them."""
    ratios: list[float] = []
    for number in range(ROUNDS):
        floor = floors.durable_lines(folder)
        one, many = (
            asyncio.run(
                acknowledged_per_second(folder / f"{number}-{producers}", producers=producers, total=total)
            )
            for producers, total in ((1, 2_000), (64, 64_000))
        )
        ratios.append(many / floor)
        print(
            f"append:  1 producer {one:,.0f}/s; 64 producers {many:,.0f}/s, {many / floor:.2f} of the floor"
        )
    print(f"median: 64 producers at {statistics.median(ratios):.2f} of the floor (wanted: >= 0.30)")
