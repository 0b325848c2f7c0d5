"""Measurements as tables: for a terminal, and for the page in docs/."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.rows import BARE, PAPYRA

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.entries import Goal
    from benchmarks.speed import Cell, Measured

BEGIN = "<!-- made by `python -m benchmarks --markdown`: everything down to the next such line -->"
STORAGE_BEGIN = (
    "<!-- made by `python -m benchmarks storage --markdown`: everything down to the next such line -->"
)
END = "<!-- end of what was made -->"
MILLION, THOUSAND, FEW = 1e6, 1e3, 1e4


def short(value: float) -> str:
    """Return three digits or so of ``value``."""
    if abs(value) >= MILLION:
        return f"{value / MILLION:.2f} M"
    if abs(value) >= FEW:
        return f"{value / THOUSAND:.0f} k"
    if abs(value) >= THOUSAND:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def cell_text(cell: Cell, figures: Sequence[str]) -> str:
    """Return the medians of one cell; a dash where nothing could be measured."""
    if cell.missing:
        return "-"
    values = [cell.median(figure) for figure in figures]
    return " / ".join(short(value) for value in values if value is not None)


def table(measured: Measured) -> list[list[str]]:
    """Return the header and a line for each entry."""
    row = measured.row
    lines = [["", "how", *(str(column) for column in measured.columns)]]
    for number, entry in enumerate(row.entries):
        cells = [measured.cells[number, column] for column in measured.columns]
        lines.append([entry.contender, entry.pattern, *(cell_text(cell, row.figures) for cell in cells)])
    return lines


def reasons(measured: Measured) -> list[str]:
    """Say of each dash why it is there."""
    found: dict[str, list[str]] = {}
    for (number, column), cell in measured.cells.items():
        if cell.missing and not (column.uvloop and cell.missing == "no loop"):
            name = f"{measured.row.entries[number].contender} on {column}"
            found.setdefault(cell.missing, []).append(name)
    return [f"{', '.join(dict.fromkeys(names))}: {reason}" for reason, names in found.items()]


def verdicts(measured: Measured) -> Iterator[tuple[Goal, float | None, str]]:
    """Return each goal with what came out."""
    for goal in measured.row.goals:
        value = measured.value(goal)
        yield goal, value, "not measured" if value is None else "met" if goal.is_met_by(value) else "missed"


def ahead(measured: Measured) -> list[str]:
    """Name each peer that does better than papyra, in any way papyra was measured, and where."""
    row, figure = measured.row, measured.row.figures[0]
    better: dict[str, list[str]] = {}
    for column in measured.columns:
        values = [measured.cells[number, column].median(figure) for number in range(len(row.entries))]
        pairs = list(zip(row.entries, values, strict=True))
        ours = [value for entry, value in pairs if entry.contender == PAPYRA and value is not None]
        worst = (max if row.less_is_better else min)(ours, default=0.0)
        for entry, value in pairs:
            if entry.contender in {PAPYRA, BARE} or value is None or not ours:
                continue
            if value < worst if row.less_is_better else value > worst:
                name = f"{entry.contender} ({entry.pattern})" if entry.pattern else entry.contender
                better.setdefault(name, []).append(f"{column}: {short(value)} beside {short(worst)}")
    return [f"{name}, {', '.join(places)}" for name, places in better.items()]


def as_text(measured: Measured) -> str:
    """Return one row for a terminal."""
    row, lines = measured.row, table(measured)
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    said = [f"{row.title} ({' / '.join(row.figures)}: {row.unit})"]
    said += [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    said += [f"not there: {reason}" for reason in reasons(measured)]
    said += [
        f"wanted: {goal.text} on {goal.python}: {goal.wanted}: "
        f"{'' if value is None else f'{short(value)}, '}{verdict}"
        for goal, value, verdict in verdicts(measured)
    ]
    said += [f"ahead of papyra: {name}" for name in ahead(measured)]
    return "\n".join(said)


def as_markdown(everything: Sequence[Measured], *, rounds: int, wanted: str) -> str:
    """Return all rows for the page; the goals stand under ``wanted``."""
    parts = [machine(everything, rounds=rounds)]
    for measured in everything:
        row, (header, *lines) = measured.row, table(measured)
        parts += [f"### {row.title[0].upper()}{row.title[1:]}", row.says]
        rule = ["---", "---", *["---:"] * len(measured.columns)]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *lines)))
        parts.append(f"Each figure: {' / '.join(row.figures)}; {row.unit}.")
        parts += [f"Not there: {reason}." for reason in reasons(measured)]
        if better := ahead(measured):
            parts.append(f"Ahead of papyra: {'; '.join(better)}.")
    parts += [f"### {wanted}", goals_as_markdown(everything)]
    return "\n\n".join(parts)


def goals_as_markdown(everything: Sequence[Measured]) -> str:
    """Return the table of goals."""
    lines = ["| row | what | Python | wanted | came out | |", "| --- | --- | --- | --- | ---: | --- |"]
    for measured in everything:
        for goal, value, verdict in verdicts(measured):
            came = "" if value is None else short(value)
            lines.append(
                f"| {measured.row.title} | {goal.text} | {goal.python} | {goal.wanted} | {came} | {verdict} |"
            )
    return "\n".join(lines)


def machine(everything: Sequence[Measured], *, rounds: int) -> str:
    """Say when, where and with what it was measured."""
    cells = [
        (measured.row.entries[number].contender, cell)
        for measured in everything
        for (number, _), cell in measured.cells.items()
    ]
    pythons = sorted({cell.python for _, cell in cells if cell.python})
    libraries = sorted({f"{name} {cell.version}" for name, cell in cells if cell.version})
    fewer = ", ".join(
        f"{measured.row.name} {measured.row.most_rounds}"
        for measured in everything
        if measured.row.most_rounds < rounds
    )
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, {processor()}, {os.cpu_count()} cores, "
        f"{platform.system()} {platform.release().partition('-')[0]}; CPython {' and '.join(pythons)}; "
        f"{', '.join(libraries) or 'papyra of this checkout'}. "
        f"Medians of {rounds} rounds{f' ({fewer})' if fewer else ''}, each figure in a fresh process, "
        f"all lines of a table in turns. Load of the machine at the end: {os.getloadavg()[1]:.1f}."
    )


def processor() -> str:
    """Return the processor's name, where Linux tells it."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        told = ""
    found = re.search(r"^model name\s*: (.+)$", told, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def put_into(page: Path, made: str, *, mark: str = BEGIN) -> None:
    """Replace what stands in ``page`` from ``mark`` on, up to the next end."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(mark)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} has not both of the lines {mark!r} and {END!r}")
    page.write_text(f"{before}{begin}\n\n{made}\n\n{end}{after}", encoding="utf-8")
