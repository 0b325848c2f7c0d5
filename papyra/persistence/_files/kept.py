"""From where on retention keeps a sequence: only blocks are looked at, and those it ends in."""

from __future__ import annotations

from math import inf, nextafter
from typing import TYPE_CHECKING

from papyra.persistence._files.merged import later
from papyra.persistence.retention import Removable, capped

if TYPE_CHECKING:
    from papyra.persistence._files.merged import Cut, KindSequence
    from papyra.persistence.retention import Removal, RetentionPolicy


def first_kept(stored: KindSequence, policy: RetentionPolicy, now: float) -> Cut:
    """Return the cut of which `retention.first_kept` returns the number."""
    return _first_young(stored, _first_fitting(stored, policy), policy.max_age_seconds, now)


def removable(stored: KindSequence, policy: RetentionPolicy, removal: Removal) -> Removable:
    """Return how much could go now."""
    fitting, count = _first_fitting(stored, policy), len(stored)
    cut = _first_young(stored, fitting, policy.max_age_seconds, removal.now)
    first, held_back = capped(sum(cut), count, sum(fitting), removal)
    if held_back:
        cut = stored.last_records(count - first)
    return Removable(first, stored.bytes_before(cut), count, stored.size)


def _first_fitting(stored: KindSequence, policy: RetentionPolicy) -> Cut:
    first = stored.start
    if policy.max_records is not None:
        first = stored.last_records(policy.max_records)
    if policy.max_total_bytes is not None:
        first = later(first, stored.last_bytes(policy.max_total_bytes))
    return first


def _first_young(stored: KindSequence, fitting: Cut, max_age: float | None, now: float) -> Cut:
    """Return where an `AgeWalk` from ``fitting`` on ends: after the last old one before the first young."""
    if max_age is None:
        return fitting
    if max_age == 0:
        return stored.end
    cutoff = now - max_age
    young = _first_between(stored, fitting, cutoff, now)
    for stretch in stored.stretches(fitting, young, until=cutoff, is_backward=True):
        for at, time in enumerate(stretch.times(stored.kind)):
            if time < cutoff:
                number, spot = stretch.spot(at)
                return stored.cut_after(number, stored.place_of(number, spot))
    return fitting


def _first_between(stored: KindSequence, first: Cut, cutoff: float, now: float) -> Cut:
    """Return the cut before the first record that is neither old nor of a time that is yet to come."""
    for stretch in stored.stretches(first, stored.end, since=cutoff, until=nextafter(now, inf)):
        for at, time in enumerate(stretch.times(stored.kind)):
            if cutoff <= time <= now:
                number, spot = stretch.spot(at)
                return stored.cut_before(number, stored.place_of(number, spot))
    return stored.end
