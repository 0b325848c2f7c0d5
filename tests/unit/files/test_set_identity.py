"""F2: whatever is damaged in headers, a set stays one store, with the id that it had."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import NewerFormatError, StoreUnavailableError
from papyra.persistence import codec
from papyra.persistence.models import RecordKind
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.records import INCARNATION
from tests.unit.files.sets import contents, files, is_clean_after_repair, known, opened, seqs, words
from tests.unit.files.stores import QuickFs

if TYPE_CHECKING:
    from pathlib import Path

NEWEST = RetentionPolicy(max_records=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def stores_of(path: Path) -> set[str]:
    """Return the ids that the first lines of all segments tell."""
    return {codec.decode_header(text.partition(b"\n")[0]).store for text in contents(path).values()}


def header_length(file: Path) -> int:
    return file.read_bytes().index(b"\n") + 1


def flip(file: Path, at: int, bit: int = 2) -> None:
    body = bytearray(file.read_bytes())
    body[at] ^= 1 << bit
    file.write_bytes(body)


async def test_i7_any_bit_flipped_in_the_only_header_costs_no_store_its_unity(path: Path) -> None:
    async with opened(path) as store:
        await store.append(known(RecordKind.EVENT, 1, 2))
    length = header_length(files(path)[0])
    saved = path.with_name("saved")
    shutil.copytree(path, saved)
    for at in range(length):
        for bit in range(8) if at in {0, length - 1} else (at % 8,):
            shutil.rmtree(path)
            shutil.copytree(saved, path)
            flip(files(path)[0], at, bit)
            async with opened(path) as store:
                await store.append(known(RecordKind.DEAD_LETTER, 1, 2))
            async with opened(path) as store:
                await store.compact(NEWEST)
            await is_clean_after_repair(path)
            assert len(stores_of(path)) == 1, (at, bit)
            assert await seqs(path) == [2]


@pytest.mark.parametrize("is_whole", [True, False], ids=["newline", "rubbish"])
async def test_a_header_that_can_still_be_read_keeps_the_id(path: Path, *, is_whole: bool) -> None:
    async with opened(path) as store:
        await store.append(known(RecordKind.EVENT, 1, 2))
    [before] = stores_of(path)
    [file] = files(path)
    if is_whole:
        flip(file, header_length(file) - 1)
    else:
        file.write_bytes(b"rubbish " * 2_000 + b"\n" + file.read_bytes())
    async with opened(path) as store:
        await store.append([*known(RecordKind.EVENT, 1, 12), *known(RecordKind.DEAD_LETTER, 1, 2)])
    assert len(files(path)) > 1
    await is_clean_after_repair(path)
    assert stores_of(path) == {before}
    assert await seqs(path) == list(range(1, 13))


async def test_a_newest_segment_from_another_store_does_not_give_its_id_to_new_ones(path: Path) -> None:
    other = path.with_name("other")
    for folder in (path, other):
        async with opened(folder) as store:
            for number in range(1, 20):
                await store.append(known(RecordKind.EVENT, number, number))
    [before] = stores_of(path)
    assert stores_of(other) != {before}
    assert len(files(path)) > 2
    shutil.copy(files(other)[-1], path / f"event-{99:08}-{20:020}.ndjson")
    async with opened(path) as store:
        await store.append(known(RecordKind.DEAD_LETTER, 1, 1))
    [letters] = files(path, "dead_letter")
    assert codec.decode_header(letters.read_bytes().partition(b"\n")[0]).store == before


async def test_a_header_of_a_newer_version_is_heeded_when_its_newline_is_gone(path: Path) -> None:
    async with opened(path) as store:
        await store.append(known(RecordKind.EVENT, 1, 2))
    [file] = files(path)
    header = codec.encode_header(store=INCARNATION, family="event", segment=1, base=1)
    newer = codec.frame(0, b"", header[len(b'{"seq":0,') : -19].replace(b'"format":1', b'"format":2'))[0]
    file.write_bytes(newer[:-1] + b" " + file.read_bytes()[header_length(file) :])
    before = contents(path)
    assert "newer_format" in await words(path)
    async with opened(path) as store:
        with pytest.raises(NewerFormatError):
            await store.append(known(RecordKind.EVENT, 3, 3))
    assert contents(path) == before


async def test_a_rehearsal_of_compaction_knows_how_long_a_renewed_header_is(path: Path) -> None:
    async with opened(path) as store:
        await store.append(known(RecordKind.EVENT, 1, 4))
    flip(files(path)[0], 0)
    async with opened(path) as store:
        rehearsed = await store.compact(NEWEST, dry_run=True)
        done = await store.compact(NEWEST)
    assert rehearsed.after_bytes == done.after_bytes == files(path)[0].stat().st_size


class Late(QuickFs):
    """Another process begins the store, and ends, while this one is about to take its first lock."""

    def __init__(self, begun: Path, path: Path) -> None:
        self.begun: Path | None = begun
        self.path = path

    def lock(self, fd: int, *, shared: bool = False) -> bool:
        if self.begun is not None:
            shutil.copytree(
                self.begun, self.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.lock")
            )
            self.begun = None
        return super().lock(fd, shared=shared)


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
async def test_f14_of_two_that_begin_a_store_at_once_the_second_takes_the_id_of_the_first(
    path: Path, *, shared: bool
) -> None:
    begun = path.with_name("begun")
    async with opened(begun, shared=shared) as store:
        await store.append(known(RecordKind.EVENT, 1, 3))
    async with opened(path, fs=Late(begun, path), shared=shared) as store:
        await store.append(known(RecordKind.EVENT, 2, 4))
        await store.append(known(RecordKind.DEAD_LETTER, 1, 1))
        assert (await store.scan()).anomalies == ()
    assert stores_of(path) == stores_of(begun)
    assert await seqs(path, shared=shared) == [1, 2, 3, 4]


async def test_who_does_not_share_is_refused_though_the_others_came_only_just_before(path: Path) -> None:
    begun = path.with_name("begun")
    async with opened(begun, shared=True) as store:
        await store.append(known(RecordKind.EVENT, 1, 3))
    async with opened(path, fs=Late(begun, path)) as store:
        with pytest.raises(StoreUnavailableError, match="shared=True"):
            await store.append(known(RecordKind.EVENT, 4, 4))
    assert contents(path) == contents(begun)
