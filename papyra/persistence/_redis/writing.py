"""The store's one ordered place: what is sent to the server goes through here, one batch after the other."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

from papyra.exceptions import RecordDecodeError, StoreFailedError
from papyra.persistence import codec
from papyra.persistence._redis import server
from papyra.persistence._redis.appending import Appender
from papyra.persistence.entries import WriterIdentity
from papyra.persistence.models import EventType, PersistedEvent, RecordKind
from papyra.persistence.own import OwnRecords

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from papyra.clock import Clock
    from papyra.exceptions import PersistenceError
    from papyra.persistence._redis.appending import Acknowledging, Refusals
    from papyra.persistence._redis.connecting import Door
    from papyra.persistence._redis.keys import Keys
    from papyra.persistence._redis.server import Demand
    from papyra.persistence.base import Refused
    from papyra.persistence.entries import Entry

    Store = Callable[[Sequence[Entry]], Mapping[int, PersistenceError]]
    """Numbers entries, keeps them, and returns those refused for good, by position."""

Value = TypeVar("Value")

_log = logging.getLogger(__name__)


class Writing:
    """Writes batches and runs the steps of maintenance, one at a time, in the writer's thread."""

    def __init__(
        self,
        door: Door,
        keys: Keys,
        clock: Clock,
        acknowledging: Acknowledging,
        demands: frozenset[Demand],
    ) -> None:
        self._door = door
        self._keys = keys
        self._clock = clock
        self._demands = demands
        self._is_approved = not demands
        self._seen: set[str] = set()
        self._failure: BaseException | None = None
        self._identity = WriterIdentity(clock)  # sent at once, while numbers of the other's may still wait
        self.strangers: set[str] = set()
        """The ids of other systems that began here."""
        self.own = OwnRecords(self._identity, clock)
        self._appender = Appender(door, keys, acknowledging, lambda note: self.own.loss(note, keys.system_id))

    def fail(self, error: BaseException) -> None:
        """Refuse everything from now on: our own code cannot be trusted."""
        self._failure = error

    def write(self, store: Store, batches: Sequence[list[Entry]]) -> list[Refused]:
        """Have ``store`` number and keep the entries of all ``batches``; return what is refused of each."""
        self._check()
        refused = store([entry for batch in batches for entry in batch])
        divided: list[Refused] = []
        start = 0
        for batch in batches:
            stop = start + sum(entry.count for entry in batch)
            divided.append([(at - start, error) for at, error in refused.items() if start <= at < stop])
            start = stop
        return divided

    def send(self, entries: Sequence[Entry]) -> Refusals:
        """Send what has its numbers; returns those refused for good, by position.

        The one way to the server: `StoreUnavailableError` means that it is away. The same entries may be sent
        again then: each is stored once.
        """
        return self.run(lambda: self._send(entries))

    def _send(self, entries: Sequence[Entry]) -> Refusals:
        if not self._is_approved:
            doubts = [*server.judge(server.ask(self._door, self._keys), self._clock.now())]
            server.check(doubts, self._demands, self._door.target.place)
            self._is_approved = True
        self._notice_strangers(entries)
        return self._appender.store(entries)

    def look_after(self) -> None:
        """Send again what the server has forgotten."""
        self.run(self._appender.look_after)

    def run(self, work: Callable[[], Value]) -> Value:
        """Return what ``work`` returns, which may take numbers for records of its own."""
        self._check()
        with self._identity.renewed_on_failure():
            return work()

    def _check(self) -> None:
        if self._failure is not None:
            raise StoreFailedError(f"{self._keys.dedup} failed before: {self._failure}")

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
