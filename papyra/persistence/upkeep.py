"""Retention made physical by itself: now and then, when it is worth it, by a clock that can be trusted."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

from papyra.exceptions import ConfigurationError, PersistenceError
from papyra.persistence.retention import Course, Removal, is_worth_removing, trusted_now

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from papyra.clock import Clock
    from papyra.persistence.metrics import PersistenceMetrics
    from papyra.persistence.models import CompactionReport
    from papyra.persistence.query import Progress, ProgressCallback
    from papyra.persistence.retention import Removable
    from papyra.persistence.state import StateTracker
    from papyra.persistence.threads import WriterThread

MAX_SHARE_BY_AGE = 0.5
"""What one run removes of a kind for its age alone: should the clock lie, half is left for who sees it."""

_log = logging.getLogger(__name__)


def check_interval(name: str, seconds: float) -> None:
    """Raise `ConfigurationError` for what cannot be an interval."""
    value: object = seconds
    if not (isinstance(value, int | float) and 0 < value < math.inf):
        raise ConfigurationError(f"{name} must be a number of seconds above 0, not {value!r:.50}")


class TrustedClock:
    """Tells the time by which records may go for good; see `trusted_now`."""

    def __init__(self, store: str, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._course = Course(clock.now() - clock.monotonic())

    def now(self) -> float:
        """Read the clock, and say so when it is not believed."""
        wall = self._clock.now()
        before = self._course
        self._course, now = trusted_now(before, wall=wall, monotonic=self._clock.monotonic())
        if self._course.jumped_to is not None and self._course != before:
            _log.warning(
                "%s: the clock jumped by %+.0f s: for a day no record goes by its age that would not have "
                "gone without that; check the clock",
                *(self._store, self._course.jumped_to - self._course.offset),
            )
        return now


class _Closing(Exception):  # noqa: N818  # no error: the store is being closed
    """Ends a run that nobody waits for."""


class Upkeep:
    """The job of a writer thread's `every`: has ``measure`` run elsewhere, then perhaps ``compact`` here.

    ``compact`` gets how far it may go, and a callback to call as it goes on, which raises once the writer is
    to be closed. Does nothing while the store takes no records.
    """

    def __init__(  # what it brings together
        self,
        writer: WriterThread[Any, Any],
        clock: TrustedClock,
        *,
        measure: Callable[[Removal], Future[Sequence[Removable]]],
        compact: Callable[[Removal, ProgressCallback], CompactionReport],
        state: StateTracker,
        metrics: PersistenceMetrics,
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._measure = measure
        self._compact = compact
        self._state = state
        self._metrics = metrics
        self._measured: Future[Sequence[Removable]] | None = None

    def run(self) -> None:
        """Look how much could go or, once that is known, remove it."""
        measured, removal = self._measured, Removal(self._clock.now(), MAX_SHARE_BY_AGE)
        if not self._state.state.is_ok:
            return
        if measured is None:
            self._measured = measured = self._measure(removal)
            measured.add_done_callback(lambda _: self._writer.hurry())
        elif measured.done():
            self._measured = None
            self._remove(measured, removal)

    def _remove(self, measured: Future[Sequence[Removable]], removal: Removal) -> None:
        try:
            if not is_worth_removing(measured.result()):
                return
            self._metrics.add("compactions")
            report = self._compact(removal, self._go_on)
        except _Closing:
            _log.info("%s: retention was broken off, because the store is closed", self._writer.name)
        except PersistenceError as error:
            self._metrics.add("compaction_errors")
            _log.error("%s: retention was not carried out: %s", self._writer.name, error)  # says all
        else:
            removed = sum(report.removed.values())
            self._metrics.add("records_removed", removed)
            _log.info(
                "%s: retention removed %d records; %d stay", self._writer.name, removed, report.after_records
            )

    def _go_on(self, _: Progress) -> None:
        if self._writer.is_closing:
            raise _Closing
