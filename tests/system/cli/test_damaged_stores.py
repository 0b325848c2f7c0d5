from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.cli.process import ROOT, environment, papyra, papyra_json

TRIALS = ROOT / "tests" / "trials" / "line-format"
TORN = "torn-tail.ndjson"
BAD = "flipped-value.ndjson"
HOLD_THE_LOCK = """
import asyncio, sys
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import PersistedEvent

async def main():
    async with JsonFilePersistence(sys.argv[1]) as store:
        await store.record_event(PersistedEvent("orders", "orders:1", "ActorStarted", None, 1795569868.0))
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""

AS_NOBODY = """
import contextlib, io, os, sys
from papyra.cli import app
import papyra.persistence.json

with contextlib.redirect_stdout(io.StringIO()):  # import everything while the interpreter may be read
    assert app.main([*sys.argv[1:], "--store", "memory:"]) == 0
if os.geteuid() == 0:
    os.setegid(65534)
    os.seteuid(65534)
sys.exit(app.main())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def take(name: str, folder: Path) -> Path:
    return Path(shutil.copy(TRIALS / name, folder / "papyra.ndjson"))


@pytest.mark.parametrize("name", [TORN, BAD])
def test_scan_recover_and_scan_again_as_a_shell_would(name: str, folder: Path) -> None:
    path = take(name, folder)
    before = path.read_bytes()
    scan = papyra("persistence", "scan", cwd=folder)
    assert (scan.returncode, scan.stderr) == (2, "")
    assert path.read_bytes() == before
    check = papyra("persistence", "startup-check", "--depth", "full", cwd=folder)
    assert (check.returncode, check.stdout.split()[0]) == (1, "REFUSED")
    done = papyra("persistence", "recover", cwd=folder)
    assert (done.returncode, done.stdout.split()[0]) == (0, "RECOVERED")
    doctor = papyra("doctor", "run", cwd=folder)
    assert (doctor.returncode, doctor.stdout.split()[0]) == (0, "HEALTHY")


def test_what_a_repair_removes_is_named_and_lies_where_it_was_told(folder: Path) -> None:
    take(TORN, folder)
    done = papyra("persistence", "recover", "--quarantine-dir", "aside", cwd=folder)
    assert done.returncode == 0
    assert f"lie in {folder / 'aside'}." in done.stdout
    assert any((folder / "aside").rglob("*"))
    assert not (folder / "papyra.ndjson.quarantine").exists()


def test_a_newer_format_is_refused_by_a_start_and_touched_by_nobody(folder: Path) -> None:
    path = take("newer-format.ndjson", folder)
    before = path.read_bytes()
    assert papyra("persistence", "scan", cwd=folder).returncode == 2
    assert papyra("persistence", "recover", cwd=folder).returncode == 2
    assert papyra("persistence", "compact", "--max-records", "0", cwd=folder).returncode == 2
    refused = papyra_json("doctor", "run", cwd=folder)
    assert (refused["verdict"], refused["exit_code"]) == ("refused", 1)
    assert "newer version" in refused["reason"]
    assert path.read_bytes() == before


def test_a_store_that_a_system_holds_can_be_looked_at_but_not_changed(folder: Path) -> None:
    path = folder / "papyra.ndjson"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_THE_LOCK, str(path)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        with path.open("ab") as log:
            log.write(b"garbage\n")
        assert papyra("persistence", "scan", cwd=folder).returncode == 2
        assert papyra("inspect", "events", cwd=folder).returncode == 0
        for words in (("persistence", "recover"), ("persistence", "compact", "--max-records", "1")):
            done = papyra(*words, cwd=folder)
            assert (done.returncode, done.stdout) == (69, "")
            assert str(holder.pid) in done.stderr
        doctor = papyra_json("doctor", "run", cwd=folder)
        assert (doctor["verdict"], doctor["exit_code"]) == ("unproven", 69)
        assert str(holder.pid) in doctor["reason"]
        holder.communicate(timeout=30)


@pytest.mark.parametrize("words", [("persistence", "scan"), ("inspect", "events"), ("doctor", "run")])
def test_a_file_that_may_not_be_read_is_unavailable_and_not_healthy(
    words: tuple[str, ...], folder: Path
) -> None:
    take("sound.ndjson", folder).chmod(0)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, *words],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 69
    assert "Permission denied: give this user read" in done.stdout + done.stderr


def test_a_read_only_folder_can_be_scanned_and_inspected(folder: Path) -> None:
    take(TORN, folder)
    (folder / "papyra.ndjson").chmod(0o444)
    folder.chmod(0o555)
    try:
        assert papyra("persistence", "scan", cwd=folder).returncode == 2
        assert papyra("inspect", "events", cwd=folder).returncode == 0
        assert sorted(path.name for path in folder.iterdir()) == ["papyra.ndjson"]
    finally:
        folder.chmod(0o755)


def test_a_store_given_by_path_by_url_and_by_environment_is_the_same_store(folder: Path) -> None:
    path = take("sound.ndjson", folder)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    wanted = papyra_json("persistence", "scan", cwd=folder)["scan"]["checked_records"]
    by_path = papyra_json("persistence", "scan", "--path", path, cwd=elsewhere)
    by_url = papyra_json("persistence", "scan", "--store", f"ndjson:{path}", cwd=elsewhere)
    by_environment = papyra("persistence", "scan", "--json", cwd=elsewhere, PAPYRA_STORE=f"ndjson:{path}")
    assert by_path["scan"]["checked_records"] == wanted
    assert by_url["scan"]["checked_records"] == wanted
    assert json.loads(by_environment.stdout)["scan"]["checked_records"] == wanted


def test_the_next_command_can_be_copied(folder: Path) -> None:
    odd = folder / "it's a log; touch owned"
    shutil.copy(TRIALS / BAD, odd)
    shown = papyra("persistence", "scan", "--path", odd, cwd=folder).stdout
    line = shown.splitlines()[-1].removeprefix("Next: papyra ")
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m papyra {line}"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("RECOVERED")
    assert not (folder / "owned").exists()
