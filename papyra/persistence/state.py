"""What a store is able to do now, since when and why; each change of it is logged once."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from papyra.exceptions import (
    PersistenceError,
    StoreBusyError,
    StoreFailedError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from papyra.clock import Clock

_log = logging.getLogger(__name__)


class StoreCondition(StrEnum):
    """``degraded``: takes no records now but later, as with a full disk. ``failed``: not again."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StoreState:
    """How the newest write of this object went; ``since`` and ``reason`` are of the first of its kind."""

    condition: StoreCondition = StoreCondition.OK
    since: float | None = None
    reason: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether records are taken."""
        return self.condition is StoreCondition.OK


WORKING = StoreState()


class StateTracker:
    """Follows what the writes of one store come to; told and read by any thread."""

    def __init__(self, store: str, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._state = WORKING
        self._has_ended = False

    @property
    def state(self) -> StoreState:
        """The newest."""
        return self._state

    def succeeded(self) -> None:
        """Note that records were stored; one may hear of it after the store's end."""
        if not self._state.is_ok and not self._has_ended:
            self._change(StoreState(StoreCondition.OK, self._clock.now()))

    def ended(self, error: StoreFailedError) -> None:
        """Note that nothing more will be stored."""
        self._has_ended = True
        self.failed(error)

    def failed(self, error: PersistenceError) -> None:
        """Note what ``error`` says of the store; one about the records, or the caller, says nothing."""
        if isinstance(error, StoreFailedError):
            condition = StoreCondition.FAILED
        elif isinstance(error, StoreUnavailableError) and not isinstance(error, StoreBusyError):
            condition = StoreCondition.DEGRADED
        else:
            return
        if condition is not self._state.condition:
            self._change(StoreState(condition, self._clock.now(), str(error)))

    def _change(self, state: StoreState) -> None:
        before, self._state = self._state, state
        if state.is_ok:
            _log.warning(
                "%s: takes records again; it was %s: %s", self._store, before.condition, before.reason
            )
        else:
            level = logging.CRITICAL if state.condition is StoreCondition.FAILED else logging.ERROR
            _log.log(level, "%s: is %s: %s", self._store, state.condition, state.reason)
