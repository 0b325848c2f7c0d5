"""Pykka: a thread for each actor, and another one that sends, all on one core.

With two cores its threads wait for the interpreter across them, and an ask takes three times as long.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pykka

from benchmarks.meter import Meter, expect, memory, resident

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.meter import Figures

LIBRARY = "pykka"

if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


class Counter(pykka.ThreadingActor):
    """Counts its messages and replies with the count."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_receive(self, message: Any) -> int:
        """Count."""
        del message
        self.count += 1
        return self.count


def tell_one(messages: int) -> Figures:
    """Tell to one actor."""
    return _tell(1, messages)


def tell_hundred(messages: int) -> Figures:
    """Tell to a hundred actors in turn."""
    return _tell(100, messages)


def _tell(actors: int, messages: int) -> Figures:
    refs = [Counter.start() for _ in range(actors)]
    try:
        with Meter() as meter:
            for number in range(messages // actors):
                for ref in refs:
                    ref.tell(number)
            replies = [ref.ask(None) for ref in refs]
        expect(sum(replies) - actors, messages)
    finally:
        pykka.ActorRegistry.stop_all()
    return meter.rates(messages)


def ask(messages: int) -> Figures:
    """Ask one question at a time, with a timeout."""
    ref = Counter.start()
    try:
        with Meter() as meter:
            for _ in range(messages):
                reply = ref.ask(None, timeout=5.0)
        expect(reply, messages)
    finally:
        pykka.ActorRegistry.stop_all()
    return meter.rates(messages)


def spawn(actors: int) -> Figures:
    """Start actors."""
    try:
        with Meter() as meter:
            refs = [Counter.start() for _ in range(actors)]
        expect(len(refs), actors)
    finally:
        pykka.ActorRegistry.stop_all()
    return meter.rates(actors)


def idle(actors: int) -> Figures:
    """Weigh idle actors; what a thread reserves and has not touched is not counted."""
    first = [Counter.start() for _ in range(100)]
    before = resident()
    refs = [Counter.start() for _ in range(actors)]
    figures = memory(before, len(refs))
    expect(len(first), 100)
    pykka.ActorRegistry.stop_all()
    return figures


MEASURES: Mapping[str, object] = {
    function.__name__: function for function in (tell_one, tell_hundred, ask, spawn, idle)
}
