"""``python -m benchmarks [NAME…]``: print every figure beside its floor."""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from pathlib import Path

from benchmarks import appends, report, starts
from benchmarks.environments import ROOT
from benchmarks.rows import all_rows
from benchmarks.speed import measure

PAGE = ROOT / "docs" / "reference" / "performance.md"


def main() -> None:
    """Run the named benchmarks, or all of them, on the disk that holds this checkout."""
    rows = {row.name: row for row in all_rows()}
    arguments = parse((*rows, "appends", "starts"))
    names = arguments.names or [*rows, "appends", "starts"]
    print(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores")
    everything = []
    for name in names:
        if name in rows:
            everything.append(measure(rows[name], rounds=arguments.rounds))
            print(f"{report.as_text(everything[-1])}\n", flush=True)
    if arguments.markdown:
        report.put_into(PAGE, report.as_markdown(everything, rounds=arguments.rounds))
        print(f"written: {PAGE.relative_to(ROOT)}")
    if "appends" in names:
        with tempfile.TemporaryDirectory(dir=Path(__file__).parent, prefix=".run-") as folder:
            appends.run(Path(folder))
    if "starts" in names:
        starts.run()


def parse(known: tuple[str, ...]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; default: all")
    parser.add_argument("--rounds", type=int, default=3, help="how often each figure is taken (default: 3)")
    parser.add_argument("--markdown", action="store_true", help=f"also write {PAGE.relative_to(ROOT)}")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds is 1 or more")
    if arguments.markdown and arguments.names:
        parser.error("the page shows everything: --markdown goes with no NAME")
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    return arguments


if __name__ == "__main__":
    main()
