"""Act on failures: ask the parent, apply `papyra.supervision.decide`, set the child on its way."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from papyra._runtime.calls import attempt
from papyra._runtime.cell import Cell, overrides
from papyra._runtime.facts import End, Failure
from papyra._runtime.mailbox import CURRENT
from papyra._runtime.phases import ChildFailed, Escalated, Phase
from papyra.events import StopReason
from papyra.supervision import RestartHistory, SupervisorDecision, Verdict, decide

if TYPE_CHECKING:
    from asyncio import Future

_log = logging.getLogger(__name__)


async def handle(cell: Cell, failure: Failure) -> None:
    """Decide about a failure, record it, and set the phase that makes the cell's next turn act on it."""
    cell.phase = Phase.SUSPENDED
    answer = await _ask_parent(cell, failure)
    if cell.phase is Phase.STOPPED:
        return
    now = cell.site.clock.monotonic()
    if cell.restarts is None:
        cell.restarts = RestartHistory()
    recent = cell.restarts.recent(now, cell.policy.within_seconds)
    if cell.end is not None and cell.drain_timer is None:
        verdict = Verdict(SupervisorDecision.STOP, recent, cell.policy.max_restarts)
    else:
        verdict = decide(cell.policy, recent, answer=answer, may_resume=cell.ready)
    cell.site.journal.crashed(cell, failure, verdict, cell.policy.strategy)
    match verdict.decision:
        case SupervisorDecision.IGNORE:
            cell.phase = Phase.RUNNING
        case SupervisorDecision.RESTART:
            cell.restarts.add(now)
            cell.failure = (failure, verdict)
            cell.phase = Phase.RESTARTING
        case SupervisorDecision.STOP:
            stop(cell, failure, verdict)
        case SupervisorDecision.ESCALATE:
            _escalate(cell, failure, verdict)


def stop(cell: Cell, failure: Failure, verdict: Verdict) -> None:
    """Decide that ``cell`` ends because of ``failure``."""
    cell.phase = Phase.RUNNING
    if cell.end is not None and cell.end.verdict is None and cell.drain_timer is None:
        return
    if verdict.decision is SupervisorDecision.ESCALATE:
        reason = StopReason.ESCALATED
    elif verdict.is_over_limit:
        reason = StopReason.RESTART_LIMIT
    else:
        reason = StopReason.FAILED if cell.ready else StopReason.START_FAILED
    text = f"{failure.during} failed"
    if verdict.is_over_limit:
        text += f" after {verdict.restart} of {verdict.limit} restarts in {cell.policy.within_seconds:g} s"
    cell.decide_end(
        End(
            reason=reason,
            text=text,
            error=failure.text,
            verdict=verdict,
            origin=failure.origin,
        )
    )
    cell.end_drain()


async def answer(cell: Cell, command: ChildFailed | Escalated) -> None:
    """Do what a child's failure asks of ``cell``, its parent, between two messages."""
    if isinstance(command, Escalated):
        failure = Failure(command.failure.error, f"child {command.child_path}", None)
        failure.origin = command.failure.origin
        await handle(cell, failure)
        return
    if command.answer.done():
        return
    CURRENT.set(cell.cause())
    said, error = await attempt(cell.actor.on_child_failure, command.child, command.error)
    decision: SupervisorDecision | None = None
    if error is None and said is not None:
        decision = SupervisorDecision.__members__.get(str(said).upper())
        if decision is None:
            error = TypeError(f"not a supervisor's decision: {said!r:.100}")
    if error is not None:
        _log.error("%s failed in on_child_failure; the child's policy decides", cell.path, exc_info=error)
    if not command.answer.done():
        command.answer.set_result(decision)


async def _ask_parent(cell: Cell, failure: Failure) -> SupervisorDecision | None:
    """Return the parent's decision; ``None`` if there is none in time, or it may wait for this very child."""
    parent, site = cell.parent, cell.site
    if parent is None or parent.end is not None or cell.end is not None:
        return None
    if not overrides(parent.actor, "on_child_failure"):
        return None
    if _waits_for(parent, cell):
        _log.warning("%s waits for a reply of %s and cannot decide about it", parent.path, cell.path)
        return None
    said: Future[SupervisorDecision | None] = site.loop.create_future()
    cell.answer = said
    timer = site.call_later(site.decision_seconds, _give_up, said)
    parent.command(ChildFailed(cell.ref, failure.error, said))
    try:
        return await said
    finally:
        timer.cancel()
        cell.answer = None


def _escalate(cell: Cell, failure: Failure, verdict: Verdict) -> None:
    parent = cell.parent
    cell.site.journal.escalated(cell, failure, parent)
    if parent is not None and parent.end is None:
        parent.command(Escalated(cell.path, failure))
    stop(cell, failure, verdict)


def _waits_for(parent: Cell, child: Cell) -> bool:
    if parent.current is None or child.box is None:
        return False
    return any(
        envelope.sender is parent and envelope.reply is not None and not envelope.reply.done()
        for envelope in child.box.queue
    )


def _give_up(said: Future[SupervisorDecision | None]) -> None:
    if not said.done():
        said.set_result(None)
