"""Guards against what comes into a store from elsewhere while it is at work; see `test_guards.py`."""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import NewerFormatError, StoreUnavailableError
from papyra.persistence.retention import RetentionPolicy
from tests.faults_files.works import NAME, RUBBISH, SOUND
from tests.unit.files import sets
from tests.unit.files.stores import HEADER, QUARANTINE, REPAIR, known, line, named, opened

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from papyra.persistence.json import JsonFilePersistence
    from papyra.persistence.query import Progress

_BODY = re.sub(rb'"format":[0-9]+', b'"format":99', HEADER).rpartition(b',"crc"')[0]
NEWER = b'%b,"crc":"%08x"}\n' % (_BODY, zlib.crc32(_BODY)) + line(1)
KEEP = RetentionPolicy(max_records=3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / NAME


async def test_a_store_of_a_newer_version_is_not_even_locked(path: Path) -> None:
    path.write_bytes(NEWER)
    async with opened(path) as store:
        with pytest.raises(NewerFormatError):
            await store.append([known(2)])
        assert [entry.name for entry in path.parent.iterdir()] == [NAME]


async def test_a_newer_store_that_was_copied_into_the_place_of_ours_is_not_written_to(path: Path) -> None:
    async with opened(path) as store:
        await store.append([known(seq) for seq in range(1, 5)])
        await store.compact(KEEP)  # lets go of the file, and keeps the lock
        path.write_bytes(NEWER)
        with pytest.raises(NewerFormatError, match="format 99"):
            await store.append([known(9)])
    assert path.read_bytes() == NEWER


def repair(store: JsonFilePersistence, progress: Callable[[Progress], None]) -> Awaitable[object]:
    return store.recover(REPAIR, progress=progress)


def quarantine(store: JsonFilePersistence, progress: Callable[[Progress], None]) -> Awaitable[object]:
    return store.recover(QUARANTINE, progress=progress)


def compact(store: JsonFilePersistence, progress: Callable[[Progress], None]) -> Awaitable[object]:
    return store.compact(KEEP, progress=progress)


@pytest.mark.parametrize("work", [repair, quarantine, compact])
async def test_what_a_program_without_a_lock_writes_meanwhile_is_not_lost_in_a_rewrite(
    path: Path, work: Callable[..., Awaitable[object]]
) -> None:
    path.write_bytes(SOUND.replace(line(3), line(3) + RUBBISH))
    theirs = line(1, incarnation="theirs")

    def write_once(_: Progress) -> None:
        if theirs not in path.read_bytes():
            with path.open("ab") as file:
                file.write(theirs)

    async with opened(path) as store:
        with pytest.raises(StoreUnavailableError, match="takes no lock"):
            await work(store, write_once)
        assert path.read_bytes().endswith(theirs)
        await work(store, write_once)
    assert theirs in path.read_bytes()
    assert await named(path) == []


async def test_a_note_after_a_line_without_end_leaves_no_blank_line_in_a_compacted_segment(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log"
    (segment,) = await sets.filled(path, 6, max_bytes=100_000)
    whole = segment.read_bytes()
    segment.write_bytes(whole.replace(b'"number":5', b'"number":8')[:-1])
    async with sets.opened(path, max_bytes=100_000) as store:
        await store.compact(RetentionPolicy(max_records=3))
    assert b"RecordsLost" in segment.read_bytes()
    assert b"\n\n" not in segment.read_bytes()
    assert await sets.words(path) == []
