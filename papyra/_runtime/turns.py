"""What an actor's task does: one thing at a time, the runtime's affairs before messages."""

from __future__ import annotations

import asyncio
import logging
from types import CoroutineType
from typing import TYPE_CHECKING

from papyra._runtime import lifecycle, supervisor
from papyra._runtime.calls import is_fatal, running_task
from papyra._runtime.failing import fail
from papyra._runtime.mailbox import CURRENT, Envelope, Mailbox, is_over
from papyra._runtime.phases import Phase
from papyra._runtime.proxy_calls import PROXY_MESSAGES, perform
from papyra._runtime.trail import REMEMBERED, put_by, remember

if TYPE_CHECKING:
    from papyra._runtime.cell import Cell
    from papyra._runtime.handled import HandledLog
    from papyra._runtime.site import Site

_log = logging.getLogger(__name__)

BUDGET_MESSAGES = 256
"""About so many are handled before the loop has its turn, shared by all actors that have a task."""

LEAST_MESSAGES = 16
BUDGET_SECONDS = 0.001


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
            handled = cell.site.handled
            await (_drain(cell, box, [], None) if handled is None else _drain_noting(cell, box, handled))
        elif cell.drain_timer is not None:
            cell.end_drain()
        else:
            CURRENT.set(None)  # an idle actor keeps no message alive
            if cell.retiring and not box.stash:
                put_by(cell)
                cell.retire()
                return
            if cell.belongings is not None:
                cell.belongings.begin_idling()
            cell.waiter = cell.site.loop.create_future()
            await cell.waiter


async def _attend(cell: Cell) -> bool:
    """Do one thing that goes before messages; whether the actor has ended."""
    if cell.phase is not Phase.STOPPED and cell.end is not None and cell.drain_timer is None:
        await lifecycle.wind_up(cell)
    elif cell.phase is Phase.STARTING:
        await lifecycle.start(cell)
    elif cell.phase is Phase.RESTARTING:
        await lifecycle.restart(cell)
    elif cell.commands:
        await supervisor.answer(cell, cell.commands.popleft())
    if cell.phase is Phase.STOPPED:
        return True
    cell.settle()
    return False


async def _drain_noting(cell: Cell, box: Mailbox, handled: HandledLog) -> None:
    if not handled.wants(cell.actor):
        await _drain(cell, box, [], None)
        return
    turn = handled.begin(cell)
    try:
        await _drain(cell, box, turn.passed, turn.ends)
    finally:
        handled.end(turn)
    if box.queue and not cell.urgent:
        await asyncio.sleep(0)


async def _drain(  # noqa: C901, PLR0912, PLR0915  # the hot loop
    cell: Cell, box: Mailbox, passed: list[Envelope], ends: list[float] | None
) -> None:
    """Handle messages until there are none, or something goes before them.

    Each is added to ``passed``, and when it ended to ``ends``; where that is wanted, only for one share.
    """
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
            left -= 1
            if left <= 0:  # a heap of them must not keep the loop
                if ends is not None:
                    break
                await asyncio.sleep(0)
                left, now = _share(site), time()
                slice_end = now + BUDGET_SECONDS
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
            await fail(cell, envelope, error, passed)
            return
        if cell.current is not envelope:  # it was passed on, put aside or given up meanwhile
            passed.append(envelope)
            break
        cell.current = None
        counts.handled += 1
        passed.append(envelope)
        reply = envelope.reply
        if reply is not None:
            if reply.done():
                site.late_reply(envelope, cell.ref)
            else:
                reply.set_result(result)
        left, now = left - 1, time()
        if ends is not None:
            ends.append(now)
        if left <= 0 or now >= slice_end:
            if ends is not None:
                break
            del passed[:-REMEMBERED]
            await asyncio.sleep(0)
            left, now = _share(site), time()
            slice_end = now + BUDGET_SECONDS
    remember(cell, passed)


def _share(site: Site) -> int:
    return max(BUDGET_MESSAGES // (len(site.active) or 1), LEAST_MESSAGES)
