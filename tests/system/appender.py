"""A process to be killed: appends from several tasks, and logs each identity once `append` has returned."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from papyra.exceptions import StoreUnavailableError
from papyra.persistence.backends.rotating import RotatingFilePersistence
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import PersistedAudit, PersistedDeadLetter, PersistedEvent, Record, RecordKind
from papyra.persistence.retention import RetentionPolicy

if TYPE_CHECKING:
    from papyra.persistence.base import BasePersistence

KEPT_AUDITS = 20


class Form(StrEnum):
    FILE = "file"
    SEGMENTS = "segments"
    SHARED = "shared"

    def open(self, path: Path, **options: Any) -> BasePersistence:
        if self is Form.FILE:
            return JsonFilePersistence(path, **options)
        is_shared = self is Form.SHARED
        return RotatingFilePersistence(path, max_bytes=50_000, max_files=None, shared=is_shared, **options)

    def content(self, path: Path) -> bytes:
        files = [path] if self is Form.FILE else sorted(path.glob("*.ndjson"))
        return b"".join(file.read_bytes() for file in files)


def record(incarnation: str, kind: RecordKind, seq: int) -> Record:
    """Return the one record that can have this identity."""
    address, time = f"killed:{seq}", 1_750_000_000.0 + seq
    payload = {"seq": seq, "text": "größer " * (seq * 7 % 400)}
    match kind:
        case RecordKind.EVENT:
            return PersistedEvent(
                "killed", address, "ActorStarted", payload, time, incarnation=incarnation, seq=seq
            )
        case RecordKind.DEAD_LETTER:
            return PersistedDeadLetter(
                "killed", address, "dict", payload, time, incarnation=incarnation, seq=seq
            )
        case RecordKind.AUDIT:
            return PersistedAudit(
                "killed", time, seq, 0, 0, 0, 0, (), (), 0, incarnation=incarnation, seq=seq
            )


class Appender:
    def __init__(self, form: str, path: str, ack_log: str, incarnation: str, fsync: str) -> None:
        self._store = Form(form).open(Path(path), fsync=fsync, fsync_interval_seconds=0.01)
        self._log = Path(ack_log).open("ab", buffering=0)  # noqa: SIM115  # to the end
        self._incarnation = incarnation
        self._last = dict.fromkeys(RecordKind, 0)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(6):
                tasks.create_task(self._append(number))
            tasks.create_task(self._rewrite())

    async def _append(self, number: int) -> None:
        while True:
            batch = [self._next(kind) for kind in RecordKind for _ in range(number % 3 + 1)]
            await self._store.append(batch)
            lines = [f"{one.incarnation} {one.kind} {one.seq}\n" for one in batch]
            self._log.write("".join(lines).encode())

    def _next(self, kind: RecordKind) -> Record:
        self._last[kind] += 1
        return record(self._incarnation, kind, self._last[kind])

    async def _rewrite(self) -> None:
        policy = RetentionPolicy(audits=RetentionPolicy(max_records=KEPT_AUDITS))
        while True:
            await asyncio.sleep(0.02)
            await self._store.compact(policy)


async def main() -> None:
    form, path, ack_log, incarnation, fsync = sys.argv[1:]
    with suppress(StoreUnavailableError):
        await Appender(form, path, ack_log, incarnation, fsync).run()


if __name__ == "__main__":
    asyncio.run(main())
