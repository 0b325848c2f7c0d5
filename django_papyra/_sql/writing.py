"""The store's one ordered place: numbers are given here, in the order in which rows are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from django_papyra._sql.insert import Inserter
from django_papyra.mapping import stored
from papyra.exceptions import StoreFailedError
from papyra.persistence.models import RecordKind
from papyra.persistence.own import OwnRecords

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from django_papyra._sql.connection import Session
    from django_papyra._sql.insert import Refusals
    from papyra.clock import Clock
    from papyra.exceptions import PersistenceError
    from papyra.persistence.base import Refused
    from papyra.persistence.entries import Entry, WriterIdentity

    Store = Callable[[Sequence[Entry]], Mapping[int, PersistenceError]]
    """Numbers entries, keeps them, and returns those refused for good, by position."""

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

    def insert(self, session: Session, entries: Sequence[Entry]) -> Refusals:
        """Commit ``entries``, which have their numbers; returns those refused for good, by position."""
        return self.run(session, lambda: self.inserter.store(entries))

    def write(self, store: Store, batches: Sequence[list[Entry]]) -> list[Refused]:
        """Have ``store`` number and keep the entries of all ``batches``; return what is refused of each."""
        self._check()
        refused = store([entry for batch in batches for entry in batch])
        divided: list[Refused] = []
        start = 0
        for batch in batches:
            stop = start + len(batch)
            divided.append([(at - start, error) for at, error in refused.items() if start <= at < stop])
            start = stop
        return divided

    def write_now(self, session: Session, entries: list[Entry]) -> Refused:
        """Give ``entries`` their numbers and commit them."""

        def store(entries: Sequence[Entry]) -> Refusals:
            with self._identity.renewed_on_failure():
                self._identity.encode(entries)
                return self.insert(session, entries)

        return self.write(store, [entries])[0]

    def run(self, session: Session, work: Callable[[], Value]) -> Value:
        """Return what ``work`` returns, which may take numbers for records of its own.

        After a failure nobody knows which numbers are stored: the next record begins a new incarnation.
        """
        self._check()
        before = self._identity.mark()

        def attempt() -> Value:
            if self._identity.mark() != before:
                self._identity.rewind(self._fresh)
            return work()

        with self._identity.renewed_on_failure():
            try:
                return session.run(attempt)
            except StoreFailedError as error:
                self.fail(error)
                raise

    def _check(self) -> None:
        if self._failure is not None:
            raise StoreFailedError(f"database {self._alias!r} failed before: {self._failure}")
