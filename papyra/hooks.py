"""What a system tells observers: after the fact, in order, in a task of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from papyra.address import ActorAddress
    from papyra.audit import AuditReport
    from papyra.events import ActorEvent
    from papyra.persistence.models import PersistenceRecoveryReport, PersistenceScanReport
    from papyra.ref import DeadLetter
    from papyra.supervision import Strategy, SupervisorDecision


@dataclass(frozen=True, slots=True)
class FailureInfo:
    """A failure, the policy's strategy, and what was decided."""

    address: ActorAddress
    error: BaseException
    strategy: Strategy | None = None
    supervisor_decision: SupervisorDecision | None = None


@runtime_checkable
class SystemHooks(Protocol):
    """What an observer may have; every method may be missing, and sync or async.

    A sync method runs on the event loop: what blocks belongs into an async one.
    """

    def on_event(self, event: ActorEvent) -> Awaitable[None] | None:
        """Hear of an actor's event."""

    def on_dead_letter(self, dl: DeadLetter) -> Awaitable[None] | None:
        """Hear of a dead letter that was recorded in full."""

    def on_failure(self, failure: FailureInfo) -> Awaitable[None] | None:
        """Hear of a failure, once, with the decision."""

    def on_audit(self, report: AuditReport) -> Awaitable[None] | None:
        """Hear of an audit."""

    def on_persistence_scan(self, report: PersistenceScanReport) -> Awaitable[None] | None:
        """Hear what the startup check saw."""

    def on_persistence_recovery(self, report: PersistenceRecoveryReport) -> Awaitable[None] | None:
        """Hear what the startup check repaired."""


def _hear_nothing(self: object, fact: Any) -> Any:
    del self, fact


class DefaultHooks:
    """Observes nothing; a base to override from."""

    on_event = on_dead_letter = on_failure = on_audit = _hear_nothing
    on_persistence_scan = on_persistence_recovery = _hear_nothing
