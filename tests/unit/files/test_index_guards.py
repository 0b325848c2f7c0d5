"""Guards of an index and its file that only a rare moment shows; see `tests/faults_files/test_guards.py`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import PersistenceError
from papyra.persistence._files import blocks, sidecar
from papyra.persistence._files.fs import opened as file_opened
from papyra.persistence._files.fs import read_all
from papyra.persistence.models import RecordKind
from papyra.persistence.query import RecordQuery
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.faults import FaultyFs, PowerLoss
from tests.unit.files.stores import HEADER, line, opened

if TYPE_CHECKING:
    from pathlib import Path

LEGACY = b'{"kind":"event","system_id":"%d","actor_address":"a:1","payload":{},"timestamp":%d}\n'
PAGE = partial(RecordQuery, kind=RecordKind.EVENT, limit=3, newest_first=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.ndjson"


def save_index(fs: FaultyFs, path: Path, *, is_lasting: bool) -> None:
    made = blocks.Blocks()
    with file_opened(fs, path) as fd:
        source = partial(read_all, fs, fd)
        made.feed(source, path.stat().st_size)
        sidecar.save(fs, path, made, source, is_lasting=is_lasting)


@pytest.mark.parametrize("loss", PowerLoss)
def test_an_index_that_is_to_last_does_and_one_that_was_taken_away_does_not_come_back(
    path: Path, loss: PowerLoss
) -> None:
    path.write_bytes(HEADER + line(1))
    fs = FaultyFs(path.parent)
    save_index(fs, path, is_lasting=True)
    whole = sidecar.sidecar_of(path).read_bytes()
    fs.cut_power(loss)
    assert sidecar.sidecar_of(path).read_bytes() == whole
    fs = FaultyFs(path.parent)
    sidecar.discard(fs, path)
    fs.cut_power(loss)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


async def test_a_page_goes_on_after_the_very_line_it_ended_with_where_lines_have_no_identity(
    path: Path,
) -> None:
    path.write_bytes(b"".join(LEGACY % (number, number) for number in range(1, 13)))
    async with opened(path) as store:
        page = await store.read(PAGE())
        page = await store.read(PAGE(cursor=page.cursor))
        await store.compact(RetentionPolicy(max_records=8))
        page = await store.read(PAGE(cursor=page.cursor))
    assert [event.system_id for event in page.records] == ["7", "8", "9"]


@pytest.mark.parametrize("is_moved", [False, True], ids=["in its place", "elsewhere"])
async def test_no_page_goes_on_after_another_record_under_the_same_number(
    path: Path, *, is_moved: bool
) -> None:
    lines = [line(seq) for seq in range(1, 9)]
    path.write_bytes(HEADER + b"".join(lines))
    async with opened(path) as store:
        page = await store.read(PAGE())
        lines[2] = line(3, payload={"number": 7})
        path.write_bytes(HEADER + b"\n" * is_moved + b"".join(lines))
        with pytest.raises(PersistenceError, match="begin again"):
            await store.read(PAGE(cursor=page.cursor))


@pytest.mark.parametrize("newest_first", [False, True])
async def test_no_page_goes_on_beside_another_record_than_the_one_that_stood_there(
    path: Path, *, newest_first: bool
) -> None:
    """Whoever put a record in or took one out has moved what is to come."""
    lines = [line(seq) for seq in range(1, 9)]
    path.write_bytes(HEADER + b"".join(lines))
    async with opened(path) as store:
        page = await store.read(PAGE(newest_first=newest_first))
        last = page.records[-1].seq
        del lines[last - 2 if newest_first else last]
        path.write_bytes(HEADER + b"\n" + b"".join(lines))
        with pytest.raises(PersistenceError, match="begin again"):
            await store.read(PAGE(cursor=page.cursor, newest_first=newest_first))


async def test_a_block_in_which_a_sound_line_took_the_place_of_another_is_judged_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 5_000)
    lines = [line(seq) for seq in range(11, 71)]
    path.write_bytes(HEADER + b"".join(lines))
    save_index(FaultyFs(path.parent), path, is_lasting=False)
    lines[9] = lines[8]  # of the same size, and there twice now
    path.write_bytes(HEADER + b"".join(lines))
    async with opened(path) as store:
        query = RecordQuery(kind=RecordKind.EVENT, newest_first=False)
        assert [record.seq async for record in store.iterate(query)] == [*range(11, 20), *range(21, 71)]


@pytest.mark.parametrize("at", [0, -1], ids=["begins", "ends"])
async def test_an_index_of_a_file_that_begins_or_ends_with_another_line_is_not_believed(
    path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 5_000)
    lines = [HEADER, *(line(seq) for seq in range(1, 61))]
    path.write_bytes(b"".join(lines))
    fs = FaultyFs(path.parent)
    save_index(fs, path, is_lasting=False)
    lines[at] = lines[at].replace(b"5f60", b"5f61").replace(b'"number":60', b'"number":61')
    path.write_bytes(b"".join(lines))
    with file_opened(fs, path) as fd, pytest.raises(sidecar.StaleSidecarError):
        sidecar.load(fs, path, partial(read_all, fs, fd), path.stat().st_size)
