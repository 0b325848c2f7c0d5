"""What a failure leads to: policies, and the pure decision over them."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import KW_ONLY, dataclass, field, fields
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from papyra.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

W = TypeVar("W", bound=StrEnum)


class Strategy(StrEnum):
    """What a policy does about a failure. ``RESUME`` lets the actor go on as it is with the next message."""

    STOP = "stop"
    RESTART = "restart"
    RESUME = "resume"
    ESCALATE = "escalate"


class SupervisorDecision(StrEnum):
    """What a parent answers to a child's failure; ``IGNORE`` is the published word for ``RESUME``."""

    RESTART = "restart"
    STOP = "stop"
    ESCALATE = "escalate"
    IGNORE = "ignore"
    RESUME = "resume"


class RestartScope(StrEnum):
    """Who restarts when one child has to: it alone, all its siblings, or those spawned after it."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"


class RestartType(StrEnum):
    """When a child is restarted at all.

    ``PERMANENT``: also when it stops itself. ``TRANSIENT``: after failures. ``TEMPORARY``: never, not even
    with its siblings.
    """

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


class MessageFate(StrEnum):
    """What becomes of the message whose handler failed.

    ``LETTER``: a dead letter; an asker is told too. ``RETRY``: after the restart or resume it is handled
    again, before any other, and is a letter only after ``message_retries`` more failures. ``ASKER``: an
    asker's alone, with no letter; what nobody asked is a letter.
    """

    LETTER = "letter"
    RETRY = "retry"
    ASKER = "asker"


@dataclass(frozen=True, slots=True)
class Backoff:
    """A pause that doubles from first to last; chance takes up to ``jitter`` of it off."""

    first_seconds: float = 0.2
    last_seconds: float = 30.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.first_seconds <= self.last_seconds < math.inf:
            raise ConfigurationError(
                f"a backoff goes from 0 or more up to last_seconds, not from {self.first_seconds!r:.50} to "
                f"{self.last_seconds!r:.50}"
            )
        if not 0 <= self.jitter <= 1:
            raise ConfigurationError(f"jitter is a share from 0 to 1, not {self.jitter!r:.50}")

    def delay(self, failures: int, chance: float) -> float:
        """Return the pause after the ``failures``-th failure in a row (from 1); ``chance`` lies in [0, 1)."""
        doublings = min(failures - 1, 60)  # beyond, the float would not fit
        return min(self.first_seconds * 2.0**doublings, self.last_seconds) * (1 - self.jitter * chance)


@dataclass(frozen=True, slots=True)
class SupervisionPolicy:
    """How one child is supervised: at most ``max_restarts`` in any ``within_seconds``.

    ``decisions``: strategies for classes of exceptions, the most specific first; ``strategy`` for the rest.
    ``backoff``: how long to wait before a restart, by how many there were in the window; messages queue
    meanwhile. ``when_exhausted``: stop, or escalate, once there is no restart left.
    """

    strategy: Strategy = Strategy.STOP
    max_restarts: int = 3
    within_seconds: float = 60.0
    _: KW_ONLY
    backoff: Backoff | None = None
    decisions: Mapping[type[BaseException], Strategy] = field(default_factory=dict)
    scope: RestartScope = RestartScope.ONE_FOR_ONE
    restart: RestartType = RestartType.TRANSIENT
    when_exhausted: Strategy = Strategy.STOP
    failed_message: MessageFate = MessageFate.LETTER
    message_retries: int = 3

    def __post_init__(self) -> None:
        for name, words in _WORDS.items():
            object.__setattr__(self, name, _as_word(words, name, getattr(self, name)))
        decisions: dict[type[BaseException], Strategy] = {}
        for cls, strategy in self.decisions.items():
            if BaseException not in getattr(cls, "__mro__", ()):
                raise ConfigurationError(f"decisions are by class of exception, not {cls!r:.100}")
            decisions[cls] = _as_word(Strategy, "decision", strategy)
        object.__setattr__(self, "decisions", MappingProxyType(decisions))
        if self.when_exhausted not in {Strategy.STOP, Strategy.ESCALATE}:
            raise ConfigurationError(f"when_exhausted is stop or escalate, not {self.when_exhausted}")
        for name in ("max_restarts", "message_retries"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if not self.within_seconds > 0:
            raise ConfigurationError(f"within_seconds must be above 0, not {self.within_seconds}")

    def strategy_for(self, error: BaseException | None) -> Strategy:
        """Return what this policy does about ``error``."""
        for cls in type(error).__mro__:
            if cls in self.decisions:
                return self.decisions[cls]
        return self.strategy

    def __hash__(self) -> int:
        plain = (getattr(self, each.name) for each in fields(self) if each.name != "decisions")
        return hash((*plain, frozenset(self.decisions.items())))


_WORDS: Mapping[str, type[StrEnum]] = {
    "strategy": Strategy,
    "scope": RestartScope,
    "restart": RestartType,
    "when_exhausted": Strategy,
    "failed_message": MessageFate,
}


def _as_word(words: type[W], name: str, value: str) -> W:
    try:
        return words(value)
    except ValueError as error:
        known = ", ".join(words)
        raise ConfigurationError(f"{name} is one of {known}, not {value!r:.100}") from error


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
    policy: SupervisionPolicy,
    recent: int,
    *,
    answer: SupervisorDecision | None,
    may_resume: bool,
    error: BaseException | None = None,
) -> Verdict:
    """Return what follows from a failure after ``recent`` restarts; the parent's ``answer`` goes first.

    The restart limit holds whoever decided. Nothing can resume what never started, and nothing restarts what
    is temporary: it stops instead.
    """
    is_by_parent = answer is not None
    decision = SupervisorDecision(policy.strategy_for(error).value) if answer is None else answer
    if decision in _GOES_ON and not may_resume:
        decision = SupervisorDecision.STOP
    if decision is SupervisorDecision.RESTART and policy.restart is RestartType.TEMPORARY:
        decision = SupervisorDecision.STOP
    if decision is not SupervisorDecision.RESTART:
        return Verdict(decision, recent, policy.max_restarts, is_by_parent=is_by_parent)
    if recent >= policy.max_restarts:
        return Verdict(
            SupervisorDecision(policy.when_exhausted.value),
            recent,
            policy.max_restarts,
            is_over_limit=True,
            is_by_parent=is_by_parent,
        )
    return Verdict(decision, recent + 1, policy.max_restarts, is_by_parent=is_by_parent)


def restarts_with(scope: RestartScope, failed: int, family: Iterable[int]) -> list[int]:
    """Return which of a family restart with ``failed``, the youngest first; numbers grow with each spawn."""
    if scope is RestartScope.ONE_FOR_ONE:
        return []
    is_rest = scope is RestartScope.REST_FOR_ONE
    return sorted(
        (each for each in family if each > failed or (each != failed and not is_rest)), reverse=True
    )


_GOES_ON = frozenset({SupervisorDecision.IGNORE, SupervisorDecision.RESUME})


def goes_on(verdict: Verdict) -> bool:
    """Whether the same actor handles the next message, as it is or anew."""
    return verdict.decision in _GOES_ON or verdict.decision is SupervisorDecision.RESTART
