"""What an actor's task does: one thing at a time, the runtime's affairs before messages."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from types import CoroutineType
from typing import TYPE_CHECKING

from papyra._runtime import supervisor
from papyra._runtime.calls import attempt, is_fatal, running_task
from papyra._runtime.facts import Failure
from papyra._runtime.identity import type_name
from papyra._runtime.mailbox import CURRENT, Envelope, Mailbox, is_over
from papyra._runtime.phases import Phase
from papyra._runtime.proxy_calls import PROXY_MESSAGES, RefusedError, perform
from papyra.actor import Actor, attach
from papyra.events import StopReason
from papyra.exceptions import PapyraError, UnhandledMessage
from papyra.messages import DeadLetterReason
from papyra.supervision import SupervisorDecision

if TYPE_CHECKING:
    from papyra._runtime.cell import Cell
    from papyra._runtime.site import Site

_log = logging.getLogger(__name__)

BUDGET_MESSAGES = 256
"""About so many are handled before the loop has its turn, shared by all actors that have a task."""

LEAST_MESSAGES = 16
BUDGET_SECONDS = 0.001
_CHILDREN_AT_ONCE = 64


async def live(cell: Cell) -> None:
    """Do what there is to do, and a little longer."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  # this is what it runs
    try:
        await _take_turns(cell)
    except BaseException as error:
        if isinstance(error, GeneratorExit) and running_task() is not task:
            raise  # nobody raised it: the loop is gone, and this was left over
        if isinstance(error, Exception):
            _log.critical("%s: the runtime itself failed", cell.path, exc_info=error)
        cell.die(error)
        raise


async def _take_turns(cell: Cell) -> None:
    while True:
        box = cell.box
        if cell.urgent or box is None:
            if await _attend(cell):
                return
        elif box.queue:
            await _drain(cell, box)
        elif cell.drain_timer is not None:
            cell.end_drain()
        else:
            CURRENT.set(None)  # an idle actor keeps no message alive
            if cell.retiring and not box.stash:
                cell.retire()
                return
            if cell.belongings is not None:
                cell.belongings.begin_idling()
            cell.waiter = cell.site.loop.create_future()
            await cell.waiter


async def _attend(cell: Cell) -> bool:
    """Do one thing that goes before messages; whether the actor has ended."""
    if cell.phase is not Phase.STOPPED and cell.end is not None and cell.drain_timer is None:
        await _wind_up(cell)
    elif cell.phase is Phase.STARTING:
        await _start(cell)
    elif cell.phase is Phase.RESTARTING:
        await _restart(cell)
    elif cell.commands:
        await supervisor.answer(cell, cell.commands.popleft())
    if cell.phase is Phase.STOPPED:
        return True
    cell.settle()
    return False


async def _drain(cell: Cell, box: Mailbox) -> None:  # noqa: C901, PLR0912, PLR0915  # the hot loop
    """Handle messages until there are none, or something goes before them."""
    site, queue, receive = cell.site, box.queue, cell.actor.receive
    counts, time = site.counts, site.time
    left, now = _share(site), time()
    slice_end = now + BUDGET_SECONDS
    while queue and not cell.urgent:
        envelope = queue.popleft()
        if box.waiting:
            box.make_room()
        if envelope.deadline is not None and is_over(envelope, time()):
            site.expire(envelope, cell.ref)
            continue
        cell.current, cell.since = envelope, now
        CURRENT.set(envelope)
        message = envelope.message
        try:
            result = perform(cell.actor, message) if type(message) in PROXY_MESSAGES else receive(message)
            if type(result) is CoroutineType or hasattr(type(result), "__await__"):
                result = await result  # type: ignore[misc]  # its class has __await__
        except BaseException as error:  # firewall: what an actor raises goes to its supervisor
            if is_fatal(error):
                raise
            await _fail(cell, envelope, error)
            return
        if cell.current is not envelope:  # it was passed on, put aside or given up meanwhile
            return
        cell.current = None
        counts.handled += 1
        reply = envelope.reply
        if reply is not None:
            if reply.done():
                site.late_reply(envelope, cell.ref)
            else:
                reply.set_result(result)
        left, now = left - 1, time()
        if not left or now >= slice_end:
            await asyncio.sleep(0)
            left, now = _share(site), time()
            slice_end = now + BUDGET_SECONDS


