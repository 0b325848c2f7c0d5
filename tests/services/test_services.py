"""Nothing that was started is left, whatever became of who started it; and what is missing is said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.budget import lacking
from tests.services.finding import Found, Missing, Service, find
from tests.services.processes import Keeper, ServiceError, started

ROOT = Path(__file__).resolve().parents[2]
SLEEPER = Service(name="sleeper", program="papyra-sleeper", advice="write one")

STARTS_ONE = """
import os, sys
from tests.services.processes import Keeper
keeper = Keeper()
folder = keeper.make_folder("sleeper")
os.mkfifo(folder / "alive")
keeper.give(folder / "alive")
keeper.run(["sh", "-c", "exec >alive; sleep 600 & sleep 600"], folder=folder)
gone = keeper.run(["true"], folder=keeper.folder)
gone.log.wait_until_ended()
print(folder, flush=True)
sys.stdin.read()
if sys.argv[1] == "closes":
    keeper.close()
os._exit(0)
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a program that a service could be, on PATH."""
    path = tmp_path / SLEEPER.program
    path.write_text("#!/bin/sh\necho version 7\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return path


@pytest.mark.parametrize("how", ["closes", "exits", "killed"])
def test_a_run_that_ends_anyhow_leaves_no_process_and_no_folder(how: str) -> None:
    runner = subprocess.Popen(
        [sys.executable, "-c", STARTS_ONE, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert runner.stdout is not None
    folder = Path(runner.stdout.readline().strip())
    with (folder / "alive").open() as alive:
        if how == "killed":
            runner.send_signal(signal.SIGKILL)
        runner.communicate(timeout=60)  # the watchdog holds the output until it is done
        assert alive.read() == "", "ends once the last of the group has"
    assert not folder.parent.exists()


def test_a_process_that_ends_without_the_word_waited_for_is_shown_with_what_it_said() -> None:
    keeper = Keeper()
    try:
        with pytest.raises(ServiceError, match=r"(?s)ended without saying 'ready'.*no such luck"):
            started(lambda: keeper.run(["echo", "no such luck"], folder=keeper.folder), "ready", attempts=2)
        assert list(keeper.running) == []
    finally:
        keeper.close()


def test_a_word_of_a_former_time_is_not_waited_for_again() -> None:
    keeper = Keeper()
    try:
        process = keeper.run(["sh", "-c", "echo ready; sleep 600"], folder=keeper.folder)
        process.log.wait_for("ready")
        with pytest.raises(ServiceError, match="without saying 'ready'"):
            process.log.wait_for("ready", after=process.log.position, seconds=0.05)
    finally:
        keeper.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="who is not root cannot be anybody else")
def test_root_starts_servers_as_somebody_who_is_not() -> None:
    keeper = Keeper()
    try:
        process = keeper.run(["id", "-un"], folder=keeper.make_folder("id"))
        process.log.wait_for("nobody")
        lent = keeper.lend(Path(sys.executable).resolve())
        assert lent.stat().st_mode & 0o005 == 0o005
        assert lent.is_relative_to(keeper.folder)
    finally:
        keeper.close()


def test_a_program_is_found_on_the_path_and_says_its_version(program: Path) -> None:
    found = find(SLEEPER)
    assert isinstance(found, Found)
    assert str(found) == f"version 7 (PATH: {program})"


def test_a_program_is_found_in_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = f"{os.uname().sysname}-{os.uname().machine}".lower()
    binary = tmp_path / "sleepwheel" / "_binaries" / machine / SLEEPER.program
    binary.parent.mkdir(parents=True)
    binary.touch(mode=0o755)
    (tmp_path / "sleepwheel" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    found = find(replace(SLEEPER, wheel="sleepwheel"))
    assert isinstance(found, Found)
    assert (found.path, found.origin, found.is_private) == (binary, "wheel sleepwheel", True)


def test_what_is_missing_is_named_with_what_would_bring_it() -> None:
    missing = find(replace(SLEEPER, wheel="no_such_wheel"))
    assert isinstance(missing, Missing)
    assert str(missing) == (
        "there is no papyra-sleeper here: write one, or name a server in PAPYRA_TEST_SLEEPER_URL"
    )


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_what_is_missing_skips_a_test_and_fails_it_in_ci(
    ci: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no sleeper"):
        lacking("there is no sleeper")


FAILS = """
def test_fails(valkey, start_redis):
    start_redis(maxmemory="7mb")
    raise AssertionError
"""


def test_a_test_that_fails_is_shown_with_what_its_servers_said(tmp_path: Path) -> None:
    pytest.importorskip("redis")
    (tmp_path / "test_fails.py").write_text(FAILS)
    plugins = ["-p", "tests.services.plugin", "-p", "tests.services.redisfixtures"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, "-c", os.devnull, "-p", "no:cacheprovider", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "tests.django.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "service valkey: " in done.stdout
    assert done.stdout.count("- log of ") == done.stdout.count("Ready to accept connections") == 2
