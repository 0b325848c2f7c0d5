"""I9: the same history reads back the same from every backend."""

from __future__ import annotations

import math
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY

import pytest

from django_papyra.backend import DjangoPersistence
from papyra.exceptions import AppendError
from papyra.persistence.backends.memory import InMemoryPersistence
from papyra.persistence.backends.redis import RedisStreamsConfig, RedisStreamsPersistence
from papyra.persistence.backends.rotating import RotatingFilePersistence
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import RecordKind, ScanDepth
from papyra.persistence.query import RecordQuery
from papyra.persistence.retention import UNLIMITED, RetentionPolicy
from papyra.testing.records import EPOCH, MAKERS, content, full_records
from tests.budget import BUDGET

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.persistence.base import BasePersistence
    from papyra.persistence.models import Record
    from tests.services.redisserver import RedisPlace

INCARNATIONS = tuple(f"01JDGH5Q7W000000000000000{number}" for number in range(3))
SYSTEMS = ("orders", "payments")
PATHS = ("", "/desk", "/desk/stock")
TYPES = ("ActorStarted", "ActorStopped", "MyOwn")
SEEDS = range(BUDGET.pick(quick=2, ci=4, whole=30))
OPERATIONS = 45


class Author:
    """Makes up a history: in order, repeated, forged, unstorable, with holes, with and without identity."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  # the same each time
        self._last: dict[tuple[str, RecordKind], int] = {}
        self._given: list[Record] = []
        self._kept: list[Record] = []
        """Those that no compaction had to do with: of others a store need not know what they were."""

    def batch(self) -> list[Record]:
        return [self._record() for _ in range(self._random.randint(1, 12))]

    def _record(self) -> Record:
        pick = self._random.random()
        if pick < 0.08 and self._given:
            return self._random.choice(self._given)
        if pick < 0.12 and self._kept:
            return replace(self._random.choice(self._kept), timestamp=EPOCH - 1)
        if pick < 0.15:
            return replace(self._random.choice(full_records()), timestamp=math.nan)
        if pick < 0.25:
            return self._random.choice(full_records())
        return self._new()

    def _new(self) -> Record:
        kind = self._random.choice(list(RecordKind))
        name = self._random.choice(INCARNATIONS)
        seq = self._last.get((name, kind), 0) + (2 if self._random.random() < 0.03 else 1)
        self._last[name, kind] = seq
        time = EPOCH + self._random.randint(-50, 50) / 4
        about: dict[str, Any] = {"system_id": self._random.choice(SYSTEMS), "timestamp": time}
        if kind is RecordKind.EVENT:
            about |= {"actor_path": self._random.choice(PATHS), "event_type": self._random.choice(TYPES)}
        if kind is RecordKind.DEAD_LETTER:
            about |= {
                "target_path": self._random.choice(PATHS),
                "reason": self._random.choice(["", "expired"]),
            }
        record = MAKERS[kind](self._random.randint(0, 9), incarnation=name, seq=seq, **about)
        self._given.append(record)
        self._kept.append(record)
        return record

    def query(self) -> RecordQuery:
        def maybe(*values: Any) -> Any:
            return self._random.choice([None, None, *values])

        return RecordQuery(
            kind=self._random.choice(list(RecordKind)),
            limit=self._random.choice([3, 10, 1000]),
            newest_first=self._random.random() < 0.5,
            system_id=maybe(*SYSTEMS),
            incarnation=maybe(*INCARNATIONS),
            actor=maybe("/desk", "orders:3"),
            type=maybe(*TYPES),
            reason=maybe("expired"),
            since=maybe(EPOCH - 5, EPOCH),
            until=maybe(EPOCH, EPOCH + 5),
        )

    def policy(self) -> RetentionPolicy:
        self._kept.clear()
        limits = RetentionPolicy(max_records=self._random.randint(0, 60))
        return RetentionPolicy(events=limits, audits=limits)


@dataclass(slots=True)
class Witness:
    """One store, and everything it answered."""

    name: str
    store: BasePersistence
    answers: list[object]

    async def append(self, batch: list[Record]) -> None:
        try:
            await self.store.append(batch)
        except AppendError as error:
            self.answers.append([(position, type(reason)) for position, reason in error.refused])
        else:
            self.answers.append("stored")

    async def read(self, query: RecordQuery) -> None:
        """Read every page of it."""
        pages, page = [], await self.store.read(query)
        while True:
            pages.append([self._told(record) for record in page.records])
            if page.cursor is None:
                break
            page = await self.store.read(replace(query, cursor=page.cursor))
        self.answers.append(pages)

    def _told(self, record: Record) -> Record:
        """Leave out the writer's incarnation, which each store makes up for itself."""
        return record if record.incarnation in INCARNATIONS else content(record)

    async def compact(self, policy: RetentionPolicy) -> None:
        report = await self.store.compact(policy)
        removed = [report.removed.get(kind, 0) for kind in RecordKind]
        counted = (report.before_records, report.after_records)
        self.answers.append((counted, removed, report.oldest_removed, report.newest_removed))

    async def count(self) -> None:
        stats = (await self.store.stats()).kinds
        self.answers.append(
            [(kind, stats[kind].records, stats[kind].oldest, stats[kind].newest) for kind in RecordKind]
        )

    async def scan(self) -> None:
        report = await self.store.scan(ScanDepth.FULL)
        types = sorted(anomaly.type for anomaly in report.anomalies)
        self.answers.append(types if self.store.capabilities.can_be_damaged else ANY)


async def go_through(seed: int, witness: Witness) -> None:
    author = Author(seed)
    for number in range(OPERATIONS):
        await witness.append(author.batch())
        await witness.read(author.query())
        if number % 15 == 14:
            await witness.count()
            await witness.scan()
            await witness.compact(author.policy())
            await witness.count()
    for kind in RecordKind:
        await witness.read(RecordQuery(kind=kind, newest_first=False))


def stores_in(folder: Path, url: str) -> dict[str, BasePersistence]:
    return {
        "memory": InMemoryPersistence(UNLIMITED),
        "file": JsonFilePersistence(folder / "log.ndjson"),
        "segments": RotatingFilePersistence(folder / "log", max_bytes=20_000, max_files=1000),
        "orm": DjangoPersistence(),
        "redis": RedisStreamsPersistence(RedisStreamsConfig(url, system_id="orders")),
    }


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seed", SEEDS)
async def test_i9_the_same_history_reads_back_the_same_from_every_backend(
    seed: int, tmp_path: Path, any_redis: RedisPlace
) -> None:
    witnesses = []
    async with AsyncExitStack() as stack:
        for name, store in stores_in(tmp_path, any_redis.url).items():
            await stack.enter_async_context(store)
            witnesses.append(Witness(name, store, []))
            await go_through(seed, witnesses[-1])
    first, *others = witnesses
    for other in others:
        for number, (expected, found) in enumerate(zip(first.answers, other.answers, strict=True)):
            assert found == expected, f"answer {number} of {other.name} beside {first.name}"
