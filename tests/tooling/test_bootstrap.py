"""The first minute on a strange machine: one sentence and exit 1, or an installation made once."""

from __future__ import annotations

import ast
import os
import shutil
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BOOTSTRAP = ROOT / "tools" / "bootstrap.py"

OFFLINE_PROJECT = """
    [build-system]
    requires = []
    build-backend = "offline_backend"
    backend-path = ["."]
"""
OFFLINE_BACKEND = """
    import zipfile

    METADATA = "Metadata-Version: 2.1\\nName: papyra\\nVersion: 1\\nProvides-Extra: test\\n"
    METADATA += "Provides-Extra: dev\\n"
    WHEEL = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"

    def build_editable(folder, config_settings=None, metadata_directory=None):
        info = "papyra-1.dist-info/"
        with zipfile.ZipFile(folder + "/papyra-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr(info + "METADATA", METADATA)
            wheel.writestr(info + "WHEEL", WHEEL)
            wheel.writestr(info + "RECORD", "")
        return "papyra-1-py3-none-any.whl"
"""
NEEDS_AN_INDEX = """
    [build-system]
    requires = ["hatchling"]
    build-backend = "hatchling.build"

    [project]
    name = "papyra"
    version = "1"
"""

AS_IF_OLD = """
import runpy, sys
sys.version_info = (3, 6, 15)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def write(path: Path, text: str) -> None:
    path.write_text(textwrap.dedent(text), encoding="utf-8")


def make_checkout(folder: Path) -> Path:
    """Lay out a checkout that pip can install with no index at all."""
    (folder / "tools").mkdir(parents=True)
    shutil.copy(BOOTSTRAP, folder / "tools")
    write(folder / "pyproject.toml", OFFLINE_PROJECT)
    write(folder / "offline_backend.py", OFFLINE_BACKEND)
    return folder


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def bootstrap(
    checkout: Path, *extras: str, python: tuple[str, ...] = (), **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the checkout's bootstrap where the only package index is a closed port."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    index = {
        "PIP_INDEX_URL": f"http://127.0.0.1:{closed_port()}/simple",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_RETRIES": "0",
    }
    script = str(checkout / "tools" / "bootstrap.py")
    return subprocess.run(
        [sys.executable, *python, script, *extras],
        env={**kept, **index, **more},
        capture_output=True,
        text=True,
        check=False,
    )


def only_sentence(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done
    (sentence,) = done.stderr.splitlines()
    return sentence


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the `test` extra installed; its tests leave it installed."""
    checkout = make_checkout(tmp_path_factory.mktemp("installed") / "checkout")
    done = bootstrap(checkout, "test")
    assert (done.returncode, done.stderr) == (0, "")
    return checkout


def test_bootstrap_parses_on_the_pythons_it_turns_away() -> None:
    ast.parse(BOOTSTRAP.read_text(encoding="utf-8"), feature_version=(3, 6))


def test_too_old_a_python_is_one_sentence_and_exit_1(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path / "checkout")
    sentence = only_sentence(bootstrap(checkout, "test", python=("-c", AS_IF_OLD)))
    assert sentence.startswith("papyra: Python 3.11 or newer is needed, and ")
    assert "3.6.15" in sentence
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(
    ("what_venv_does", "sentence"),
    [
        ("raise ModuleNotFoundError('No module named venv')", "has no venv module"),
        (
            "sys.exit('not created because ensurepip is not\\navailable.\\nFailing command: x')",
            "has no venv module",
        ),
        (
            "sys.exit('Error: [Errno 28] No space left on device')",
            "Error: [Errno 28] No space left on device",
        ),
    ],
)
def test_no_venv_is_one_sentence_and_exit_1_and_leaves_nothing(
    tmp_path: Path, what_venv_does: str, sentence: str
) -> None:
    checkout = make_checkout(tmp_path / "checkout")
    stub = tmp_path / "stub"
    stub.mkdir()
    write(stub / "venv.py", f"import pathlib, sys\npathlib.Path(sys.argv[-1]).mkdir()\n{what_venv_does}\n")
    assert sentence in only_sentence(bootstrap(checkout, "test", PYTHONPATH=str(stub)))
    assert not (checkout / ".venv").exists()


def test_no_package_index_is_one_sentence_and_exit_1_and_is_tried_again_next_time(installed: Path) -> None:
    write(installed / "pyproject.toml", NEEDS_AN_INDEX)
    try:
        for _ in range(2):
            sentence = only_sentence(bootstrap(installed, "test"))
            assert sentence.startswith("papyra: no package index gives what is needed; ")
            assert "hatchling" in sentence
            assert str(installed / ".venv" / "install.log") in sentence
    finally:
        write(installed / "pyproject.toml", OFFLINE_PROJECT)


def test_a_pip_that_fails_otherwise_says_why(installed: Path) -> None:
    write(installed / "pyproject.toml", OFFLINE_PROJECT.replace("offline_backend", "no_such_backend"))
    try:
        sentence = only_sentence(bootstrap(installed, "test"))
    finally:
        write(installed / "pyproject.toml", OFFLINE_PROJECT)
    assert sentence.startswith("papyra: pip failed: ")


def test_a_second_run_installs_nothing_until_pyproject_or_extras_change(installed: Path) -> None:
    assert bootstrap(installed, "test").stdout == ""
    assert "installing" in bootstrap(installed, "dev").stdout
    assert bootstrap(installed, "test", "dev").stdout == ""
    write(installed / "pyproject.toml", OFFLINE_PROJECT + "\n    # changed\n")
    assert "installing" in bootstrap(installed, "test").stdout
    assert "installing" in bootstrap(installed, "dev").stdout
    assert bootstrap(installed, "test", "dev").stdout == ""


def test_an_environment_that_no_longer_runs_is_made_anew(installed: Path) -> None:
    (installed / ".venv" / "bin" / "python").unlink()
    done = bootstrap(installed, "test")
    assert (done.returncode, done.stderr) == (0, "")
    assert (installed / ".venv" / "bin" / "python").exists()


def test_a_checkout_without_pyproject_is_one_sentence_and_exit_1(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path / "checkout")
    (checkout / "pyproject.toml").unlink()
    assert "pyproject.toml" in only_sentence(bootstrap(checkout, "test"))


def make(*words: str) -> subprocess.CompletedProcess[str]:
    """Run make as a user does, also where `make test` runs this."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(["make", *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_make_without_a_python_is_one_sentence_beside_makes_own_line() -> None:
    done = make("demo", "PYTHON=no-such-python3")
    said, makes_own = done.stderr.splitlines()
    assert done.returncode != 0
    assert said.startswith("papyra: Python 3.11 or newer is needed, and there is no no-such-python3")
    assert makes_own.startswith("make: ***")


def test_make_alone_explains_every_target() -> None:
    done = make()
    assert done.returncode == 0
    listed = {line.split()[1] for line in done.stdout.splitlines()}
    targets = {"help", "demo", "serve", "soak", "test", "check", "bench", "bench-large", "docs", "faults"}
    assert listed == targets
