"""What a writer remembers of the last records it acknowledged, should the server forget them. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from papyra.persistence.models import LossNote, RecordKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from papyra.persistence.entries import Entry

MAX_TAIL_BYTES = 4 * 1024 * 1024
CAUSE_FORGOTTEN = "forgotten by the server"

_NUMBERS = {kind.value: number for number, kind in enumerate(RecordKind, 1)}
Stream = tuple[str, str]


class Run(NamedTuple):
    """Neighbouring records of one incarnation and kind, as they are sent; times in milliseconds."""

    incarnation: str
    kind: str
    first: int
    bodies: Sequence[bytes]
    oldest: int
    newest: int

    @property
    def last(self) -> int:
        """The number of the last."""
        return self.first + len(self.bodies) - 1

    @property
    def stream(self) -> Stream:
        """What the numbers count in."""
        return self.incarnation, self.kind

    @property
    def size(self) -> int:
        """How many bytes they have."""
        return sum(map(len, self.bodies))

    def after(self, seq: int) -> Run:
        """Return those with higher numbers."""
        skipped = max(seq + 1 - self.first, 0)
        return self._replace(first=self.first + skipped, bodies=self.bodies[skipped:])

    def arguments(self, known: int) -> tuple[str | bytes | int, ...]:
        """Return what `scripts.APPEND` takes."""
        head = (_NUMBERS[self.kind], self.kind, self.incarnation, self.first, len(self.bodies), known)
        return (*head, self.oldest, self.newest, *self.bodies)


def runs_of(entries: Sequence[Entry], most: int) -> Iterator[Run]:
    """Yield ``entries`` as runs of at most so many records."""
    stream, first, bodies, times = ("", ""), 0, list[bytes](), list[float]()
    for entry in entries:
        is_neighbour = (entry.incarnation, entry.kind) == stream and entry.seq == first + len(bodies)
        if bodies and not (is_neighbour and len(bodies) + entry.count <= most):
            yield _run(stream, first, bodies, times)
            bodies, times = [], []
        if not bodies:
            stream, first = (entry.incarnation, entry.kind), entry.seq
        bodies += entry.line[:-1].split(b"\n") if entry.count > 1 else [entry.line[:-1]]
        times += entry.timestamps
    if bodies:
        yield _run(stream, first, bodies, times)


def _run(stream: Stream, first: int, bodies: list[bytes], times: list[float]) -> Run:
    return Run(*stream, first, bodies, int(min(times) * 1000), int(max(times) * 1000) + 1)


class Tail:
    """The newest acknowledged runs, within a bound of bytes, and the highest number of each stream."""

    def __init__(self, max_bytes: int = MAX_TAIL_BYTES) -> None:
        self._max_bytes = max_bytes
        self._runs: deque[Run] = deque()
        self._bytes = 0
        self._known: dict[Stream, int] = {}

    def add(self, run: Run) -> None:
        """Take what was acknowledged just now."""
        self._known[run.stream] = max(run.last, self.known(run.stream))
        self._runs.append(run)
        self._bytes += run.size
        while self._bytes > self._max_bytes:
            self._bytes -= self._runs.popleft().size

    def known(self, stream: Stream) -> int:
        """Return the highest number that was acknowledged, 0 for none."""
        return self._known.get(stream, 0)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Every stream that anything was acknowledged of."""
        return tuple(self._known)

    def accept(self, stream: Stream, stored: int) -> None:
        """Take it that no more of ``stream`` is there: what is lost of it nobody has."""
        self._known[stream] = stored

    def missing(self, stream: Stream, stored: int) -> tuple[list[Run], LossNote | None]:
        """Return what to send again where only up to ``stored`` is there, and what is lost before it."""
        runs = [run.after(stored) for run in self._runs if run.stream == stream and run.last > stored]
        runs.sort(key=lambda run: run.first)
        oldest = min((run.first for run in runs), default=self.known(stream) + 1)
        if oldest <= stored + 1:
            return runs, None
        return runs, LossNote(*stream, stored + 1, oldest - 1, CAUSE_FORGOTTEN)
