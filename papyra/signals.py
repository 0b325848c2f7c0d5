"""The signals that ask a process to stop."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Set by the first SIGTERM or SIGINT; the next one ends the process at once, as the system has it."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.signal: int | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear signals inside the block, even while an actor blocks the loop; for the main thread only."""
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.requested.set)  # wakes the loop
            signal.signal(number, self._hear)  # does not need it
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                if self.signal is None:
                    signal.signal(number, handler)

    def _hear(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        for each in STOP_SIGNALS:
            signal.signal(each, signal.SIG_DFL)
