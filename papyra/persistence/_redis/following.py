"""Wait for what comes: on a connection of its own, in a thread of its own, so that it holds up nobody."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from papyra.exceptions import StoreUnavailableError
from papyra.persistence._redis.connecting import Door, Target

if TYPE_CHECKING:
    from papyra.persistence._redis.entries import StreamId

_PAUSE_SECONDS = 0.5


class Waiting:
    """Tells when a stream grows, or that so many seconds are over; to be closed by who made it."""

    def __init__(self, target: Target, stream: str, seconds: float) -> None:
        if not seconds > 0:
            raise ValueError(f"poll_seconds must be above 0, not {seconds!r:.50}")
        self._door = Door(target, socket_timeout=seconds + 5.0)
        self._milliseconds = max(1, int(seconds * 1000))
        self._stream = stream
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="papyra-follow")

    async def for_more(self, after: StreamId) -> None:
        """Return once there may be an entry behind ``after``; or after a moment, where the server is away."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._block, str(after))
        except StoreUnavailableError:
            await asyncio.sleep(_PAUSE_SECONDS)

    def _block(self, after: str) -> None:
        self._door.call("XREAD", "COUNT", 1, "BLOCK", self._milliseconds, "STREAMS", self._stream, after)

    def close(self) -> None:
        """End the thread once the server has answered."""
        self._executor.submit(self._door.close)
        self._executor.shutdown(wait=False)
