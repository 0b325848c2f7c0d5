"""Copy a history from one store to another: oldest first, identities kept, resumable, and read back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from papyra.persistence.carrying import Carrier
from papyra.persistence.census import Census
from papyra.persistence.copied import MAX_DIFFERENCES, CopyReport, CopySelection
from papyra.persistence.models import Record, RecordId, RecordKind, ScanDepth
from papyra.persistence.paging import Pages, Told, census_of, entries_of
from papyra.persistence.query import DEFAULT_LIMIT, RecordQuery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from papyra.persistence.backend import PersistenceBackend
    from papyra.persistence.models import StoreStats
    from papyra.persistence.query import ProgressCallback

_SETTLE_TRIES = 5
_EVERYTHING = CopySelection()


class RecordStream(Protocol):
    """What is read once, in one direction, such as a pipe."""

    @property
    def left_out(self) -> int:
        """How many lines so far were no record."""
        ...

    @property
    def unknown(self) -> int:
        """How many records so far are of a kind that only a newer version knows."""
        ...

    def pages(self) -> AsyncIterator[Sequence[Record]]:
        """Yield the records in order."""
        ...


class RecordSink(Protocol):
    """What takes records and cannot be read back, such as a pipe."""

    async def append(self, records: Sequence[Record]) -> None:
        """Take ``records``, each with its identity."""
        ...


async def copy(  # each has a default that does
    source: PersistenceBackend,
    target: PersistenceBackend,
    selection: CopySelection = _EVERYTHING,
    *,
    dry_run: bool = False,
    recheck: bool = False,
    progress: ProgressCallback | None = None,
) -> CopyReport:
    """Bring what ``source`` holds now into ``target``, and read back what was brought.

    A copy is gone on with by doing it again: each record goes under its own identity. Where the target holds
    just the beginning of the source, as counts and both ends tell, only what follows is read; ``recheck``
    compares all. Raises what the stores raise; what is copied by then stays.
    """
    before = await source.stats()
    scan = await source.scan(ScanDepth.FULL, progress=progress)
    told = Told(progress, _bytes(before, selection))
    carriers = []
    for kind in selection.kinds:
        job = _KindCopy(source, target, kind, selection, told, dry_run=dry_run)
        carriers.append(await job.run(recheck=recheck))
    seen = max(_records(before), _records(await source.stats()))
    return _report(
        carriers,
        CopyReport(
            kinds={},
            dry_run=dry_run,
            is_verified=True,
            scan=scan,
            unknown=max(scan.checked_records - seen, 0),
        ),
    )


async def export(
    source: PersistenceBackend,
    sink: RecordSink,
    selection: CopySelection = _EVERYTHING,
    *,
    dry_run: bool = False,
    progress: ProgressCallback | None = None,
) -> CopyReport:
    """Give what ``source`` holds now to ``sink``, one kind after the other."""
    before = await source.stats()
    scan = await source.scan(ScanDepth.FULL, progress=progress)
    told = Told(progress, _bytes(before, selection))
    carriers = []
    for kind in selection.kinds:
        carrier = Carrier(kind, sink.append, Census(), dry_run=dry_run)
        ends = await _Ends.of(source, kind)
        if ends is not None:
            await _send(source, ends.query(selection), carrier, selection, ends.newest, told)
        carriers.append(carrier)
    seen = max(_records(before), _records(await source.stats()))
    return _report(
        carriers,
        CopyReport(
            kinds={},
            dry_run=dry_run,
            is_verified=False,
            scan=scan,
            unknown=max(scan.checked_records - seen, 0),
        ),
    )


async def copy_stream(
    stream: RecordStream,
    target: PersistenceBackend,
    selection: CopySelection = _EVERYTHING,
    *,
    dry_run: bool = False,
    progress: ProgressCallback | None = None,
) -> CopyReport:
    """Bring what ``stream`` gives into ``target``, and read back what was brought."""
    told = Told(progress, 0)
    carriers = {}
    for kind in selection.kinds:
        known = await census_of(target, RecordQuery(kind=kind, newest_first=False), told)
        carriers[kind] = _carrier(target, kind, known, dry_run=dry_run)
    async for page in stream.pages():
        told.add(len(page), 0)
        for kind, carrier in carriers.items():
            await carrier.take([record for record in page if record.kind is kind], selection.includes)
    for carrier in carriers.values():
        await _read_back(target, carrier, told, dry_run=dry_run)
    return _report(
        carriers.values(),
        CopyReport(
            kinds={}, dry_run=dry_run, is_verified=True, unknown=stream.unknown, left_out=stream.left_out
        ),
    )


@dataclass(frozen=True, slots=True)
class _Ends:
    """The oldest record of one kind, and the newest when the copy began, which ends it."""

    oldest: Record
    newest: Record

    @classmethod
    async def of(cls, store: PersistenceBackend, kind: RecordKind) -> _Ends | None:
        oldest = await _end(store, kind, newest_first=False)
        newest = await _end(store, kind, newest_first=True)
        return None if oldest is None or newest is None else cls(oldest, newest)

    def query(self, selection: CopySelection) -> RecordQuery:
        kind = self.oldest.kind
        if not self.oldest.seq:  # records without identity have to be numbered from the first on
            return RecordQuery(kind=kind, newest_first=False)
        return RecordQuery(kind=kind, newest_first=False, since=selection.since, until=selection.until)


class _Count:
    """Takes records as a `Carrier` does, and only counts them."""

    def __init__(self) -> None:
        self.records = 0

    async def take(self, records: Sequence[Record], is_wanted: Callable[[Record], bool]) -> int:
        del is_wanted
        self.records += len(records)
        return sum(entry.size for entry in entries_of(records[:1])) * len(records)


class _KindCopy:
    """Copies one kind."""

    def __init__(  # what the copy was told
        self,
        source: PersistenceBackend,
        target: PersistenceBackend,
        kind: RecordKind,
        selection: CopySelection,
        told: Told,
        *,
        dry_run: bool,
    ) -> None:
        self._source = source
        self._target = target
        self._kind = kind
        self._selection = selection
        self._told = told
        self._dry_run = dry_run

    async def run(self, *, recheck: bool) -> Carrier:
        ends = await _Ends.of(self._source, self._kind)
        if ends is None:
            return self._carrier(Census())
        carrier = None
        if self._selection.is_unbounded and not recheck:
            carrier = await self._go_on(ends)
        if carrier is None:
            query = RecordQuery(
                kind=self._kind,
                newest_first=False,
                since=self._selection.since,
                until=self._selection.until,
            )
            carrier = self._carrier(await census_of(self._target, query, self._told))
            query = ends.query(self._selection)
            await self._send(query, carrier, ends)
        await _read_back(self._target, carrier, self._told, dry_run=self._dry_run)
        return carrier

    def _carrier(self, known: Census) -> Carrier:
        return _carrier(self._target, self._kind, known, dry_run=self._dry_run)

    async def _go_on(self, ends: _Ends) -> Carrier | None:
        """Copy only what follows the target's newest record; ``None`` where that may leave something out.

        For that the target has to begin with the source's oldest record, to end in one that the source has,
        and to hold as many as the source does up to there.
        """
        there = await _Ends.of(self._target, self._kind)
        if there is None:
            return None
        is_only_legacy = ends.oldest.seq == 0 and there.newest.incarnation == there.oldest.incarnation
        if is_only_legacy or not _is_same(there.oldest, Carrier.first_numbered(ends.oldest)):
            return None
        held = await self._target.stats()
        counted = await self._counted(ends)
        if counted is None or held.is_estimate or counted.is_estimate:
            return None
        rest = _Count()
        query = RecordQuery(kind=self._kind, newest_first=False, since=there.newest.timestamp)
        if not await self._send(query, rest, ends, after=there.newest):
            return None
        if held.kinds[self._kind].records + rest.records != counted.kinds[self._kind].records:
            return None
        carrier = self._carrier(Census())
        carrier.resumed_after = RecordId(there.newest.incarnation, self._kind.value, there.newest.seq)
        carrier.skipped = held.kinds[self._kind].records
        self._told.add(carrier.skipped, 2 * held.kinds[self._kind].bytes)
        await self._send(query, carrier, ends, after=there.newest)
        return carrier

    async def _send(
        self, query: RecordQuery, carrier: Carrier | _Count, ends: _Ends, *, after: Record | None = None
    ) -> bool:
        return await _send(
            self._source, query, carrier, self._selection, ends.newest, self._told, after=after
        )

    async def _counted(self, ends: _Ends) -> StoreStats | None:
        """Return how much the source holds up to where this copy ends; ``None`` where it does not say."""
        for _ in range(_SETTLE_TRIES):
            before = await self._source.stats()
            newest = await _end(self._source, self._kind, newest_first=True)
            after = await self._source.stats()
            if newest != ends.newest:
                return None
            if before.kinds == after.kinds:
                return after
        return None


def _carrier(target: PersistenceBackend, kind: RecordKind, known: Census, *, dry_run: bool) -> Carrier:
    ready = target.capabilities.takes_ready_events
    return Carrier(kind, target.append, known, dry_run=dry_run, takes_ready_events=ready)


async def _end(store: PersistenceBackend, kind: RecordKind, *, newest_first: bool) -> Record | None:
    page = await store.read(RecordQuery(kind=kind, limit=1, newest_first=newest_first))
    return page.records[0] if page.records else None


async def _send(  # noqa: PLR0913  # what the copy was told
    source: PersistenceBackend,
    query: RecordQuery,
    carrier: Carrier | _Count,
    selection: CopySelection,
    newest: Record,
    told: Told,
    *,
    after: Record | None = None,
) -> bool:
    """Send page by page, up to ``newest``; with ``after`` what follows it, and whether it was found soon."""
    looked_at = 0
    pages = Pages(source, query)
    async for page in pages:
        records = list(page)
        at = _position(records, newest)
        is_end = at is not None
        if at is not None:
            del records[at + 1 :]
        if after is not None:
            looked_at += len(records)
            at = _position(records, after)
            if at is None and (is_end or looked_at > DEFAULT_LIMIT):
                return False
            if at is not None and not _is_same(records[at], after):
                return False
            del records[: len(records) if at is None else at + 1]
            after = after if at is None else None
        size = await carrier.take(records, selection.includes)
        pages.weigh(size)
        told.add(len(records), size)
        if is_end:
            break
    return after is None


def _is_same(one: Record, other: Record) -> bool:
    lines = [entry.line for entry in entries_of((one, other))]
    return len(lines) == 2 and lines[0] == lines[1]  # noqa: PLR2004  # one of each


def _position(records: Sequence[Record], wanted: Record) -> int | None:
    """Return where the record of this identity is; one without identity is not told from its like."""
    for at in range(len(records) - 1, -1, -1):
        record = records[at]
        if record.seq == wanted.seq and record.incarnation == wanted.incarnation and wanted.seq:
            return at
    return None


async def _read_back(target: PersistenceBackend, carrier: Carrier, told: Told, *, dry_run: bool) -> None:
    found = carrier.new.records if dry_run else 0
    if found < carrier.new.records:
        pages = Pages(target, RecordQuery(kind=carrier.kind))
        async for page in pages:
            entries = entries_of(page)
            size = sum(entry.size for entry in entries)
            found += sum(carrier.compare(entry) for entry in entries)
            pages.weigh(size)
            told.add(len(page), size)
            if found >= carrier.new.records:
                break
    carrier.miss(found)


def _report(carriers: Iterable[Carrier], report: CopyReport) -> CopyReport:
    carriers = list(carriers)
    differences = [difference for carrier in carriers for difference in carrier.differences]
    return replace(
        report,
        kinds={carrier.kind: carrier.outcome() for carrier in carriers},
        differences=tuple(differences[:MAX_DIFFERENCES]),
    )


def _records(stats: StoreStats) -> int:
    return sum(kind.records for kind in stats.kinds.values())


def _bytes(stats: StoreStats, selection: CopySelection) -> int:
    return sum(stats.kinds[kind].bytes for kind in selection.kinds if kind in stats.kinds)
