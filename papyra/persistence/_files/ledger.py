"""What is known of all files of a store together: its history, and what explains a gap in it. Pure."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from papyra.persistence.integrity import HistoryCheck, Stream
from papyra.persistence.models import LossNote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from papyra.persistence._files.edits import Span

CAUSE_DAMAGED = "damaged"
CAUSE_MISSING = "missing"


class Sample(NamedTuple):
    """Where one record of an incarnation stands."""

    path: str
    span: Span


class Gap(NamedTuple):
    """Numbers that a record skipped; ``is_explained`` where damage lies in the place they would have."""

    first: int
    last: int
    path: str
    offset: int
    is_explained: bool


class Damage:
    """How many records the damage seen so far in one run of files may have been."""

    def __init__(self) -> None:
        self.most = 0
        self._seen: dict[Stream, int] = {}

    def explains(self, stream: Stream, skipped: int) -> bool:
        """Whether so many numbers may have stood in what was damaged since the stream went on last."""
        return skipped <= self.most - self._seen.get(stream, 0)

    def saw(self, stream: Stream) -> None:
        if self.most:
            self._seen[stream] = self.most


class Ledger:
    """Written by the check of each file in turn; asked when all of them were read."""

    def __init__(self, *, is_set: bool = False) -> None:
        self.is_set = is_set
        """Whether records may go on in another file: then only the order within each file is judged."""
        self.history = HistoryCheck()
        self.samples: dict[str, Sample] = {}
        self._gaps: dict[Stream, list[Gap]] = {}
        self._claims: dict[Stream, set[int]] = {}
        self._damage: dict[str, Damage] = {}

    def damage_in(self, family: str) -> Damage:
        return self._damage.setdefault(family, Damage())

    def note_gap(self, stream: Stream, gap: Gap) -> None:
        self._gaps.setdefault(stream, []).append(gap)

    def claim(self, stream: Stream, seq: int) -> None:
        """Remember that damaged bytes say they are this record."""
        self._claims.setdefault(stream, set()).add(seq)

    def unexplained_holes(self) -> Iterator[tuple[LossNote, Gap | None]]:
        """Yield what is missing with no damage in its place, and where that was seen."""
        for hole in self.history.holes():
            gap = self._gap_of(hole)
            if gap is None or not gap.is_explained:
                yield hole, gap

    def _gap_of(self, hole: LossNote) -> Gap | None:
        gaps = self._gaps.get((hole.incarnation, hole.kind), ())
        after = bisect_right(gaps, hole.first, key=_first_of)
        gap = gaps[after - 1] if after else None
        return gap if gap is not None and hole.first <= gap.last else None

    def losses(self) -> list[LossNote]:
        """Return every range that is gone and not yet noted, damaged last records included."""
        found = []
        for hole in self.history.holes():
            gap = self._gap_of(hole)
            found.append(hole._replace(cause=CAUSE_DAMAGED if gap and gap.is_explained else CAUSE_MISSING))
        for (incarnation, kind), claims in self._claims.items():
            last = self.history.last_seq(incarnation, kind)
            lost = last
            while lost + 1 in claims:
                lost += 1
            if last and lost > last and not self.history.is_noted(incarnation, kind, last + 1):
                found.append(LossNote(incarnation, kind, last + 1, lost, CAUSE_DAMAGED))
        return found


def _first_of(gap: Gap) -> int:
    return gap.first
