"""One consumer group of one stream: what is handed out, what is done, what is taken over from the dead."""

from __future__ import annotations

import json
import logging
import re
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from papyra.exceptions import (
    ConfigurationError,
    InvalidQueryError,
    RecordDecodeError,
    StoreFailedError,
    StoreUnavailableError,
)
from papyra.persistence._redis.entries import FIRST, RawEntry, StreamId, judge, record_of
from papyra.persistence._redis.groupscripts import (
    ACKNOWLEDGE,
    KEEP,
    LEAVE,
    RESUME,
    SET_APART,
    TAKE,
    TAKE_OVER,
    TIDY,
)
from papyra.persistence._redis.quarantine import Kept
from papyra.persistence._redis.walking import walk
from papyra.persistence.models import PersistenceAnomalyType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from papyra.clock import Clock
    from papyra.persistence._redis.connecting import Argument, Door, Script
    from papyra.persistence._redis.keys import Keys
    from papyra.persistence.models import Record, RecordKind

_log = logging.getLogger(__name__)

POISON = "poison"
"""Why an entry is in quarantine that was handed out too often."""
FORGOTTEN_MILLISECONDS = 3_600_000
"""After how long a consumer that left nothing behind is forgotten by name."""

_GIVEN_BACK_MILLISECONDS = 30 * 24 * 3_600_000
_LOST = re.compile("NOGROUP|UNBLOCKED")
_LEAST = {"count": 1, "block_ms": 1, "min_idle_ms": 1, "max_deliveries": 1}


@dataclass(frozen=True, slots=True)
class RedisConsumerGroupConfig:
    """Which group, as whom, and how.

    ``consumer`` names one that no other living one has; a `Consumer` makes up its own where it is empty.
    ``start_id`` is where a group begins that is made: ``0`` with the oldest entry, ``$`` with what is yet to
    come. Who did not attend to an entry for ``min_idle_ms`` is taken for dead. An entry that was handed out
    ``max_deliveries`` times and never acknowledged goes into quarantine. With ``acknowledges`` a `Consumer`
    acknowledges what the body of its loop is through with; else its user does, within ``min_idle_ms``.
    """

    group: str
    consumer: str = ""
    count: int = 100
    block_ms: int = 1000
    start_id: str = "0"
    ensure_group: bool = True
    _: KW_ONLY
    min_idle_ms: int = 60_000
    max_deliveries: int = 5
    acknowledges: bool = True

    def __post_init__(self) -> None:
        check_group(self.group, self.start_id)
        for name, lowest in _LEAST.items():
            value = getattr(self, name)
            if type(value) is not int or value < lowest:
                raise ConfigurationError(f"{name} must be {lowest} or more, not {value!r:.50}")


def check_group(group: object, start_id: object = "0") -> None:
    """Raise `ConfigurationError` for what names no group, or no place to begin."""
    if not isinstance(group, str) or not group:
        raise ConfigurationError(f"a consumer group needs a name, not {group!r:.100}")
    if start_id != "$" and not re.fullmatch("[0-9]{1,20}(-[0-9]{1,20})?", str(start_id)):
        raise ConfigurationError(
            f"start_id is 0 (from the oldest entry on), $ (what is yet to come) or an entry's id, "
            f"not {start_id!r:.50}"
        )


@dataclass(frozen=True, slots=True)
class RedisStreamEntry:
    """What a consumer was given: ``data`` is the record as it is stored, ``deliveries`` how often it was."""

    id: str
    data: Mapping[str, Any]
    _: KW_ONLY
    record: Record
    deliveries: int = 1


class PendingSummary(TypedDict):
    """``raw`` is what ``XPENDING`` tells; ``lag`` how many entries the group was not given yet."""

    raw: dict[str, Any]
    lag: int


class GroupMissingError(InvalidQueryError):
    """There is no such group, or no stream that could have one."""


class Given(NamedTuple):
    """Entries; where to go on looking for such; how many went into quarantine, and how many were removed."""

    entries: Sequence[RedisStreamEntry]
    cursor: StreamId = FIRST
    quarantined: int = 0
    removed: int = 0


