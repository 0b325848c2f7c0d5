"""The store's one ordered place: numbers are given here, in the order in which records are sent."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

from papyra.exceptions import RecordDecodeError, StoreFailedError
from papyra.persistence import codec
from papyra.persistence._redis import server
from papyra.persistence._redis.appending import Appender
from papyra.persistence.models import EventType, PersistedEvent, RecordKind
from papyra.persistence.own import OwnRecords

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from papyra.clock import Clock
    from papyra.persistence._redis.appending import Acknowledging, Refusals
    from papyra.persistence._redis.connecting import Door
    from papyra.persistence._redis.keys import Keys
    from papyra.persistence._redis.server import Demand
    from papyra.persistence.base import Refused
    from papyra.persistence.entries import Entry, WriterIdentity

Value = TypeVar("Value")

_log = logging.getLogger(__name__)


class Writing:
    """Writes batches and runs the steps of maintenance, one at a time, in the writer's thread."""

    def __init__(
        self,
        door: Door,
        keys: Keys,
        identity: WriterIdentity,
        clock: Clock,
        acknowledging: Acknowledging,
        demands: frozenset[Demand],
    ) -> None:
        self._door = door
        self._keys = keys
        self._identity = identity
        self._fresh = identity.mark()
        self._clock = clock
        self._demands = demands
        self._is_approved = not demands
        self._seen: set[str] = set()
        self._failure: BaseException | None = None
        self.strangers: set[str] = set()
        """The ids of other systems that began here."""
        self.own = OwnRecords(identity, clock)
        self.appender = Appender(door, keys, acknowledging, lambda note: self.own.loss(note, keys.system_id))

    def fail(self, error: BaseException) -> None:
        """Refuse everything from now on: our own code cannot be trusted."""
        self._failure = error

    def write(self, batches: Sequence[list[Entry]]) -> list[Refused]:
        """Store the entries of all ``batches`` and return what is refused of each."""
        entries = [entry for batch in batches for entry in batch]
        refused = self.run(lambda: self._store(entries))
        divided: list[Refused] = []
        start = 0
        for batch in batches:
            stop = start + sum(entry.count for entry in batch)
            divided.append([(at - start, error) for at, error in refused.items() if start <= at < stop])
            start = stop
        return divided

    def _store(self, entries: Sequence[Entry]) -> Refusals:
        self._identity.encode(entries)
        self._notice_strangers(entries)
        return self.send(entries)

    def send(self, entries: Sequence[Entry]) -> Refusals:
        """Send what has its numbers. The one way to the server: `StoreUnavailableError` means it is away.

        The same entries may be sent again then: each is stored once.
        """
        if not self._is_approved:
            doubts = [*server.judge(server.ask(self._door, self._keys), self._clock.now())]
            server.check(doubts, self._demands, self._door.target.place)
            self._is_approved = True
        return self.appender.store(entries)

    def run(self, work: Callable[[], Value]) -> Value:
        """Return what ``work`` returns, which may take numbers for records of its own.

        After a failure nobody knows which numbers are stored: the next record begins a new incarnation, so
        that none is given twice and none is missing.
        """
        if self._failure is not None:
            raise StoreFailedError(f"{self._keys.dedup} failed before: {self._failure}")
        before = self._identity.mark()
        is_done = False
        try:
            value = work()
            is_done = True
        finally:
            if not is_done and self._identity.mark() != before:
                self._identity.rewind(self._fresh)
        return value

    def _notice_strangers(self, entries: Sequence[Entry]) -> None:
        """Warn of a system of another id that begins here: two would share one history by mistake."""
        for entry in entries:
            if entry.kind != RecordKind.EVENT or entry.incarnation in self._seen:
                continue
            self._seen.add(entry.incarnation)
            try:
                record = codec.decode_record(entry.line.partition(b"\n")[0])
            except RecordDecodeError:
                continue
            is_beginning = (
                isinstance(record, PersistedEvent) and record.event_type == EventType.SYSTEM_STARTED
            )
            if is_beginning and record is not None and record.system_id != self._keys.system_id:
                self.strangers.add(record.system_id)
                _log.warning(
                    "the system %r writes under the keys of %r (%s): give RedisStreamsConfig its system_id, "
                    "so that no other system shares its history",
                    *(record.system_id, self._keys.system_id, self._keys.stream(RecordKind.EVENT)),
                )
