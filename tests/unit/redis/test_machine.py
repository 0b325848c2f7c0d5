"""I1, I2: whatever comes in whatever order, from two writers and over lost keys, stands there once."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import AppendError
from papyra.persistence.models import PersistenceAnomalyType, RecordKind
from papyra.testing.promises.harness import everything
from papyra.testing.records import INCARNATION, MAKERS, OTHER_INCARNATION
from tests.unit.redis.stores import DEDUP, META, opened

if TYPE_CHECKING:
    from papyra.persistence.backends.redis import RedisStreamsPersistence
    from papyra.persistence.models import Record
    from tests.services.redisserver import RedisPlace

LIVES = (INCARNATION, OTHER_INCARNATION)
STEPS = 30


class Model:
    """What should be there, in order of arrival, and which numbers were left out so far."""

    def __init__(self, seed: int) -> None:
        self.chosen = random.Random(seed)  # noqa: S311  # the same course each time
        self.stored: dict[tuple[str, str, int], Record] = {}
        self.last: dict[tuple[str, RecordKind], int] = {}
        self.skipped: list[Record] = []

    def coming(self) -> list[Record]:
        """Return a batch of new numbers, some left out, some old ones among them, some twice."""
        batch = []
        for _ in range(self.chosen.randrange(1, 12)):
            stream = self.chosen.choice(LIVES), self.chosen.choice([*RecordKind])
            seq = self.last[stream] = self.last.get(stream, 0) + 1
            record = MAKERS[stream[1]](seq, incarnation=stream[0], seq=seq)
            if self.chosen.random() < 0.1:
                self.skipped.append(record)
            else:
                batch += [record] * self.chosen.choice([1, 1, 1, 2])
        batch += self.chosen.sample([*self.stored.values()], min(len(self.stored), self.chosen.randrange(4)))
        if self.skipped and self.chosen.random() < 0.4:
            batch.append(self.skipped.pop(self.chosen.randrange(len(self.skipped))))
        return batch

    def take(self, batch: list[Record]) -> None:
        for record in batch:
            self.stored.setdefault((record.incarnation, record.kind, record.seq), record)

    def of(self, kind: RecordKind) -> list[Record]:
        return [record for record in self.stored.values() if record.kind is kind]


async def conflict(store: RedisStreamsPersistence, model: Model) -> None:
    if model.stored:
        known = model.chosen.choice([*model.stored.values()])
        forged = MAKERS[known.kind](999, incarnation=known.incarnation, seq=known.seq)
        with pytest.raises(AppendError):
            await store.append([forged])


@pytest.mark.parametrize("seed", range(25))
async def test_every_course_ends_with_each_record_once_in_order_of_arrival(
    any_redis: RedisPlace, seed: int
) -> None:
    model = Model(seed)
    async with AsyncExitStack() as stack:
        writers = [await stack.enter_async_context(opened(any_redis.url)) for _ in range(2)]
        client = stack.enter_context(any_redis.client())
        for _ in range(STEPS):
            store = model.chosen.choice(writers)
            match model.chosen.randrange(10):
                case 0:
                    await conflict(store, model)
                case 1:
                    client.delete(model.chosen.choice([META, DEDUP]))
                case 2:
                    client.script_flush()
                case 3:
                    await store.compact()
                case _:
                    batch = model.coming()
                    await store.append(batch)
                    model.take(batch)
        for kind in RecordKind:
            assert await everything(writers[0], kind) == model.of(kind)
            count = (await writers[1].stats()).kinds[kind].records
            assert count == len(model.of(kind))
        found = {anomaly.type for anomaly in (await writers[1].scan()).anomalies}
        assert found <= {PersistenceAnomalyType.MISSING_RECORDS}
        await writers[0].append(model.skipped)
        assert not (await writers[1].scan()).has_anomalies
