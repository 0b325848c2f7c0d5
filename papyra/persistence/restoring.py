"""Put records back that lie in quarantine, and prove what a store holds; both read it all first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

from papyra.exceptions import AppendError, ConfigurationError, PersistenceError, RecoveryError
from papyra.persistence.census import Census, Fingerprint
from papyra.persistence.entries import Entry
from papyra.persistence.models import (
    EventType,
    LossNote,
    PersistedEvent,
    PersistenceAnomalyType,
    PersistenceRecoveryConfig,
    PersistenceRecoveryMode,
    Record,
    RecordId,
    RecordKind,
    ScanDepth,
    Severity,
)
from papyra.persistence.quarantined import Fate, Judge, KeepsQuarantine, QuarantineEntry
from papyra.persistence.query import DEFAULT_LIMIT, Progress, RecordQuery

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from papyra.persistence.backend import PersistenceBackend
    from papyra.persistence.models import PersistenceScanReport, StoreStats
    from papyra.persistence.quarantined import QuarantinePage
    from papyra.persistence.query import ProgressCallback
    from papyra.persistence.retention import RetentionPolicy

    Keep = Callable[[bytes], None]

ALL = "all"
MAX_LISTED = 1000

_NOTES = frozenset({EventType.RECORDS_LOST.value, EventType.RECORDS_DROPPED.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryReport:
    """One entry, and how many of its records have which fate; ``unreadable_bytes`` are no record."""

    entry: QuarantineEntry
    fates: Mapping[Fate, int]
    unreadable_bytes: int
    restored: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreReport:
    """What lies in quarantine and what was put back; the first thousand entries, all of them counted."""

    entries: tuple[EntryReport, ...]
    listed: int
    fates: Mapping[Fate, int]
    restored: int
    refused: int
    damaged_entries: int
    exported_bytes: int
    unreadable_bytes: int
    dry_run: bool
    rescan: PersistenceScanReport | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenKind:
    """What was read of one kind: equal fingerprints, equal records."""

    records: int = 0
    bytes: int = 0
    oldest: float | None = None
    newest: float | None = None
    fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What a store holds, proven.

    ``unread`` records are counted by the store and not among those read, of kinds that no retention limits.
    """

    scan: PersistenceScanReport
    kinds: Mapping[RecordKind, ProvenKind]
    incarnations: int
    unread: int
    losses: tuple[LossNote, ...]
    lost_records: int
    quarantine: RestoreReport | None

    @property
    def is_proven(self) -> bool:
        """Whether everything is there that should be."""
        is_intact = self.quarantine is None or not self.quarantine.damaged_entries
        return not self.scan.has_anomalies and self.unread == 0 and is_intact


async def verify(
    backend: PersistenceBackend, *, folder: str | None = None, progress: ProgressCallback | None = None
) -> VerifyReport:
    """Scan every byte, decode every record, set them against loss notes and quarantine; changes nothing."""
    before = await backend.stats()
    scan = await backend.scan(ScanDepth.FULL, progress=progress)
    inventory = await _Inventory.of(backend, progress)
    kinds = inventory.kinds()
    unread = _unread(kinds, (before, await backend.stats()), backend.retention)
    quarantine = None
    if isinstance(backend, KeepsQuarantine):
        work = _Restoring(backend, backend, inventory.judge(), folder, dry_run=True)
        quarantine = await work.run({ALL})
    return VerifyReport(
        scan=scan,
        kinds=kinds,
        incarnations=len(inventory.incarnations),
        unread=unread,
        losses=tuple(inventory.notes[:MAX_LISTED]),
        lost_records=sum(note.last - note.first + 1 for note in inventory.notes),
        quarantine=quarantine,
    )


def _unread(
    kinds: Mapping[RecordKind, ProvenKind], counted: Sequence[StoreStats], retention: RetentionPolicy
) -> int:
    """Count what the store holds, all the time, and reads do not show; retention may hide some of a kind."""
    if any(stats.is_estimate for stats in counted):
        return 0
    unread = 0
    for kind in counted[0].kinds:
        policy = retention.for_kind(kind)
        if (policy.max_records, policy.max_age_seconds, policy.max_total_bytes) == (None, None, None):
            unread += max(min(stats.kinds[kind].records for stats in counted) - kinds[kind].records, 0)
    return unread


