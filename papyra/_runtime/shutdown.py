"""The way out of an incarnation, in phases under one deadline: actors and hooks; the kernel does the rest."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from papyra.events import StopReason

if TYPE_CHECKING:
    from papyra._runtime.cell import Cell
    from papyra._runtime.hook_runner import HookRunner
    from papyra._runtime.site import Site
    from papyra._runtime.tree import Tree
    from papyra.persistence.backend import PersistenceBackend

_log = logging.getLogger(__name__)

ACTORS_SHARE = 0.7
KILL_SHARE = 0.1
_LATE = "it had not stopped when the deadline passed"
_AT_ONCE = 64


async def stop_actors(site: Site, tree: Tree[Cell], seconds: float) -> tuple[str, ...]:
    """Stop all actors, children first; returns the paths of those that had to be killed."""
    loop = site.loop
    began = loop.time()
    for number, cell in enumerate(tree.roots(), 1):
        cell.request_stop(StopReason.SHUTDOWN, "the system closes")
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
    if await _is_empty(site, tree, began + ACTORS_SHARE * seconds):
        return ()
    killed = [cell for cell in tree.deepest_first() if cell.gone is None]  # else only its children are late
    for cell in killed:
        cell.kill(_LATE)
    if not await _is_empty(site, tree, began + (ACTORS_SHARE + KILL_SHARE) * seconds):
        killed += tree.deepest_first()
        for cell in tree.deepest_first():
            cell.kill(_LATE)
        await _is_empty(site, tree, began + (ACTORS_SHARE + 2 * KILL_SHARE) * seconds)
    for cell in tree.deepest_first():  # it does not even let itself be cancelled
        _log.error("%s ignores its cancellation and is given up", cell.path)
        cell.die(asyncio.CancelledError())
    return tuple(dict.fromkeys(cell.path for cell in killed))


async def end_pipes(site: Site, deadline: float) -> int:
    """Wait until piped work has taken its cancellation in; returns how much of it ignores that."""
    if site.leaving:
        await asyncio.wait(site.leaving, timeout=max(0.0, deadline - site.loop.time()))
    if site.leaving:
        _log.error("%d pieces of piped work ignore their cancellation and are given up", len(site.leaving))
    return len(site.leaving)


async def drain_hooks(hooks: HookRunner, deadline: float) -> int:
    """Let observers hear what happened; returns how many facts they did not hear."""
    left = await hooks.drain(deadline)
    if left:
        _log.error("hooks did not hear of %d facts before the deadline", left)
    return left


async def close_backend(backend: PersistenceBackend, seconds: float) -> None:
    """Close a store that no system has used."""
    try:
        async with asyncio.timeout(seconds):
            await backend.aclose()
    except TimeoutError:
        _log.error("the %s store did not close before the deadline", backend.name)


async def _is_empty(site: Site, tree: Tree[Cell], deadline: float) -> bool:
    if len(tree):
        site.emptied = site.loop.create_future()
        await asyncio.wait((site.emptied,), timeout=max(0.0, deadline - site.loop.time()))
        site.emptied = None
    return not len(tree)
