"""What waits for a writer thread, what becomes of it when the queue is full, and how it hears of its end."""

from __future__ import annotations

import asyncio  # noqa: TC003  # msgspec reads it
import contextlib
from collections.abc import Callable  # noqa: TC003  # msgspec reads it
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from papyra.exceptions import ConfigurationError
from papyra.persistence.models import as_word

if TYPE_CHECKING:
    from collections.abc import Sequence

Outcome = object
"""A result, or a `Failure`."""


class Overflow(StrEnum):
    """What becomes of an item that finds the queue full.

    ``wait``: its caller waits for room. ``raise``: it is refused with `StoreBusyError`. ``drop_oldest``: what
    has waited longest is let go for it, and whoever waits for that is told.
    """

    WAIT = "wait"
    RAISE = "raise"
    DROP_OLDEST = "drop_oldest"


def check_queue(overflow: Overflow | str, max_queue_bytes: object, *, may_drop: bool) -> Overflow:
    """Return the mode that is meant; raises `ConfigurationError` for one that cannot be."""
    if type(max_queue_bytes) is not int or max_queue_bytes < 1:
        raise ConfigurationError(
            f"max_queue_bytes must be a whole number of bytes above 0, not {max_queue_bytes!r:.50}"
        )
    mode = as_word(Overflow, "way of overflow", overflow)
    if mode is Overflow.DROP_OLDEST and not may_drop:
        raise ConfigurationError(
            "overflow='drop_oldest' goes with fsync='os' only: a store that promises what it acknowledges to "
            "be durable does not let records go; take fsync='os', or overflow='wait' or 'raise'"
        )
    return mode


class Request(msgspec.Struct, eq=False):
    """A Struct, because one is made for each append and this is the fastest class there is."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    size: int
    item: Any = None
    job: Callable[[], object] | None = None


class Failure(msgspec.Struct, eq=False):
    """What a request is to raise."""

    error: BaseException


def deliver(batch: Sequence[Request], outcomes: Sequence[Outcome]) -> None:
    """Wake each loop once, from whatever thread."""
    settled = list(zip(batch, outcomes, strict=True))
    loops = {request.loop for request in batch}
    for loop in loops:
        own = settled if len(loops) == 1 else [pair for pair in settled if pair[0].loop is loop]
        with contextlib.suppress(RuntimeError):  # that loop has ended, and its waiters with it
            loop.call_soon_threadsafe(_settle, own)


def _settle(settled: list[tuple[Request, Outcome]]) -> None:
    for request, outcome in settled:
        future = request.future
        if future.done():
            continue
        if type(outcome) is Failure:
            future.set_exception(outcome.error)
        else:
            future.set_result(outcome)