class Group:
    """The group ``name`` of the stream of ``kind``; each thread brings its own door."""

    def __init__(self, keys: Keys, kind: RecordKind, name: str, clock: Clock) -> None:
        self._keys = keys
        self._kind = kind
        self._clock = clock
        self.name = name
        self.stream = keys.stream(kind)

    def create(self, door: Door, start_id: str, through: StreamId | None = None) -> bool:
        """Make it, and its stream, where they are not there; say whether they were not.

        It goes on behind ``through`` if it is known and the stream has come so far, else it begins at
        ``start_id``, or with all there is where there was something before.
        """
        last = self._last_id(door)
        if last is not None and self._told(door) is not None:  # making it would ask a full server for memory
            return False
        if through is not None:
            start_id = "0" if last is None or last < through else str(through)
        command = "XGROUP", "CREATE", self.stream, self.name, start_id, "MKSTREAM"
        try:
            door.call(*command)
        except StoreFailedError as error:
            if "BUSYGROUP" in str(error):
                return False
            raise
        return True

    def _last_id(self, door: Door) -> StreamId | None:
        if not door.call("EXISTS", self.stream):
            return None
        flat = door.call("XINFO", "STREAM", self.stream)
        return StreamId.of(dict(zip(flat[::2], flat[1::2], strict=True))[b"last-generated-id"])

    def read_new(self, door: Door, cfg: RedisConsumerGroupConfig, block_ms: int) -> Given:
        """Return what no consumer was given yet; waits for it so long."""
        options = "COUNT", cfg.count, "BLOCK", block_ms, "STREAMS", self.stream, ">"
        with self._expected():
            reply = door.call("XREADGROUP", "GROUP", self.name, cfg.consumer, *options)
        taken = [(RawEntry.of(raw), 1) for _, entries in reply or () for raw in entries]
        return self._decoded(door, cfg.consumer, taken, cfg.max_deliveries)

    def resume(
        self, door: Door, cfg: RedisConsumerGroupConfig, after: StreamId, *, count: int, counts: int
    ) -> Given:
        """Return what is pending with this very consumer; ``counts`` is 0 where it never was handed out."""
        arguments = cfg.consumer, count, str(after), counts
        return self._taken(door, RESUME, arguments, cfg.consumer, cfg.max_deliveries)

    def take_over(self, door: Door, cfg: RedisConsumerGroupConfig, after: StreamId) -> Given:
        """Return an entry that is pending and nobody attended to for too long.

        One alone: if it is the one that kills whoever has it, nothing else is suspected with it.
        """
        arguments = cfg.consumer, 1, str(after), cfg.min_idle_ms
        return self._taken(door, TAKE_OVER, arguments, cfg.consumer, cfg.max_deliveries)

    def claim(self, door: Door, consumer: str, min_idle_ms: int, ids: Sequence[str]) -> Given:
        """Return those of ``ids`` that are pending and nobody attended to for so long."""
        return self._taken(door, TAKE, (consumer, min_idle_ms, *ids), consumer, None)

    def acknowledge(self, door: Door, ids: Sequence[str]) -> tuple[int, StreamId]:
        """Return how many of ``ids`` were pending, and through which entry the whole group is now."""
        count, smallest, last = self._run(door, ACKNOWLEDGE, ids)
        return count, _before(StreamId.of(smallest)) if smallest else StreamId.of(last)

    def keep(self, door: Door, consumer: str, ids: Sequence[str]) -> set[str]:
        """Show that ``consumer`` lives and has ``ids`` in hand; return those that it still has."""
        return {mine.decode("ascii") for mine in self._run(door, KEEP, (consumer, *ids))}

    def leave(self, door: Door, consumer: str, given_back: Mapping[str, int]) -> None:
        """Let others have at once what is ``given_back``, with how often that counts as handed out."""
        pairs = [each for pair in given_back.items() for each in pair]
        self._run(door, LEAVE, (consumer, _GIVEN_BACK_MILLISECONDS, *pairs))

    def tidy(self, door: Door, consumer: str) -> None:
        """Forget consumers that are gone and left nothing."""
        self._run(door, TIDY, (consumer, FORGOTTEN_MILLISECONDS))

    def summary(self, door: Door) -> PendingSummary:
        """Return how far it is."""
        with self._expected():
            pending, smallest, greatest, consumers = door.call("XPENDING", self.stream, self.name)
        raw = {
            "pending": pending,
            "min": _text(smallest),
            "max": _text(greatest),
            "consumers": [{"name": _text(name), "pending": int(count)} for name, count in consumers or ()],
        }
        return {"raw": raw, "lag": self._lag(door)}

    def _lag(self, door: Door) -> int:
        told = self._told(door) or {b"lag": 0}
        if told.get(b"lag") is not None:
            return int(told[b"lag"])
        behind = StreamId.of(told[b"last-delivered-id"]).next
        return sum(len(columns) for columns in walk(door, self.stream, behind))

    def _told(self, door: Door) -> dict[bytes, Any] | None:
        """Return what the server tells of the group, if there is one."""
        for flat in door.call("XINFO", "GROUPS", self.stream):
            told = dict(zip(flat[::2], flat[1::2], strict=True))
            if told[b"name"] == self.name.encode():
                return told
        return None

    def _taken(
        self, door: Door, script: Script, arguments: Sequence[Argument], consumer: str, most: int | None
    ) -> Given:
        cursor, taken, gone = self._run(door, script, arguments)
        raw = [(RawEntry.of((id_, fields)), deliveries) for id_, deliveries, fields in taken]
        given = self._decoded(door, consumer, raw, most)
        return given._replace(cursor=StreamId.of(cursor), removed=len(gone))

    def _decoded(
        self, door: Door, consumer: str, taken: Sequence[tuple[RawEntry, int]], most: int | None
    ) -> Given:
        """Return the records; what is none, or was handed out too often, is set apart and acknowledged."""
        entries: list[RedisStreamEntry] = []
        apart: list[str | bytes] = []
        for entry, deliveries in taken:
            if most is not None and deliveries > most:
                why = POISON, f"handed out {deliveries - 1} times and never acknowledged"
            else:
                try:
                    entries.append(_entry(self._kind, entry, deliveries))
                    continue
                except RecordDecodeError as error:
                    fault = judge(self._kind, entry).fault or PersistenceAnomalyType.NEWER_FORMAT
                    why = fault.value, str(error)
            apart += [str(entry.id), self._kept(entry, *why).encode()]
        return Given(entries, quarantined=self._set_apart(door, consumer, apart) if apart else 0)

    def _set_apart(self, door: Door, consumer: str, apart: Sequence[str | bytes]) -> int:
        keys = self.stream, self._keys.quarantine
        try:
            with self._expected():
                (count,) = door.run(SET_APART, keys, (self.name, consumer, *apart))
        except StoreUnavailableError as error:  # what is sound does not wait for it
            _log.warning("%s, group %s: quarantine has to wait: %s", self.stream, self.name, error)
            return 0
        return int(count)

    def _kept(self, entry: RawEntry, reason: str, detail: str) -> Kept:
        detail = f"group {self.name}: {detail}"
        return Kept(self.stream, str(entry.id), reason, detail, self._clock.now(), entry.fields)

    def _run(self, door: Door, script: Script, arguments: Sequence[Argument]) -> Any:
        with self._expected():
            (reply,) = door.run(script, (self.stream,), (self.name, *arguments))
        return reply

    @contextmanager
    def _expected(self) -> Iterator[None]:
        try:
            yield
        except StoreFailedError as error:
            if _LOST.search(str(error)) is None:
                raise
            raise GroupMissingError(
                f"{self.stream} has no consumer group {self.name!r}; ensure_consumer_group() makes it"
            ) from error


def _entry(kind: RecordKind, raw: RawEntry, deliveries: int) -> RedisStreamEntry:
    record = record_of(kind, raw)
    if record is None:
        raise RecordDecodeError("a record of a kind that only a newer version knows")
    return RedisStreamEntry(str(raw.id), json.loads(raw.fields[1]), record=record, deliveries=deliveries)


def _before(id_: StreamId) -> StreamId:
    if id_.number:
        return StreamId(id_.milliseconds, id_.number - 1)
    return StreamId(id_.milliseconds - 1, 2**64 - 1)


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode("utf-8", "replace")
