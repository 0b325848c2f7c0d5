"""Waits in a circle: an actor waits for others, and one of those waits for its reply."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from papyra._runtime.cell import Cell
from papyra.exceptions import PapyraError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from papyra._runtime.mailbox import Envelope


@contextmanager
def hearing(cell: Cell, hear: Callable[[Cell, Envelope], None]) -> Iterator[None]:
    """Tell ``hear`` which actors wait for a reply of ``cell``, and for which: now, and until this is left.

    An actor with nothing to do does not wait: something that it once started does.
    """
    box = cell.box
    assert box is not None  # noqa: S101  # it is there while the cell's task runs, which calls this

    def on_ask(envelope: Envelope) -> None:
        asker, reply = envelope.sender, envelope.reply
        if reply is not None and not reply.done() and isinstance(asker, Cell) and asker.is_busy:
            hear(asker, envelope)

    box.on_ask = on_ask
    try:
        for place in (() if cell.current is None else (cell.current,), box.queue, box.stash or ()):
            for envelope in place:
                if envelope.reply is not None:
                    on_ask(envelope)
        yield
    finally:
        box.on_ask = None


def refuse_from_below(cell: Cell, asker: Cell, envelope: Envelope) -> None:
    """Fail the ask of one that has to stop before ``cell`` handles anything."""
    if not is_below(asker, cell):
        return
    assert envelope.reply is not None  # noqa: S101  # it is an ask
    envelope.reply.set_exception(
        PapyraError(f"{asker.path} has to stop before {cell.path}, which restarts, can reply to it")
    )
    envelope.deadline = cell.site.time()  # when its turn comes it is counted, and not handled


def is_below(cell: Cell, above: Cell) -> bool:
    """Whether ``cell`` has to end before ``above`` can."""
    parent = cell.parent
    while parent is not None and parent is not above:
        parent = parent.parent
    return parent is not None