def _share(site: Site) -> int:
    return max(BUDGET_MESSAGES // (len(site.active) or 1), LEAST_MESSAGES)


async def _fail(cell: Cell, envelope: Envelope, error: BaseException) -> None:
    if cell.is_over:
        return
    failure = Failure(error, "receive", envelope)
    if cell.current is envelope or (cell.box is not None and cell.box.take_from_stash(envelope)):
        cell.current = None  # else it is accounted for where it was passed on to
        reply, site = envelope.reply, cell.site
        if _is_refusal(error, envelope):
            site.counts.dead += 1
            site.letters.add(envelope, cell.ref, DeadLetterReason.UNHANDLED, error)
            if reply is not None and not reply.done():
                reply.set_exception(_told_to_the_asker(error))
            return
        site.counts.failed += 1
        site.letters.add(envelope, cell.ref, DeadLetterReason.HANDLER_FAILED, failure.text)
        if reply is not None and not reply.done():
            reply.set_exception(_for_the_asker(error, cell))
    cell.urgent = True
    await supervisor.handle(cell, failure)
    if not cell.is_over:
        cell.settle()


def _is_refusal(error: BaseException, envelope: Envelope) -> bool:
    """Whether the actor said that it does not take this very message; another's refusal is a failure."""
    return isinstance(error, RefusedError | UnhandledMessage) and error.message is envelope.message


def _told_to_the_asker(error: BaseException) -> BaseException:
    """Return a refusal that the asker cannot pass off as its own by raising it."""
    told = type(error)(str(error))
    told.__cause__ = error
    return told


async def _start(cell: Cell) -> None:
    CURRENT.set(cell.cause())
    _, error = await attempt(cell.actor.on_start)
    if cell.phase is Phase.STOPPED:
        return
    if error is not None:
        await supervisor.handle(cell, Failure(error, "on_start", cell.cause()))
        return
    begin(cell)


def begin(cell: Cell) -> None:
    """Record that ``cell`` has started, or started again, and let it handle messages."""
    cell.ready = True
    cell.phase = Phase.RUNNING
    if cell.failure is None:
        cell.site.journal.started(cell, cell.origin)
    else:
        cell.site.journal.restarted(cell, *cell.failure)
        cell.failure = None


async def _restart(cell: Cell) -> None:
    await _stop_children(cell, StopReason.PARENT_STOPPED, "its parent restarts")
    cell.clear_commands()
    await _run_on_stop(cell)
    if cell.belongings is not None:
        cell.belongings.let_go()
    await asyncio.sleep(0)  # a restart that fails at once must not keep the loop for itself
    if cell.phase is Phase.STOPPED or (cell.end is not None and cell.drain_timer is None):
        return
    if cell.box is not None:
        cell.box.bring_back()
    actor, error = await attempt(build, cell)
    if isinstance(actor, Actor):
        cell.actor = actor
        cell.phase = Phase.STARTING
        return
    assert error is not None  # noqa: S101  # build() returns an Actor or raises
    assert cell.failure is not None  # noqa: S101  # what led to the restart
    failure = Failure(error, "the factory", cell.cause())
    verdict = replace(cell.failure[1], decision=SupervisorDecision.STOP, is_by_parent=False)
    cell.site.journal.crashed(cell, failure, verdict, cell.policy.strategy)
    supervisor.stop(cell, failure, verdict)


def build(cell: Cell) -> Actor:
    """Make an instance; raises `TypeError` if the factory returns anything but a fresh actor."""
    actor = cell.factory(*cell.args)
    if not isinstance(actor, Actor):
        raise TypeError(f"the factory of {cell.path} returned {actor!r:.100}, which is not an Actor")
    attach(actor, cell.context)
    cell.actor_type = type_name(type(actor))
    return actor


async def _wind_up(cell: Cell) -> None:
    while not cell.discard_queued():  # noqa: ASYNC110  # nothing is awaited: this lets others run
        await asyncio.sleep(0)
    assert cell.end is not None  # noqa: S101  # why this runs
    shutdown = cell.end.reason is StopReason.SHUTDOWN
    reason = StopReason.SHUTDOWN if shutdown else StopReason.PARENT_STOPPED
    await _stop_children(cell, reason, cell.end.text if shutdown else "its parent stopped")
    error = await _run_on_stop(cell)
    if cell.phase is not Phase.STOPPED:
        cell.finish(error)


async def _stop_children(cell: Cell, reason: StopReason, text: str) -> None:
    for number, child in enumerate(tuple((cell.children or {}).values()), 1):
        child.request_stop(reason, text)
        if number % _CHILDREN_AT_ONCE == 0:
            await asyncio.sleep(0)
    if cell.children:
        cell.gone = cell.site.loop.create_future()
        await cell.gone
        cell.gone = None


async def _run_on_stop(cell: Cell) -> BaseException | None:
    if not cell.ready or cell.phase is Phase.STOPPED:
        return None
    cell.ready = False
    CURRENT.set(cell.cause())
    _, error = await attempt(cell.actor.on_stop)
    if error is not None:
        _log.error("%s failed in on_stop", cell.path, exc_info=error)
    return error


def _for_the_asker(error: BaseException, cell: Cell) -> BaseException:
    """Return what the asker is raised; nothing that would make its own task look cancelled."""
    if isinstance(error, (asyncio.CancelledError, StopIteration)) or not isinstance(error, Exception):
        told: PapyraError = PapyraError(f"{cell.path} failed: {type(error).__name__}")
        told.__cause__ = error
        return told
    return error
