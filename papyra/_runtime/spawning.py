"""Bring actors to life."""

from __future__ import annotations

from contextvars import Context
from typing import TYPE_CHECKING

from papyra._runtime.belongings import Belongings
from papyra._runtime.cell import Cell, cell_of, overrides
from papyra._runtime.lifecycle import begin, build
from papyra._runtime.phases import Phase
from papyra._runtime.tree import path_below
from papyra.address import check_name
from papyra.exceptions import ActorStopped
from papyra.supervision import RESTART_POLICY, STOP_POLICY

if TYPE_CHECKING:
    from papyra._runtime.mailbox import MailboxLimits
    from papyra._runtime.site import Site
    from papyra.context import ActorFactory
    from papyra.ref import ActorRef
    from papyra.supervision import SupervisionPolicy


def spawn(  # noqa: PLR0913  # as the facade says it
    site: Site,
    factory: ActorFactory,
    args: tuple[object, ...],
    *,
    name: str | None,
    policy: SupervisionPolicy | None,
    limits: MailboxLimits,
    parent: ActorRef | None,
) -> Cell:
    """Return a new cell with its instance made; what the factory raises is the caller's, and no actor is.

    ``on_start`` runs in the actor's own task, before its first message.
    """
    site.check_thread()
    above = None if parent is None else _living(parent)
    if name is not None:
        site.tree.check_free(above, check_name(name))
    number = next(site.actor_ids)
    is_plain = above is None and name is None
    cell = Cell(
        site,
        number,
        name,
        "" if is_plain else path_below("" if above is None else above.path, number, name),
        above,
        factory,
        args,
        policy or (STOP_POLICY if name is None else RESTART_POLICY),
        limits,
    )
    scope = Context()
    cell.actor = scope.run(build, cell)
    if len(scope):
        cell.scope = scope  # its constructor has set something
    site.tree.attach(cell)
    if limits.passivate_after is not None:
        cell.belongings = Belongings(cell, cell.passivate, limits.passivate_after)
    if overrides(cell.actor, "on_start"):
        cell.rouse()
    else:
        begin(cell)
        cell.urgent = False
    return cell


def _living(parent: ActorRef) -> Cell:
    cell = cell_of(parent)
    may_have_children = cell.end is None or cell.drain_timer is not None
    if not may_have_children or cell.phase is Phase.RESTARTING:
        state = cell.end.reason.value if cell.end is not None else cell.phase.value
        raise ActorStopped(f"{cell.path} cannot have children: it is {state}", reason=state)
    return cell
