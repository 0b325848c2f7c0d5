"""The core stands on its two dependencies, and importing it does nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys, threading

OURS = {"papyra", "msgspec", "rich", "markdown_it", "mdurl", "pygments"}
OPTIONAL = ("papyra.__main__", "papyra.testing")

class OnlyTheCore:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root not in OURS and root not in sys.stdlib_module_names:
            raise ModuleNotFoundError(f"{name} is not part of the core", name=name)

sys.meta_path.insert(0, OnlyTheCore())
import papyra
walk = pkgutil.walk_packages(papyra.__path__, "papyra.", onerror=lambda name: None)
names = [module.name for module in walk]
for name in names:
    if not name.startswith(OPTIONAL):
        importlib.import_module(name)
assert threading.active_count() == 1, threading.enumerate()
print(len(names))
"""


def test_the_core_imports_with_no_extra_installed_and_starts_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EVERYTHING],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 20
    assert list(tmp_path.iterdir()) == []
