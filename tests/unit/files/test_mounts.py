"""A store where locks or syncs may not hold says so: once in the log, and in each scan."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from papyra.cli.exit_codes import ExitCode
from papyra.cli.rendering import scan_outcome, startup_outcome
from papyra.persistence._files.mounts import doubt_about
from papyra.persistence.startup import DEFAULT_STARTUP, run_startup_check
from tests.unit.files.stores import QuickFs, fresh, opened

if TYPE_CHECKING:
    from pathlib import Path


class MountedFs(QuickFs):
    """Lies in a file system of this kind."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def kind(self, fd: int) -> str:
        del fd
        return self._kind


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.ndjson"


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse", "fuse.sshfs", "9p", "ceph"])
def test_far_file_systems_are_doubted_whatever_is_promised(kind: str) -> None:
    assert kind in doubt_about(kind, must_be_durable=False)
    assert "keep the store on a local disk" in doubt_about(kind, must_be_durable=True)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay", "zfs", "apfs", ""])
def test_local_and_unknown_ones_are_not(kind: str) -> None:
    assert doubt_about(kind, must_be_durable=True) == ""


def test_memory_is_doubted_where_durability_is_promised() -> None:
    assert "gone when the machine stops" in doubt_about("tmpfs", must_be_durable=True)
    assert doubt_about("tmpfs", must_be_durable=False) == ""


@pytest.mark.parametrize(
    ("kind", "fsync", "is_doubted"),
    [("nfs4", "os", True), ("tmpfs", "always", True), ("tmpfs", "os", False), ("ext4", "always", False)],
)
async def test_the_first_opening_to_write_warns_once_and_each_scan_again(
    path: Path, caplog: pytest.LogCaptureFixture, kind: str, fsync: str, *, is_doubted: bool
) -> None:
    async with opened(path, fs=MountedFs(kind), fsync=fsync) as store:
        assert (await store.scan()).warnings == (), "nothing is there yet"
        assert not caplog.records
        await store.append([fresh(1)])
        path.write_bytes(path.read_bytes())
        path.rename(path.with_name("moved"))
        await store.append([fresh(2)])  # opens anew
        told = [
            each for each in caplog.records if kind in each.getMessage() and str(path) in each.getMessage()
        ]
        assert [each.levelno for each in told] == [logging.WARNING] * is_doubted
        report = await store.scan()
    assert len(report.warnings) == is_doubted
    assert not report.has_anomalies
    outcome = scan_outcome(report)
    assert outcome.exit_code is ExitCode.OK, "it is no damage"
    assert any("Warning: " in str(line) for line in outcome.lines) is is_doubted


async def test_the_doctor_says_so_too(path: Path) -> None:
    async with opened(path, fs=MountedFs("nfs")) as store:
        await store.append([fresh(1)])
        outcome = startup_outcome(await run_startup_check(store, DEFAULT_STARTUP))
    assert outcome.verdict in {"healthy", "recovered"}
    assert any("Warning: " in str(line) and "nfs" in str(line) for line in outcome.lines)
    scan = outcome.document["scan"]
    assert isinstance(scan, dict)
    assert len(scan["warnings"]) == 1
