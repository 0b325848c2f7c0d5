"""What the tests of Redis streams share: opening, reading all, and a client that does the damage."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from papyra.persistence.backends.redis import RedisStreamsConfig, RedisStreamsPersistence
from papyra.persistence.models import PersistenceRecoveryConfig, PersistenceRecoveryMode, RecordKind
from papyra.testing.promises.harness import everything
from papyra.testing.records import INCARNATION, event, numbers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from papyra.clock import Clock
    from papyra.persistence.models import Record
    from papyra.persistence.retention import RetentionPolicy

EVENTS = "papyra:{orders}:events"
LETTERS = "papyra:{orders}:dead_letters"
DEDUP = "papyra:{orders}:dedup"
META = "papyra:{orders}:meta"
REPAIR = PersistenceRecoveryConfig(PersistenceRecoveryMode.REPAIR)
QUARANTINE = PersistenceRecoveryConfig(PersistenceRecoveryMode.QUARANTINE)


@asynccontextmanager
async def opened(
    url: str, retention: RetentionPolicy | None = None, *, clock: Clock | None = None, **config: Any
) -> AsyncIterator[RedisStreamsPersistence]:
    settings = RedisStreamsConfig(url, **{"system_id": "orders", "compact_interval_seconds": None, **config})
    more: dict[str, Any] = {} if clock is None else {"clock": clock}
    store = RedisStreamsPersistence(settings, retention_policy=retention, **more)
    async with store:
        yield store


def mine(*seqs: int, make: Any = event) -> list[Record]:
    """Return records with these numbers, of one incarnation."""
    return [make(seq, incarnation=INCARNATION, seq=seq) for seq in seqs]


async def seen(store: RedisStreamsPersistence, kind: RecordKind = RecordKind.EVENT) -> list[int]:
    """Return the numbers of all that was recorded by `mine`."""
    return numbers(await everything(store, kind, incarnation=INCARNATION))
