"""What the writer of a file and that of a folder share: a lock, syncs by a clock, and an end for good."""

from __future__ import annotations

import logging
import os
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from papyra.exceptions import StoreFailedError
from papyra.persistence._files.fs import store_error
from papyra.persistence._files.mounts import doubt_about

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from papyra.persistence._files.folder import Folder
    from papyra.persistence._files.known import KnownIdentities
    from papyra.persistence._files.lock import StoreLock
    from papyra.persistence._files.quarantine import Quarantine
    from papyra.persistence._files.scan import Place
    from papyra.persistence.entries import Entry
    from papyra.persistence.state import StateTracker

Where = TypeVar("Where", "Place", "Folder")

_log = logging.getLogger(__name__)


class LockedWriter(ABC, Generic[Where]):
    """Holds the lock from the first use until `close`, or until a fault after which nothing is written."""

    _copied: ClassVar[str]
    """What the next writer copies after such a fault."""

    def __init__(
        self,
        find: Callable[[], Where],
        quarantine: Callable[[Place], Quarantine],
        *,
        must_be_durable: bool,
        interval_seconds: float,
        state: StateTracker,
    ) -> None:
        self._find: Callable[[], Where] = find
        self._quarantine = quarantine
        self._must_be_durable = must_be_durable
        self._interval_seconds = interval_seconds
        self._state = state
        self._held: Where | None = None
        self._lock: StoreLock | None = None
        self._known: KnownIdentities | None = None
        self._failure = ""
        self._timer: threading.Timer | None = None
        self._is_late = False
        """Whether the last sync by the clock was told to have failed."""
        self._guard = threading.RLock()  # against the timer's thread
        self._pid = os.getpid()

    @abstractmethod
    def drop(self) -> None:
        """Make durable what was written, and close what is open, which may then be rewritten."""

    @abstractmethod
    def _sync_all(self) -> None:
        """Make durable what was written."""

    @abstractmethod
    def _abandon(self) -> None:
        """Close what is open as it is."""

    def _hold(self) -> Where:
        if self._failure:
            raise StoreFailedError(self._failure)
        if self._held is None:
            try:
                self._held = self._take()
            except BaseException:
                self._abandon()
                self._release()
                raise
        return self._held

    @abstractmethod
    def _take(self) -> Where:
        """Take the lock and look at what is there."""

    def _keep_lock(self) -> Where:
        """Hold the lock, anew where its file was deleted: another one may have written meanwhile."""
        where = self._hold()
        if self._lock is not None and self._lock.is_lost:
            self._refuse_others(where)
            self._lock.regain(where.clock.now())
            self.drop()
            self._remember(where)
        return where

    @abstractmethod
    def _refuse_others(self, where: Where) -> None:
        """Raise while one writes that does not hold this lock."""

    @abstractmethod
    def _remember(self, where: Where) -> None:
        """Look anew at what is stored."""

    def _look_at_mount(self, where: Where, kind: str) -> None:
        doubt = doubt_about(kind, must_be_durable=self._must_be_durable)
        if doubt:
            _log.warning("%s: %s", where.path, doubt)

    def adopt(self, entries: Sequence[Entry]) -> None:
        """Remember lines that stand in a file now."""
        assert self._known is not None  # noqa: S101  # _take() made it
        self._known.add(entries)

    def _sync_soon(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(self._interval_seconds, self._sync_now)
            self._timer.daemon = True
            self._timer.start()

    def _sync_now(self) -> None:
        with self._guard:
            self._timer = None
            try:
                self._sync_all()
            except (StoreFailedError, OSError) as error:
                _log.exception("what was acknowledged since the last sync may be lost")
                if isinstance(error, OSError):
                    self._is_late = True
                    self._state.failed(store_error(error, self._find().path))
                    self._sync_soon()
            else:
                if self._is_late:
                    self._is_late = False
                    self._state.succeeded()

    def _fail(self, error: BaseException, *, doubtful_from: int = 0) -> StoreFailedError:
        """End the writer, for an error after which its files are in doubt; returns what to raise."""
        self._failure = (
            f"{self._find().path}: {error}: nothing more is written; check the disk, then open the store "
            f"anew (the next writer copies {self._copied} before it adds to it)"
        )
        self._abandon()
        if self._lock is not None and self._held is not None:
            self._lock.doubt(doubtful_from, self._held.clock.now())
        self._release()
        failure = StoreFailedError(self._failure)
        self._state.ended(failure)
        return failure

    def _release(self) -> None:
        lock, self._lock, self._held = self._lock, None, None
        if lock is not None:
            self._let_go_of(lock)

    def _let_go_of(self, lock: StoreLock) -> None:
        lock.release()

    def close(self) -> None:
        """Make everything durable and let the next writer in. In a forked child nothing is touched."""
        if self._pid != os.getpid():
            return
        with self._guard:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            try:
                self._finish()
            finally:
                self._abandon()
                self._release()

    def _finish(self) -> None:
        """Do what is to be done at the end."""
        self.drop()