async def restore(  # each has a default that does
    backend: PersistenceBackend,
    names: Collection[str] = (),
    *,
    folder: str | None = None,
    keep: Keep | None = None,
    dry_run: bool = False,
    progress: ProgressCallback | None = None,
) -> RestoreReport:
    """Put the records of the entries ``names`` back where they are missing; without names only look.

    What cannot go back is given to ``keep``. Nothing leaves quarantine, so it can be done again. Raises
    `RecoveryError` on a store that needs a recovery first, `ConfigurationError` for a name that is none.
    """
    if not isinstance(backend, KeepsQuarantine):
        raise ConfigurationError(f"the {backend.name} store has no quarantine that can be listed")
    if names and not dry_run:
        _refuse_damaged(await backend.scan(ScanDepth.FULL, progress=progress))
    inventory = await _Inventory.of(backend, progress)
    work = _Restoring(backend, backend, inventory.judge(), folder, dry_run=dry_run or not names, keep=keep)
    report = await work.run(set(names) or {ALL})
    if not names or dry_run:
        return report
    rescan = await backend.scan(ScanDepth.FULL, progress=progress)
    if PersistenceAnomalyType.OUT_OF_ORDER in rescan.counts:  # what came back stands behind later ones
        await backend.recover(PersistenceRecoveryConfig(PersistenceRecoveryMode.REPAIR), progress=progress)
        rescan = await backend.scan(ScanDepth.FULL, progress=progress)
    return replace(report, rescan=rescan)


def _refuse_damaged(scan: PersistenceScanReport) -> None:
    types = set(scan.counts) - {PersistenceAnomalyType.OUT_OF_ORDER}
    damage = sorted(type_.value for type_ in types if type_.severity is Severity.DAMAGE)
    if damage:
        raise RecoveryError(
            f"the store is damaged ({', '.join(damage)}): recover it first, then restore; nothing was changed"
        )


class _Tally:
    """Adds up the records of one kind."""

    def __init__(self) -> None:
        self.records = self.bytes = 0
        self.oldest, self.newest = inf, -inf

    def add(self, timestamp: float, size: int) -> None:
        self.records += 1
        self.bytes += size
        self.oldest = min(self.oldest, timestamp)
        self.newest = max(self.newest, timestamp)


class _Inventory:
    """Everything that reads give."""

    def __init__(self) -> None:
        self.census = Census()
        self.incarnations: set[str] = set()
        self.notes: list[LossNote] = []
        self._oldest: dict[str, float] = {}
        self._tallies = {kind: _Tally() for kind in RecordKind}
        self._prints = {kind: Fingerprint() for kind in RecordKind}

    @classmethod
    async def of(cls, backend: PersistenceBackend, progress: ProgressCallback | None) -> _Inventory:
        found = cls()
        for kind in RecordKind:
            query = RecordQuery(kind=kind, newest_first=False, limit=DEFAULT_LIMIT)
            while True:
                page = await backend.read(query)
                for record in page.records:
                    found._add(record)
                found._tell(progress)
                if page.cursor is None:
                    break
                query = replace(query, cursor=page.cursor)
        return found

    def _add(self, record: Record) -> None:
        entry = Entry.of(record)
        kind = record.kind
        if record.seq:
            identity = RecordId(record.incarnation, kind.value, record.seq)
            self.census.add(identity, entry.checksum)
            self._prints[kind].add(identity, entry.checksum)
            self.incarnations.add(record.incarnation)
        self._oldest.setdefault(kind.value, record.timestamp)
        self._tallies[kind].add(record.timestamp, entry.size)
        if isinstance(record, PersistedEvent) and record.event_type in _NOTES:
            note = LossNote.from_payload(record.payload)
            if note is not None:
                self.notes.append(note)

    def _tell(self, progress: ProgressCallback | None) -> None:
        if progress is not None:
            size = sum(tally.bytes for tally in self._tallies.values())
            progress(Progress(records=self.census.records, bytes=size, total_bytes=0))

    def judge(self) -> Judge:
        return Judge(self.census, self._oldest)

    def kinds(self) -> dict[RecordKind, ProvenKind]:
        return {
            kind: ProvenKind(
                records=tally.records,
                bytes=tally.bytes,
                oldest=tally.oldest if tally.records else None,
                newest=tally.newest if tally.records else None,
                fingerprint=str(self._prints[kind]),
            )
            for kind, tally in self._tallies.items()
        }


