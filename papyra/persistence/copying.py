"""Copy a history from one store to another: oldest first, identities kept, resumable, and read back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from papyra.persistence.census import Census
from papyra.persistence.copied import MAX_DIFFERENCES, CopyReport, CopySelection
from papyra.persistence.models import Record, RecordId, RecordKind, ScanDepth
from papyra.persistence.paging import Pages, Told, census_of, entries_of
from papyra.persistence.query import DEFAULT_LIMIT, RecordQuery
from papyra.persistence.transfer import Transfer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

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

    async def bring(kind: RecordKind, told: Told) -> Transfer:
        job = _KindCopy(source, target, kind, selection, told, dry_run=dry_run)
        return await job.run(recheck=recheck)

    report = CopyReport(kinds={}, dry_run=dry_run, is_verified=True)
    return await _bring_each(source, selection, bring, report, progress)


async def export(
    source: PersistenceBackend,
    sink: RecordSink,
    selection: CopySelection = _EVERYTHING,
    *,
    dry_run: bool = False,
    progress: ProgressCallback | None = None,
) -> CopyReport:
    """Give what ``source`` holds now to ``sink``, one kind after the other."""

    async def bring(kind: RecordKind, told: Told) -> Transfer:
        transfer = Transfer(kind, sink.append, Census(), dry_run=dry_run)
        ends = await _Ends.of(source, kind)
        if ends is not None:
            await _send(_Stretch(source, ends.query(selection), ends.newest), transfer, selection, told)
        return transfer

    report = CopyReport(kinds={}, dry_run=dry_run, is_verified=False)
    return await _bring_each(source, selection, bring, report, progress)


async def _bring_each(
    source: PersistenceBackend,
    selection: CopySelection,
    bring: Callable[[RecordKind, Told], Awaitable[Transfer]],
    report: CopyReport,
    progress: ProgressCallback | None,
) -> CopyReport:
    before = await source.stats()
    scan = await source.scan(ScanDepth.FULL, progress=progress)
    told = Told(progress, _bytes(before, selection))
    transfers = [await bring(kind, told) for kind in selection.kinds]
    seen = max(_records(before), _records(await source.stats()))
    return _report(transfers, replace(report, scan=scan, unknown=max(scan.checked_records - seen, 0)))


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
    transfers = {}
    for kind in selection.kinds:
        known = await census_of(target, RecordQuery(kind=kind, newest_first=False), told)
        transfers[kind] = _transfer(target, kind, known, dry_run=dry_run)
    async for page in stream.pages():
        told.add(len(page), 0)
        for kind, transfer in transfers.items():
            await transfer.take([record for record in page if record.kind is kind], selection.includes)
    for transfer in transfers.values():
        await _read_back(target, transfer, told, dry_run=dry_run)
    return _report(
        transfers.values(),
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


class _Stretch:
    """The records of ``query`` up to ``newest``, in pages; with ``after`` those that follow it.

    ``has_begun``: whether ``after`` was met soon, and as it is here.
    """

    def __init__(
        self,
        source: PersistenceBackend,
        query: RecordQuery,
        newest: Record,
        *,
        after: Record | None = None,
    ) -> None:
        self._pages = Pages(source, query)
        self._newest = newest
        self._after = after
        self.has_begun = after is None
        self.weigh = self._pages.weigh

    async def __aiter__(self) -> AsyncIterator[Sequence[Record]]:
        looked_at = 0
        async for page in self._pages:
            end = _position(page, self._newest)
            records = page if end is None else page[: end + 1]
            if not self.has_begun:
                looked_at += len(records)
                start = self._start(records)
                if start is not None:
                    self.has_begun = True
                    records = records[start:]
            if self.has_begun:
                yield records
            elif looked_at > DEFAULT_LIMIT:
                return
            if end is not None:
                return

    def _start(self, records: Sequence[Record]) -> int | None:
        assert self._after is not None  # noqa: S101  # else it had begun
        at = _position(records, self._after)
        return None if at is None or not _is_same(records[at], self._after) else at + 1


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

    async def run(self, *, recheck: bool) -> Transfer:
        ends = await _Ends.of(self._source, self._kind)
        if ends is None:
            return self._transfer(Census())
        transfer = None
        if self._selection.is_unbounded and not recheck:
            transfer = await self._go_on(ends)
        if transfer is None:
            query = RecordQuery(
                kind=self._kind,
                newest_first=False,
                since=self._selection.since,
                until=self._selection.until,
            )
            transfer = self._transfer(await census_of(self._target, query, self._told))
            query = ends.query(self._selection)
            await self._send(_Stretch(self._source, query, ends.newest), transfer)
        await _read_back(self._target, transfer, self._told, dry_run=self._dry_run)
        return transfer

    def _transfer(self, known: Census) -> Transfer:
        return _transfer(self._target, self._kind, known, dry_run=self._dry_run)

    async def _go_on(self, ends: _Ends) -> Transfer | None:
        """Copy only what follows the target's newest record; ``None`` where that may leave something out.

        For that the target has to begin with the source's oldest record, to end in one that the source has,
        and to hold as many as the source does up to there.
        """
        there = await _Ends.of(self._target, self._kind)
        if there is None:
            return None
        is_only_legacy = ends.oldest.seq == 0 and there.newest.incarnation == there.oldest.incarnation
        if is_only_legacy or not _is_same(there.oldest, Transfer.first_numbered(ends.oldest)):
            return None
        held = await self._target.stats()
        counted = await self._counted(ends)
        if counted is None or held.is_estimate or counted.is_estimate:
            return None
        query = RecordQuery(kind=self._kind, newest_first=False, since=there.newest.timestamp)
        rest = await self._count(_Stretch(self._source, query, ends.newest, after=there.newest))
        if rest is None:
            return None
        if held.kinds[self._kind].records + rest != counted.kinds[self._kind].records:
            return None
        transfer = self._transfer(Census())
        transfer.resumed_after = RecordId(there.newest.incarnation, self._kind.value, there.newest.seq)
        transfer.skipped = held.kinds[self._kind].records
        self._told.add(transfer.skipped, 2 * held.kinds[self._kind].bytes)
        await self._send(_Stretch(self._source, query, ends.newest, after=there.newest), transfer)
        return transfer

    async def _send(self, stretch: _Stretch, transfer: Transfer) -> None:
        await _send(stretch, transfer, self._selection, self._told)

    async def _count(self, stretch: _Stretch) -> int | None:
        """Return how many records are in ``stretch``; ``None`` where it does not begin."""
        count = 0
        async for records in stretch:
            count += len(records)
            size = sum(entry.size for entry in entries_of(records[:1])) * len(records)  # about
            stretch.weigh(size)
            self._told.add(len(records), size)
        return count if stretch.has_begun else None

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


def _transfer(target: PersistenceBackend, kind: RecordKind, known: Census, *, dry_run: bool) -> Transfer:
    ready = target.capabilities.takes_ready_events
    return Transfer(kind, target.append, known, dry_run=dry_run, takes_ready_events=ready)


async def _end(store: PersistenceBackend, kind: RecordKind, *, newest_first: bool) -> Record | None:
    page = await store.read(RecordQuery(kind=kind, limit=1, newest_first=newest_first))
    return page.records[0] if page.records else None


async def _send(stretch: _Stretch, transfer: Transfer, selection: CopySelection, told: Told) -> None:
    async for records in stretch:
        size = await transfer.take(records, selection.includes)
        stretch.weigh(size)
        told.add(len(records), size)


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


async def _read_back(target: PersistenceBackend, transfer: Transfer, told: Told, *, dry_run: bool) -> None:
    found = transfer.new.records if dry_run else 0
    if found < transfer.new.records:
        pages = Pages(target, RecordQuery(kind=transfer.kind))
        async for page in pages:
            entries = entries_of(page)
            size = sum(entry.size for entry in entries)
            found += sum(transfer.compare(entry) for entry in entries)
            pages.weigh(size)
            told.add(len(page), size)
            if found >= transfer.new.records:
                break
    transfer.miss(found)


def _report(transfers: Iterable[Transfer], report: CopyReport) -> CopyReport:
    transfers = list(transfers)
    differences = [difference for transfer in transfers for difference in transfer.differences]
    return replace(
        report,
        kinds={transfer.kind: transfer.outcome() for transfer in transfers},
        differences=tuple(differences[:MAX_DIFFERENCES]),
    )


def _records(stats: StoreStats) -> int:
    return sum(kind.records for kind in stats.kinds.values())


def _bytes(stats: StoreStats, selection: CopySelection) -> int:
    return sum(stats.kinds[kind].bytes for kind in selection.kinds if kind in stats.kinds)
