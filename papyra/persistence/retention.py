"""Decide which records may go. Pure: the caller brings the clock and does the deleting."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from papyra.persistence.models import RecordKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

CLOCK_TOLERANCE_SECONDS = 300.0
"""A wall clock that drifts or is set by less is followed at once."""

BELIEVED_AFTER_SECONDS = 24 * 3600.0
"""A wall clock that jumped and went on so long from there is believed."""

LEAST_SHARE = 0.1


class Storable(Protocol):
    """What retention has to know of one stored record."""

    @property
    def timestamp(self) -> float:
        """The record's own time."""
        ...

    @property
    def size(self) -> int:
        """How many bytes it takes in the store."""
        ...


class Stored(NamedTuple):
    """Just that."""

    timestamp: float
    size: int


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How much history each kind keeps; ``None`` means no limit, ``0`` keep none.

    The limits hold for each kind by itself, over the whole store; a nested policy replaces them for its kind.
    Bytes are stored bytes. Age is the record's own time, clamped to now; see `AgeWalk`.
    """

    max_records: int | None = None
    max_age_seconds: float | None = None
    max_total_bytes: int | None = None
    _: KW_ONLY
    events: RetentionPolicy | None = None
    audits: RetentionPolicy | None = None
    dead_letters: RetentionPolicy | None = None

    def __post_init__(self) -> None:
        for name in ("max_records", "max_total_bytes"):
            limit = getattr(self, name)
            if limit is not None and (type(limit) is not int or limit < 0):
                raise ValueError(f"{name} must be 0 or more (None: no limit), not {limit!r:.50}")
        age: object = self.max_age_seconds
        if age is not None and not (isinstance(age, int | float) and age >= 0):  # also refuses NaN
            raise ValueError(f"max_age_seconds must be 0 or more (None: no limit), not {age!r:.50}")
        for name in ("events", "audits", "dead_letters"):
            nested: RetentionPolicy | None = getattr(self, name)
            if nested is not None and not isinstance(nested, RetentionPolicy):
                raise ValueError(f"the policy for {name} must be a RetentionPolicy, not {nested!r:.50}")
            if nested is not None and (nested.events or nested.audits or nested.dead_letters):
                raise ValueError(f"the policy for {name} cannot hold policies of its own")

    def for_kind(self, kind: RecordKind) -> RetentionPolicy:
        """Return the limits that hold for ``kind``."""
        match kind:
            case RecordKind.EVENT:
                return self.events or self
            case RecordKind.AUDIT:
                return self.audits or self
            case RecordKind.DEAD_LETTER:
                return self.dead_letters or self

    @property
    def is_unlimited(self) -> bool:
        """Whether no kind has any limit."""
        return all(
            policy.max_records is None and policy.max_age_seconds is None and policy.max_total_bytes is None
            for policy in (self.for_kind(kind) for kind in RecordKind)
        )


UNLIMITED = RetentionPolicy()


def first_kept(stored: Sequence[Storable], policy: RetentionPolicy, *, now: float) -> int:
    """Return the index of the oldest record to keep of one kind, in store order.

    The kept records are always the newest run, so the answer is one number that every backend can act on:
    a list slice, an ``XTRIM MINID``, a ``DELETE … id <``. Only what has to be looked at is looked at.
    """
    fitting = first_fitting(stored, policy)
    # Last: clocks may step back, so age is not sorted.
    return AgeWalk().first_kept(
        len(stored), lambda at: stored[at].timestamp, fitting, policy.max_age_seconds, now
    )


def first_fitting(stored: Sequence[Storable], policy: RetentionPolicy) -> int:
    """Return the index from which on count and bytes are within their limits."""
    first = 0
    if policy.max_records is not None:
        first = max(first, len(stored) - policy.max_records)
    if policy.max_total_bytes is None:
        return first
    budget, fitting = policy.max_total_bytes, len(stored)
    while fitting > first and stored[fitting - 1].size <= budget:
        fitting -= 1
        budget -= stored[fitting].size
    return fitting


class AgeWalk:
    """Where age cuts one growing history, for whoever asks again and again: what was seen is not seen again.

    A record whose time is yet to come is as old as those behind it, so that it holds nothing up; with nothing
    old behind it, it is new. The answer is the same as without a memory, whatever the clock does.
    """

    def __init__(self) -> None:
        self._begin(0)

    def _begin(self, start: int) -> None:
        self._start = self._first = self._seen = start
        self._newest_old, self._next_to_come = float("-inf"), float("inf")

    def first_kept(
        self, count: int, time_of: Callable[[int], float], fitting: int, max_age: float | None, now: float
    ) -> int:
        """Return the index of the oldest of ``count`` records to keep, at least ``fitting``."""
        if max_age is None:
            return fitting
        if max_age == 0:
            return count
        cutoff = now - max_age
        has_seen_it = self._start <= fitting <= self._seen
        if not has_seen_it or cutoff <= self._newest_old or now >= self._next_to_come:
            self._begin(fitting)
        for at in range(self._seen, count):
            time = time_of(at)
            if time < cutoff:
                self._newest_old = max(self._newest_old, time)
                self._first = at + 1
            elif time > now:
                self._next_to_come = min(self._next_to_come, time)
            else:
                break
            self._seen = at + 1
        return max(self._first, fitting)

    def forget(self, count: int) -> None:
        """Hear that the oldest ``count`` are gone."""
        self._start, self._first, self._seen = (
            max(at - count, 0) for at in (self._start, self._first, self._seen)
        )

    def cut(self, count: int) -> None:
        """Hear that all but the oldest ``count`` are gone, or in another place."""
        if count < self._seen:
            self._begin(0)


class Course(NamedTuple):
    """What is believed of a wall clock: how far it is ahead of the monotonic one, and where it jumped to."""

    offset: float
    jumped_to: float | None = None
    since: float = 0.0


def trusted_now(course: Course, *, wall: float, monotonic: float) -> tuple[Course, float]:
    """Return the time by which records may be removed for good, and the course to ask with the next time.

    A clock that jumped forward makes nothing older than the monotonic clock says, one that jumped back
    nothing older than it says itself, until it has gone on from there for `BELIEVED_AFTER_SECONDS`.
    """
    offset = wall - monotonic
    if abs(offset - course.offset) <= CLOCK_TOLERANCE_SECONDS:
        return Course(offset), wall
    if course.jumped_to is None or abs(offset - course.jumped_to) > CLOCK_TOLERANCE_SECONDS:
        course = Course(course.offset, offset, monotonic)
    elif monotonic - course.since >= BELIEVED_AFTER_SECONDS:
        return Course(offset), wall
    return course, min(wall, monotonic + course.offset)


class Removal(NamedTuple):
    """How far one removal for good may go: by which time, and which share of a kind for its age alone."""

    now: float
    max_share_by_age: float = 1.0


def first_staying(
    timestamps: Sequence[float], first_fitting: int, max_age_seconds: float | None, removal: Removal
) -> tuple[int, int]:
    """Return the index of the oldest record of one kind to stay, and how many more the cap held back.

    From ``first_fitting`` on, count and bytes are within their limits.
    """
    count = len(timestamps)
    first = AgeWalk().first_kept(count, timestamps.__getitem__, first_fitting, max_age_seconds, removal.now)
    return capped(first, count, first_fitting, removal)


def capped(first: int, count: int, first_fitting: int, removal: Removal) -> tuple[int, int]:
    """Return what `first_staying` does, where without a cap ``first`` of ``count`` records would go."""
    if removal.max_share_by_age >= 1:
        return first, 0
    most = max(first_fitting, int(count * removal.max_share_by_age), 1)
    return min(first, most), max(first - most, 0)


class Removable(NamedTuple):
    """How many records and bytes of one kind could go, of how many there are."""

    records: int
    size: int
    of_records: int
    of_size: int


def is_worth_removing(kinds: Iterable[Removable]) -> bool:
    """Whether so much could go that rewriting what stays is cheap beside it.

    That is half of everything; or half of one kind, which is then at twice its limit, if that is a tenth of
    everything.
    """
    found = [kind for kind in kinds if kind.of_records]
    total = sum(kind.of_size for kind in found)
    return any(
        kind.records and kind.records * 2 >= kind.of_records and kind.size >= total * LEAST_SHARE
        for kind in found
    ) or (0 < total <= 2 * sum(kind.size for kind in found))
