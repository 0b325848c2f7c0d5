"""What an actor's task does: one thing at a time, the runtime's affairs before messages."""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from types import CoroutineType
from typing import TYPE_CHECKING

from papyra._runtime import lifecycle, supervisor
from papyra._runtime.calls import is_fatal, running_task
from papyra._runtime.failing import fail
from papyra._runtime.handled import Notes
from papyra._runtime.mailbox import CURRENT, Envelope, Mailbox, is_over
from papyra._runtime.phases import Phase
from papyra._runtime.proxy_calls import PROXY_MESSAGES, perform
from papyra._runtime.trail import REMEMBERED, put_by, remember

if TYPE_CHECKING:
    from papyra._runtime.cell import Cell
    from papyra._runtime.handled import HandledLog

_log = logging.getLogger(__name__)

BUDGET_MESSAGES = 256
"""About so many are handled before the loop has its turn, shared by all actors that have a task."""

LEAST_MESSAGES = 16
MOST_SHARES = BUDGET_MESSAGES // LEAST_MESSAGES
BUDGET_SECONDS = 0.001
UNREAD = 7
QUICK_SECONDS = 0.0001
"""The clock is read after each message, or each eighth where those take no time. A power of two, less one."""

PLAIN = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict})
"""Usual results, which nobody can await."""

set_current = CURRENT.set


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
        elif box.queue or not (cell.retiring or cell.drain_timer):
            handled = cell.site.handled
            if handled is None or not handled.wants(cell.actor):
                await _handle(cell, box, None)
            else:
                await _handle_noting(cell, box, handled)
        elif cell.drain_timer is not None:
            cell.end_drain()
        elif box.stash:
            cell.retiring = False
        else:
            CURRENT.set(None)
            put_by(cell)
            cell.retire()
            return


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


async def _handle_noting(cell: Cell, box: Mailbox, handled: HandledLog) -> None:
    notes = Notes(handled, cell)
    try:
        await _handle(cell, box, notes)
    finally:
        notes.end()


async def _handle(  # noqa: C901, PLR0912, PLR0915  # the hot loop
    cell: Cell, box: Mailbox, notes: Notes | None
) -> None:
    """Handle messages, and wait for more, until something goes before them."""
    site, queue, receive = cell.site, box.queue, cell.actor.receive
    counts, time, loop = site.counts, site.time, site.loop
    passed: list[tuple[int, type]] = []
    envelope: Envelope | None
    while not cell.urgent:
        if not queue:
            if cell.retiring or cell.drain_timer is not None:
                break
            envelope = message = result = reply = None  # an idle actor keeps no message alive
            set_current(None)
            if cell.belongings is not None:
                cell.belongings.begin_idling()
            waiter: Future[None] = Future(loop=loop)
            cell.waiter = waiter
            await waiter
            continue
        del passed[:-REMEMBERED]
        active = len(site.active)
        left = BUDGET_MESSAGES // active if 0 < active < MOST_SHARES else LEAST_MESSAGES
        now, unread = time(), 0
        slice_end = now + BUDGET_SECONDS
        noted, ends = (None, None) if notes is None else notes.begin()
        while queue and left and not cell.urgent:
            left -= 1
            envelope = queue.popleft()
            if box.waiting:
                box.make_room()
            if envelope.deadline is not None and is_over(envelope, time()):
                site.expire(envelope, cell.ref)
                continue
            cell.current, cell.since = envelope, now
            set_current(envelope)
            message = envelope.message
            message_class = type(message)
            try:
                result = perform(cell.actor, message) if message_class in PROXY_MESSAGES else receive(message)
                kind = type(result)
                if kind is CoroutineType or (kind not in PLAIN and hasattr(kind, "__await__")):
                    result = await result  # type: ignore[misc]  # its class has __await__
            except BaseException as error:  # firewall: what an actor raises goes to its supervisor
                if is_fatal(error):
                    raise
                await fail(cell, envelope, error, passed)
                return
            if cell.current is not envelope:  # it was passed on, put aside or given up meanwhile
                passed.append((envelope.id, message_class))
                remember(cell, passed)
                return
            cell.current = None
            counts.handled += 1
            reply = envelope.reply
            if reply is not None:
                if reply.done():
                    site.late_reply(envelope, cell.ref)
                else:
                    reply.set_result(result)
            passed.append((envelope.id, message_class))
            if noted is not None and ends is not None:
                now = time()
                noted.append(envelope)
                ends.append(now)
            if left & unread or not queue:
                continue
            before, now = now, time()
            if now >= slice_end:
                break
            unread = UNREAD if now - before < QUICK_SECONDS else 0
        if notes is not None:
            notes.end()
        if queue and not cell.urgent:
            site.now = time()
            await asyncio.sleep(0)
    remember(cell, passed)
