"""How long it takes until papyra is imported and until its command answers."""

from __future__ import annotations

import shutil
import sys

from benchmarks import floors

ROUNDS = 9


def run() -> None:
    """Print medians of fresh processes."""
    floor = floors.start_of_python(rounds=ROUNDS)
    papyra = shutil.which("papyra", path=str(sys.executable).rpartition("/")[0])
    commands = {
        "import papyra": [sys.executable, "-c", "import papyra"],
        "from papyra import ActorSystem": [sys.executable, "-c", "from papyra import ActorSystem"],
        "papyra --help": [papyra, "--help"] if papyra else [sys.executable, "-m", "papyra", "--help"],
    }
    for name, command in commands.items():
        seconds = floors.median_start(command, rounds=ROUNDS)
        print(f"start: {name}: {seconds * 1000:.0f} ms, {(seconds - floor) * 1000:.0f} ms over bare Python")
    print("wanted: papyra --help < 150 ms")
