"""``python -m benchmarks [NAME…]``: print every figure beside its floor."""

from __future__ import annotations

import argparse
import os
import platform

from benchmarks import report, starts
from benchmarks.environments import ROOT
from benchmarks.rows import all_rows
from benchmarks.speed import measure
from benchmarks.storage_rows import LARGE, LARGE_PAGES, STORAGE
from benchmarks.stores import forget

PAGE = ROOT / "docs" / "reference" / "performance.md"
STARTS, GROUP = "starts", "storage"
IN_GROUP = tuple(row.name for row in STORAGE)


def main() -> None:
    """Run the named benchmarks, or all of them, on the disk that holds this checkout."""
    rows = {row.name: row for row in all_rows(is_large=True)}
    arguments = parse((*rows, GROUP, STARTS))
    asked = arguments.names or [*(row.name for row in all_rows()), STARTS]
    names = [each for name in asked for each in (IN_GROUP if name == GROUP else (name,))]
    print(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores")
    runtime, storage = [], []
    for name in names:
        if name in rows:
            measured = measure(rows[name], rounds=arguments.rounds)
            (storage if name.startswith(GROUP) else runtime).append(measured)
            print(f"{report.as_text(measured)}\n", flush=True)
    if LARGE_PAGES.name in names:
        forget(LARGE)
    if arguments.markdown:
        for everything, mark, wanted in (
            (runtime, report.BEGIN, "What was wanted"),
            (storage, report.STORAGE_BEGIN, "What was wanted of the file store"),
        ):
            if everything:
                made = report.as_markdown(everything, rounds=arguments.rounds, wanted=wanted)
                report.put_into(PAGE, made, mark=mark)
        print(f"written: {PAGE.relative_to(ROOT)}")
    if STARTS in names:
        starts.run()


def parse(known: tuple[str, ...]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    said = f"of {', '.join(known)}; default: all but what is large"
    parser.add_argument("names", nargs="*", metavar="NAME", help=said)
    parser.add_argument("--rounds", type=int, default=3, help="how often each figure is taken (default: 3)")
    parser.add_argument("--markdown", action="store_true", help=f"also write {PAGE.relative_to(ROOT)}")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds is 1 or more")
    if arguments.markdown and arguments.names not in ([], [GROUP]):
        parser.error(f"the page shows everything: --markdown goes with no NAME, or with {GROUP}")
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    return arguments


if __name__ == "__main__":
    main()
