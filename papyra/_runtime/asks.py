"""What an asker is told when its time is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from papyra.exceptions import AskTimeout
from papyra.payloads import message_name

if TYPE_CHECKING:
    from papyra._runtime.mailbox import Envelope


def expire(envelope: Envelope, now: float) -> None:
    """Tell the asker of ``envelope``, if there is one that was not told yet."""
    reply = envelope.reply
    if reply is not None and not reply.done():
        target, waited = envelope.target, now - envelope.at
        reply.set_exception(
            AskTimeout(
                f"no reply to {message_name(envelope.message)} from {target.path} ({target.actor_type}) "
                f"within {waited:.3g} s: {target.condition(now)}"
            )
        )
