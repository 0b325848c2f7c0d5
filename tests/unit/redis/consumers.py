"""What the tests of consumer groups share."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from papyra.persistence.backends.redis import RedisConsumerGroupConfig
from tests.unit.redis.stores import EVENTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from papyra.persistence._redis.consumer import Consumer
    from papyra.persistence.backends.redis import RedisStreamEntry, RedisStreamsPersistence
    from tests.services.redisserver import RedisPlace

SECONDS = 60.0
LONG = 3_600_000
"""A patience in milliseconds that no test outlives: what comes sooner did not wait for it."""


@asynccontextmanager
async def joined(
    store: RedisStreamsPersistence, consumer: str = "", **options: Any
) -> AsyncIterator[Consumer]:
    settings: dict[str, Any] = {"block_ms": 50, "min_idle_ms": LONG, **options}
    async with store.consumer(
        kind="events", cfg=RedisConsumerGroupConfig("workers", consumer, **settings)
    ) as member:
        yield member


async def take(consumer: Consumer, count: int) -> list[RedisStreamEntry]:
    """Loop until ``count`` entries were handed out, all of them acknowledged; then stop."""
    taken: list[RedisStreamEntry] = []
    async with asyncio.timeout(SECONDS):
        async for entry in consumer:
            taken.append(entry)
            if len(taken) == count:
                consumer.stop()
    return taken


async def one(consumer: Consumer) -> RedisStreamEntry:
    """Return one entry, whose loop is left before it is acknowledged."""
    async with asyncio.timeout(SECONDS):
        async for entry in consumer:
            return entry
    raise AssertionError("stopped")


def numbers(entries: list[RedisStreamEntry]) -> list[int]:
    return [entry.record.seq for entry in entries]


async def pending(store: RedisStreamsPersistence) -> int:
    summary = await store.pending_summary(kind="events", group="workers")
    return int(summary["raw"]["pending"])


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not is_so():  # noqa: ASYNC110  # a server tells nobody what others ask of it
            await asyncio.sleep(0.01)


def left_pending(valkey: RedisPlace, count: int, name: str = "dead") -> None:
    """Hand out to a consumer that dies before it acknowledges anything."""
    with valkey.client() as client:
        client.xgroup_create(EVENTS, "workers", id="0")
        client.xreadgroup("workers", name, {EVENTS: ">"}, count=count)


async def take_some(consumer: Consumer, count: int) -> list[RedisStreamEntry]:
    """Take ``count`` and acknowledge them by hand."""
    taken = [await one(consumer) for _ in range(count)]
    assert await consumer.ack(*taken) == count
    return taken


async def until_blocked(place: RedisPlace) -> None:
    """Wait until somebody waits at the server for entries."""
    with place.client() as client:
        await until(lambda: int(client.info("clients")["blocked_clients"]) == 1)


async def until_asked(place: RedisPlace, command: str, times: int) -> None:
    """Wait until the server was asked so often more."""
    with place.client() as client:

        def asked() -> int:
            return int(client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])

        before = asked()
        await until(lambda: asked() >= before + times)
