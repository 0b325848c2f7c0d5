"""One of several writers of a folder: families of its own; the store's lock for what is everybody's."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from papyra.clock import mint_incarnation
from papyra.exceptions import StoreLockedError
from papyra.persistence._files.families import FamiliesWriter
from papyra.persistence._files.family import InDoubtError
from papyra.persistence._files.folder import ends_of, store_lock, writer_lock
from papyra.persistence._files.sealed import SegmentScan
from papyra.persistence._files.segments import writer_lock_name
from papyra.persistence._files.setscan import SetScan, scan_set
from papyra.persistence.models import RecordKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from papyra.persistence._files.folder import Folder, Segment
    from papyra.persistence._files.lock import StoreLock
    from papyra.persistence._files.scan import OnRecord
    from papyra.persistence.models import ScanDepth
    from papyra.persistence.query import ProgressCallback

_PATIENCE = 50  # tries of a tenth of a second, while another one does the same
_log = logging.getLogger(__name__)


class SharedWriter(FamiliesWriter):
    """Holds ``writer.<incarnation>.lock`` as long as it lives; its families are sealed when it closes."""

    def _locked(self, folder: Folder) -> StoreLock:
        self._writer = mint_incarnation(folder.clock.now())
        lock = writer_lock(folder, self._writer)
        lock.acquire()
        try:
            lock.sign(folder.clock.now())
            self._refuse_others(folder)
            self._renew_doubtful(folder)
            self._store = self._store_id(folder)
            if not self._store:
                self._found(folder)
        except BaseException:
            lock.remove()
            raise
        return lock

    def _refuse_others(self, folder: Folder) -> None:
        store_lock(folder).refuse_exclusive()

    def _renew_doubtful(self, folder: Folder) -> None:
        """Write anew what writers left whose syncs failed: it is read, so it is known, and has to last."""
        for writer in folder.listing().writers:
            lock = writer_lock(folder, writer)
            if lock.doubtful_from() is None:
                continue
            with self._holding(folder, tries=_PATIENCE):
                try:
                    if lock.acquire() is not None:  # nobody else has done it meanwhile
                        self._renew(folder, writer)
                except BaseException:
                    lock.release()
                    raise
                lock.remove()

    def _lock_path(self, folder: Folder) -> Path:
        return folder.path / f"{writer_lock_name(self._writer)}.lock"

    def _found(self, folder: Folder) -> None:
        """Begin the first segment of all, so that those who come next find the store's id."""
        with self._holding(folder, tries=_PATIENCE):
            self._store = self._store_id(folder)
            if not self._store:
                self._store = mint_incarnation(folder.clock.now())
                self._family(folder, RecordKind.EVENT).begin()

    @contextmanager
    def _holding(self, folder: Folder, *, tries: int = 1) -> Iterator[None]:
        lock = store_lock(folder)
        while not lock.is_held:
            tries -= 1
            try:
                lock.acquire()
            except StoreLockedError:
                if not tries:
                    raise
        try:
            lock.sign(folder.clock.now(), is_beside_writers=True)
            yield
        finally:
            lock.release()

    @contextmanager
    def maintaining(self) -> Iterator[None]:
        """Hold the store's lock, for what is done to the files of writers that are gone."""
        folder = self._keep_lock()
        with self._holding(folder, tries=_PATIENCE):
            yield
            self._tidy(folder)

    def is_other(self, folder: Folder, family: str) -> bool:
        """Whether another living writer writes to this family."""
        writer = family.partition(".")[2]
        return writer != self._writer and writer_lock(folder, writer).is_held_by_anybody()

    def scan(
        self, depth: ScanDepth, progress: ProgressCallback | None, on_record: OnRecord | None = None
    ) -> SetScan:
        folder = self._keep_synced()

        def is_held(family: str) -> bool:
            return bool(family) and self.is_other(folder, family)

        scan = scan_set(
            folder, depth, progress, is_live=is_held, is_held=is_held, on_record=on_record, counts=True
        )
        for file in scan.files:
            if isinstance(file, SegmentScan) and file.name.writer != self._writer:
                file.may_be_dropped = not file.is_held
        return scan

    def _drop_oldest(self, folder: Folder, kind: str) -> None:
        try:
            with self._holding(folder):
                super()._drop_oldest(folder, kind)
                self._tidy(folder)
        except StoreLockedError:  # somebody else is at it
            self._family(folder, kind).has_rotated = True

    def _oldest(self, folder: Folder, segments: list[Segment]) -> list[Segment]:
        newest = {segment.name.family: segment for segment in segments}
        ages: dict[str, float] = {}
        droppable = []
        for segment in segments:
            family = segment.name.family
            _, footer = ends_of(folder.place_of(segment.name))
            age = segment.modified if footer is None or footer.newest is None else footer.newest
            ages[family] = max(ages.get(family, age), age)
            is_active = segment is newest[family] and family.partition(".")[2] == self._writer
            if not is_active and not self.is_other(folder, family):
                droppable.append((ages[family], segment.name, segment))
        return [segment for _, _, segment in sorted(droppable)[: self._excess(segments)]]

    def _tidy(self, folder: Folder) -> None:
        """Remove the locks of writers that are gone and have left nothing."""
        listing = folder.listing()
        writers = {segment.name.writer for segment in listing.segments}
        for writer in listing.writers:
            lock = writer_lock(folder, writer)
            if writer not in writers and writer != self._writer and not lock.is_held_by_anybody():
                lock.remove()

    def _finish(self) -> None:
        try:
            for family in self._families.values():
                family.seal()
        except OSError as error:  # a family without a footer at its end is as good
            _log.warning("%s: not sealed: %s", self._find().path, error)
        except InDoubtError as doubt:
            raise self._fail(doubt) from doubt
        super()._finish()

    def _let_go_of(self, lock: StoreLock) -> None:
        if self._failure:  # it tells those who come next
            lock.release()
        else:
            lock.remove()
