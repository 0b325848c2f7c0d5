"""Run a process under strace: see which calls touch a folder, kill it in one of them, or let one fail."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60
CHANGING = frozenset(
    {
        *(
            "write",
            "pwrite64",
            "pwritev",
            "pwritev2",
            "ftruncate",
            "fdatasync",
            "fsync",
            "rename",
            "renameat",
        ),
        *(
            "renameat2",
            "unlink",
            "unlinkat",
            "mkdir",
            "mkdirat",
            "fchmod",
            "fchown",
            "openat",
            "link",
            "linkat",
        ),
        *("copy_file_range", "sendfile", "fallocate"),
    }
)
"""Calls after which the folder, or what is known to last of it, may be another; ``openat`` creates."""

_CALL = re.compile(r"^\d+ +(?:<\.\.\. )?([a-z_0-9]+)(?:\(| resumed>)")


class Injection(NamedTuple):
    """The ``number``-th call of a kind that touches the folder: the process dies in it, or it fails."""

    call: str
    number: int
    error: str = ""
    times: int = 1

    def option(self) -> str:
        what = f"error={self.error}" if self.error else "signal=KILL"
        last = self.number + self.times - 1
        when = f"{self.number}..{last}" if self.times > 1 else str(self.number)
        return f"inject={self.call}:{what}:when={when}"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended, what it said, and which calls of it touched the folder."""

    code: int
    said: str
    errors: str
    log: str

    @property
    def was_killed(self) -> bool:
        return self.code == -9

    @property
    def was_told(self) -> bool:
        """Whether a call was made to fail."""
        return "(INJECTED)" in self.log


@dataclass(frozen=True, slots=True)
class Seen:
    """Which calls touch a folder, how often each, and every path in it that is touched."""

    folder: Path
    calls: dict[str, int]
    paths: list[Path]
    ending: Ending


def look(folder: Path, command: list[str]) -> Seen:
    """Run ``command`` and see what it does in ``folder``."""
    ending = _run(folder, command, ["-y", "-e", "trace=%file,%desc"])
    touching = [line for line in ending.log.splitlines() if str(folder) in line and "execve(" not in line]
    names = re.findall(rf"{re.escape(str(folder))}[^\s\">,]*", "\n".join(touching))
    calls = Counter(found[1] for line in touching if (found := _CALL.match(line)) is not None)
    return Seen(
        folder, dict(sorted(calls.items())), sorted({Path(name) for name in names} | {folder}), ending
    )


def disturbed(seen: Seen, folder: Path, command: list[str], injection: Injection) -> Ending:
    """Run ``command`` in ``folder`` and carry out ``injection`` in a call that was seen to touch its like."""
    paths = [folder / path.relative_to(seen.folder) for path in seen.paths]
    options = [part for path in paths for part in ("-P", str(path))]
    options += ["-e", f"trace={injection.call}", "-e", injection.option()]
    return _run(folder, command, options)


def _run(folder: Path, command: list[str], options: list[str]) -> Ending:
    log = folder.with_name(f"{folder.name}.strace")
    log.unlink(missing_ok=True)
    ran = subprocess.run(
        ["strace", "-f", "-qqq", "-o", str(log), "-e", "signal=none", *options, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return Ending(ran.returncode, ran.stdout, ran.stderr, log.read_text(encoding="utf-8", errors="replace"))


def worker(work: str, folder: Path) -> list[str]:
    """Return the command that does ``work`` on the store in ``folder``."""
    return [sys.executable, "-m", "tests.faults_files.worker", work, str(folder)]
