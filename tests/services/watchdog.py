"""Ends the servers of a test run that ended without doing so, however it ended: its standard input closes."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from contextlib import suppress


def main(folder: str) -> None:
    """Keep the process groups named by ``+ pid`` and ``- pid`` until the end of the input, then clear up."""
    groups: set[int] = set()
    for line in sys.stdin:
        sign, pid = line.split()
        (groups.add if sign == "+" else groups.discard)(int(pid))
    for group in groups:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
