"""What a store is able to do now, since when and why; each change of it is logged once."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
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
    """``spilling``: keeps records on this machine's disk until their store is back.

    ``degraded``: takes no records now but later, as with a full disk. ``failed``: not again.
    """

    OK = "ok"
    SPILLING = "spilling"
    DEGRADED = "degraded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StoreState:
    """How the newest write of this object went; ``since`` and ``reason`` are of the first of its kind.

    ``waiting`` records are kept on this machine's disk and not yet in their store.
    """

    condition: StoreCondition = StoreCondition.OK
    since: float | None = None
    reason: str = ""
    waiting: int = 0

    @property
    def is_ok(self) -> bool:
        """Whether records are stored where they belong."""
        return self.condition is StoreCondition.OK


WORKING = StoreState()


class StateTracker:
    """Follows what the writes of one store come to; told and read by any thread."""

    def __init__(self, store: str, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._state = WORKING
        self._spilling: StoreState | None = None
        self._has_ended = False

    @property
    def state(self) -> StoreState:
        """The newest."""
        return self._state

    def succeeded(self) -> None:
        """Note that records were taken; one may hear of it after the store's end."""
        condition = StoreCondition.OK if self._spilling is None else StoreCondition.SPILLING
        if self._state.condition is not condition and not self._has_ended:
            self._change(self._spilling or StoreState(StoreCondition.OK, self._clock.now()))

    def spilling(self, reason: str, waiting: int) -> None:
        """Note that ``waiting`` records are kept beside the store, and go on to be until `returned`."""
        if self._spilling is None:
            self._spilling = StoreState(StoreCondition.SPILLING, self._clock.now(), reason, waiting)
            if not self._has_ended:
                self._change(self._spilling)
            return
        self._spilling = replace(self._spilling, waiting=waiting)
        if self._state.condition is StoreCondition.SPILLING:
            self._state = self._spilling
        elif self._state.waiting != waiting:
            self._state = replace(self._state, waiting=waiting)

    def returned(self) -> None:
        """Note that the store has all that was kept beside it."""
        if self._spilling is not None:
            self._spilling = None
            self.succeeded()

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
            waiting = 0 if self._spilling is None else self._spilling.waiting
            self._change(StoreState(condition, self._clock.now(), str(error), waiting))

    def _change(self, state: StoreState) -> None:
        before, self._state = self._state, state
        if state.is_ok:
            _log.warning(
                "%s: takes records again; it was %s: %s", self._store, before.condition, before.reason
            )
        else:
            level = logging.CRITICAL if state.condition is StoreCondition.FAILED else logging.ERROR
            _log.log(level, "%s: is %s: %s", self._store, state.condition, state.reason)
