from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from papyra.persistence.threads import WriterThread
from papyra.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from papyra.clock import Clock


class Medium:
    """Takes batches of numbers, and waits at a gate that a test may close."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.fault: BaseException | None = None

    def write(self, items: list[int]) -> list[int]:
        self.entered.set()
        assert self.gate.wait(10)
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        self.batches.append(items)
        return [item * 10 for item in items]

    @property
    def written(self) -> list[int]:
        return [item for batch in self.batches for item in batch]


@asynccontextmanager
async def writing(
    medium: Medium,
    on_failure: Callable[[BaseException], None] | None = None,
    max_queue_bytes: int = 1_000,
    clock: Clock | None = None,
) -> AsyncIterator[WriterThread[int, int]]:
    writer: WriterThread[int, int] = WriterThread(
        "test writer",
        medium.write,
        on_failure=on_failure,
        max_queue_bytes=max_queue_bytes,
        clock=clock or ManualClock(),
    )
    try:
        yield writer
    finally:
        medium.gate.set()
        await writer.aclose(lambda: None)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # the condition is in another thread
            await asyncio.sleep(0)


async def entered(medium: Medium) -> None:
    assert await asyncio.to_thread(medium.entered.wait, 10)
