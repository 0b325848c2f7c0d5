"""The firewall around an actor's own code: an error comes back as a value, the end of the world does not."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def is_fatal(error: BaseException) -> bool:
    """Whether ``error`` must go on through everything.

    A `asyncio.CancelledError` does if this very task was cancelled; one that came out of something the
    actor's code awaited is a failure like any other.
    """
    if isinstance(error, asyncio.CancelledError):
        task = running_task()
        return task is None or task.cancelling() > 0
    return isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit))


def running_task() -> asyncio.Task[object] | None:
    """Return the task that is running, if any is, loop or no loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


async def attempt(method: Callable[..., object], *args: object) -> tuple[object, BaseException | None]:
    """Call ``method``, sync or async, and return its result, or the error that came out of it."""
    try:
        result = method(*args)
        if inspect.isawaitable(result):
            result = await result
    except BaseException as error:  # firewall: what an actor raises goes to its supervisor
        if is_fatal(error):
            raise
        return None, error
    return result, None


def outcome_of(function: Callable[..., object], *args: object) -> tuple[object, BaseException | None]:
    """Call ``function`` and return its result, or the error that came out of it."""
    try:
        return function(*args), None
    except BaseException as error:  # firewall: it is a part of an actor's code
        if is_fatal(error):
            raise
        return None, error
