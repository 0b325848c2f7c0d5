"""What recorded actors have handled: noted by the actors as they go, made into events in bulk behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from papyra._runtime.identity import Identity, type_name
from papyra.persistence.handled import HandledRows, Handler, handled_run
from papyra.persistence.models import RecordKind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from papyra._runtime.mailbox import Envelope
    from papyra._runtime.stamps import Stamps
    from papyra.persistence.ready import ReadyRun

MOST_TURNS = 64
"""So many turns, of at most a few hundred messages each, are noted before they are taken in."""

_LOOKS = 2


class Turn:
    """Messages that one actor handles in one go, and when it was done with each."""

    __slots__ = ("began", "cell", "ends", "is_over", "looks", "passed", "taken")

    def __init__(self, cell: Identity, began: float) -> None:
        self.cell = cell
        self.began = began
        self.passed: list[Envelope] = []
        self.ends: list[float] = []
        self.taken = 0
        self.looks = 0
        self.is_over = False


class _Handled(NamedTuple):
    """Handled messages, column by column: no message is kept, and a million are quickly noted."""

    whos: list[Handler]
    types: list[type]
    ids: list[int]
    causes: list[int | str]
    roots: list[int | str]
    begins: list[float]
    ends: list[float]

    def add(self, turn: Turn) -> None:
        """Take in what is new in ``turn``."""
        start, until = turn.taken, len(turn.ends)
        passed, cell = turn.passed[start:until], turn.cell
        turn.taken = until
        if passed:
            who = Handler(f"{cell.system_id}:{cell.id}", cell.path, cell.actor_type)
            self.whos.extend([who] * len(passed))
            self.types.extend([type(envelope.message) for envelope in passed])
            self.ids.extend([envelope.id for envelope in passed])
            self.causes.extend([envelope.cause for envelope in passed])
            self.roots.extend([envelope.root for envelope in passed])
            self.begins.append(turn.ends[start - 1] if start else turn.began)
            self.begins.extend(turn.ends[start : until - 1])
            self.ends.extend(turn.ends[start:until])

    def in_order(self) -> _Handled:
        """Return them as they ended: handlers that wait for something let others overtake them."""
        if self.ends == sorted(self.ends):
            return self
        order = sorted(range(len(self.ends)), key=self.ends.__getitem__)
        return _Handled(*([column[at] for at in order] for column in self))  # type: ignore[arg-type]  # the same columns

    def take_out(self, count: int) -> _Handled:
        """Take the first ``count`` out."""
        part = _Handled(*(column[:count] for column in self))  # type: ignore[arg-type]  # the same columns
        for column in self:
            del column[:count]
        return part


class HandledRun:
    """Events of handled messages that have their numbers; times follow from when the messages ended.

    ``floor``, ``reading``, in microseconds: the record before the first, and the time at ``now`` of the ends.
    """

    __slots__ = ("_floor", "_handled", "_incarnation", "_now", "_reading", "_system_id", "_times", "seq")

    def __init__(
        self,
        system_id: str,
        incarnation: str,
        handled: _Handled,
        place: tuple[int, int, int],
        now: float,
        times: list[int] | None = None,
    ) -> None:
        self.seq, self._floor, self._reading = place
        self._system_id = system_id
        self._incarnation = incarnation
        self._handled = handled
        self._now = now
        self._times = times

    def __len__(self) -> int:
        return len(self._handled.ids)

    @property
    def latest(self) -> int:
        """A time that none of them is after, in microseconds."""
        return max(self._reading, self._floor + len(self))

    @property
    def timestamp(self) -> float:
        """The time of the first."""
        return self._times_of(self._handled.ends[:1])[0] / 1e6

    def split(self, count: int) -> HandledRun:
        """Take the first ``count`` out."""
        place = self.seq, self._floor, self._reading
        handled = self._handled.take_out(count)
        times = self._times_of(handled.ends)
        self.seq += count
        self._floor, self._times = times[-1], None
        return HandledRun(self._system_id, self._incarnation, handled, place, self._now, times)

    def _times_of(self, ends: list[float]) -> list[int]:
        """Return the times of the first messages, which ended then: each later than the one before."""
        floor, reading, now = self._floor, self._reading, self._now
        return [
            floor := time if (time := reading - int((now - end) * 1e6)) > floor else floor + 1 for end in ends
        ]

    def ready(self) -> ReadyRun:
        """Make the events."""
        whos, types, ids, causes, roots, begins, ends = self._handled
        names = {kind: type_name(kind) for kind in set(types)}
        rows = HandledRows(
            [time / 1e6 for time in self._times or self._times_of(ends)],
            whos,
            [names[kind] for kind in types],
            ids,
            causes,
            roots,
            [int((end - begin) * 1e6) / 1e6 for begin, end in zip(begins, ends, strict=True)],
        )
        return handled_run(self._system_id, self._incarnation, self.seq, rows)


class HandledLog:
    """The turns of recorded actors that are not taken in yet; ``on_due`` is called when there is news.

    ``which``: the classes of the actors whose messages are recorded. ``time``: the clock of turns.
    """

    def __init__(
        self, system_id: str, time: Callable[[], float], on_due: Callable[[], None], which: Collection[type]
    ) -> None:
        self.turns: list[Turn] = []
        self._system_id = system_id
        self._time = time
        self._on_due = on_due
        self._which = tuple(which)

    def wants(self, actor: object) -> bool:
        """Whether what ``actor`` handles is recorded."""
        return isinstance(actor, self._which)

    def begin(self, cell: Identity) -> Turn:
        """Return where ``cell`` notes the messages of its next turn."""
        turn = Turn(cell, self._time())
        self.turns.append(turn)
        self._on_due()
        return turn

    def end(self, turn: Turn) -> None:
        """Hear that nothing more comes of ``turn``."""
        turn.is_over = True
        self._on_due()

    def note(self, cell: Identity, envelope: Envelope, since: float) -> None:
        """Note a message that was passed on, and is handled with that."""
        turn = self.begin(cell)
        turn.began = since
        turn.passed.append(envelope)
        turn.ends.append(self._time())
        self.end(turn)

    @property
    def count(self) -> int:
        """How many messages wait to be taken in."""
        return sum(len(turn.ends) - turn.taken for turn in self.turns)

    def is_quiet(self) -> bool:
        """Count a look; whether nothing comes soon but what calls ``on_due`` anyway.

        A turn lasts a millisecond, and until its last handler ends. So of what was looked at twice, not at
        once, only that one is still to come.
        """
        for turn in self.turns:
            turn.looks += 1
        return all(turn.looks >= _LOOKS for turn in self.turns)

    def discard(self) -> int:
        """Forget what waits; returns how many messages that were."""
        count = self.count
        self._take()
        return count

    def take(self, stamps: Stamps) -> HandledRun | None:
        """Return what waits, numbered, and begin anew."""
        has_one_turn = len(self.turns) == 1
        handled = self._take()
        if not has_one_turn:
            handled = handled.in_order()
        if not handled.ids:
            return None
        place = stamps.peek_run(RecordKind.EVENT)
        run = HandledRun(self._system_id, stamps.incarnation, handled, place, self._time())
        stamps.take_run(RecordKind.EVENT, len(run), run.latest)
        return run

    def _take(self) -> _Handled:
        handled = _Handled([], [], [], [], [], [], [])
        for turn in self.turns:
            handled.add(turn)
        self.turns = [turn for turn in self.turns if not turn.is_over]
        return handled
