"""Put records into their streams, each exactly once, however often and beside whatever else they are sent."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from papyra.exceptions import PersistenceError, RecordConflictError, StoreUnavailableError
from papyra.persistence import codec
from papyra.persistence._redis.scripts import ADD_LATE, APPEND, LEARN
from papyra.persistence._redis.tail import Run, Tail, runs_of
from papyra.persistence._redis.walking import walk
from papyra.persistence.models import RecordId, RecordKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from papyra.persistence._redis.connecting import Argument, Door
    from papyra.persistence._redis.keys import Keys
    from papyra.persistence.entries import Entry
    from papyra.persistence.models import LossNote

_log = logging.getLogger(__name__)

MOST_RECORDS = 1_000
"""So many are sent in one go: a server does nothing else meanwhile."""
MOST_BYTES = 1024 * 1024
Refusals = dict[int, PersistenceError]

_MOST_LOOKED_AFTER = 100


class Durability(StrEnum):
    """When a batch counts as stored.

    ``server``: the server has it, and keeps it as its own configuration says. ``wait``: so many replicas have
    it too. ``waitaof``: the server has synced it to its append-only file (Redis 7.2 or later).
    """

    SERVER = "server"
    WAIT = "wait"
    WAITAOF = "waitaof"


@dataclass(frozen=True, slots=True)
class Acknowledging:
    """What has to be so before a batch is acknowledged."""

    durability: Durability
    replicas: int
    milliseconds: int

    def command(self) -> tuple[Argument, ...] | None:
        """Return what to ask behind each batch, on its connection."""
        match self.durability:
            case Durability.SERVER:
                return None
            case Durability.WAIT:
                return ("WAIT", self.replicas, self.milliseconds)
            case Durability.WAITAOF:
                return ("WAITAOF", 1, self.replicas, self.milliseconds)

    def check(self, reply: int | list[int]) -> None:
        """Raise `StoreUnavailableError` where the answer is short: the batch has to be sent again then."""
        local, replicas = (1, reply) if isinstance(reply, int) else reply
        if local < 1:
            raise StoreUnavailableError(
                f"the server did not sync the batch within {self.milliseconds} ms (waitaof); nothing of it "
                "is acknowledged"
            )
        if replicas < self.replicas:
            raise StoreUnavailableError(
                f"{replicas} of {self.replicas} replicas had the batch within {self.milliseconds} ms; "
                "nothing of it is acknowledged"
            )


class _Sent(NamedTuple):
    """One record of those that are sent together."""

    position: int
    id: RecordId
    run: Run
    body: bytes

    @property
    def checksum(self) -> str:
        return codec.checksum_of(self.body)


class Appender:
    """Belongs to the writer's thread. ``note_loss`` makes the entry that explains a loss."""

    def __init__(
        self, door: Door, keys: Keys, acknowledging: Acknowledging, note_loss: Callable[[LossNote], Entry]
    ) -> None:
        self._door = door
        self._keys = keys
        self._acknowledging = acknowledging
        self._note_loss = note_loss
        self._tail = Tail()
        self._scripted = keys.dedup, keys.meta, *keys.streams

    def store(self, entries: Sequence[Entry]) -> Refusals:
        """Store ``entries`` in order and return, by position, those refused for good. Idempotent.

        Raises `StoreUnavailableError` where the server is away: then the same entries may be sent again.
        """
        refusals: Refusals = {}
        position = 0
        for runs in _portions(entries):
            lost = self._send(runs, position, refusals)
            position += sum(len(run.bodies) for run in runs)
            if lost:
                self._explain(lost)
        return refusals

    def look_after(self) -> None:
        """Send again what the server has forgotten since it was acknowledged, if anything."""
        streams = self._tail.streams[-_MOST_LOOKED_AFTER:]
        if streams:
            lost = self._send([Run(*stream, 1, (), 0, 0) for stream in streams], 0, {})
            if lost:
                self._explain(lost)

    def _send(self, runs: Sequence[Run], position: int, refusals: Refusals) -> list[LossNote]:
        lost: list[LossNote] = []
        reply = self._run(runs, [self._tail.known(run.stream) for run in runs])
        if reply[0] == b"lost":
            lost = self._send_again(reply[1:])
            reply = self._run(runs, [0] * len(runs))
        self._settle(reply[1:], runs, position, refusals)
        for run in runs:
            if run.bodies:
                self._tail.add(run)
        return lost

    def _run(self, runs: Sequence[Run], known: Sequence[int]) -> list[bytes | int]:
        asking = self._acknowledging.command()
        arguments: list[Argument] = [0 if asking is None else 1]
        for run, highest in zip(runs, known, strict=True):
            arguments += run.arguments(highest)
        reply, *acknowledged = self._door.run(
            APPEND, self._scripted, arguments, *([asking] if asking else [])
        )
        if reply[0] == b"unknown":
            self._learn()
            return self._run(runs, known)
        for answer in acknowledged:
            self._acknowledging.check(answer)
        found: list[bytes | int] = reply
        return found

    def _learn(self) -> None:
        """Find out which numbers are stored: the key that says it is gone, and the streams are not."""
        highest: dict[str, int] = {}
        for kind in RecordKind:
            for columns in walk(self._door, self._keys.stream(kind)):
                for column in columns:
                    if column.incarnation:
                        field = f"{column.incarnation}:{kind.value}"
                        highest[field] = max(column.seq, highest.get(field, 0))
        _log.warning("%s is gone; what it said was made anew from the streams", self._keys.dedup)
        self._door.run(LEARN, (self._keys.dedup,), [each for pair in highest.items() for each in pair])

    def _send_again(self, lost: Sequence[bytes | int]) -> list[LossNote]:
        notes = []
        for field, stored in zip(lost[::2], lost[1::2], strict=True):
            incarnation, _, kind = str(field, "ascii").rpartition(":")  # type: ignore[arg-type]  # a field is bytes
            runs, note = self._tail.missing((incarnation, kind), int(stored))
            for run in runs:
                reply = self._run([run], [0])
                self._settle(reply[1:], [run], 0, {})
            _log.error(
                "%s: the server had forgotten what it had acknowledged of %s after number %d; %d records "
                "were sent again, %d are lost",
                *(self._keys.dedup, incarnation, int(stored), sum(len(run.bodies) for run in runs)),
                0 if note is None else note.last - note.first + 1,
            )
            if note is not None:
                notes.append(note)
        return notes

    def _explain(self, lost: Sequence[LossNote]) -> None:
        self.store([self._note_loss(note) for note in lost])

    def _settle(
        self, again: Sequence[bytes | int], runs: Sequence[Run], position: int, refusals: Refusals
    ) -> None:
        """Look for records whose number is not new: there already, there with other bytes, or not there."""
        if not again:
            return
        numbers = {int(at) for at in again}
        sent = [each for each in _each(runs, position) if each.position - position in numbers]
        for kind in RecordKind:
            of_kind = [each for each in sent if each.id.kind == kind]
            stored = self._look_up(kind, {each.id for each in of_kind})
            for each in of_kind:
                checksum = stored.get(each.id) or self._add_late(kind, each)
                if checksum not in {each.checksum, ""}:
                    refusals[each.position] = RecordConflictError(f"{each.id} is stored with other bytes")

    def _look_up(self, kind: RecordKind, wanted: set[RecordId]) -> dict[RecordId, str]:
        """Return the checksums of those that are stored; the newest, nearly always, are found at once."""
        found: dict[RecordId, str] = {}
        if not wanted:
            return found
        removed = self._removed(wanted)
        step = max(100, 2 * len(wanted))
        for columns in walk(self._door, self._keys.stream(kind), newest_first=True, step=min(step, 2_000)):
            for column in columns:
                id_ = RecordId(column.incarnation, kind.value, column.seq)
                if id_ in wanted:
                    found[id_] = column.checksum
            if wanted - removed <= found.keys():
                break
        return found

    def _removed(self, wanted: Iterable[RecordId]) -> set[RecordId]:
        """Return those below what retention has removed: they are not looked for to the end."""
        fields = sorted({f"{id_.incarnation}:{id_.kind}#floor" for id_ in wanted})
        floors = dict(zip(fields, self._door.call("HMGET", self._keys.dedup, *fields), strict=True))
        return {id_ for id_ in wanted if id_.seq < int(floors[f"{id_.incarnation}:{id_.kind}#floor"] or 0)}

    def _add_late(self, kind: RecordKind, each: _Sent) -> str:
        keys = self._keys.dedup, self._keys.meta, self._keys.stream(kind)
        id_ = each.id
        arguments = id_.kind, id_.incarnation, id_.seq, each.run.oldest, each.run.newest, each.body
        (checksum,) = self._door.run(ADD_LATE, keys, arguments)
        return str(checksum, "ascii")


def _portions(entries: Sequence[Entry]) -> Iterator[list[Run]]:
    """Yield ``entries`` in portions that the server takes in a few milliseconds."""
    portion: list[Run] = []
    records = size = 0
    for run in runs_of(entries, MOST_RECORDS):
        if portion and (records + len(run.bodies) > MOST_RECORDS or size + run.size > MOST_BYTES):
            yield portion
            portion, records, size = [], 0, 0
        portion.append(run)
        records += len(run.bodies)
        size += run.size
    if portion:
        yield portion


def _each(runs: Sequence[Run], position: int) -> Iterator[_Sent]:
    for run in runs:
        for seq, body in enumerate(run.bodies, run.first):
            yield _Sent(position, RecordId(run.incarnation, run.kind, seq), run, body)
            position += 1
