"""A process to be killed: appends to Redis, and logs each identity once `append` has returned."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from papyra.exceptions import StoreUnavailableError
from papyra.persistence.models import Record, RecordKind
from tests.faults_redis.stores import make_store
from tests.system.appender import record


class Appender:
    def __init__(self, url: str, ack_log: str, incarnation: str, spill_dir: str) -> None:
        options: dict[str, Any] = {"spill_dir": spill_dir} if spill_dir else {}
        self._store = make_store(url, system_id="killed", **options)
        self._log = Path(ack_log).open("ab", buffering=0)  # noqa: SIM115  # to the end
        self._incarnation = incarnation
        self._last = dict.fromkeys(RecordKind, 0)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(6):
                tasks.create_task(self._append(number))

    async def _append(self, number: int) -> None:
        while True:
            batch = [self._next(kind) for kind in RecordKind for _ in range(number % 3 + 1)]
            await self._store_at_last(batch)
            lines = [f"{one.incarnation} {one.kind} {one.seq}\n" for one in batch]
            self._log.write("".join(lines).encode())

    async def _store_at_last(self, batch: list[Record]) -> None:
        while True:
            with suppress(StoreUnavailableError):
                return await self._store.append(batch)

    def _next(self, kind: RecordKind) -> Record:
        self._last[kind] += 1
        return record(self._incarnation, kind, self._last[kind])


if __name__ == "__main__":
    asyncio.run(Appender(*sys.argv[1:]).run())
