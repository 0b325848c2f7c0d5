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
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from papyra.persistence._redis.connecting import Argument, Door
    from papyra.persistence._redis.keys import Keys
    from papyra.persistence._redis.tail import Stream
    from papyra.persistence.entries import Entry
    from papyra.persistence.models import LossNote

_log = logging.getLogger(__name__)

MOST_RECORDS = 1_000
"""So many are sent in one go: a server does nothing else meanwhile."""
MOST_BYTES = 1024 * 1024
Refusals = dict[int, PersistenceError]

_MOST_WATCHED = 8
_MOST_LOOKED_AFTER = 100
_MOST_TIMES = 10
"""So often in a row the server may forget; then it is away."""


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


class _ForgottenError(Exception):
    """The server has less than it acknowledged: of each stream that is named, only up to a number."""

    def __init__(self, stored: Mapping[Stream, int]) -> None:
        super().__init__()
        self.stored = stored


class Appender:
    """Belongs to the writer's thread. ``note_loss`` makes the entry that explains a loss.

    Whatever is sent goes with the highest numbers that were acknowledged before it, and is stored only where
    the server still has those: so nothing that is forgotten meanwhile, once or again, is passed over.
    """

    def __init__(
        self, door: Door, keys: Keys, acknowledging: Acknowledging, note_loss: Callable[[LossNote], Entry]
    ) -> None:
        self._door = door
        self._keys = keys
        self._acknowledging = acknowledging
        self._note_loss = note_loss
        self._tail = Tail()
        self._losses: dict[LossNote, Entry] = {}
        self._scripted = keys.dedup, keys.meta, *keys.streams

    def store(self, entries: Sequence[Entry]) -> Refusals:
        """Store ``entries`` in order and return, by position, those refused for good. Idempotent.

        Raises `StoreUnavailableError` where the server is away: then the same entries may be sent again.
        """
        refusals: Refusals = {}
        position = 0
        for runs in _portions(entries):
            self._send(runs, position, refusals)
            position += sum(len(run.bodies) for run in runs)
        self._explain()
        return refusals

    def look_after(self) -> None:
        """Send again what the server has forgotten since it was acknowledged, if anything."""
        if self._tail.streams:
            self._send([], 0, {}, watched=_MOST_LOOKED_AFTER)
            self._explain()

    def _send(
        self, runs: Sequence[Run], position: int, refusals: Refusals, *, watched: int = _MOST_WATCHED
    ) -> None:
        own, newest = {run.stream for run in runs}, self._tail.streams[-watched:]
        watching = [Run(*stream, 1, (), 0, 0) for stream in newest if stream not in own]
        for _ in range(_MOST_TIMES):
            try:
                known = [self._tail.known(run.stream) for run in (*runs, *watching)]
                self._add([*runs, *watching], known, position, refusals)
            except _ForgottenError as forgotten:
                self._send_again(forgotten.stored)
                continue
            for run in runs:
                self._tail.add(run)
            return
        raise StoreUnavailableError(
            f"{self._keys.dedup}: the server forgets again and again what it is sent; nothing is acknowledged"
        )

    def _add(self, runs: Sequence[Run], known: Sequence[int], position: int, refusals: Refusals) -> None:
        """Store ``runs``, each once; raises `_ForgottenError` where what is known to be stored is not."""
        word, *rest = self._run(runs, known)
        if word == b"unknown":
            self._learn()
            raise _ForgottenError({})
        if word == b"lost":
            raise _ForgottenError(_stored(rest))
        self._settle(rest, runs, position, refusals)

    def _run(self, runs: Sequence[Run], known: Sequence[int]) -> list[bytes | int]:
        asking = self._acknowledging.command()
        arguments: list[Argument] = [0 if asking is None else 1]
        for run, highest in zip(runs, known, strict=True):
            arguments += run.arguments(highest)
        reply, *acknowledged = self._door.run(
            APPEND, self._scripted, arguments, *([asking] if asking else [])
        )
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

    def _send_again(self, stored: Mapping[Stream, int]) -> None:
        for stream, highest in stored.items():
            runs, note = self._tail.missing(stream, highest)
            _log.error(
                "%s: the server had forgotten what it had acknowledged of %s after number %d; %d records "
                "are sent again, %d are lost",
                *(self._keys.dedup, stream[0], highest, sum(len(run.bodies) for run in runs)),
                0 if note is None else note.last - note.first + 1,
            )
            if note is not None and note not in self._losses:
                self._losses[note] = self._note_loss(note)
            if not runs:
                self._tail.accept(stream, highest)
            try:
                for run, before in zip(runs, [highest, *(run.last for run in runs)], strict=False):
                    self._add([run], [before], 0, {})
            except _ForgottenError:
                return  # again: whoever sends looks for everything once more

    def _explain(self) -> None:
        """Record what is lost; what could not be recorded yet is tried again, under the same number."""
        while self._losses:
            note, entry = next(iter(self._losses.items()))
            self._send([*runs_of([entry], MOST_RECORDS)], 0, {})
            del self._losses[note]

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
                checksum = stored.get(each.id)
                if checksum is None:
                    checksum = self._add_late(kind, each)
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
        if checksum is None:  # it is not late any more: the server forgot what came after it
            raise _ForgottenError({})
        return str(checksum, "ascii")


def _stored(pairs: Sequence[bytes | int]) -> dict[Stream, int]:
    """Return up to which number each stream of a reply is there."""
    stored: dict[Stream, int] = {}
    for field, number in zip(pairs[::2], pairs[1::2], strict=True):
        incarnation, _, kind = str(field, "ascii").rpartition(":")  # type: ignore[arg-type]  # a field is bytes
        stored[incarnation, kind] = int(number)
    return stored


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
