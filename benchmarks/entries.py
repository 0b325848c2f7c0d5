"""What a row of measurements is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a row: a contender doing ``measure`` so many times, in the way that ``pattern`` says."""

    contender: str
    measure: str
    size: int
    pattern: str


@dataclass(frozen=True, slots=True)
class Goal:
    """``figure`` of an entry, alone or over that of another, on one Python without uvloop."""

    text: str
    python: str
    entry: int
    over: int | None = None
    figure: str = "cpu"
    at_least: float | None = None
    at_most: float | None = None

    def is_met_by(self, value: float) -> bool:
        """Whether ``value`` is what was wanted."""
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )

    @property
    def wanted(self) -> str:
        """Return the bound as text."""
        return f">= {self.at_least:,g}" if self.at_least is not None else f"<= {self.at_most:,g}"


@dataclass(frozen=True, slots=True)
class Row:
    """Entries that are measured in turns, round by round. The first of ``figures`` decides."""

    name: str
    title: str
    says: str
    entries: tuple[Entry, ...]
    goals: tuple[Goal, ...] = ()
    figures: tuple[str, ...] = ("cpu", "wall")
    unit: str = "a second"
    with_uvloop: bool = True
    less_is_better: bool = False
    most_rounds: int = 99  # fewer where a round takes long and tells the same each time
