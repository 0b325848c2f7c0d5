"""What a store of streams offers to whoever shares the work on them: consumer groups."""

from __future__ import annotations

import secrets
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakSet

from papyra.exceptions import ConfigurationError
from papyra.node import this_node
from papyra.persistence._redis.connecting import Door
from papyra.persistence._redis.consumer import Consumer, Sharing
from papyra.persistence._redis.entries import FIRST
from papyra.persistence._redis.groups import Group, GroupMissingError, check_group
from papyra.persistence._redis.keys import STREAMS
from papyra.persistence._redis.places import ReadingPlace
from papyra.persistence._redis.reading import place_of
from papyra.persistence.base import BasePersistence
from papyra.persistence.models import RecordKind, as_word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from papyra.clock import Clock
    from papyra.persistence._redis.config import RedisStreamsConfig
    from papyra.persistence._redis.entries import StreamId
    from papyra.persistence._redis.groups import (
        Given,
        PendingSummary,
        RedisConsumerGroupConfig,
        RedisStreamEntry,
    )
    from papyra.persistence.retention import RetentionPolicy

_KINDS = {name: kind for kind, name in STREAMS.items()}


class GroupedPersistence(BasePersistence):
    """A store with consumer groups. ``kind`` is a `RecordKind`, or what its stream is called."""

    def __init__(
        self, config: RedisStreamsConfig, retention_policy: RetentionPolicy | None, clock: Clock
    ) -> None:
        super().__init__(retention_policy, clock=clock)
        self._group_keys, self._group_target = config.keys, config.target
        self._group_door = Door(config.target)
        self._group_place = ReadingPlace(f"papyra {config.system_id} groups", self._group_door)
        self._members: dict[tuple[RecordKind, str, str], Sharing] = {}
        self._consumers: WeakSet[Sharing] = WeakSet()

    def consumer(self, *, kind: RecordKind | str, cfg: RedisConsumerGroupConfig) -> Consumer:
        """Return a member of the group, to be used with ``async with`` and looped over."""
        self._check_open()
        if not cfg.consumer:
            node = this_node()
            cfg = replace(cfg, consumer=f"{node.host}-{node.pid}-{secrets.token_hex(4)}")
        sharing = self._sharing(self._group(kind, cfg.group), cfg)
        self._consumers.add(sharing)
        return Consumer(sharing, cfg, self._clock)

    async def ensure_consumer_group(self, *, kind: RecordKind | str, group: str, start_id: str = "0") -> None:
        """Make ``group``, and its stream, where they are not there."""
        self._check_open()
        check_group(group, start_id)
        wanted = self._group(kind, group)
        await self._group_place.read(lambda: wanted.create(self._group_door, start_id))

    async def consume(
        self, *, kind: RecordKind | str, cfg: RedisConsumerGroupConfig, read_id: str = ">"
    ) -> tuple[RedisStreamEntry, ...]:
        """Return what the group's consumer is given next; waits for it up to ``block_ms``.

        With an id for ``read_id`` it is what was given to this consumer behind that, and not acknowledged.
        What is no record goes into quarantine and is acknowledged.
        """
        self._check_open()
        _check_named(cfg)
        wanted = self._group(kind, cfg.group)
        sharing = self._member(wanted, cfg, as_kind(kind))
        if read_id == ">":
            ask = partial(wanted.read_new, cfg=cfg, block_ms=cfg.block_ms)
        else:
            after = place_of(read_id if "-" in read_id else f"{read_id}-0") or FIRST
            ask = partial(wanted.resume, cfg=cfg, after=after, count=cfg.count, counts=1)
        try:
            given = await sharing.read(ask)
        except GroupMissingError:
            if not cfg.ensure_group:
                raise
            await sharing.read(partial(wanted.create, start_id=cfg.start_id))
            given = await sharing.read(ask)
        return tuple(given.entries)

    async def claim(
        self,
        kind: RecordKind | str,
        *,
        group: str,
        consumer: str,
        min_idle_ms: int,
        entry_ids: Sequence[str],
    ) -> tuple[RedisStreamEntry, ...]:
        """Take over those of ``entry_ids`` that are pending and nobody attended to for so long."""
        self._check_open()
        wanted = self._group(kind, group)
        given: Given = await self._group_place.read(
            lambda: wanted.claim(self._group_door, consumer, min_idle_ms, entry_ids)
        )
        return tuple(given.entries)

    async def auto_claim(
        self, kind: RecordKind | str, *, cfg: RedisConsumerGroupConfig
    ) -> tuple[RedisStreamEntry, ...]:
        """Take over up to ``count`` pending entries that nobody attended to for ``min_idle_ms``.

        What was handed out ``max_deliveries`` times goes into quarantine.
        """
        self._check_open()
        _check_named(cfg)
        wanted = self._group(kind, cfg.group)

        def look() -> tuple[RedisStreamEntry, ...]:
            found: list[RedisStreamEntry] = []
            after: StreamId | None = FIRST
            while after is not None and len(found) < cfg.count:
                given = wanted.take_over(self._group_door, cfg, after)
                found += given.entries
                after = given.cursor if given.cursor != FIRST else None
            return tuple(found)

        return await self._group_place.read(look)

    async def ack(self, *, kind: RecordKind | str, group: str, ids: Sequence[str]) -> int:
        """Acknowledge ``ids`` and return how many were pending."""
        self._check_open()
        wanted = self._group(kind, group)
        count, _ = await self._group_place.read(lambda: wanted.acknowledge(self._group_door, ids))
        return count

    async def pending_summary(self, *, kind: RecordKind | str, group: str) -> PendingSummary:
        """Return what is pending, with whom, and how many entries the group was not given yet."""
        self._check_open()
        wanted = self._group(kind, group)
        return await self._group_place.read(lambda: wanted.summary(self._group_door))

    async def _close_groups(self) -> None:
        for sharing in (*self._members.values(), *self._consumers):
            await sharing.aclose()
        await self._group_place.aclose()

    def _group(self, kind: RecordKind | str, name: str) -> Group:
        check_group(name)
        return Group(self._group_keys, as_kind(kind), name, self._clock)

    def _sharing(self, group: Group, cfg: RedisConsumerGroupConfig) -> Sharing:
        return Sharing(group, self._group_target, cfg.block_ms, (self._group_place, self._group_door))

    def _member(self, group: Group, cfg: RedisConsumerGroupConfig, kind: RecordKind) -> Sharing:
        key = kind, cfg.group, cfg.consumer
        if key not in self._members:
            self._members[key] = self._sharing(group, cfg)
        return self._members[key]


def as_kind(kind: RecordKind | str) -> RecordKind:
    """Return the kind that is meant; raises `ConfigurationError` for none."""
    return _KINDS[kind] if kind in _KINDS else as_word(RecordKind, "kind", kind)


def _check_named(cfg: RedisConsumerGroupConfig) -> None:
    if not cfg.consumer:
        raise ConfigurationError("RedisConsumerGroupConfig(consumer=…) has to name who asks")
