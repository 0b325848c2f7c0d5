"""F8: a sync that goes on failing takes nothing away, and whoever comes next knows of it."""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import PersistenceError, StoreFailedError
from papyra.persistence.backends.rotating import RotatingFilePersistence
from papyra.persistence.models import RecordKind
from papyra.testing.faults import Crash, FaultyFs, PowerLoss
from tests.unit.files.sets import SMALL, known, opened, seqs

if TYPE_CHECKING:
    from pathlib import Path

SHARED = pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root" / "log"


@SHARED
@pytest.mark.parametrize("policy", ["os", "interval"])
@pytest.mark.parametrize("times", [2, 3, None])
async def test_i1_what_was_acknowledged_before_the_disk_failed_for_good_can_still_be_read(
    path: Path, policy: str, times: int | None, *, shared: bool
) -> None:
    fs = FaultyFs(path.parent)
    store = RotatingFilePersistence(
        path, fs=fs, fsync=policy, fsync_interval_seconds=3600, max_bytes=SMALL, max_files=100, shared=shared
    )
    for number in range(1, 31):
        await store.append(known(RecordKind.EVENT, number, number))
    fs.fail("sync", errno.EIO, times=times)
    with pytest.raises(StoreFailedError):
        await store.aclose()
    fs.heal()
    assert await seqs(path, shared=shared) == list(range(1, 31))
    async with opened(path, shared=shared) as reader:
        report = await reader.scan()
        assert not report.has_damage
        assert any("a sync failed" in warning for warning in report.warnings)
    async with opened(path, shared=shared) as writer:
        await writer.append(known(RecordKind.EVENT, 30, 31))
        assert (await writer.scan()).warnings == ()
    assert await seqs(path, shared=shared) == list(range(1, 32))


@SHARED
@pytest.mark.parametrize("loss", PowerLoss)
async def test_i1_what_a_failed_writer_left_lasts_once_it_is_acknowledged_to_the_next(
    path: Path, loss: PowerLoss, *, shared: bool
) -> None:
    fs = FaultyFs(path.parent)
    store = RotatingFilePersistence(path, fs=fs, fsync="os", shared=shared)
    await store.append(known(RecordKind.EVENT, 1, 5))
    fs.fail("sync", errno.EIO)
    with pytest.raises(StoreFailedError):
        await store.aclose()
    fs.heal()
    store = RotatingFilePersistence(path, fs=fs, shared=shared)
    await store.append(known(RecordKind.EVENT, 1, 5))
    fs.cut_power(loss)
    with suppress(PersistenceError, Crash):
        await store.aclose()
    assert await seqs(path, shared=shared) == [1, 2, 3, 4, 5]


@SHARED
async def test_i1_a_doubt_is_passed_on_though_the_lock_file_was_deleted_before(
    path: Path, *, shared: bool
) -> None:
    fs = FaultyFs(path.parent)
    store = RotatingFilePersistence(path, fs=fs, fsync="os", shared=shared)
    await store.append(known(RecordKind.EVENT, 1, 5))
    for lock in path.glob("*.lock"):
        lock.unlink()
    fs.fail("sync", errno.EIO)
    with pytest.raises(StoreFailedError):
        await store.aclose()
    fs.heal()
    async with opened(path, shared=shared) as reader:
        assert any("a sync failed" in warning for warning in (await reader.scan()).warnings)
    store = RotatingFilePersistence(path, fs=fs, shared=shared)
    await store.append(known(RecordKind.EVENT, 1, 5))
    fs.cut_power(PowerLoss.ALL_GONE)
    with suppress(PersistenceError, Crash):
        await store.aclose()
    assert await seqs(path, shared=shared) == [1, 2, 3, 4, 5]
