"""What an actor's task does: one thing at a time, the runtime's affairs before messages."""

from __future__ import annotations

import asyncio
import logging
from types import CoroutineType
from typing import TYPE_CHECKING

from papyra._runtime import lifecycle, supervisor
from papyra._runtime.calls import is_fatal, running_task
from papyra._runtime.failing import fail
from papyra._runtime.handled import NOBODY
from papyra._runtime.mailbox import CURRENT, Envelope, Mailbox, is_over
from papyra._runtime.phases import Phase
from papyra._runtime.proxy_calls import PROXY_MESSAGES, perform
from papyra._runtime.trail import open_trail, put_by
from papyra._runtime.wakeups import Sleeper

if TYPE_CHECKING:
    from collections import deque

    from papyra._runtime.cell import Cell
    from papyra._runtime.facts import Passed
    from papyra._runtime.handled import HandledLog

_log = logging.getLogger(__name__)

BUDGET_MESSAGES = 256
"""About so many are handled before the loop has its turn, shared by all actors that have a task."""

LEAST_MESSAGES = 16
MOST_SHARES = BUDGET_MESSAGES // LEAST_MESSAGES
BUDGET_SECONDS = 0.001
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
    sleeper = Sleeper(cell.site.loop, cell.wake)
    while True:
        box = cell.box
        if cell.urgent or box is None:
            if await _attend(cell):
                return
        elif box.queue or not (cell.retiring or cell.drain_timer):
            handled = cell.site.handled
            if handled is not None and not handled.wants(cell.actor):
                handled = None
            await _handle(cell, box, sleeper, handled)
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


async def _handle(  # noqa: C901, PLR0912, PLR0915  # the hot loop
    cell: Cell, box: Mailbox, sleeper: Sleeper, handled: HandledLog | None
) -> None:
    """Handle messages, and wait for more, until something goes before them; ``handled`` hears of them."""
    site, queue, receive = cell.site, box.queue, cell.actor.receive
    counts, time, active = site.counts, site.time, site.active
    who, notes = NOBODY if handled is None else handled.handler(cell), []
    trail: deque[Passed] | None = None
    envelope: Envelope | None
    while not cell.urgent:
        if not queue:
            if cell.retiring or cell.drain_timer is not None:
                return
            envelope = message = result = reply = None  # an idle actor keeps no message alive
            set_current(None)
            if cell.belongings is not None:
                cell.belongings.begin_idling()
            cell.parked = False
            cell.waiter = sleeper
            await sleeper
            continue
        if trail is None:
            trail = open_trail(cell)
        busy = len(active)
        left = BUDGET_MESSAGES // busy if 0 < busy < MOST_SHARES else LEAST_MESSAGES
        now = time()
        slice_end = now + BUDGET_SECONDS
        while queue and left and not cell.urgent:
            left -= 1
            envelope = queue.popleft()
            if box.waiting:
                box.make_room()
            if envelope.deadline is not None and is_over(envelope, time()):
                site.expire(envelope, cell.ref)
                if handled is not None:
                    handled.pause()
                now = time()
                if now >= slice_end:
                    break
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
                await fail(cell, envelope, error)
                if not cell.is_over:
                    await asyncio.sleep(0)  # one that fails at each message must not keep the loop
                return
            if cell.current is not envelope:  # it was passed on, put aside or given up meanwhile
                trail.append((envelope.id, message_class))
                if handled is not None:
                    handled.pause()
                now = time()
                if now >= slice_end:
                    break
                continue
            cell.current = None
            counts.handled += 1
            reply = envelope.reply
            if reply is not None:
                if reply.done():
                    site.late_reply(envelope, cell.ref)
                else:
                    reply.set_result(result)
            began, now = now, time()
            if handled is None:
                trail.append((envelope.id, message_class))
            else:
                if handled.who is not who:
                    notes = handled.begin(who, began)
                note = envelope.id, message_class, envelope.cause, envelope.root, now
                trail.append(note)
                notes += note
            if now >= slice_end:
                break
        if handled is not None:
            handled.pause()
        if queue and not cell.urgent:
            site.wakeups.add(sleeper)
            await sleeper