class _Restoring:
    def __init__(  # what it was told
        self,
        backend: PersistenceBackend,
        quarantine: KeepsQuarantine,
        judge: Judge,
        folder: str | None,
        *,
        dry_run: bool,
        keep: Keep | None = None,
    ) -> None:
        self._backend = backend
        self._quarantine = quarantine
        self._judge = judge
        self._folder = folder
        self._dry_run = dry_run
        self._keep = keep
        self._exported = self._refused = 0

    async def run(self, names: set[str]) -> RestoreReport:
        reports: list[EntryReport] = []
        fates: Counter[Fate] = Counter()
        seen = restored = damaged = unreadable = 0
        found: set[str] = set()
        async for entry in self._quarantine.quarantined(self._folder):
            if ALL not in names and entry.name not in names:
                continue
            found.add(entry.name)
            report = await self._take(entry)
            seen += 1
            restored += report.restored
            damaged += not entry.is_intact
            unreadable += report.unreadable_bytes
            fates.update(report.fates)
            if len(reports) < MAX_LISTED:
                reports.append(report)
        unknown = sorted(names - found - {ALL})
        if unknown:
            raise ConfigurationError(f"nothing in quarantine is called {', '.join(unknown)}")
        return RestoreReport(
            entries=tuple(reports),
            listed=seen,
            fates=dict(fates),
            restored=restored,
            refused=self._refused,
            damaged_entries=damaged,
            exported_bytes=self._exported,
            unreadable_bytes=unreadable,
            dry_run=self._dry_run,
        )

    async def _take(self, entry: QuarantineEntry) -> EntryReport:
        fates: Counter[Fate] = Counter()
        unreadable = restored = 0
        async for page in self._quarantine.read_quarantined(entry, self._folder):
            batch, others = self._sort(page, fates)
            restored += await self._put(batch)
            unreadable += sum(map(len, page.rest))
            for text in (*others, *page.rest):
                self._export(text)
        return EntryReport(entry=entry, fates=dict(fates), unreadable_bytes=unreadable, restored=restored)

    def _sort(
        self, page: QuarantinePage, fates: Counter[Fate]
    ) -> tuple[list[tuple[Record, bytes]], list[bytes]]:
        batch, others = [], []
        for record, line in page.records:
            checksum = _checksum(record)
            fate = Fate.CONFLICTING if checksum is None else self._judge.fate(record, checksum)
            fates[fate] += 1
            if fate is Fate.RESTORABLE and checksum is not None:
                self._judge.count_in(record, checksum)
                batch.append((record, line))
            elif fate is not Fate.PRESENT:
                others.append(line)
        return batch, others

    async def _put(self, batch: list[tuple[Record, bytes]]) -> int:
        if self._dry_run or not batch:
            return 0
        try:
            await self._backend.append([record for record, _ in batch])
        except AppendError as error:
            self._refused += len(error.refused)
            for position, _ in error.refused:
                self._export(batch[position][1])
            return len(batch) - len(error.refused)
        return len(batch)

    def _export(self, text: bytes) -> None:
        if self._keep is not None and not self._dry_run:
            self._keep(text)
            self._exported += len(text)


def _checksum(record: Record) -> int | None:
    try:
        return Entry.of(record).checksum
    except PersistenceError:
        return None
