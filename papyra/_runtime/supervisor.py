"""Act on failures: ask the parent, apply `papyra.supervision.decide`, set the child on its way."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from papyra._runtime.calls import attempt
from papyra._runtime.cell import Cell, overrides
from papyra._runtime.circles import hearing
from papyra._runtime.facts import OWN_STOP, End, Failure, Restart
from papyra._runtime.mailbox import CURRENT
from papyra._runtime.phases import ChildFailed, Command, Escalated, Phase, RestartWith, StoppedItself, drop
from papyra.events import StopReason
from papyra.exceptions import PapyraError
from papyra.supervision import (
    RestartHistory,
    RestartType,
    SupervisorDecision,
    Verdict,
    decide,
    restarts_with,
)

if TYPE_CHECKING:
    from asyncio import Future

    from papyra._runtime.facts import Origin
    from papyra._runtime.groups import Group
    from papyra._runtime.mailbox import Envelope

_log = logging.getLogger(__name__)
_OWN_STOP_TEXT = "it stopped itself"


async def handle(cell: Cell, failure: Failure) -> Verdict | None:
    """Decide about a failure, record it, and set the phase that makes the cell's next turn act on it.

    Returns ``None`` if the cell was ended meanwhile.
    """
    cell.phase = Phase.SUSPENDED
    answer = await _ask_parent(cell, failure)
    if cell.is_over:
        return None
    now, recent = _recent_restarts(cell)
    if cell.end is not None and cell.drain_timer is None:
        verdict = Verdict(SupervisorDecision.STOP, recent, cell.policy.max_restarts)
    else:
        verdict = decide(cell.policy, recent, answer=answer, may_resume=cell.ready, error=failure.error)
    cell.site.journal.crashed(cell, failure, verdict, cell.policy)
    _carry_out(cell, failure, verdict, now)
    return verdict


def _recent_restarts(cell: Cell) -> tuple[float, int]:
    now = cell.site.clock.monotonic()
    if cell.restarts is None:
        cell.restarts = RestartHistory()
    return now, cell.restarts.recent(now, cell.policy.within_seconds)


def _carry_out(cell: Cell, failure: Failure, verdict: Verdict, now: float) -> None:
    match verdict.decision:
        case SupervisorDecision.IGNORE | SupervisorDecision.RESUME:
            cell.phase = Phase.RUNNING
        case SupervisorDecision.RESTART:
            assert cell.restarts is not None  # noqa: S101  # counted just now
            cell.restarts.add(now)
            cell.failure = Restart(failure, verdict)
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
    is_own = failure.during == OWN_STOP
    text = _OWN_STOP_TEXT if is_own else f"{failure.during} failed"
    if verdict.is_over_limit:
        text += f" after {verdict.restart} of {verdict.limit} restarts in {cell.policy.within_seconds:g} s"
    cell.decide_end(
        End(
            reason=reason,
            text=text,
            error="" if is_own else failure.text,
            verdict=verdict,
            origin=failure.origin,
        )
    )
    cell.end_drain()


async def answer(cell: Cell, command: Command) -> None:
    """Do what goes before messages: decide about a child, or act on what befell it, a sibling or itself."""
    match command:
        case Escalated():
            failure = Failure(command.failure.error, f"child {command.child_path}", None)
            failure.origin = command.failure.origin
            await handle(cell, failure)
        case RestartWith():
            _restart_with(cell, command)
        case StoppedItself():
            _begin_anew(cell, command.origin)
        case ChildFailed():
            await _decide_about(cell, command)


def _restart_with(cell: Cell, command: RestartWith) -> None:
    if cell.end is not None:
        drop(command)
        return
    _, recent = _recent_restarts(cell)
    verdict = Verdict(SupervisorDecision.RESTART, recent, cell.policy.max_restarts)
    cell.failure = Restart(command.failure, verdict, command.sibling, command.group, command.stopped)
    cell.phase = Phase.RESTARTING


def _begin_anew(cell: Cell, origin: Origin) -> None:
    if cell.end is not None:
        return
    failure = Failure(PapyraError(_OWN_STOP_TEXT), OWN_STOP, None)
    failure.text = _OWN_STOP_TEXT
    failure.origin = origin
    now, recent = _recent_restarts(cell)
    verdict = decide(cell.policy, recent, answer=SupervisorDecision.RESTART, may_resume=True)
    _carry_out(cell, failure, verdict, now)


async def _decide_about(cell: Cell, command: ChildFailed) -> None:
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
    """Return the parent's decision; ``None`` if there is none in time, or it waits for this very child."""
    parent, site = cell.parent, cell.site
    if parent is None or parent.end is not None or cell.end is not None:
        return None
    if not overrides(parent.actor, "on_child_failure"):
        return None
    said: Future[SupervisorDecision | None] = site.loop.create_future()

    def hear(asker: Cell, _: Envelope) -> None:
        if asker is parent and not said.done():
            _log.warning("%s waits for a reply of %s and cannot decide about it", parent.path, cell.path)
            said.set_result(None)

    cell.answer = said
    timer = site.call_later(site.decision_seconds, _give_up, said)
    try:
        with hearing(cell, hear):
            if not said.done():
                parent.command(ChildFailed(cell.ref, failure.error, said))
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


def waiting(cell: Cell) -> Future[None]:
    """Return a future that a decision about the end of ``cell`` sets too."""
    said: Future[None] = cell.site.loop.create_future()
    cell.answer = said
    return said


async def until(cell: Cell, said: Future[None], seconds: float | None = None) -> None:
    """Wait for ``said``, for ``seconds`` at most, and no longer than until the end of ``cell`` is decided."""
    if cell.end is not None and cell.drain_timer is None:
        _give_up(said)
    alarm = None if seconds is None else cell.site.call_later(seconds, _give_up, said)
    cell.answer = said
    try:
        await said
    finally:
        cell.answer = None
        if alarm is not None:
            alarm.cancel()


async def pause(cell: Cell, seconds: float) -> None:
    """Do nothing for ``seconds``, or until the end of ``cell`` is decided."""
    cell.resumes_at = cell.site.time() + seconds
    await until(cell, waiting(cell), seconds)
    cell.resumes_at = 0.0


async def stop_siblings(cell: Cell, failure: Failure, group: Group) -> None:
    """Have those that restart with ``cell`` end their instances, youngest first, and wait until they have.

    One that does not within the time for decisions, or waits for a reply of those that have, is left behind,
    and restarts when it comes to it. Whoever restarts by itself already is left alone.
    """
    site = cell.site
    family = site.tree.roots() if cell.parent is None else (cell.parent.children or {}).values()
    siblings = {sibling.id: sibling for sibling in family}
    for number in restarts_with(cell.policy.scope, cell.id, siblings):
        sibling = siblings[number]
        if sibling.end is not None or sibling.phase is Phase.RESTARTING:
            continue
        if sibling.policy.restart is RestartType.TEMPORARY:
            sibling.request_stop(StopReason.PARENT_STOPPED, f"it is temporary, and {cell.path} restarts")
            stopped = sibling.ended()
        else:
            stopped = site.loop.create_future()
            sibling.command(RestartWith(cell.path, failure, group, stopped))
        if stopped is not None:
            group.expect(sibling, stopped)
            await until(cell, stopped, site.decision_seconds)
        if cell.end is not None:
            return


def _give_up(said: Future[Any]) -> None:
    if not said.done():
        said.set_result(None)
