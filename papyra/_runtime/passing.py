"""What a handler may do with the message it has, beside handling it: hand it on, or put it aside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from papyra._runtime.mailbox import CURRENT, NEVER, Envelope
from papyra.exceptions import MailboxFull, StashFull
from papyra.messages import CURRENT_MESSAGE
from papyra.ref import Refusal

if TYPE_CHECKING:
    from papyra._runtime.receiver import Receiver
    from papyra.ref import Delivery


def at_hand(cell: Receiver) -> Envelope | None:
    """Return the message whose handler is running, even once it was passed on; ``None`` between messages."""
    if cell.current is not None:
        return cell.current
    envelope = CURRENT.get()
    is_handled_here = envelope is not None and envelope.target is cell and envelope.at != NEVER
    return envelope if is_handled_here else None


def forward(cell: Receiver, target: Receiver, message: object) -> Delivery:
    """Give the current message, or ``message`` in its place, to ``target`` with its sender and reply slot."""
    current = _take(cell, "forward")
    cell.site.counts.handled += 1
    passed_on = Envelope(
        current.message if message is CURRENT_MESSAGE else message,
        current.reply,
        0,
        current.id,
        current.root or current.id,
        current.sender,
        target,
        current.deadline,
        current.headers,
        cell.site.time(),
    )
    try:
        delivery = target.enqueue(passed_on)
    except MailboxFull as error:
        delivery = Refusal(error)
    if delivery.error is not None and current.reply is not None and not current.reply.done():
        current.reply.set_exception(delivery.error)
    return delivery


def stash(cell: Receiver) -> None:
    """Put the current message aside until `Mailbox.bring_back`; raises `StashFull`."""
    current, box = cell.current, cell.box
    if current is not None and box is not None and not box.set_aside(current):
        raise StashFull(f"{cell.path} has put {box.capacity} messages aside, and takes no more")
    _take(cell, "stash")


def _take(cell: Receiver, verb: str) -> Envelope:
    current = cell.current
    if current is None:
        raise RuntimeError(f"there is no message to {verb}: it was passed on already, or none is handled")
    cell.current = None
    return current
