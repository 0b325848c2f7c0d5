"""Write and sync in one call: only where the system heeds it, and what follows when it fails halfway."""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from papyra.exceptions import StoreFailedError
from papyra.persistence._files.fs import LOCAL_FS, Access, LocalFs
from papyra.persistence._files.mounts import kind_of_mount, mount_of
from papyra.persistence.state import StoreCondition
from papyra.testing.faults import FaultyFs
from tests.unit.files.stores import known, numbers, opened

if TYPE_CHECKING:
    from collections.abc import Callable

MOUNTS = r"""27 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
36 27 0:52 / /mnt/far rw,nosuid - fuse.sshfs host:/a\040-\040ext4 rw,user_id=0
361 27 0:53 / /mnt/a\040-\040b rw shared:2 master:1 - nfs4 host:/b rw,vers=4.2
40 27 0:54 /sub /mnt/snap rw - btrfs /dev/vdb rw,subvol=/sub
"""


@pytest.mark.parametrize(
    ("mount", "kind"),
    [
        *(("27", "ext4"), ("36", "fuse.sshfs"), ("361", "nfs4"), ("40", "btrfs")),
        *(("3", ""), ("", ""), ("1", "")),
    ],
)
def test_a_mount_is_found_by_its_number_and_by_nothing_else(mount: str, kind: str) -> None:
    assert kind_of_mount(MOUNTS, mount) == kind


def test_a_text_of_another_form_tells_nothing() -> None:
    assert kind_of_mount("", "") == kind_of_mount("rubbish\n\n - ", "") == mount_of("") == ""
    assert mount_of("pos:\t0\nflags:\t02100000\nmnt_id:\t27\nino:\t5\n") == "27"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.ndjson"


@pytest.fixture
def fs(path: Path) -> FaultyFs:
    return FaultyFs(path.parent)


@pytest.fixture
def is_believed_in(path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], bool]:
    """Return whether an open file is believed, where Linux says it is in this kind of file system."""

    def ask(kind: str | None) -> bool:
        def read(about: Path, **_: str) -> str:
            if about == Path(f"/proc/self/fdinfo/{fd}"):
                return "pos:\t0\nmnt_id:\t27\n"
            if about != Path("/proc/self/mountinfo") or kind is None:
                raise FileNotFoundError(about)
            return f"27 1 0:1 / / rw - {kind} none rw\n"

        fd = LOCAL_FS.open(path, Access.LOCK)
        with monkeypatch.context() as patched:
            patched.setattr(Path, "read_text", read)
            try:
                return LOCAL_FS.has_synced_writes(fd)
            finally:
                LOCAL_FS.close(fd)

    return ask


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay", "tmpfs"])
def test_a_file_system_known_to_heed_a_synced_write_is_believed(
    is_believed_in: Callable[[str | None], bool], kind: str
) -> None:
    assert is_believed_in(kind)


@pytest.mark.parametrize("kind", ["fuse.sshfs", "fuse", "nfs4", "9p", "cifs", "ext9", None])
def test_i1_no_other_file_system_is_believed(
    is_believed_in: Callable[[str | None], bool], kind: str | None
) -> None:
    assert not is_believed_in(kind)


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.ENOSYS])
async def test_i1_where_the_system_cannot_write_and_sync_in_one_it_does_so_in_two(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "pwritev", refuse)
    fs = FaultyFs(path.parent)
    monkeypatch.setattr(fs, "write_synced", partial(LocalFs.write_synced, fs))
    async with opened(path, fs=fs) as store:
        await store.append([known(1)])
        before = len(fs.calls)
        await store.append([known(2)])
        assert fs.calls[before:] == ["write", "sync"]
    assert await numbers(path) == [1, 2]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
async def test_i1_a_disk_that_does_not_tell_what_it_took_is_doubted(
    path: Path, fs: FaultyFs, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def refuse(_: int) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with opened(path, fs=fs) as store:
        await store.append([known(1)])
        fs.fail("sync", error, times=1)
        monkeypatch.setattr(fs, "fstat", refuse)
        with pytest.raises(StoreFailedError):  # nor could the file be written anew
            await store.append([known(2)])
        assert store.state.condition is StoreCondition.FAILED
    monkeypatch.undo()
    async with opened(path) as store:
        await store.append([known(2), known(3)])
    assert await numbers(path) == [1, 2, 3]


async def test_i1_a_file_system_that_may_not_heed_the_wish_to_sync_is_told_to(
    path: Path, fs: FaultyFs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fs, "has_synced_writes", lambda _: False)
    monkeypatch.setattr(fs, "write_synced", None)
    async with opened(path, fs=fs) as store:
        await store.append([known(1)])
        before = len(fs.calls)
        await store.append([known(2)])
        assert fs.calls[before:] == ["write", "sync"]
    assert await numbers(path) == [1, 2]
