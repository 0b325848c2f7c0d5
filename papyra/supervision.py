"""What a failure leads to: policies, and the pure decision over them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from papyra.exceptions import ConfigurationError


class Strategy(StrEnum):
    """What a policy does about a failure."""

    STOP = "stop"
    RESTART = "restart"
    ESCALATE = "escalate"


class SupervisorDecision(StrEnum):
    """What a parent answers to a child's failure; ``IGNORE`` lets the child go on with the next message."""

    RESTART = "restart"
    STOP = "stop"
    ESCALATE = "escalate"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class SupervisionPolicy:
    """How one child is supervised: at most ``max_restarts`` in any ``within_seconds``."""

    strategy: Strategy = Strategy.STOP
    max_restarts: int = 3
    within_seconds: float = 60.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "strategy", Strategy(self.strategy))
        if self.max_restarts < 0:
            raise ConfigurationError(f"max_restarts must be 0 or more, not {self.max_restarts}")
        if not self.within_seconds > 0:
            raise ConfigurationError(f"within_seconds must be above 0, not {self.within_seconds}")


STOP_POLICY = SupervisionPolicy(Strategy.STOP)
RESTART_POLICY = SupervisionPolicy(Strategy.RESTART)


class RestartHistory:
    """When one child was restarted; forgets what no window reaches any more."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def add(self, now: float) -> None:
        """Count a restart at ``now``, in monotonic seconds."""
        self._times.append(now)

    def recent(self, now: float, within_seconds: float) -> int:
        """Return how many restarts lie in the window that ends ``now``."""
        while self._times and now - self._times[0] > within_seconds:
            self._times.popleft()
        return len(self._times)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done. ``restart`` numbers a restart in its window, else counts those before."""

    decision: SupervisorDecision
    restart: int
    limit: int
    is_over_limit: bool = False
    is_by_parent: bool = False


def decide(
    policy: SupervisionPolicy, recent: int, *, answer: SupervisorDecision | None, may_resume: bool
) -> Verdict:
    """Return what follows from a failure after ``recent`` restarts; the parent's ``answer`` goes first.

    The restart limit holds whoever decided. Nothing can resume what never started: it stops instead.
    """
    is_by_parent = answer is not None
    decision = SupervisorDecision(policy.strategy.value) if answer is None else answer
    if decision is SupervisorDecision.IGNORE and not may_resume:
        decision = SupervisorDecision.STOP
    if decision is not SupervisorDecision.RESTART:
        return Verdict(decision, recent, policy.max_restarts, is_by_parent=is_by_parent)
    if recent >= policy.max_restarts:
        return Verdict(
            SupervisorDecision.STOP,
            recent,
            policy.max_restarts,
            is_over_limit=True,
            is_by_parent=is_by_parent,
        )
    return Verdict(decision, recent + 1, policy.max_restarts, is_by_parent=is_by_parent)
