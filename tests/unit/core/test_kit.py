"""The test kit itself: what it lets pass would be believed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from papyra import testing
from papyra.persistence._files.fs import Access, write_all
from papyra.testing.faults import CHANGES, Crash, FaultyFs, PowerLoss

ROOT = Path(__file__).resolve().parents[3]


def test_every_name_of_the_kit_is_there_and_no_other() -> None:
    assert {name for name in testing.__all__ if getattr(testing, name).__name__ != name} == set()
    with pytest.raises(AttributeError):
        _ = testing.weather


def test_importing_the_kit_needs_no_pytest(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['pytest'] = sys.modules['hypothesis'] = None\n"
        "import papyra.testing\n"
        "from papyra.testing import ManualClock, FaultyFs\n"
        "print(ManualClock(5.0).now())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("5.0\n", "")


def test_the_plugin_brings_its_fixtures(tmp_path: Path) -> None:
    (tmp_path / "test_user.py").write_text(
        "import asyncio\n"
        "from papyra.testing.records import event\n"
        "def test_mine(manual_clock, memory_backend):\n"
        "    asyncio.run(memory_backend.record_event(event(1)))\n"
        "    manual_clock.advance(5)\n"
        "    assert len(memory_backend.events) == 1\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *("-q", "-c", os.devnull, f"--rootdir={tmp_path}"),
            "-p",
            "papyra.testing.plugin",
            "-p",
            "no:django",
            "-p",
            "no:cacheprovider",
        ],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


class TestFaultyFs:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "old").write_bytes(b"old")
        return tmp_path

    @pytest.fixture
    def fs(self, folder: Path) -> FaultyFs:
        return FaultyFs(folder)

    def test_calls_that_change_something_are_counted(self, fs: FaultyFs, folder: Path) -> None:
        fd = fs.open(folder / "new", Access.CREATE)
        write_all(fs, fd, b"abc")
        fs.pread(fd, 3, 0)
        fs.sync(fd)
        fs.close(fd)
        fs.sync_folder(folder)
        fs.remove(folder / "new")
        assert fs.calls == ["create", "write", "sync", "sync_folder", "remove"]
        assert set(fs.calls) <= CHANGES

    def test_a_call_fails_after_so_many_and_so_often(self, fs: FaultyFs, folder: Path) -> None:
        fs.fail("write", errno.EIO, after=1, times=2)
        fd = fs.open(folder / "new", Access.CREATE)
        outcomes = []
        for _ in range(4):
            try:
                outcomes.append(fs.write(fd, b"x"))
            except OSError as error:
                outcomes.append(-(error.errno or 0))
        assert outcomes == [1, -errno.EIO, -errno.EIO, 1]
        fs.fail("write", errno.EIO)
        fs.heal()
        assert fs.write(fd, b"x") == 1
        fs.close(fd)
        with pytest.raises(ValueError, match="weather"):
            fs.fail("weather", errno.EIO)

    def test_a_full_disk_takes_what_fits(self, fs: FaultyFs, folder: Path) -> None:
        fs.fill(4)
        fd = fs.open(folder / "new", Access.CREATE)
        with pytest.raises(OSError, match="space"):
            write_all(fs, fd, b"abcdef")
        fs.fill(None)
        write_all(fs, fd, b"gh")
        fs.close(fd)
        assert (folder / "new").read_bytes() == b"abcdgh"

    def test_the_dead_do_nothing_more_not_even_clean_up(self, fs: FaultyFs, folder: Path) -> None:
        fd = fs.open(folder / "new", Access.CREATE)
        fs.crash_at(1)
        with pytest.raises(Crash):
            fs.write(fd, b"abcdef")
        for use in (
            lambda: fs.truncate(fd, 0),
            lambda: fs.remove(folder / "new"),
            lambda: fs.pread(fd, 1, 0),
        ):
            with pytest.raises(Crash):
                use()
        fs.close(fd)
        fs.abandon()
        assert (folder / "new").read_bytes() == b"abc", "half of the write was done"

    def test_a_lock_is_free_when_its_process_is_dead(self, fs: FaultyFs, folder: Path) -> None:
        fd = fs.open(folder / "lock", Access.LOCK)
        assert fs.lock(fd)
        other = FaultyFs(folder)
        again = other.open(folder / "lock", Access.LOCK)
        assert not other.lock(again)
        fs.abandon()
        assert other.lock(again)
        other.close(again)

    @pytest.mark.parametrize(
        ("loss", "expected"),
        [
            (PowerLoss.ALL_GONE, {"old": b"old"}),
            (PowerLoss.NAMES_KEPT, {"old": b"old", "new": b"1234"}),
            (PowerLoss.CONTENTS_KEPT, {"old": b"old+"}),
            (PowerLoss.CONTENTS_TORN, {"old": b"old", "new": b"123456"}),
            (PowerLoss.CONTENTS_ZEROED, {"old": b"old\x00", "new": b"1234\x00\x00\x00\x00"}),
        ],
    )
    def test_without_power_only_what_was_synced_is_sure(
        self, fs: FaultyFs, folder: Path, loss: PowerLoss, expected: dict[str, bytes]
    ) -> None:
        old = fs.open(folder / "old", Access.APPEND)
        write_all(fs, old, b"+")
        new = fs.open(folder / "new.tmp", Access.CREATE)
        write_all(fs, new, b"1234")
        fs.sync(new)
        write_all(fs, new, b"5678")
        fs.replace(folder / "new.tmp", folder / "new")
        fs.cut_power(loss)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected

    @pytest.mark.parametrize("loss", PowerLoss)
    def test_what_was_synced_is_there_in_every_case(
        self, fs: FaultyFs, folder: Path, loss: PowerLoss
    ) -> None:
        fs.make_folder(folder / "deep", 0o755)
        fs.sync_folder(folder)
        fd = fs.open(folder / "deep" / "new.tmp", Access.CREATE)
        write_all(fs, fd, b"1234")
        fs.sync(fd)
        fs.replace(folder / "deep" / "new.tmp", folder / "deep" / "new")
        fs.remove(folder / "old")
        fs.sync_folder(folder / "deep")
        fs.sync_folder(folder)
        fs.cut_power(loss)
        assert {path.name for path in folder.iterdir()} == {"deep"}
        assert (folder / "deep" / "new").read_bytes() == b"1234"

    def test_a_rename_whose_content_was_not_synced_may_be_an_empty_file(
        self, fs: FaultyFs, folder: Path
    ) -> None:
        fd = fs.open(folder / "new", Access.CREATE)
        write_all(fs, fd, b"1234")
        fs.replace(folder / "new", folder / "old")
        fs.sync_folder(folder)
        fs.cut_power(PowerLoss.ALL_GONE)
        assert (folder / "old").read_bytes() == b""
