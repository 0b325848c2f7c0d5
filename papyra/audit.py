"""Snapshots of a system, as values: who lives, what waits, and where every accepted message went."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from papyra.address import ActorAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """Where the messages went that were accepted since the incarnation began.

    Each term is counted where it happens; ``pending`` is counted in the mailboxes and hands, never as a
    difference. A message that was refused at once counts as accepted and dead; a ``late_reply`` was handled.
    """

    accepted: int = 0
    handled: int = 0
    failed: int = 0
    dead: int = 0
    expired: int = 0
    pending: int = 0
    late_replies: int = 0
    records_dropped: int = 0

    @property
    def is_balanced(self) -> bool:
        """Whether every accepted message is in exactly one place."""
        return self.accepted == self.handled + self.failed + self.dead + self.expired + self.pending

    def to_payload(self) -> dict[str, int]:
        """Return the plain form that ``SystemStopped`` carries."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class ActorInfo:
    """One actor as it is now. ``restarts`` of at most ``max_restarts`` lie in ``within_seconds``.

    ``resumes_in``: seconds until a restart that backoff holds up; ``next_backoff``: how long it would hold up
    one more at most; ``stashed``: messages put aside.
    """

    rid: int
    address: ActorAddress
    name: str | None
    parent_rid: int | None
    children_rids: tuple[int, ...]
    alive: bool
    stopping: bool
    restarting: bool
    actor_type: str = ""
    _: KW_ONLY
    path: str = ""
    mailbox_depth: int = 0
    restarts: int = 0
    max_restarts: int = 0
    within_seconds: float = 0.0
    resumes_in: float = 0.0
    next_backoff: float = 0.0
    stashed: int = 0

    @property
    def state(self) -> str:
        """One word: restarting, stopping, alive or stopped."""
        if self.restarting:
            return "restarting"
        if self.stopping:
            return "stopping"
        return "alive" if self.alive else "stopped"

    def panel_line(self) -> str:
        """Return one row of the control panel."""
        parent = "-" if self.parent_rid is None else str(self.parent_rid)
        children = ",".join(map(str, self.children_rids)) or "-"
        name, type_ = self.name or "-", self.actor_type or "-"
        return f"{self.rid} {self.address} {name} {type_} {self.state} {parent} {children}"

    def to_payload(self) -> dict[str, object]:
        """Return what an audit's details say of this actor."""
        return {
            "path": self.path,
            "type": self.actor_type,
            "state": self.state,
            "mailbox_depth": self.mailbox_depth,
            "restarts": self.restarts,
            "max_restarts": self.max_restarts,
            "within_seconds": self.within_seconds,
            **({"resumes_in": round(self.resumes_in, 3)} if self.resumes_in else {}),
            **({"next_backoff": self.next_backoff} if self.next_backoff else {}),
            **({"stashed": self.stashed} if self.stashed else {}),
        }


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The whole system at one time. The registry holds the names; no name outlives its actor.

    ``counters`` counts what went wrong beside the actors: hooks, the store, letters by reason.
    """

    system_id: str
    total_actors: int
    alive_actors: int
    stopping_actors: int
    restarting_actors: int
    registry_size: int
    registry_orphans: tuple[str, ...]
    registry_dead: tuple[str, ...]
    dead_letters_count: int
    actors: tuple[ActorInfo, ...] = ()
    _: KW_ONLY
    accounting: Accounting = Accounting()
    counters: Mapping[str, int] = field(default_factory=dict)
    incarnation: str = ""
    timestamp: float = 0.0

    def summary_lines(self) -> tuple[str, ...]:
        """Return the report as text, without the actors."""
        actors = (
            f"actors(total={self.total_actors}, alive={self.alive_actors}, "
            f"stopping={self.stopping_actors}, restarting={self.restarting_actors})"
        )
        registry = (
            f"registry(size={self.registry_size}, orphans={len(self.registry_orphans)}, "
            f"dead={len(self.registry_dead)})"
        )
        return (
            f"system_id={self.system_id}",
            actors,
            registry,
            f"dead_letters={self.dead_letters_count}",
        )

    def panel_lines(self) -> tuple[str, ...]:
        """Return the actors as rows of text."""
        return panel_lines(self.actors)


PANEL_HEADER = "RID ADDRESS NAME ACTOR STATE PARENT CHILDREN"


def panel_lines(actors: tuple[ActorInfo, ...]) -> tuple[str, ...]:
    """Return ``actors`` as an aligned table, or one line that says there are none."""
    if not actors:
        return ("No actors.",)
    rows = [PANEL_HEADER.split(), *(actor.panel_line().split() for actor in actors)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return tuple(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
