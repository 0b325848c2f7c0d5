"""What the writer's thread does now and then by itself: look after what it wrote, and carry out retention."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from papyra.exceptions import PersistenceError
from papyra.persistence.models import RecordKind
from papyra.persistence.retention import Removal
from papyra.persistence.upkeep import MAX_SHARE_BY_AGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.persistence._redis.trimming import Bounds, Trimming
    from papyra.persistence._redis.writing import Writing
    from papyra.persistence.metrics import PersistenceMetrics
    from papyra.persistence.outage import Outage
    from papyra.persistence.retention import RetentionPolicy
    from papyra.persistence.upkeep import TrustedClock

SLACK_RECORDS = 100
"""So many more than retention keeps may stay where trimming is approximate; reads do not show them."""
_MOST_STEPS = 10

_log = logging.getLogger(__name__)


class Upkeep:
    """The job of a writer thread's `every`. ``hurry`` has it run again at once."""

    def __init__(  # noqa: PLR0913  # what it brings together
        self,
        writing: Writing,
        trimming: Trimming,
        policy: RetentionPolicy,
        clock: TrustedClock,
        metrics: PersistenceMetrics,
        *,
        least: int,
        outage: Outage,
        hurry: Callable[[], None],
    ) -> None:
        self._writing = writing
        self._trimming = trimming
        self._policy = policy
        self._clock = clock
        self._metrics = metrics
        self._least = least
        self._outage = outage
        self._hurry = hurry
        self._has_failed = False

    def run(self) -> None:
        """Do a part of what is to be done, a few milliseconds of the server's time."""
        if self._outage.is_away:  # a try more would only hold up what is to be kept beside the server
            return
        try:
            self._writing.look_after()
            for kind in RecordKind:
                self._trimming.reckon(kind)
            if not self._policy.is_unlimited:
                self._trim()
        except PersistenceError as error:
            if not self._has_failed:  # of one outage once
                self._metrics.add("compaction_errors")
                _log.error("retention was not carried out: %s", error)
            self._has_failed = True
        else:
            self._has_failed = False

    def _trim(self) -> None:
        removal = Removal(self._clock.now(), MAX_SHARE_BY_AGE)
        for bounds in self._trimming.plan(self._policy, removal):
            steps = 0
            while removed := self._trimming.step(bounds, at_least=self._least).records:
                self._metrics.add("records_removed", removed)
                steps += 1
                if steps == _MOST_STEPS:
                    self._hurry()
                    break
            if steps:
                tell_forced(bounds, self._metrics)


def tell_forced(bounds: Bounds, metrics: PersistenceMetrics) -> None:
    """Count and log what went although a consumer group was not through with it."""
    if bounds.forced:
        metrics.add("records_dropped", bounds.forced)
        _log.error(
            "%d records of kind %s went by retention before a consumer group was through with them: more "
            "than max_retained_for_groups were waiting",
            *(bounds.forced, bounds.kind.value),
        )
