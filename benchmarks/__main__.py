"""``python -m benchmarks [appends] [starts]``: print every figure beside its floor."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from pathlib import Path

from benchmarks import appends, starts


def main(names: list[str]) -> None:
    """Run the named benchmarks, or all of them, on the disk that holds this checkout."""
    print(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent, prefix=".run-") as folder:
        if not names or "appends" in names:
            appends.run(Path(folder))
    if not names or "starts" in names:
        starts.run()


if __name__ == "__main__":
    main(sys.argv[1:])
