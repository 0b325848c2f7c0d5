"""Bring the records of one kind into a store that may hold some of them, and keep account of each."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, cast

from papyra.exceptions import AppendError, PersistenceError, RecordConflictError
from papyra.persistence.census import Census, Fingerprint
from papyra.persistence.copied import MAX_DIFFERENCES, CopiedKind, Difference
from papyra.persistence.entries import Entry
from papyra.persistence.integrity import Placement
from papyra.persistence.models import Record, RecordId, RecordKind
from papyra.persistence.ready import ReadyRun

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Put = Callable[[Sequence[Record]], Awaitable[None]]

_TURN_RECORDS = 100


class Transfer:
    """Takes the records of one kind in order; ``known`` is what the target holds of them already.

    Records without identity, as the published package wrote them, are numbered from the first on under an
    incarnation that is made of it: the same in every copy of the same history.
    """

    def __init__(
        self, kind: RecordKind, put: Put, known: Census, *, dry_run: bool, takes_ready_events: bool = False
    ) -> None:
        self.kind = kind
        self.new = Census()
        """What was put into the target, or with ``dry_run`` would be."""
        self.differences: list[Difference] = []
        self.resumed_after: RecordId | None = None
        self.selected = self.present = self.skipped = 0
        self._put = put
        self._known = known
        self._dry_run = dry_run
        self._takes_ready = takes_ready_events and kind is RecordKind.EVENT
        self._legacy = ""
        self._last_numbered = self._conflicting = self._refused = self._late = self._missing = 0
        self._source_print = Fingerprint()
        self._target_print = Fingerprint()

    @staticmethod
    def first_numbered(record: Record) -> Record:
        """Return ``record``, the oldest of its kind, with the identity it has in a copy."""
        if record.seq:
            return record
        try:
            content = Entry.of(record).body
        except PersistenceError:  # it will be refused; those after it are numbered all the same
            content = repr(record).encode(errors="backslashreplace")
        digest = blake2b(content, digest_size=8).hexdigest()
        return replace(record, incarnation=f"legacy-{digest}", seq=1)

    def _numbered(self, record: Record) -> Record:
        if record.seq:
            return record
        if not self._legacy:
            self._legacy = self.first_numbered(record).incarnation
        self._last_numbered += 1
        return replace(record, incarnation=self._legacy, seq=self._last_numbered)

    async def take(self, records: Sequence[Record], is_wanted: Callable[[Record], bool]) -> int:
        """Put those of ``records`` that are wanted and not there into the target; returns their bytes."""
        size = 0
        fresh: dict[RecordId, Entry] = {}
        for count, record in enumerate(records):
            named = self._numbered(record)
            if is_wanted(named):
                size += self._sift(named, fresh)
            if count % _TURN_RECORDS == _TURN_RECORDS - 1:
                await asyncio.sleep(0)
        if fresh:
            await self._store(list(fresh.values()))
        return size

    def _sift(self, record: Record, fresh: dict[RecordId, Entry]) -> int:
        self.selected += 1
        identity = RecordId(record.incarnation, record.kind.value, record.seq)
        try:
            entry = Entry.of(record)
        except PersistenceError as error:
            self._refused += 1
            self._differ("refused", identity, str(error))
            return 0
        there = self._known.checksum(identity)
        if there is None:
            there = fresh[identity].checksum if identity in fresh else self.new.checksum(identity)
        if there is None:
            fresh[identity] = entry
        elif there == entry.checksum:
            self._find_present(identity, there)
        else:
            self._conflict(identity)
        return entry.size

    def _find_present(self, identity: RecordId, checksum: int) -> None:
        self.present += 1
        self._source_print.add(identity, checksum)
        self._target_print.add(identity, checksum)

    def _conflict(self, identity: RecordId) -> None:
        self._conflicting += 1
        self._differ("conflicting", identity, "the target has another record under this identity")

    async def _store(self, entries: list[Entry]) -> None:
        refused: dict[int, PersistenceError] = {}
        if not self._dry_run:
            try:
                await self._put([self._crossing(entry) for entry in entries])
            except AppendError as error:
                refused = dict(error.refused)
        for position, entry in enumerate(entries):
            identity = RecordId(entry.incarnation, entry.kind, entry.seq)
            reason = refused.get(position)
            if reason is None:
                self._count_new(identity, entry.checksum)
            elif isinstance(reason, RecordConflictError):
                self._conflict(identity)
            else:
                self._refused += 1
                self._differ("refused", identity, str(reason))

    def _crossing(self, entry: Entry) -> Record:
        if not self._takes_ready:
            return entry.record
        run = ReadyRun(entry.seq, entry.incarnation, [entry.origin.timestamp], entry.line, [entry.checksum])
        return cast("Record", run)

    def _count_new(self, identity: RecordId, checksum: int) -> None:
        placement = self.new.add(identity, checksum)
        if placement is Placement.OUT_OF_ORDER or identity.seq < self._known.last_seq(identity):
            self._late += 1
        self._source_print.add(identity, checksum)
        if self._dry_run:
            self._target_print.add(identity, checksum)

    def compare(self, entry: Entry) -> bool:
        """Look at a record of the target; whether it is one that was put there."""
        identity = RecordId(entry.incarnation, entry.kind, entry.seq)
        expected = self.new.checksum(identity)
        if expected is not None:
            self._target_print.add(identity, entry.checksum)
            if expected != entry.checksum:
                self._conflict(identity)
        return expected is not None

    def miss(self, found: int) -> None:
        """Say that only ``found`` of the new records were read back."""
        self._missing = self.new.records - found
        if self._missing:
            detail = f"{self._missing} of {self.new.records} new records cannot be read back from the target"
            self._differ("missing", RecordId("", self.kind.value, 0), detail)

    def _differ(self, what: str, identity: RecordId, detail: str) -> None:
        if len(self.differences) < MAX_DIFFERENCES:
            self.differences.append(Difference(what=what, id=identity, detail=detail))

    def outcome(self) -> CopiedKind:
        """Return the account."""
        return CopiedKind(
            selected=self.selected + self.skipped,
            copied=self.new.records,
            present=self.present + self.skipped,
            conflicting=self._conflicting,
            refused=self._refused,
            missing=self._missing,
            late=self._late,
            numbered=self._last_numbered,
            compared=self.new.records + self.present,
            source_fingerprint=str(self._source_print),
            target_fingerprint=str(self._target_print),
            resumed_after=self.resumed_after,
        )
