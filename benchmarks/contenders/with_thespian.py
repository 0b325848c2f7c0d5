"""Thespian on its simple system base: one thread, and a tell returns when the message was handled."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from thespian.actors import Actor, ActorSystem

from benchmarks.meter import Meter, expect, memory, resident

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.meter import Figures

LIBRARY = "thespian"
QUESTION = "how many?"


class Counter(Actor):  # type: ignore[misc]
    """Counts its messages and replies to questions with the count."""

    count = 0

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802
        """Count."""
        self.count += 1
        if message == QUESTION:
            self.send(sender, self.count)


@contextmanager
def running() -> Iterator[Any]:
    """Run a system; an actor system of this library is there once in a process."""
    system = ActorSystem("simpleSystemBase")
    try:
        yield system
    finally:
        system.shutdown()


def tell_one(messages: int) -> Figures:
    """Tell to one actor."""
    return _tell(1, messages)


def tell_hundred(messages: int) -> Figures:
    """Tell to a hundred actors in turn."""
    return _tell(100, messages)


def _tell(actors: int, messages: int) -> Figures:
    with running() as system:
        addresses = [system.createActor(Counter) for _ in range(actors)]
        with Meter() as meter:
            for number in range(messages // actors):
                for address in addresses:
                    system.tell(address, number)
            replies = [system.ask(address, QUESTION, 5.0) for address in addresses]
        expect(sum(replies) - actors, messages)
    return meter.rates(messages)


def ask(messages: int) -> Figures:
    """Ask one question at a time, with a timeout."""
    with running() as system:
        address = system.createActor(Counter)
        with Meter() as meter:
            for _ in range(messages):
                reply = system.ask(address, QUESTION, 5.0)
        expect(reply, messages)
    return meter.rates(messages)


def spawn(actors: int) -> Figures:
    """Create actors."""
    with running() as system:
        with Meter() as meter:
            addresses = [system.createActor(Counter) for _ in range(actors)]
        expect(len(addresses), actors)
    return meter.rates(actors)


def idle(actors: int) -> Figures:
    """Weigh idle actors."""
    with running() as system:
        first = [system.createActor(Counter) for _ in range(100)]
        before = resident()
        addresses = [system.createActor(Counter) for _ in range(actors)]
        figures = memory(before, len(addresses))
        expect(len(first), 100)
    return figures


MEASURES: Mapping[str, object] = {
    function.__name__: function for function in (tell_one, tell_hundred, ask, spawn, idle)
}
