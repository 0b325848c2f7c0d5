"""What a command came to: one value that is printed for people, for pipes or as JSON, by whoever ran it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from papyra.cli.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from papyra.cli.exit_codes import ExitCode

_WIDEST_PADDING = 48


@dataclass(frozen=True, slots=True)
class Table:
    """Cells under column names; the last column is the one that may be long."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class NextStep:
    """What to type next: a command such as ``persistence recover``, without the store, and what it does."""

    command: str
    why: str
    options: tuple[str, ...] = ()


Spell: TypeAlias = "Callable[[NextStep], str]"
"""Turns a step into the line that means it here: ``papyra …`` or ``manage.py papyra_…``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The verdict, the words for people, and the object for scripts; ``note`` is for stderr."""

    verdict: str
    exit_code: ExitCode
    document: Mapping[str, object] = field(default_factory=dict)
    lines: Sequence[str | Table] = ()
    next_steps: tuple[NextStep, ...] = ()
    has_headline: bool = True
    note: str = ""

    def to_json(self, *, command: str, store: str, spell: Spell) -> str:
        """Return the one JSON object of ``--json``, in ASCII, on one line."""
        envelope = {
            "command": command,
            "store": store,
            "verdict": self.verdict,
            "exit_code": int(self.exit_code),
            **self.document,
            "next": [spell(step) for step in self.next_steps],
        }
        return json.dumps(envelope, allow_nan=False)

    def to_text(self, *, store: str, spell: Spell) -> str:
        """Return plain lines for a pipe or a file; every line is safe to show."""
        lines = [printable(self.headline(store))] if self.has_headline else []
        for block in self.lines:
            lines += _rows_of(block) if isinstance(block, Table) else [printable(block)]
        lines += [printable(advice) for advice in self.advice(spell)]
        return "\n".join(lines)

    def headline(self, store: str) -> str:
        """Return the verdict, then what it is about."""
        return f"{self.verdict.upper().replace('_', ' ')}  {store}"

    def advice(self, spell: Spell) -> list[str]:
        """Return one line for each next step."""
        return [f"Next: {spell(step)}  # {step.why}" for step in self.next_steps]


def _rows_of(table: Table) -> list[str]:
    rows = [tuple(printable(cell) for cell in row) for row in (table.columns, *table.rows)]
    widths = [
        min(_WIDEST_PADDING, max(len(row[index]) for row in rows)) for index in range(len(table.columns) - 1)
    ]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]
