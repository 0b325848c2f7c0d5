"""What a process does to a store until it is killed: named works, and what must hold after each."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from papyra.persistence.backends.rotating import RotatingFilePersistence
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import (
    PersistenceRecoveryConfig,
    PersistenceRecoveryMode,
    Record,
    RecordKind,
)
from papyra.persistence.query import RecordQuery
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.records import INCARNATION, MAKERS, OTHER_INCARNATION
from tests.unit.files.stores import HEADER, is_our_own, line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from pathlib import Path

    from papyra.persistence.base import BasePersistence

REPAIR = PersistenceRecoveryConfig(PersistenceRecoveryMode.REPAIR)
QUARANTINE = PersistenceRecoveryConfig(PersistenceRecoveryMode.QUARANTINE)
NAME = "log.ndjson"
RUBBISH = b"rubbish that stands nowhere else\n"
KINDS = (RecordKind.EVENT, RecordKind.DEAD_LETTER)


def one(seq: int, kind: RecordKind = RecordKind.EVENT, incarnation: str = OTHER_INCARNATION) -> Record:
    """Return the record that has this identity."""
    return MAKERS[kind](seq, incarnation=incarnation, seq=seq)


BEFORE = [one(seq, kind, INCARNATION) for seq in range(1, 6) for kind in KINDS]
SOUND = HEADER + b"".join(line(seq, kind=kind) for seq in range(1, 6) for kind in KINDS)
TORN = line(6)[:90]
DAMAGED = SOUND.replace(line(3), line(3) + RUBBISH) + TORN
BATCHES = [[one(1)], [one(1, RecordKind.DEAD_LETTER)], [one(2), one(3), one(2, RecordKind.DEAD_LETTER)]]
MANY = [one(seq) for seq in range(1, 25)]
KEEP = RetentionPolicy(max_records=2)


class Said:
    """Tells the world outside what was acknowledged, before anything else is done."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say

    async def append(self, store: BasePersistence, batch: Sequence[Record]) -> None:
        await store.append(batch)
        self._say("".join(f"{record.kind} {record.seq} {record.incarnation}\n" for record in batch))


async def append_batches(store: BasePersistence, said: Said) -> None:
    for batch in BATCHES:
        await said.append(store, batch)


async def append_many(store: BasePersistence, said: Said) -> None:
    for record in MANY:
        await said.append(store, [record])


async def repair(store: BasePersistence, said: Said) -> None:
    await store.recover(REPAIR)
    await said.append(store, BATCHES[0])


async def quarantine(store: BasePersistence, said: Said) -> None:
    await store.recover(QUARANTINE)
    await said.append(store, BATCHES[0])


async def compact(store: BasePersistence, said: Said) -> None:
    await store.compact(KEEP)
    await said.append(store, BATCHES[0])


async def compact_many(store: BasePersistence, said: Said) -> None:
    await append_many(store, said)
    await store.compact(KEEP)


def open_file(folder: Path, **options: Any) -> BasePersistence:
    return JsonFilePersistence(folder / NAME, **options)


def open_segments(folder: Path, *, name: str = "segments", **options: Any) -> BasePersistence:
    """Open a store whose segments are so small that a few records fill one."""
    return RotatingFilePersistence(folder / name, **{"max_bytes": 1_500, "max_files": 4, **options})


async def fill_segments(folder: Path) -> None:
    """Leave a set with rubbish in a sealed segment, and the newest one torn."""
    async with open_all_segments(folder) as store:
        for record in MANY:
            await store.append([record])
    segments = sorted((folder / "segments").glob("*.ndjson"))
    first = segments[0].read_bytes().splitlines(keepends=True)
    segments[0].write_bytes(b"".join([*first[:3], RUBBISH, *first[3:]]))
    with segments[-1].open("ab") as file:
        file.write(TORN)


open_all_segments = partial(open_segments, max_files=100)


@dataclass(frozen=True, slots=True)
class Work:
    """``before`` is the content of the one file there is, or makes what is there.

    ``damage`` stays in the store or lies in quarantine; ``drops_oldest``: the oldest of `MANY` may go.
    """

    do: Callable[[BasePersistence, Said], Awaitable[None]]
    before: bytes | Callable[[Path], Coroutine[Any, Any, None]] = b""
    damage: tuple[bytes, ...] = ()
    open: Callable[..., BasePersistence] = open_file
    must_stay: list[Record] = field(default_factory=list)
    drops_oldest: bool = False

    def prepare(self, folder: Path) -> None:
        folder.mkdir()
        if not isinstance(self.before, bytes):
            asyncio.run(self.before(folder))
        elif self.before:
            (folder / NAME).write_bytes(self.before)


_KEPT = [record for record in BEFORE if record.seq > 3]

WORKS = {
    "append to nothing": Work(append_batches),
    "append after a tear": Work(append_batches, SOUND + TORN, must_stay=BEFORE),
    "repair": Work(repair, DAMAGED, (RUBBISH, TORN), must_stay=BEFORE),
    "repair of the tail": Work(repair, SOUND + TORN, (TORN,), must_stay=BEFORE),
    "quarantine": Work(quarantine, DAMAGED, (RUBBISH, TORN), must_stay=BEFORE),
    "compact": Work(compact, SOUND.replace(line(3), line(3) + RUBBISH), (RUBBISH,), must_stay=_KEPT),
    "rotate, seal and drop": Work(append_many, open=open_segments, drops_oldest=True),
    "compact segments": Work(compact_many, open=open_segments, drops_oldest=True),
    "repair segments": Work(repair, fill_segments, (RUBBISH, TORN), open_all_segments, MANY),
}


async def everything(store: BasePersistence) -> list[Record]:
    """Return all that is read, oldest first by kind, without what the store wrote about itself."""
    return [record for record in await whole(store) if not is_our_own(record)]


async def whole(store: BasePersistence) -> list[Record]:
    """Return all that is read, oldest first by kind."""
    found: list[Record] = []
    for kind in RecordKind:
        query = RecordQuery(kind=kind, newest_first=False)
        found += [record async for record in store.iterate(query)]
    return found
