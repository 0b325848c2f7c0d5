"""What can be asked of a store, as values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from papyra.exceptions import InvalidQueryError
from papyra.persistence.models import PersistedAudit, PersistedDeadLetter, PersistedEvent, Record, RecordKind

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_LIMIT = 1000
R_co = TypeVar("R_co", PersistedEvent, PersistedAudit, PersistedDeadLetter, Record, covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordQuery:
    """A page of one kind, in store order.

    ``actor`` matches an address, or a path when it begins with ``/``; for letters it is the target's.
    ``type`` is the event type, or a letter's message type. ``since`` is inclusive and ``until`` exclusive, in
    epoch seconds. ``cursor`` is a former page's, with the same filters and direction; it holds while records
    come and go.
    """

    kind: RecordKind
    limit: int = DEFAULT_LIMIT
    newest_first: bool = True
    cursor: str | None = None
    system_id: str | None = None
    incarnation: str | None = None
    actor: str | None = None
    type: str | None = None
    reason: str | None = None
    since: float | None = None
    until: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", RecordKind(self.kind))
        check_limit(self.limit, at_least=1)
        for name in ("since", "until"):
            if (time := getattr(self, name)) is not None and not math.isfinite(time):
                raise InvalidQueryError(f"{name} must be a finite time in epoch seconds, not {time!r}")

    @property
    def has_filter(self) -> bool:
        """Whether some records of this kind do not match."""
        return any(
            value is not None
            for value in (
                self.system_id,
                self.incarnation,
                self.actor,
                self.type,
                self.reason,
                self.since,
                self.until,
            )
        )

    def matches(self, record: Record) -> bool:
        """Whether ``record`` is of this kind and passes every filter."""
        return (
            record.kind is self.kind
            and (self.since is None or record.timestamp >= self.since)
            and (self.until is None or record.timestamp < self.until)
            and self.system_id in {None, record.system_id}
            and self.incarnation in {None, record.incarnation}
            and self._matches(_subject_of(record))
        )

    def _matches(self, subject: _Subject) -> bool:
        if self.actor is not None:
            actor = subject.path if self.actor.startswith("/") else subject.address
            if self.actor != actor:
                return False
        return self.type in {None, subject.type} and self.reason in {None, subject.reason}


def check_limit(limit: int, *, at_least: int) -> None:
    """Raise `InvalidQueryError` unless ``limit`` is a number of records."""
    if type(limit) is not int or limit < at_least:
        raise InvalidQueryError(f"limit must be {at_least} or more, not {limit!r:.50}")


class _Subject(NamedTuple):
    address: str | None
    path: str | None
    type: str | None
    reason: str | None


_NO_SUBJECT = _Subject(None, None, None, None)


def _subject_of(record: Record) -> _Subject:
    match record:
        case PersistedEvent():
            return _Subject(record.actor_address, record.actor_path, record.event_type, None)
        case PersistedDeadLetter():
            return _Subject(record.target, record.target_path, record.message_type, record.reason)
        case PersistedAudit():
            return _NO_SUBJECT


@dataclass(frozen=True, slots=True)
class Page(Generic[R_co]):
    """Records in the order asked for; ``cursor`` is ``None`` where nothing follows.

    ``end`` is a cursor behind everything that was looked at, whether something follows yet or not; ``None``
    where nothing is stored, or where the store gives none. It is good for any query of its kind, oldest
    first too, and is what `PersistenceBackend.follow` goes on from.
    """

    records: Sequence[R_co]
    cursor: str | None
    end: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a long task has come; ``total_bytes`` is what it knew at its start."""

    records: int
    bytes: int
    total_bytes: int


ProgressCallback = Callable[[Progress], None]
"""Called now and then from the working thread; raising out of it ends the task and changes nothing."""
