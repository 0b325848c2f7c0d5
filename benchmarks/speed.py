"""Measure rows: each figure in a fresh process, all entries of a row in turns, round by round."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

from benchmarks.environments import PYTHONS, ROOT, Missing, environment
from benchmarks.rows import CONTENDERS
from tools.bootstrap import last_word

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from benchmarks.entries import Entry, Goal, Row
    from benchmarks.meter import Figures

TIMEOUT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Column:
    """One Python, with or without uvloop."""

    python: str
    uvloop: bool = False

    def __str__(self) -> str:
        return f"{self.python} uvloop" if self.uvloop else self.python


@dataclass(slots=True)
class Cell:
    """What one entry did in one column, round by round; or why it did not."""

    rounds: list[Figures] = field(default_factory=list)
    missing: str = ""
    version: str = ""
    python: str = ""

    def median(self, figure: str) -> float | None:
        """Return the median of the rounds; ``None`` for what was not measured."""
        values = [figures[figure] for figures in self.rounds if figure in figures]
        return statistics.median(values) if values else None


@dataclass(frozen=True, slots=True)
class _Said:
    figures: Figures
    version: str
    python: str


@dataclass(frozen=True, slots=True)
class Measured:
    """A row with its cells, by entry and column."""

    row: Row
    columns: tuple[Column, ...]
    cells: dict[tuple[int, Column], Cell]

    def value(self, goal: Goal) -> float | None:
        """Return what ``goal`` is about: the median, of ratios round by round if it is one."""
        column = Column(goal.python)
        cell = self.cells.get((goal.entry, column))
        if cell is None:
            return None
        if goal.over is None:
            return cell.median(goal.figure)
        other = self.cells[goal.over, column]
        pairs = zip(cell.rounds, other.rounds, strict=False)
        ratios = [ours[goal.figure] / theirs[goal.figure] for ours, theirs in pairs]
        return statistics.median(ratios) if ratios else None


def measure(row: Row, *, rounds: int) -> Measured:
    """Run all entries in all columns, ``rounds`` times."""
    columns = tuple(
        Column(python, uvloop)
        for python in PYTHONS
        for uvloop in ((False, True) if row.with_uvloop else (False,))
    )
    cells = {place: Cell() for place in product(range(len(row.entries)), columns)}
    rounds = min(rounds, row.most_rounds)
    for number in range(rounds):
        for (index, column), cell in cells.items():
            if not cell.missing:
                _measure_once(row.entries[index], column, cell)
        print(f"  {row.name}: round {number + 1} of {rounds}", flush=True)
    return Measured(row, columns, cells)


def _measure_once(entry: Entry, column: Column, cell: Cell) -> None:
    contender = CONTENDERS[entry.contender]
    if column.uvloop and not contender.has_loop:
        cell.missing = "no loop"
        return
    python = environment(contender, column.python)
    if isinstance(python, Missing):
        cell.missing = python.reason
        return
    said = _run(python, contender.module, entry, ["--uvloop"] * column.uvloop)
    if isinstance(said, Missing):
        cell.missing = said.reason
        return
    cell.rounds.append(said.figures)
    cell.version, cell.python = said.version, said.python


def _run(python: Path, module: str, entry: Entry, options: Iterable[str]) -> _Said | Missing:
    command = [str(python), "-m", "benchmarks.contenders", module, entry.measure, str(entry.size), *options]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Missing(f"was not done within {TIMEOUT_SECONDS} s")
    if done.returncode != 0:
        return Missing(f"failed: {last_word(done.stdout + done.stderr)}")
    return _Said(**json.loads(done.stdout.splitlines()[-1]))  # the libraries may print, too
