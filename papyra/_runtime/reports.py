"""Look at a running system: who lives, what waits, what was counted."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from papyra._runtime.phases import Phase
from papyra.audit import Accounting, ActorInfo, AuditReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from papyra._runtime.cell import Cell
    from papyra._runtime.recorder import Recorder
    from papyra._runtime.site import Site
    from papyra._runtime.tree import Tree


_RESTARTING = frozenset({Phase.SUSPENDED, Phase.RESTARTING})


def accounting_of(site: Site, recorder: Recorder) -> Accounting:
    """Return the counts as they are now; only cells with a task can have messages."""
    counts = site.counts
    active: Iterable[Cell] = site.active
    return Accounting(
        accepted=counts.accepted,
        handled=counts.handled,
        failed=counts.failed,
        dead=counts.dead,
        expired=counts.expired,
        pending=sum(cell.pending() for cell in active),
        late_replies=counts.late_replies,
        records_dropped=sum(recorder.dropped.values()),
    )


def info_of(cell: Cell) -> ActorInfo:
    """Return what there is to know about one actor."""
    restarts = maximum = 0
    window = pause = 0.0
    if cell.phase is not Phase.STOPPED:
        maximum, window = cell.policy.max_restarts, cell.policy.within_seconds
        if cell.restarts is not None:
            restarts = cell.restarts.recent(cell.site.clock.monotonic(), cell.policy.within_seconds)
        if cell.policy.backoff is not None:
            pause = cell.policy.backoff.delay(restarts + 1, 0.0)
    return ActorInfo(
        cell.id,
        cell.address,
        cell.name,
        None if cell.parent is None else cell.parent.id,
        tuple(cell.children or ()),
        cell.phase is not Phase.STOPPED,
        cell.end is not None and cell.phase is not Phase.STOPPED,
        cell.phase in _RESTARTING,
        cell.actor_type,
        path=cell.path,
        mailbox_depth=0 if cell.box is None else len(cell.box.queue),
        restarts=restarts,
        max_restarts=maximum,
        within_seconds=window,
        resumes_in=max(cell.resumes_at - cell.site.time(), 0.0) if cell.resumes_at else 0.0,
        next_backoff=pause,
        stashed=0 if cell.box is None else len(cell.box.stash or ()),
    )


def audit_of(
    site: Site,
    tree: Tree[Cell],
    recorder: Recorder,
    *,
    incarnation: str,
    most_actors: int | None,
    counters: Mapping[str, int],
) -> AuditReport:
    """Return a snapshot of the system, with up to ``most_actors``, the oldest; ``None``: with all."""
    stopping = restarting = 0
    for cell in tree:
        stopping += cell.end is not None
        restarting += cell.phase in _RESTARTING
    return AuditReport(
        site.system_id,
        len(tree),
        len(tree) - stopping,
        stopping,
        restarting,
        tree.name_count,
        (),
        (),
        site.letters.total,
        tuple(info_of(cell) for cell in islice(tree, most_actors)),
        accounting=accounting_of(site, recorder),
        incarnation=incarnation,
        counters=counters,
        timestamp=site.clock.now(),
    )
