"""The store's one ordered place: numbers are given here, in the order in which rows are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from django_papyra._sql.insert import Inserter
from django_papyra.mapping import stored
from papyra.exceptions import StoreFailedError
from papyra.persistence.models import RecordKind
from papyra.persistence.own import OwnRecords

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_papyra._sql.connection import Session
    from papyra.clock import Clock
    from papyra.persistence.base import Refused
    from papyra.persistence.entries import Entry, WriterIdentity

Value = TypeVar("Value")


class Writing:
    """Writes batches and runs the steps of maintenance, one at a time, in the thread of its place."""

    def __init__(self, alias: str, identity: WriterIdentity, clock: Clock) -> None:
        self._alias = alias
        self._identity = identity
        self._fresh = identity.mark()
        self._failure: BaseException | None = None
        self.own = OwnRecords(identity, clock)
        self.inserter = Inserter(alias, self.own.loss, clock.now)

    def fail(self, error: BaseException) -> None:
        """Refuse everything from now on: the medium, or our own code, cannot be trusted."""
        self._failure = error

    def forget_undone(self, session: Session) -> None:
        """Begin a new incarnation where a caller's rollback took records back: their numbers are missing."""
        if session.run(self._is_undone):
            self._identity.rewind(self._fresh)

    def _is_undone(self) -> bool:
        for kind in RecordKind:
            following = self._identity.next(kind.value)
            last = stored(kind, self._alias).filter(incarnation=following.incarnation, seq=following.seq - 1)
            if following.seq > 1 and not last.exists():
                return True
        return False

    def write(self, session: Session, batches: Sequence[list[Entry]]) -> list[Refused]:
        """Commit the entries of all ``batches`` and return what is refused of each."""
        self._check()
        entries = [entry for batch in batches for entry in batch]
        self._identity.encode(entries)
        refused = self.run(session, lambda: self.inserter.store(entries))
        divided: list[Refused] = []
        start = 0
        for batch in batches:
            stop = start + len(batch)
            divided.append([(at - start, error) for at, error in refused.items() if start <= at < stop])
            start = stop
        return divided

    def run(self, session: Session, work: Callable[[], Value]) -> Value:
        """Return what ``work`` returns, which may take numbers for records of its own.

        After a failure nobody knows which numbers are stored: the next record begins a new incarnation, so
        that none is given twice and none is missing.
        """
        self._check()
        before = self._identity.mark()

        def attempt() -> Value:
            if self._identity.mark() != before:
                self._identity.rewind(self._fresh)
            return work()

        is_done = False
        try:
            value = session.run(attempt)
            is_done = True
        except StoreFailedError as error:
            self.fail(error)
            raise
        finally:
            if not is_done:
                self._identity.rewind(self._fresh)
        return value

    def _check(self) -> None:
        if self._failure is not None:
            raise StoreFailedError(f"database {self._alias!r} failed before: {self._failure}")
