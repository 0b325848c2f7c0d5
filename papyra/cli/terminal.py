"""What only a terminal gets: tables, colours, a progress bar; drawn with rich, and imported only then."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import table
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn
from rich.text import Text

from papyra.cli.exit_codes import ExitCode
from papyra.cli.outcome import Table
from papyra.cli.text import clipped, printable
from papyra.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from papyra.cli.outcome import Outcome, Spell
    from papyra.persistence import query

_STYLES = {ExitCode.OK: "bold green", ExitCode.DAMAGE: "bold red", ExitCode.REFUSED: "bold red"}
_UNSURE = "bold yellow"
_LONGEST_CELL = 400
_SHORT_CELL = 30
PATIENCE_SECONDS = 0.5


def render(outcome: Outcome, *, store: str, spell: Spell, stream: TextIO) -> str:
    """Return what `Outcome.to_text` says, laid out for the terminal behind ``stream``."""
    paper = io.StringIO()
    width = Console(file=stream).width
    console = Console(
        file=paper, force_terminal=True, width=width, highlight=False, markup=False, emoji=False
    )
    if outcome.has_headline:
        verdict, _, rest = outcome.headline(store).partition("  ")
        style = _STYLES.get(outcome.exit_code, _UNSURE)
        console.print(Text(printable(verdict), style=style), Text(printable(rest)), sep="  ")
    for block in outcome.lines:
        console.print(_drawn(block) if isinstance(block, Table) else Text(printable(block)))
    for advice in outcome.advice(spell):
        console.print(Text(printable(advice), style="bold"), soft_wrap=True)
    return paper.getvalue().rstrip("\n")


def _drawn(block: Table) -> table.Table:
    drawn = table.Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(block.columns):
        widest = max((len(row[number]) for row in block.rows), default=0)
        drawn.add_column(column, overflow="fold", no_wrap=widest <= _SHORT_CELL)
    for row in block.rows:
        drawn.add_row(*(Text(clipped(printable(cell), _LONGEST_CELL)) for cell in row))
    return drawn


@contextmanager
def progress_bar(stream: TextIO) -> Iterator[query.ProgressCallback]:
    """Show on ``stream`` how far a long task has come, and leave nothing of it behind."""
    columns = (BarColumn(), DownloadColumn(binary_units=True), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(file=stream), transient=True)
    task = bar.add_task("", total=None)
    began = SYSTEM_CLOCK.monotonic()

    def show(done: query.Progress) -> None:
        if SYSTEM_CLOCK.monotonic() - began >= PATIENCE_SECONDS:
            bar.start()
            bar.update(task, completed=done.bytes, total=done.total_bytes or None)

    try:
        yield show
    finally:
        if bar.live.is_started:
            bar.stop()
