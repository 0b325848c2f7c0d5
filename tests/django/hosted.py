"""What tests host: an actor that says what it hears, and ways to populate a system well and badly."""

from __future__ import annotations

import asyncio
import os
import queue
import time

from papyra import Actor, ActorSystem

STARTED: list[str] = []
HEARD: queue.SimpleQueue[object] = queue.SimpleQueue()


class Greeter(Actor):
    """Says what it hears; "boom", or a dict with that key, makes it fail."""

    async def on_start(self) -> None:
        STARTED.append(self.context.self_ref.path)

    async def receive(self, message: object) -> object:
        HEARD.put(message)
        match message:
            case "boom":
                raise ValueError("told to")
            case dict() if "boom" in message:
                raise ValueError(str(message["boom"]).format(**message))
            case _:
                return f"hello, {message}"


class Broken(Actor):
    """Cannot start."""

    async def on_start(self) -> None:
        raise ConnectionError("the printer is on fire")


class Blocker(Actor):
    """Does what no actor may: it keeps the loop, or a thread of it, for a minute."""

    async def receive(self, message: object) -> None:
        print(f"blocks the {message}", flush=True)  # noqa: T201  # the test waits for it
        if message == "loop":
            time.sleep(60)
        else:
            await asyncio.to_thread(time.sleep, 60)


async def populate(system: ActorSystem) -> None:
    system.spawn(Greeter, name="greeter")


async def populate_with_broken(system: ActorSystem) -> None:
    system.spawn(Broken, name="broken")
    system.spawn(Greeter, name="greeter")


async def populate_with_blocker(system: ActorSystem) -> None:
    system.spawn(Blocker, name="blocker").tell(os.environ["PAPYRA_TEST_BLOCKS"])


async def populate_halfway(system: ActorSystem) -> None:
    await populate(system)
    raise LookupError("there is no kettle")


def populate_plainly(system: ActorSystem) -> None:
    system.spawn(Greeter, name="greeter")
