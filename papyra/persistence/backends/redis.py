"""History in Redis or Valkey streams: many processes and machines write one, and each reads all of it."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

from papyra.clock import SYSTEM_CLOCK, Clock
from papyra.exceptions import ConfigurationError, InvalidRecordError, StoreUnavailableError
from papyra.persistence._redis import server
from papyra.persistence._redis.bounds import Keeper
from papyra.persistence._redis.config import RedisStreamsConfig
from papyra.persistence._redis.connecting import Door
from papyra.persistence._redis.consumer import Consumer
from papyra.persistence._redis.doubled import Doubled
from papyra.persistence._redis.entries import FIRST
from papyra.persistence._redis.following import Waiting
from papyra.persistence._redis.grouped import GroupedPersistence
from papyra.persistence._redis.groups import RedisConsumerGroupConfig, RedisStreamEntry
from papyra.persistence._redis.lease import Lease
from papyra.persistence._redis.places import ReadingPlace
from papyra.persistence._redis.quarantine import Quarantine
from papyra.persistence._redis.reading import Found, Kept, read_page
from papyra.persistence._redis.repair import Done, Repair
from papyra.persistence._redis.scanning import Findings, Scan
from papyra.persistence._redis.stats import measure, sum_of
from papyra.persistence._redis.trimming import Bounds, Trimming
from papyra.persistence._redis.upkeep import SLACK_RECORDS, Upkeep, tell_forced
from papyra.persistence._redis.writing import Writing
from papyra.persistence.backend import Capabilities
from papyra.persistence.following import POLL_SECONDS
from papyra.persistence.models import (
    CompactionReport,
    KindStats,
    PersistenceRecoveryConfig,
    PersistenceRecoveryMode,
    PersistenceRecoveryReport,
    PersistenceScanReport,
    Record,
    RecordKind,
    ScanDepth,
    StoreStats,
)
from papyra.persistence.outage import Outage
from papyra.persistence.query import Page, Progress, ProgressCallback, RecordQuery
from papyra.persistence.retention import Removal
from papyra.persistence.threads import WriterThread
from papyra.persistence.upkeep import TrustedClock

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

    from papyra.persistence.base import Refused
    from papyra.persistence.entries import Entry
    from papyra.persistence.quarantined import QuarantineEntry, QuarantinePage
    from papyra.persistence.retention import RetentionPolicy

__all__ = [
    "Consumer",
    "RedisConsumerGroupConfig",
    "RedisStreamEntry",
    "RedisStreamsConfig",
    "RedisStreamsPersistence",
    "StreamKind",
    "open_redis",
]

Value = TypeVar("Value")
StreamKind = Literal["events", "audits", "dead_letters"]

_QUARANTINED_AT_ONCE = 50
_MAX_SEQ = 2**53 - 1
"""The highest number that a script of the server can tell from the next."""


class RedisStreamsPersistence(GroupedPersistence):
    """Keeps records in the streams of one system; several processes may write and read at once."""

    name: ClassVar[str] = "redis"
    capabilities: ClassVar[Capabilities] = Capabilities(
        is_durable=True, is_shared=True, can_tear=False, can_be_damaged=True, takes_ready_events=True
    )

    def __init__(
        self,
        config: RedisStreamsConfig | None = None,
        *,
        retention_policy: RetentionPolicy | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        config = config or RedisStreamsConfig()
        super().__init__(config, retention_policy, clock)
        self._config = config
        self._keys = keys = config.keys
        self._target = config.target
        self._target.check()
        name = f"papyra {config.system_id}"
        self._write_door, self._read_door = Door(self._target), Door(self._target)
        self._writing = Writing(self._write_door, keys, clock, config.acknowledging, config.demands)
        self._writer: WriterThread[list[Entry], Refused] = WriterThread(
            name, self._write_batches, on_failure=self._writing.fail, clock=clock
        )
        self._outage = Outage(
            config.name,
            self._writing.send,
            self._writer_identity,
            options=config.outage,
            tracker=self._tracker,
            metrics=self._metrics,
            pause=self._writer.pause,
            clock=clock,
        )
        self._writer.tend(self._outage)
        self._reader = ReadingPlace(name, self._read_door)
        self._keeper = Keeper(self._read_door, keys)
        self._doubled = {kind: Doubled(self._read_door, keys, kind) for kind in RecordKind}
        self._trusted = TrustedClock(name, clock)
        self._trimming = Trimming(self._write_door, keys, config.max_retained_for_groups)
        if config.compact_interval_seconds is not None:
            upkeep = Upkeep(
                self._writing,
                self._trimming,
                self._retention,
                self._trusted,
                self._metrics,
                least=SLACK_RECORDS if config.approx_trim else 1,
                outage=self._outage,
                hurry=self._writer.hurry,
            )
            self._writer.every(config.compact_interval_seconds, upkeep.run)

    @property
    def config(self) -> RedisStreamsConfig:
        """How it was configured."""
        return self._config

    def check_exists(self) -> None:
        """Raise `ConfigurationError` where no system has ever written under these keys; blocks."""
        door = Door(self._target)
        try:
            found = door.call("EXISTS", *self._keys.streams, self._keys.dedup)
        finally:
            door.close()
        if not found:
            raise ConfigurationError(
                f"there is no store at {self._target.place}; name the system that writes to it with "
                "?system_id=NAME behind the URL"
            )

    def _write_batches(self, batches: list[list[Entry]]) -> list[Refused]:
        return self._writing.write(self._outage.store, batches)

    async def _append(self, entries: list[Entry]) -> Refused:
        sound = [entry for entry in entries if entry.last_seq <= _MAX_SEQ]
        size = sum(entry.size for entry in sound)
        if len(sound) == len(entries):
            return await self._writer.put(entries, size)
        positions: list[int] = []
        refused: Refused = []
        at = 0
        for entry in entries:
            if entry.last_seq <= _MAX_SEQ:
                positions += range(at, at + entry.count)
            else:
                reason = f"a number above {_MAX_SEQ} cannot be told from the next by the server"
                refused += [(place, InvalidRecordError(reason)) for place in range(at, at + entry.count)]
            at += entry.count
        if sound:
            refused += [(positions[place], error) for place, error in await self._writer.put(sound, size)]
        return refused

    async def _read(self, query: RecordQuery) -> Page[Record]:
        found = await self._reader.read(partial(self._page, query))
        return Page(found.records, found.next, str(found.end))

    def _page(self, query: RecordQuery) -> Found:
        first = FIRST
        if not self._retention.is_unlimited:
            first = self._keeper.first(query.kind, self._retention, self._clock.now())
        kept = Kept(first, self._doubled[query.kind].ids())
        return read_page(self._read_door, self._keys, query, kept, self._config.max_read)

    async def follow(
        self, query: RecordQuery, *, poll_seconds: float = POLL_SECONDS, from_now: bool = True
    ) -> AsyncGenerator[Record, None]:
        """Yield what `BasePersistence.follow` says, at once and however often the server is away."""
        self._check_open()
        query = replace(query, newest_first=False)
        if from_now and query.cursor is None:
            newest = await self._reader.read(partial(self._page, RecordQuery(kind=query.kind, limit=1)))
            query = replace(query, cursor=str(newest.end))
        waiting = Waiting(self._target, self._keys.stream(query.kind), poll_seconds)
        try:
            while True:
                try:
                    found = await self._reader.read(partial(self._page, query))
                except StoreUnavailableError:
                    await waiting.for_more(FIRST)
                    continue
                for record in found.records:
                    yield record
                query = replace(query, cursor=str(found.end))
                if found.cursor is None:
                    await waiting.for_more(found.end)
        finally:
            waiting.close()

    async def quarantined(self, folder: str | None = None) -> AsyncIterator[QuarantineEntry]:
        """Yield what lies in quarantine, the oldest first; it has no folder."""
        self._check_open()
        _refuse_folder(folder)
        found = Quarantine(self._read_door, self._keys).entries()
        while batch := await self._reader.read(lambda: tuple(islice(found, _QUARANTINED_AT_ONCE))):
            for entry in batch:
                yield entry

    async def read_quarantined(
        self, entry: QuarantineEntry, folder: str | None = None
    ) -> AsyncIterator[QuarantinePage]:
        """Yield what can be read in ``entry``."""
        self._check_open()
        _refuse_folder(folder)
        found = Quarantine(self._read_door, self._keys).pages(entry)
        while (page := await self._reader.read(lambda: next(found, None))) is not None:
            yield page

    async def _scan(self, depth: ScanDepth, progress: ProgressCallback | None) -> PersistenceScanReport:
        found = await self._find(depth, progress)
        return found.report(self.name, depth, await self._reader.read(self._warnings))

    def _warnings(self) -> tuple[str, ...]:
        doubts = [*server.judge(server.ask(self._read_door, self._keys), self._clock.now())]
        server.check(doubts, self._config.demands, self._target.place)
        shared = [
            f"the system {stranger!r} writes under the keys of {self._keys.system_id!r}"
            for stranger in sorted(self._writing.strangers)
        ]
        return (*(f"{self._target.place}: {doubt.text}" for doubt in doubts), *shared)

    async def _find(self, depth: ScanDepth, progress: ProgressCallback | None) -> Findings:
        is_abandoned = threading.Event()

        def tell(so_far: Progress) -> None:
            if is_abandoned.is_set():
                raise TimeoutError("nobody waits for this scan any more")
            if progress is not None:
                progress(so_far)

        def look() -> Findings:
            now, chunk = self._clock.now(), self._config.scan_sample_size
            return Scan(self._read_door, self._keys, now, chunk, tell).run(depth)

        try:
            return await self._reader.read(look)
        except asyncio.CancelledError:
            is_abandoned.set()
            raise

    async def _recover(
        self, config: PersistenceRecoveryConfig, depth: ScanDepth, progress: ProgressCallback | None
    ) -> PersistenceRecoveryReport:
        if config.mode is not PersistenceRecoveryMode.IGNORE:
            while await self._writer.run(self._outage.replay):
                pass  # else what waits would be taken for missing
        found = await self._find(depth, progress)
        scan = found.report(self.name, depth, ())
        if config.mode is PersistenceRecoveryMode.IGNORE:
            return PersistenceRecoveryReport(self.name, scan, left=scan.anomalies)
        done = Done()
        if found.has_work:
            repair = Repair(self._write_door, self._keys, self._writing.own, self._writing.send, self._clock)
            try:
                for step in repair.steps(found, config.mode):
                    done = done.plus(await self._run_writing(step))
                done = await self._run_writing(partial(repair.conclude, found, done, config, depth))
            finally:
                await self._run_writing(repair.lease.give_back)
        return PersistenceRecoveryReport(
            self.name,
            scan,
            tuple(sorted(done.repaired)),
            done.set_aside,
            quarantined_bytes=done.quarantined_bytes,
            quarantine=self._keys.quarantine if done.quarantined_bytes else "",
            losses=done.losses,
            left=tuple(found.unrepairable),
        )

    async def _run_writing(self, work: Callable[[], Value]) -> Value:
        return await self._writer.run(lambda: self._writing.run(work))

    async def _compact(
        self, policy: RetentionPolicy, *, dry_run: bool, progress: ProgressCallback | None
    ) -> CompactionReport:
        removal = Removal(self._trusted.now())
        if dry_run:
            looking = Trimming(self._read_door, self._keys, self._config.max_retained_for_groups)
            plan = await self._reader.read(lambda: [*looking.plan(policy, removal)])
            removed = {each.kind: await self._reader.read(partial(looking.measure, each)) for each in plan}
            return self._compacted(plan, removed, dry_run=True)
        lease = Lease(self._write_door, self._keys.lease)
        removed = {}
        try:
            plan = await self._run_writing(lambda: self._planned(lease, policy, removal))
            for bounds in plan:
                removed[bounds.kind] = await self._remove(lease, bounds, progress)
                if removed[bounds.kind].records:
                    tell_forced(bounds, self._metrics)
        finally:
            await self._run_writing(lease.give_back)
        return self._compacted(plan, removed, dry_run=False)

    def _planned(self, lease: Lease, policy: RetentionPolicy, removal: Removal) -> list[Bounds]:
        lease.take()
        for kind in RecordKind:
            self._trimming.reckon(kind)
        return [*self._trimming.plan(policy, removal)]

    async def _remove(self, lease: Lease, bounds: Bounds, progress: ProgressCallback | None) -> KindStats:
        def step() -> KindStats:
            lease.take()
            return self._trimming.step(bounds)

        removed = KindStats()
        while (part := await self._run_writing(step)).records:
            removed = sum_of([removed, part])
            if progress is not None:
                progress(
                    Progress(records=removed.records, bytes=removed.bytes, total_bytes=bounds.before.bytes)
                )
        return removed

    def _compacted(
        self, plan: Sequence[Bounds], removed: dict[RecordKind, KindStats], *, dry_run: bool
    ) -> CompactionReport:
        before, gone = sum_of([bounds.before for bounds in plan]), sum_of(removed.values())
        return CompactionReport(
            self.name,
            before.records,
            before.records - gone.records,
            before.bytes,
            before.bytes - gone.bytes,
            dry_run=dry_run,
            removed={kind: stats.records for kind, stats in removed.items()},
            oldest_removed=gone.oldest,
            newest_removed=gone.newest,
        )

    async def _stats(self) -> StoreStats:
        measured = await self._reader.read(lambda: measure(self._read_door, self._keys, self.name))
        return self._outage.add_to(measured)

    async def _close(self) -> None:
        try:
            await self._writer.aclose(self._close_writing)
        finally:
            await self._reader.aclose()
            await self._close_groups()

    def _close_writing(self) -> None:
        try:
            self._outage.close()
        finally:
            self._write_door.close()

    def _unacknowledged(self) -> int:
        return sum(entry.count for entries in self._writer.unacknowledged() for entry in entries)


def _refuse_folder(folder: str | None) -> None:
    if folder is not None:
        raise ConfigurationError(
            f"a Redis store keeps its quarantine in a stream of its own, and none in {folder}"
        )


def open_redis(
    config: RedisStreamsConfig, retention_policy: RetentionPolicy | None, *, must_exist: bool
) -> RedisStreamsPersistence:
    """Return the store of ``config``; with ``must_exist`` it is looked for, which blocks."""
    backend = RedisStreamsPersistence(config, retention_policy=retention_policy)
    if must_exist:
        backend.check_exists()
    return backend
