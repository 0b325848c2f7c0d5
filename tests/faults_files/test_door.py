"""The shipped file calls ask the system for what they promise; other tests have a disk of their own."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from papyra.persistence._files.fs import LOCAL_FS, Access
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import PersistenceRecoveryConfig, PersistenceRecoveryMode
from papyra.persistence.retention import RetentionPolicy
from tests.budget import need_strace
from tests.faults_files.strace import look, worker
from tests.faults_files.works import DAMAGED, NAME, SOUND, WORKS, one

CALLS = ("write", "pwritev", "fdatasync", "fsync", "ftruncate", "fchmod")


class Listener:
    """Hears what is asked of the system, in order, as ``call file``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.heard: list[str] = []
        for name in CALLS:
            monkeypatch.setattr(os, name, self._hear(name, getattr(os, name)))

    def _hear(self, name: str, call: Any) -> Any:
        def heard(fd: int, *rest: Any) -> Any:
            where = str(Path(f"/proc/self/fd/{fd}").readlink())
            folder = "/" if stat.S_ISDIR(os.fstat(fd).st_mode) else ""
            is_synced = name == "pwritev" and rest[2] & os.RWF_DSYNC
            if "/papyra-store" in where:
                self.heard.append(f"{name}{'+sync' if is_synced else ''} {where.rsplit('/', 1)[1]}{folder}")
            return call(fd, *rest)

        return heard


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "papyra-store"
    folder.mkdir()
    return folder / NAME


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Listener:
    return Listener(monkeypatch)


@pytest.mark.parametrize("is_believed", [True, False])
async def test_i1_the_medium_has_it_before_an_append_returns(
    path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch, *, is_believed: bool
) -> None:
    monkeypatch.setattr(LOCAL_FS, "has_synced_writes", lambda _: is_believed)
    synced = [f"pwritev+sync {NAME}"] if is_believed else [f"write {NAME}", f"fdatasync {NAME}"]
    async with JsonFilePersistence(path) as store:
        await store.append([one(1)])
        opening = [call for call in listener.heard if ".lock" not in call]
        assert opening == [f"write {NAME}", f"fdatasync {NAME}", "fsync papyra-store/", *synced]
        for seq in (2, 3):
            listener.heard.clear()
            await store.append([one(seq)])
            assert listener.heard == synced


async def test_i4_i6_the_medium_has_the_quarantine_before_the_store_is_cut(
    path: Path, listener: Listener
) -> None:
    path.write_bytes(SOUND + b'{"seq":6,"kind":"ev')
    async with JsonFilePersistence(path) as store:
        await store.recover(PersistenceRecoveryConfig(PersistenceRecoveryMode.REPAIR))
    heard = [call for call in listener.heard if ".lock" not in call and ".idx" not in call]
    assert heard == [
        *("fsync papyra-store/", "fchmod quarantine.ndjson", "write quarantine.ndjson"),
        *("fsync quarantine.ndjson", f"fsync {NAME}.quarantine/"),
        *(f"ftruncate {NAME}", f"write {NAME}", f"fdatasync {NAME}"),
        "fsync papyra-store/",  # with the index
    ]


@pytest.mark.parametrize("work", ["recover", "compact"])
async def test_i6_the_medium_has_the_new_file_before_it_takes_the_olds_place(
    path: Path, listener: Listener, work: str
) -> None:
    path.write_bytes(DAMAGED if work == "recover" else SOUND)
    async with JsonFilePersistence(path) as store:
        if work == "recover":
            await store.recover(PersistenceRecoveryConfig(PersistenceRecoveryMode.REPAIR))
        else:
            await store.compact(RetentionPolicy(max_records=2))
    new = f"{NAME}.rewrite.tmp"
    beside = (".lock", "quarantine", ".idx")
    heard = [call for call in listener.heard if not any(word in call for word in beside)]
    rewrite = heard[heard.index(f"fchmod {new}") :]
    assert set(rewrite[1:-3]) == {f"write {new}"}
    assert rewrite[-3:] == [f"fsync {new}", "fsync papyra-store/", "fsync papyra-store/"]  # with the index


def test_where_a_sync_stops_at_the_drives_cache_the_drive_is_asked_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", lambda _, what: asked.append(what))
    fd = LOCAL_FS.open(path, Access.LOCK)
    LOCAL_FS.sync(fd)
    assert asked == [51]
    LOCAL_FS.sync_all(fd)
    LOCAL_FS.close(fd)
    assert asked == [51, 51]


def test_trial_8_between_the_write_of_a_record_and_its_acknowledgement_there_is_a_sync(
    tmp_path: Path,
) -> None:
    need_strace()
    folder = tmp_path / "store"
    WORKS["append to nothing"].prepare(folder)
    ending = look(folder, worker("append to nothing", folder)).ending
    assert ending.code == 0, ending.errors
    is_synced, acknowledged = False, 0
    for line in ending.log.splitlines():
        if f"{NAME}>" in line:
            is_new = "write" in line and "RWF_DSYNC" not in line
            is_synced = (is_synced or "sync(" in line or "RWF_DSYNC" in line) and not is_new
        elif "write(1<" in line and '"event ' in line:
            assert is_synced, line
            acknowledged += 1
    assert acknowledged == 2
