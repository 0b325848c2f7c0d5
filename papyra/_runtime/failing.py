"""What follows when a handler has raised: the message's fate, what its asker is told, a decision."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from papyra._runtime import supervisor
from papyra._runtime.facts import Failure, Handled
from papyra._runtime.mailbox import Past, Tick
from papyra._runtime.proxy_calls import RefusedError
from papyra._runtime.trail import open_trail, recalled
from papyra.exceptions import PapyraError, UnhandledMessage
from papyra.messages import DeadLetterReason
from papyra.supervision import MessageFate, SupervisorDecision, goes_on

if TYPE_CHECKING:
    from papyra._runtime.cell import Cell
    from papyra._runtime.mailbox import Envelope
    from papyra.supervision import Verdict

_NO_PAST = Past()


async def fail(cell: Cell, envelope: Envelope, error: BaseException) -> None:
    """Account for the message and have the failure decided about."""
    if cell.is_over:
        return
    failure = Failure(error, "receive", envelope, [Handled(*each) for each in recalled(cell)])
    open_trail(cell).append((envelope.id, type(envelope.message)))
    is_ours = cell.current is envelope or (cell.box is not None and cell.box.take_from_stash(envelope))
    if not is_ours:  # it was passed on, and is accounted for there
        await _decide(cell, failure)
        return
    if _is_refusal(error, envelope):
        cell.current = None
        cell.site.counts.dead += 1
        cell.site.letters.add(envelope, cell.ref, DeadLetterReason.UNHANDLED, error)
        _tell_asker(envelope, _refusal_for_the_asker(error))
        return
    past = envelope.past or _NO_PAST
    may_try_again = (
        cell.policy.failed_message is MessageFate.RETRY
        and past.attempts < cell.policy.message_retries
        and not isinstance(envelope, Tick)  # its timer ends with the restart
    )
    if not may_try_again:
        cell.current = None
        _settle(cell, envelope, failure)
        await _decide(cell, failure)
        return
    cell.current = envelope  # pending until it is decided
    verdict = await _decide(cell, failure)
    if cell.current is not envelope:  # it was killed meanwhile, and that accounted for it
        return
    cell.current = None
    if verdict is None or not goes_on(verdict) or cell.box is None:
        _settle(cell, envelope, failure)
        return
    envelope.past = past._replace(attempts=past.attempts + 1)
    if verdict.decision is SupervisorDecision.RESTART:
        cell.box.bring_back()  # as the restart will: nothing gets in front of this message
    cell.box.queue.appendleft(envelope)


async def _decide(cell: Cell, failure: Failure) -> Verdict | None:
    cell.urgent = True
    verdict = await supervisor.handle(cell, failure)
    if not cell.is_over:
        cell.settle()
    return verdict


def _settle(cell: Cell, envelope: Envelope, failure: Failure) -> None:
    cell.site.counts.failed += 1
    was_asked = envelope.reply is not None and not envelope.reply.done()
    if not (was_asked and cell.policy.failed_message is MessageFate.ASKER):
        cell.site.letters.add(envelope, cell.ref, DeadLetterReason.HANDLER_FAILED, failure.text)
    _tell_asker(envelope, _for_the_asker(failure.error, cell))


def _tell_asker(envelope: Envelope, error: BaseException) -> None:
    if envelope.reply is not None and not envelope.reply.done():
        envelope.reply.set_exception(error)


def _is_refusal(error: BaseException, envelope: Envelope) -> bool:
    """Whether the actor said that it does not take this very message; another's refusal is a failure."""
    return isinstance(error, RefusedError | UnhandledMessage) and error.message is envelope.message


def _refusal_for_the_asker(error: BaseException) -> BaseException:
    """Return a refusal that the asker cannot pass off as its own by raising it."""
    told = type(error)(str(error))
    told.__cause__ = error
    return told


def _for_the_asker(error: BaseException, cell: Cell) -> BaseException:
    """Return what the asker is raised; nothing that would make its own task look cancelled."""
    if isinstance(error, (asyncio.CancelledError, StopIteration)) or not isinstance(error, Exception):
        told: PapyraError = PapyraError(f"{cell.path} failed: {type(error).__name__}")
        told.__cause__ = error
        return told
    return error
