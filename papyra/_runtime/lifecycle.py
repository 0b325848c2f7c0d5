"""What an actor's task does beside messages: start, begin anew, end."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from papyra._runtime import supervisor
from papyra._runtime.calls import attempt
from papyra._runtime.cell import overrides
from papyra._runtime.circles import hearing, refuse_from_below
from papyra._runtime.facts import Failure
from papyra._runtime.groups import Group
from papyra._runtime.identity import type_name
from papyra._runtime.mailbox import CURRENT
from papyra._runtime.phases import RUNNING, Phase
from papyra.actor import Actor, attach
from papyra.events import StopReason
from papyra.supervision import RestartScope, SupervisorDecision

if TYPE_CHECKING:
    from asyncio import Future

    from papyra._runtime.cell import Cell
    from papyra._runtime.facts import Restart

_log = logging.getLogger(__name__)

_CHILDREN_AT_ONCE = 64


async def start(cell: Cell) -> None:
    """Run what a new instance runs before its first message."""
    CURRENT.set(cell.cause())
    method, error = "on_restart", None
    if cell.failure is not None and overrides(cell.actor, method):
        failure = cell.failure.failure
        message = None if cell.failure.sibling else failure.message
        _, error = await attempt(cell.actor.on_restart, failure.error, message)
    if error is None and not cell.is_over:
        method = "on_start"
        _, error = await attempt(cell.actor.on_start)
    if cell.is_over:
        return
    if error is not None:
        await supervisor.handle(cell, Failure(error, method, cell.cause()))
        return
    begin(cell)


def begin(cell: Cell) -> None:
    """Record that ``cell`` has started, or started again, and let it handle messages."""
    cell.ready = True
    cell.phase = RUNNING
    if cell.failure is None:
        cell.site.journal.started(cell, cell.origin)
    else:
        cell.site.journal.restarted(cell, cell.failure)
        cell.failure = None


async def restart(cell: Cell) -> None:
    """End the instance, wait for what is to be waited for, and make another."""
    assert cell.failure is not None  # noqa: S101  # what led to the restart
    wanted = cell.failure
    await _end_instance(cell)
    if wanted.stopped is None:
        await _lead(cell, wanted)
    else:
        await _follow(cell, wanted, wanted.stopped)
    await asyncio.sleep(0)  # a restart that fails at once must not keep the loop for itself
    if cell.is_over or (cell.end is not None and cell.drain_timer is None):
        return
    if cell.box is not None:
        cell.box.bring_back()
    actor, error = await attempt(build, cell)
    if isinstance(actor, Actor):
        cell.actor = actor
        cell.phase = Phase.STARTING
        return
    assert error is not None  # noqa: S101  # build() returns an Actor or raises
    failure = Failure(error, "the factory", cell.cause())
    verdict = replace(wanted.verdict, decision=SupervisorDecision.STOP, is_by_parent=False)
    cell.site.journal.crashed(cell, failure, verdict, cell.policy)
    supervisor.stop(cell, failure, verdict)


async def _lead(cell: Cell, wanted: Restart) -> None:
    if cell.policy.scope is RestartScope.ONE_FOR_ONE or cell.end is not None:
        await _back_off(cell, wanted)
        return
    group = Group(cell.parent)
    try:
        with hearing(cell, group.hear):
            await supervisor.stop_siblings(cell, wanted.failure, group)
        await _back_off(cell, wanted)
        go = supervisor.waiting(cell)
        group.enter(cell.id, go)
        cell.site.loop.call_soon(group.release)  # not now: this one has its place in the order too
        await supervisor.until(cell, go)
    finally:
        group.release()


async def _follow(cell: Cell, wanted: Restart, stopped: Future[None]) -> None:
    if not stopped.done():
        stopped.set_result(None)
    go = supervisor.waiting(cell)
    assert wanted.group is not None  # noqa: S101  # who stops for a sibling is in its group
    wanted.group.enter(cell.id, go)
    with hearing(cell, wanted.group.hear):
        await supervisor.until(cell, go)


async def _back_off(cell: Cell, wanted: Restart) -> None:
    backoff = cell.policy.backoff
    if backoff is not None and cell.end is None:
        seconds = backoff.delay(max(wanted.verdict.restart, 1), random.random())  # noqa: S311  # no secret
        await supervisor.pause(cell, seconds)


async def _end_instance(cell: Cell) -> None:
    if cell.children:
        with hearing(cell, partial(refuse_from_below, cell)):
            await _stop_children(cell, StopReason.PARENT_STOPPED, "its parent restarts")
    cell.clear_commands()
    await _run_on_stop(cell)
    if cell.belongings is not None:
        cell.belongings.let_go()


def build(cell: Cell) -> Actor:
    """Make an instance; raises `TypeError` if the factory returns anything but a fresh actor."""
    actor = cell.factory(*cell.args)
    if not isinstance(actor, Actor):
        raise TypeError(f"the factory of {cell.path} returned {actor!r:.100}, which is not an Actor")
    attach(actor, cell.context)
    cls = type(actor)
    cell.actor_type = type_name(cls)
    if cls not in cell.site.known_classes:
        cell.site.learn(cls)
    return actor


async def wind_up(cell: Cell) -> None:
    """End the actor, its children first."""
    while not cell.discard_queued():  # noqa: ASYNC110  # nothing is awaited: this lets others run
        await asyncio.sleep(0)
    assert cell.end is not None  # noqa: S101  # why this runs
    if cell.belongings is not None and cell.belongings.undelivered:
        CURRENT.set(cell.cause())
        undelivered, cell.belongings.undelivered = tuple(cell.belongings.undelivered), None
        _, error = await attempt(cell.actor.on_undelivered, undelivered)
        if error is not None:
            _log.error("%s failed in on_undelivered", cell.path, exc_info=error)
        if cell.is_over:
            return
    shutdown = cell.end.reason is StopReason.SHUTDOWN
    reason = StopReason.SHUTDOWN if shutdown else StopReason.PARENT_STOPPED
    await _stop_children(cell, reason, cell.end.text if shutdown else "its parent stopped")
    error = await _run_on_stop(cell)
    if not cell.is_over:
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
    if not cell.ready or cell.is_over:
        return None
    cell.ready = False
    CURRENT.set(cell.cause())
    _, error = await attempt(cell.actor.on_stop)
    if error is not None:
        _log.error("%s failed in on_stop", cell.path, exc_info=error)
    return error
