"""A copy that was interrupted is gone on with by doing it again, wherever it ended."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import PersistenceError, StoreFullError, StoreLockedError
from papyra.persistence.copying import copy
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import RecordKind
from papyra.testing.faults import Crash, FaultyFs
from papyra.testing.faultybackend import FaultyBackend
from tests.unit.copying.stores import FORMS, fill, lines, opened, records, seqs, url
from tests.unit.files.stores import named

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from papyra.persistence.base import BasePersistence
    from papyra.persistence.copied import CopyReport
    from papyra.persistence.models import Record
    from papyra.persistence.query import Page, RecordQuery


class EndingBackend(FaultyBackend):
    """Takes so many batches, then fails before the next, or after it was stored."""

    def __init__(self, inner: BasePersistence, batches: int, *, is_stored: bool) -> None:
        super().__init__(inner)
        self._left = batches
        self._is_stored = is_stored

    async def append(self, batch: Sequence[Record]) -> None:
        self._left -= 1
        if self._left >= 0 or self._is_stored:
            await super().append(batch)
        if self._left < 0:
            raise StoreFullError("no room")


@pytest.mark.parametrize("is_stored", [True, False])
@pytest.mark.parametrize("form", FORMS)
async def test_interrupted_at_any_batch_it_goes_on_and_reads_no_more_than_it_has_to(
    form: str, tmp_path: Path, *, is_stored: bool
) -> None:
    source = url(form, tmp_path, "source")
    await fill(source, *(records(range(1, 301), kind=kind) for kind in RecordKind))
    for batches in range(20):
        target = url(form, tmp_path, f"target-{batches}")
        async with opened(source) as origin, opened(target) as destination:
            ending = EndingBackend(destination, batches, is_stored=is_stored)
            is_done = False
            with suppress(StoreFullError):
                await copy(origin, ending)
                is_done = True
        had = {kind: len(await lines(target, kind)) for kind in RecordKind}
        report = await copied(source, target)
        for kind in RecordKind:
            outcome = report.kinds[kind]
            assert await lines(target, kind) == await lines(source, kind)
            assert (outcome.present, outcome.copied, outcome.late) == (had[kind], 300 - had[kind], 0)
            assert (outcome.resumed_after is not None) == (had[kind] > 0)
            assert outcome.compared == 300 - had[kind]
        if is_done:
            assert batches > 5
            return
    pytest.fail("it never came to its end")


async def copied(source: str, target: str) -> CopyReport:
    async with opened(source) as origin, opened(target) as destination:
        return await copy(origin, destination)


async def test_i1_killed_in_any_call_of_the_target_the_next_copy_completes_it(tmp_path: Path) -> None:
    source = f"ndjson:{tmp_path / 'source.ndjson'}"
    await fill(source, records(range(1, 151)), records(range(1, 5), kind=RecordKind.AUDIT))
    for at in range(60):
        folder = tmp_path / f"target-{at}"
        folder.mkdir()
        fs = FaultyFs(folder)
        fs.crash_at(at)
        store = JsonFilePersistence(folder / "target.ndjson", fs=fs)
        async with opened(source) as origin:
            with suppress(PersistenceError, Crash):
                await copy(origin, store)
        was_killed = fs.is_dead
        if was_killed:
            fs.abandon()
        with suppress(PersistenceError, Crash):
            await store.aclose()
        target = f"ndjson:{folder / 'target.ndjson'}"
        report = await copied(source, target)
        assert not report.differs
        assert await seqs(target) == list(range(1, 151)), at
        assert set(await named(folder / "target.ndjson")) <= {"torn_tail"}, at
        if not was_killed:
            assert at > 5
            return
    pytest.fail("it never came to its end")


async def test_a_full_disk_says_so_and_the_copy_goes_on_once_there_is_room(tmp_path: Path) -> None:
    source = f"ndjson:{tmp_path / 'source.ndjson'}"
    await fill(source, records(range(1, 501)))
    folder = tmp_path / "target"
    folder.mkdir()
    fs = FaultyFs(folder)
    fs.fill(50_000)
    async with opened(source) as origin, JsonFilePersistence(folder / "log.ndjson", fs=fs) as store:
        with pytest.raises(StoreFullError):
            await copy(origin, store)
        fs.heal()
        report = await copy(origin, store)
    assert report.kinds[RecordKind.EVENT].resumed_after is not None
    assert await seqs(f"ndjson:{folder / 'log.ndjson'}") == list(range(1, 501))


async def test_a_locked_target_is_told_with_its_holder_and_nothing_is_written(tmp_path: Path) -> None:
    source, target = (f"ndjson:{tmp_path / name}.ndjson" for name in ("source", "target"))
    await fill(source, records(range(1, 11)))
    async with opened(target) as holder:
        await holder.append(records([1]))
        async with opened(source) as origin, opened(target) as second:
            with pytest.raises(StoreLockedError, match="is being written by process"):
                await copy(origin, second)
    assert await seqs(target) == [1]


class Growing(FaultyBackend):
    """A source to which its system adds ten records with each page that is read."""

    def __init__(self, inner: BasePersistence, first: int) -> None:
        super().__init__(inner)
        self._next = first

    async def read(self, query: RecordQuery) -> Page[Record]:
        page = await super().read(query)
        await self.inner.append(records(range(self._next, self._next + 10)))
        self._next += 10
        return page


async def test_a_source_that_grows_is_copied_up_to_where_it_was(tmp_path: Path) -> None:
    source, target = (f"ndjson:{tmp_path / name}.ndjson" for name in ("source", "target"))
    await fill(source, records(range(1, 301)))
    async with opened(source) as origin, opened(target) as destination:
        report = await copy(Growing(origin, 301), destination)
        assert not report.differs
        assert 300 <= report.kinds[RecordKind.EVENT].copied <= 330
        copied_before = report.kinds[RecordKind.EVENT].copied
        again = await copy(Growing(origin, 1001), destination)
        assert not again.differs
        assert again.kinds[RecordKind.EVENT].copied > 0
        assert again.kinds[RecordKind.EVENT].present == copied_before
    found = await seqs(target)
    assert found == sorted(set(found))


async def test_a_cancelled_copy_stops_and_leaves_whole_batches(tmp_path: Path) -> None:
    source, target = (f"ndjson:{tmp_path / name}.ndjson" for name in ("source", "target"))
    await fill(source, records(range(1, 301)))
    async with opened(source) as origin, opened(target) as destination:
        held = FaultyBackend(destination)
        held.hold()
        copying = asyncio.ensure_future(copy(origin, held))
        while not held.appends:  # noqa: ASYNC110  # the backend has no event to wait for
            await asyncio.sleep(0)
        copying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copying
    assert await seqs(target) == []
