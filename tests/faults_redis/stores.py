"""How the tests open the store, and what they look at behind its back."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from papyra.persistence.backends.redis import RedisStreamsConfig, RedisStreamsPersistence
from papyra.persistence.models import PersistenceRecoveryConfig, PersistenceRecoveryMode, RecordKind
from papyra.testing.promises.harness import everything
from papyra.testing.records import INCARNATION, event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from redis import Redis

    from papyra.persistence.models import PersistedEvent, Record
    from papyra.persistence.retention import RetentionPolicy

SYSTEM_ID = "orders"
PATIENT_SECONDS = 60.0
REPAIR = PersistenceRecoveryConfig(PersistenceRecoveryMode.REPAIR)
QUARANTINE = PersistenceRecoveryConfig(PersistenceRecoveryMode.QUARANTINE)


def key(name: str, *, prefix: str = "papyra", system_id: str = SYSTEM_ID) -> str:
    """Return the name of one of the store's keys."""
    return f"{prefix}:{{{system_id}}}:{name}"


def make_store(
    url: str,
    retention: RetentionPolicy | None = None,
    *,
    prefix: str = "papyra",
    system_id: str = SYSTEM_ID,
    **options: Any,
) -> RedisStreamsPersistence:
    config = RedisStreamsConfig(url=url, prefix=prefix, system_id=system_id, **options)
    return RedisStreamsPersistence(config, retention_policy=retention)


@asynccontextmanager
async def opened(
    url: str, retention: RetentionPolicy | None = None, **options: Any
) -> AsyncIterator[RedisStreamsPersistence]:
    store = make_store(url, retention, **options)
    try:
        yield store
    finally:
        await store.aclose()


def numbered(numbers: Iterable[int], **changes: Any) -> list[PersistedEvent]:
    """Return the events that have these sequence numbers."""
    return [event(number, incarnation=INCARNATION, seq=number, **changes) for number in numbers]


async def stored(url: str, kind: RecordKind = RecordKind.EVENT, **options: Any) -> list[Record]:
    """Return what another opening reads, oldest first."""
    async with opened(url, **options) as store:
        return await everything(store, kind)


async def seqs(url: str, **options: Any) -> list[int]:
    return [record.seq for record in await stored(url, **options)]


async def anomalies(url: str, **options: Any) -> list[str]:
    async with opened(url, **options) as store:
        return [anomaly.type.value for anomaly in (await store.scan()).anomalies]


async def is_sound(url: str, records: list[PersistedEvent], **options: Any) -> bool:
    """Whether exactly ``records`` are there, unaltered and in order, and a scan finds nothing."""
    found = await stored(url, **options)
    assert found == records, (len(found), [record.seq for record in found][-50:])
    assert await anomalies(url, **options) == []
    return True


async def until_ok(store: RedisStreamsPersistence) -> None:
    """Wait until everything that waited has gone in; nothing tells that but the state."""
    async with asyncio.timeout(PATIENT_SECONDS):
        while not store.state.is_ok:  # noqa: ASYNC110  # a state tells nobody
            await asyncio.sleep(0.01)


def set_aside(client: Redis) -> bytes:
    """Return the bytes that lie in the store's quarantine stream, out of whatever they are wrapped in."""
    entries: Any = client.xrange(key("quarantine"))
    return b"\n".join(part for _, fields in entries for value in fields.values() for part in unwrapped(value))


def unwrapped(value: bytes) -> Iterator[bytes]:
    yield value
    with suppress(ValueError):
        yield b64decode(value, validate=True)
    with suppress(ValueError):
        yield from strings_in(json.loads(value))


def strings_in(value: object) -> Iterator[bytes]:
    match value:
        case str():
            yield from unwrapped(value.encode()) if not value.isdigit() else (value.encode(),)
        case dict():
            yield from strings_in([*value.keys(), *value.values()])
        case list():
            for one in value:
                yield from strings_in(one)
        case _:
            pass
