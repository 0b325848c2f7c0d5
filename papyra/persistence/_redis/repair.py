"""Act on a scan's findings; each step is one script or command, safe to be killed after, safe to repeat."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from papyra.clock import mint_incarnation
from papyra.persistence._redis.entries import RawEntry
from papyra.persistence._redis.lease import Lease
from papyra.persistence._redis.quarantine import Kept
from papyra.persistence._redis.scripts import SET_ASIDE
from papyra.persistence.models import (
    EventType,
    LossNote,
    PersistenceRecoveryConfig,
    PersistenceRecoveryMode,
    RecordKind,
    ScanDepth,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from papyra.clock import Clock
    from papyra.persistence._redis.connecting import Door
    from papyra.persistence._redis.keys import Keys
    from papyra.persistence._redis.scanning import Bad, Findings
    from papyra.persistence.entries import Entry
    from papyra.persistence.own import OwnRecords

_STEP = 100
CAUSE_DAMAGED = "damaged"
CAUSE_MISSING = "missing"


class Done(NamedTuple):
    """What one step did, or several."""

    repaired: frozenset[str] = frozenset()
    set_aside: tuple[str, ...] = ()
    quarantined_bytes: int = 0
    losses: tuple[LossNote, ...] = ()

    def plus(self, other: Done) -> Done:
        """Return both together."""
        return Done(
            self.repaired | other.repaired,
            self.set_aside + other.set_aside,
            self.quarantined_bytes + other.quarantined_bytes,
            self.losses + other.losses,
        )


class Repair:
    """The steps of one recovery, each to be run in the writer's thread; ``store`` appends what we record."""

    def __init__(
        self,
        door: Door,
        keys: Keys,
        own: OwnRecords,
        store: Callable[[Sequence[Entry]], object],
        clock: Clock,
    ) -> None:
        self._door = door
        self._keys = keys
        self._own = own
        self._store = store
        self._clock = clock
        self._run = mint_incarnation(clock.now())
        self.lease = Lease(door, keys.lease)

    def steps(self, found: Findings, mode: PersistenceRecoveryMode) -> Iterator[Callable[[], Done]]:
        """Yield the steps that set streams aside whole, if asked for, and move bad entries to quarantine."""
        for kind in RecordKind:
            bad = [each for each in found.bad if each.kind is kind]
            if bad and mode is PersistenceRecoveryMode.QUARANTINE:
                yield partial(self._set_aside_whole, kind)
            for start in range(0, len(bad), _STEP):
                yield partial(self._remove, kind, bad[start : start + _STEP])

    def conclude(
        self, found: Findings, done: Done, config: PersistenceRecoveryConfig, depth: ScanDepth
    ) -> Done:
        """Explain what is missing, close the lost incarnations, and record the recovery."""
        self.lease.take()
        notes = tuple(hole._replace(cause=CAUSE_MISSING) for hole in found.holes)
        entries = [self._own.loss(note, self._keys.system_id) for note in notes]
        for lost in found.lost:
            payload = {"closes": lost.incarnation, "last_seen": lost.last_seen}
            entries.append(self._own.entry(EventType.INCARNATION_LOST, payload, self._keys.system_id))
        done = done.plus(Done(losses=notes))
        run = {
            "mode": config.mode.value,
            "depth": depth.value,
            "found": {type_.value: count for type_, count in found.counts.items()},
            "losses": len(done.losses),
            "quarantined_bytes": done.quarantined_bytes,
            "quarantine": self._keys.quarantine,
        }
        entries.append(self._own.entry(EventType.RECOVERY_RUN, run, self._keys.system_id))
        self._store(entries)
        return done

    def _set_aside_whole(self, kind: RecordKind) -> Done:
        self.lease.take()
        stream, copy = self._keys.stream(kind), self._keys.set_aside(kind, self._run)
        self._door.call("COPY", stream, copy)
        self._door.call("SADD", self._keys.set_aside(kind, "all"), copy)
        return Done(set_aside=(copy,))

    def _remove(self, kind: RecordKind, bad: Sequence[Bad]) -> Done:
        self.lease.take()
        stream = self._keys.stream(kind)
        arguments: list[str | bytes | int] = [kind.value]
        size = 0
        for each in bad:
            for raw in self._door.call("XRANGE", stream, str(each.id), str(each.id)):
                entry = RawEntry.of(raw)
                kept = Kept(
                    stream, str(each.id), each.reason.value, each.detail, self._clock.now(), entry.fields
                )
                arguments += [str(each.id), entry.size, kept.encode()]
                size += entry.size
        losses = tuple(_merged(kind, [each for each in bad if not each.is_doubled]))
        if losses:  # told before anything goes: a note too many harms nobody
            self._store([self._own.loss(note, self._keys.system_id) for note in losses])
        self._door.run(SET_ASIDE, (self._keys.meta, stream, self._keys.quarantine), arguments)
        return Done(frozenset({stream}), (), size, losses)


def _merged(kind: RecordKind, bad: Sequence[Bad]) -> Iterator[LossNote]:
    """Yield one note for each run of neighbours."""
    last: LossNote | None = None
    for incarnation, seq in sorted({each.identity for each in bad if each.identity is not None}):
        if last is not None and incarnation == last.incarnation and seq == last.last + 1:
            last = last._replace(last=seq)
            continue
        if last is not None:
            yield last
        last = LossNote(incarnation, kind.value, seq, seq, CAUSE_DAMAGED)
    if last is not None:
        yield last
