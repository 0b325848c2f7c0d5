"""``python -m benchmarks.contenders MODULE MEASURE SIZE [--uvloop]``: one measurement, as JSON on stdout."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def main(module_name: str, measure_name: str, size: str, *options: str) -> None:
    """Run one measure on the loop that was asked for."""
    module = importlib.import_module(module_name)
    measure: Callable[[int], Any] = module.MEASURES[measure_name]
    if inspect.iscoroutinefunction(measure):
        with asyncio.Runner(loop_factory=loop_factory(options)) as runner:
            figures = runner.run(measure(int(size)))
    else:
        figures = measure(int(size))
    said = {"figures": figures, "version": version_of(module), "python": platform.python_version()}
    print(json.dumps(said), flush=True)


def loop_factory(options: tuple[str, ...]) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the loop: asyncio's own unless uvloop was asked for."""
    if "--uvloop" not in options:
        return asyncio.SelectorEventLoop
    return importlib.import_module("uvloop").new_event_loop  # type: ignore[no-any-return]


def version_of(module: Any) -> str:
    """Return the version of the library, as it is installed."""
    library = getattr(module, "LIBRARY", None)
    if library is None:
        return ""
    try:
        return version(library)
    except PackageNotFoundError:
        return str(getattr(module, "VERSION", ""))


if __name__ == "__main__":
    main(*sys.argv[1:])
