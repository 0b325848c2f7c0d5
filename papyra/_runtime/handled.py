"""What recorded actors have handled: noted by the actors as they go, made into events in bulk behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from papyra._runtime.identity import Identity, type_name
from papyra.persistence.handled import HandledRows, Handler, handled_run
from papyra.persistence.models import RecordKind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from papyra._runtime.mailbox import Envelope
    from papyra._runtime.stamps import Stamps
    from papyra.persistence.ready import ReadyRun

MOST_NOTES: Final = 16_384
"""So many messages, or a turn's more, are noted before they are taken in."""

NOBODY: Final = Handler("", "", "")
_WIDTH: Final = 5


class _Turn(NamedTuple):
    """From note ``first`` on, what ``who`` handled without a pause from ``began`` on."""

    first: int
    who: Handler
    began: float


class _Notes:
    """Handled messages as they ended: each its number, type, cause, root and end, in one flat list.

    That is the quickest, and keeps no message.
    """

    __slots__ = ("flat", "turns")

    def __init__(self, turns: list[_Turn], flat: list[Any]) -> None:
        self.turns = turns
        self.flat = flat

    def __len__(self) -> int:
        return len(self.flat) // _WIDTH

    @property
    def ends(self) -> list[float]:
        """When each ended."""
        return self.flat[_WIDTH - 1 :: _WIDTH]

    def take_out(self, count: int) -> _Notes:
        """Take the first ``count`` out."""
        turns, cut = self.turns, count * _WIDTH
        part = _Notes([turn for turn in turns if turn.first < count], self.flat[:cut])
        behind = [turn._replace(first=turn.first - count) for turn in turns[len(part.turns) :]]
        if len(self) > count and not (behind and behind[0].first == 0):
            behind.insert(0, _Turn(0, part.turns[-1].who, self.flat[cut - 1]))
        self.turns = behind
        del self.flat[:cut]
        return part

    def rows(self, times: list[int]) -> HandledRows:
        """Return what to store of them; ``times`` are in microseconds."""
        flat, ends = self.flat, self.ends
        whos: list[Handler] = []
        begins: list[float] = []
        stops = [*(turn.first for turn in self.turns[1:]), len(self)]
        for (first, who, began), stop in zip(self.turns, stops, strict=True):
            if first == stop:
                continue  # an interrupt came between a turn's begin and its first note
            whos += [who] * (stop - first)
            begins.append(began)
            begins += ends[first : stop - 1]
        types = flat[1::_WIDTH]
        names = {kind: type_name(kind) for kind in set(types)}
        return HandledRows(
            [time / 1e6 for time in times],
            whos,
            [names[kind] for kind in types],
            flat[::_WIDTH],
            flat[2::_WIDTH],
            flat[3::_WIDTH],
            [(end - begin) * 1e6 // 1 / 1e6 for begin, end in zip(begins, ends, strict=True)],
        )


class HandledRun:
    """Events of handled messages that have their numbers; times follow from when the messages ended.

    ``floor``, ``reading``, in microseconds: the record before the first, and the time at ``now`` of the ends.
    """

    __slots__ = ("_floor", "_incarnation", "_notes", "_now", "_reading", "_system_id", "_times", "seq")

    def __init__(
        self,
        system_id: str,
        incarnation: str,
        notes: _Notes,
        place: tuple[int, int, int],
        now: float,
        times: list[int] | None = None,
    ) -> None:
        self.seq, self._floor, self._reading = place
        self._system_id = system_id
        self._incarnation = incarnation
        self._notes = notes
        self._now = now
        self._times = times

    def __len__(self) -> int:
        return len(self._notes)

    @property
    def latest(self) -> int:
        """A time that none of them is after, in microseconds."""
        return max(self._reading, self._floor + len(self))

    @property
    def timestamp(self) -> float:
        """The time of the first."""
        return self._times_of(self._notes.ends[:1])[0] / 1e6

    def split(self, count: int) -> HandledRun:
        """Take the first ``count`` out."""
        place = self.seq, self._floor, self._reading
        notes = self._notes.take_out(count)
        times = self._times_of(notes.ends)
        self.seq += count
        self._floor, self._times = times[-1], None
        return HandledRun(self._system_id, self._incarnation, notes, place, self._now, times)

    def _times_of(self, ends: list[float]) -> list[int]:
        """Return the times of the first messages, which ended then: each later than the one before."""
        floor, offset = self._floor, self._reading - self._now * 1e6
        return [floor := time if (time := int(end * 1e6 + offset)) > floor else floor + 1 for end in ends]

    def ready(self) -> ReadyRun:
        """Make the events."""
        rows = self._notes.rows(self._times or self._times_of(self._notes.ends))
        return handled_run(self._system_id, self._incarnation, self.seq, rows)


class HandledLog:
    """What recorded actors have handled and is not taken in yet; ``on_due`` is called for the first of it.

    ``who``: whose turn it is, as far as it was noted. ``which``: the classes of the actors whose messages are
    recorded. ``time``: the clock of turns.
    """

    def __init__(
        self, system_id: str, time: Callable[[], float], on_due: Callable[[], None], which: Collection[type]
    ) -> None:
        self.who = NOBODY
        self.on_due = on_due
        self._notes = _Notes([], [])
        self._system_id = system_id
        self._time = time
        self._which = tuple(which)

    def __len__(self) -> int:
        return len(self._notes)

    def wants(self, actor: object) -> bool:
        """Whether what ``actor`` handles is recorded."""
        return isinstance(actor, self._which)

    def handler(self, cell: Identity) -> Handler:
        """Return what notes name ``cell`` by."""
        return Handler(f"{cell.system_id}:{cell.id}", cell.path, cell.actor_type)

    def begin(self, who: Handler, began: float) -> list[Any]:
        """Begin a turn of ``who``, with a message that began then; returns where that is noted at once.

        Its number, type, cause, root and end; and what follows without a pause, as long as it is `who`. The
        list is always the same, so whoever keeps it keeps no notes.
        """
        notes = self._notes
        if not notes.flat:
            self.on_due()
        self.who = who
        notes.turns.append(_Turn(len(notes), who, began))
        return notes.flat

    def pause(self) -> None:
        """End a turn: what is noted next began later than the last one ended."""
        self.who = NOBODY
        if len(self._notes) >= MOST_NOTES:
            self.on_due()

    def note_passed(self, cell: Identity, envelope: Envelope, since: float) -> None:
        """Note a message that was passed on, and is handled with that."""
        flat = self.begin(self.handler(cell), since)
        flat += (envelope.id, type(envelope.message), envelope.cause, envelope.root, self._time())

    def discard(self) -> int:
        """Forget what waits; returns how many messages that were."""
        return len(self._take())

    def take(self, stamps: Stamps) -> HandledRun | None:
        """Return what waits, numbered, and begin anew."""
        if not self:
            return None
        place, now = stamps.peek_run(RecordKind.EVENT), self._time()
        run = HandledRun(self._system_id, stamps.incarnation, self._take(), place, now)
        stamps.take_run(RecordKind.EVENT, len(run), run.latest)
        return run

    def _take(self) -> _Notes:
        notes = self._notes
        taken = _Notes(notes.turns, notes.flat.copy())
        notes.turns, self.who = [], NOBODY
        notes.flat.clear()
        return taken
