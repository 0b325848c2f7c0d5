"""A member of a consumer group as a loop: it outlives its server's absence, and takes over from the dead."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar

from papyra.exceptions import PersistenceError, StoreUnavailableError
from papyra.persistence._redis.connecting import Door
from papyra.persistence._redis.entries import FIRST, StreamId
from papyra.persistence._redis.groups import Given, GroupMissingError
from papyra.persistence._redis.places import ReadingPlace

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from types import TracebackType

    from papyra.clock import Clock
    from papyra.persistence._redis.connecting import Target
    from papyra.persistence._redis.groups import Group, RedisConsumerGroupConfig, RedisStreamEntry

Value = TypeVar("Value")

_log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0


@dataclass(slots=True)
class ConsumerStats:
    """What became of entries, and how often the group had to be made and the server was away."""

    received: int = 0
    acknowledged: int = 0
    taken_over: int = 0
    quarantined: int = 0
    removed: int = 0
    recreated: int = 0
    outages: int = 0


class Sharing:
    """How a consumer reaches its group: blocking reads by ``blocking``, all else by what the store lends."""

    def __init__(self, group: Group, target: Target, block_ms: int, quick: tuple[ReadingPlace, Door]) -> None:
        self.group = group
        self._door = Door(target, socket_timeout=block_ms / 1000 + 5.0, repeats=False)
        self._place = ReadingPlace(f"papyra {group.name}", self._door)
        self._quick, self._quick_door = quick

    async def read(self, work: Callable[[Door], Value]) -> Value:
        """Run what may wait for entries."""
        return await self._place.read(lambda: work(self._door))

    async def tell(self, work: Callable[[Door], Value]) -> Value:
        """Run what is done at once."""
        return await self._quick.read(lambda: work(self._quick_door))

    async def aclose(self) -> None:
        """End the thread that reads."""
        await self._place.aclose()


class Consumer:
    """Hands out the entries of its group one by one, or by the batch; several share the work.

    Each entry is handed out at least once. What the body of the loop is through with is acknowledged when the
    next is asked for; leaving the loop, by whatever way, acknowledges nothing. Entries in hand are kept from
    others however long a body takes, as long as the event loop runs. Belongs to one loop.
    """

    def __init__(
        self,
        sharing: Sharing,
        cfg: RedisConsumerGroupConfig,
        clock: Clock,
    ) -> None:
        self.cfg = cfg
        self.stats = ConsumerStats()
        self._sharing = sharing
        self._group = sharing.group
        self._clock = clock
        self._patience = cfg.min_idle_ms / 1000
        self._stopping = asyncio.Event()
        self._waiting: deque[RedisStreamEntry] = deque()
        self._in_hand: list[RedisStreamEntry] = []
        self._attended = 0.0
        self._fetching: asyncio.Task[Given] | None = None
        self._beating: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._is_member = False
        self._through: StreamId | None = None
        self._newest = FIRST
        self._resume_after: StreamId | None = FIRST
        self._has_resumed = False
        self._take_over_at = 0.0
        self._take_over_from: StreamId | None = None
        self._failures = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def stop(self) -> None:
        """Have the loop end after the body it is in. For signal handlers, too."""
        self._stopping.set()

    async def aclose(self) -> None:
        """Stop, and let others have at once what was received and not acknowledged."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def __aiter__(self) -> AsyncGenerator[RedisStreamEntry, None]:
        async with aclosing(self._parts(1)) as parts:
            async for (entry,) in parts:
                yield entry

    def batches(self) -> AsyncGenerator[list[RedisStreamEntry], None]:
        """Hand out up to ``count`` entries at a time, which are acknowledged together."""
        return self._parts(self.cfg.count)

    async def ack(self, *entries: RedisStreamEntry) -> int:
        """Acknowledge ``entries`` and return how many were pending; safe to repeat."""
        ids = [entry.id for entry in entries]
        try:
            count, self._through = await self._sharing.tell(partial(self._group.acknowledge, ids=ids))
        except GroupMissingError:  # whoever reads next notices, and they will be handed out again
            return 0
        self.stats.acknowledged += count
        return count

    async def _parts(self, most: int) -> AsyncGenerator[list[RedisStreamEntry], None]:
        while await self._has_more():
            part = self._in_hand = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            yield part
            if self.cfg.acknowledges and await self._patiently(partial(self.ack, *part)) is None:
                return  # it is to stop and the server is away: they are not acknowledged
            self._in_hand = []

    async def _has_more(self) -> bool:
        """Wait until something waits to be handed out, and is still ours; or it is time to stop."""
        while not self._stopping.is_set():
            if not self._waiting:
                await self._receive()
            elif self._clock.monotonic() - self._attended > self._patience / 2:
                await self._patiently(self._attend)
            else:
                return True
        return False

    async def _receive(self) -> None:
        """Wait for entries; who is cancelled here leaves them to the next who asks."""
        if self._beating is None:
            self._beating = asyncio.create_task(self._beat())
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch())
        await self._until(self._fetching)
        if self._fetching.done():
            fetched, self._fetching = self._fetching, None
            self._waiting.extend(fetched.result().entries)

    async def _until(self, *tasks: asyncio.Task[Given], seconds: float | None = None) -> None:
        """Wait for a task or so long, and in no case longer than until it is time to stop."""
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({stopped, *tasks}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()

    async def _fetch(self) -> Given:
        given: Given | None = None
        while (given is None or not given.entries) and not self._stopping.is_set():
            given = await self._patiently(self._look)
        return given or Given(())

    async def _patiently(self, work: Callable[[], Awaitable[Value]]) -> Value | None:
        """Return what ``work`` returns once the server is there; nothing if it is time to stop before."""
        while True:
            try:
                value = await work()
            except StoreUnavailableError as error:
                await self._pause(error)
                if self._stopping.is_set():
                    return None
            else:
                if self._failures:
                    _log.info("%s, group %s: the server is back", self._group.stream, self._group.name)
                self._failures = 0
                return value

    async def _pause(self, error: StoreUnavailableError) -> None:
        if not self._failures:
            self.stats.outages += 1
            _log.warning("%s, group %s: %s", self._group.stream, self._group.name, error)
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(self._failures, 10))
        self._failures += 1
        await self._until(seconds=random.uniform(0, longest))  # noqa: S311  # no secret

    async def _look(self) -> Given:
        """Ask once: for what a lost reply may have left with us, what the dead left, what is new."""
        self._attended = self._clock.monotonic()
        try:
            if not self._is_member:
                await self._join()
            given = await self._ask()
        except GroupMissingError:
            if not self.cfg.ensure_group:
                raise
            await self._recreate()
            return Given(())
        except StoreUnavailableError:
            if self._resume_after is None:
                self._resume_after = self._newest
            raise
        self._count(given)
        return given

    async def _join(self) -> None:
        if self.cfg.ensure_group:
            await self._sharing.read(partial(self._group.create, start_id=self.cfg.start_id))
        await self._see_how_far()
        self._is_member = True

    async def _see_how_far(self) -> None:
        _, self._through = await self._sharing.read(partial(self._group.acknowledge, ids=()))

    async def _recreate(self) -> None:
        group, through = self._group, self._through
        make = partial(group.create, start_id=self.cfg.start_id, through=through)
        if await self._sharing.read(make):
            self.stats.recreated += 1
            _log.warning(
                "%s has lost its consumer group %s, which was made anew behind %s; what it was given and "
                "did not acknowledge is handed out again",
                *(group.stream, group.name, through),
            )
        self._newest, self._resume_after, self._has_resumed = FIRST, None, True

    async def _ask(self) -> Given:
        cfg, group = self.cfg, self._group
        if self._resume_after is not None:
            count, counts = (cfg.count, 0) if self._has_resumed else (1, 1)
            resume = partial(group.resume, cfg=cfg, after=self._resume_after, count=count, counts=counts)
            given = await self._sharing.read(resume)
            self._resume_after = given.cursor if given.cursor != FIRST else None
            self._has_resumed = self._has_resumed or self._resume_after is None
            return given
        left = self._take_over_at - self._clock.monotonic()
        if self._take_over_from is not None or left <= 0:
            return await self._take_over()
        block_ms = min(cfg.block_ms, int(left * 1000) + 1)
        given = await self._sharing.read(partial(group.read_new, cfg=cfg, block_ms=block_ms))
        if given.entries:
            self._newest = StreamId.of(given.entries[-1].id.encode())
        return given

    async def _take_over(self) -> Given:
        after = self._take_over_from or FIRST
        given = await self._sharing.read(partial(self._group.take_over, cfg=self.cfg, after=after))
        self.stats.taken_over += len(given.entries)
        self._take_over_from = given.cursor if given.cursor != FIRST else None
        if self._take_over_from is None:
            await self._sharing.read(partial(self._group.tidy, consumer=self.cfg.consumer))
            await self._see_how_far()
            self._take_over_at = self._clock.monotonic() + self._patience / 2
        return given

    def _count(self, given: Given) -> None:
        self.stats.received += len(given.entries)
        self.stats.quarantined += given.quarantined
        self.stats.removed += given.removed
        for count, what in (
            (given.quarantined, "went into quarantine: no record, or handed out too often"),
            (given.removed, "had been removed from the stream before anybody was through with them"),
        ):
            if count:
                _log.error("%s, group %s: %d entries %s", self._group.stream, self._group.name, count, what)

    async def _beat(self) -> None:
        """Show again and again that somebody attends to what is in hand or waits."""
        while True:
            await asyncio.sleep(self._patience / 3)
            try:
                await self._attend()
            except PersistenceError as error:  # whoever asks for more meets it too
                _log.debug("%s, group %s: %s", self._group.stream, self._group.name, error)

    async def _attend(self) -> None:
        """Keep what is in hand or waits, and let go of what others were given meanwhile."""
        now = self._clock.monotonic()
        ids = [entry.id for entry in (*self._in_hand, *self._waiting)]
        keeping = partial(self._group.keep, consumer=self.cfg.consumer, ids=ids)
        try:
            mine = await self._sharing.tell(keeping) if ids else set()
        except GroupMissingError:
            mine = set()
        lost = {*ids} - mine
        self._waiting = deque(entry for entry in self._waiting if entry.id not in lost)
        self._attended = now

    async def _close(self) -> None:
        self._stopping.set()
        try:
            if self._fetching is not None:
                with suppress(PersistenceError):
                    self._waiting.extend((await self._fetching).entries)
            if self._beating is not None:
                self._beating.cancel()
            await self._leave()
        finally:
            await self._sharing.aclose()

    async def _leave(self) -> None:
        given_back = {entry.id: entry.deliveries for entry in self._in_hand}
        given_back |= {entry.id: entry.deliveries - 1 for entry in self._waiting}
        leaving = partial(self._group.leave, consumer=self.cfg.consumer, given_back=given_back)
        try:
            if self._is_member:
                await self._sharing.tell(leaving)
        except GroupMissingError:
            pass  # and with it all that could be given back
        except StoreUnavailableError as error:
            _log.warning(
                "%s, group %s: %d entries could not be given back, others take them over after a while: %s",
                *(self._group.stream, self._group.name, len(given_back), error),
            )
