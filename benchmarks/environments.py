"""One environment for each library and Python, made when it is first wanted and kept in ``.venv/bench``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tools.bootstrap import last_word, run

if TYPE_CHECKING:
    from benchmarks.rows import Contender

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv" / "bench"
PYTHONS = ("3.11", "3.13")
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
UVLOOP = "uvloop==0.23.0"


@dataclass(frozen=True, slots=True)
class Missing:
    """Why something cannot be measured here."""

    reason: str


def environment(contender: Contender, python: str) -> Path | Missing:
    """Return the interpreter to measure ``contender`` with."""
    oldest = ".".join(str(part) for part in contender.oldest)
    if tuple(int(part) for part in python.split(".")) < contender.oldest:
        return Missing(f"needs Python {oldest}")
    base = interpreter(python)
    if base is None:
        return Missing(f"there is no Python {python} here")
    requirements = contender.requirements or papyra_requirements()
    if contender.has_loop:
        requirements = (*requirements, UVLOOP)
    made = _made(f"{contender.environment}-{python}", base, requirements)
    if isinstance(made, Missing) and not contender.requirements and python == RUNNING:
        return Path(sys.executable)  # has all but uvloop
    return made


@cache
def interpreter(python: str) -> Path | None:
    """Return a Python of this version: the one that runs this, one on the PATH, or pyenv's."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = shutil.which(f"python{python}")
    candidates = [
        Path(sys.base_prefix, "bin", f"python{python}"),
        *([Path(found)] if found else []),
        *sorted(root.glob(f"versions/{python}.*/bin/python{python}")),
    ]
    probe = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    for path in candidates:
        try:
            said = subprocess.run([path, "-c", probe], capture_output=True, text=True, check=False).stdout
        except OSError:
            continue
        if said.strip() == python:
            return path
    return None


def papyra_requirements() -> tuple[str, ...]:
    """Return what papyra needs: it is measured from this checkout, not installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return tuple(project["dependencies"])


@cache
def _made(name: str, base: Path, requirements: tuple[str, ...]) -> Path | Missing:
    folder = FOLDER / name
    python, stamp = folder / "bin" / "python", folder / "installed.json"
    wanted = json.dumps([str(base), *requirements])
    if python.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    print(f"making {folder.relative_to(ROOT)}: {', '.join(requirements)}", flush=True)
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirements]
    for command in ([str(base), "-m", "venv", "--clear", str(folder)], pip):
        done = run(command)
        if done.returncode != 0:
            return Missing(f"not installed: {last_word(done.stdout)}")
    stamp.write_text(wanted, encoding="utf-8")
    return python
