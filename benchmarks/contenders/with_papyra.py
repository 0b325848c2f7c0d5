"""papyra, as it runs by default: every start and stop on record, in memory."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import tempfile
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.floors import YIELDS_EVERY
from benchmarks.meter import MEBIBYTE, Meter, expect, memory, pauses, resident
from papyra import Actor, ActorSystem, __version__
from papyra.persistence.backends.memory import InMemoryPersistence
from papyra.persistence.backends.retention import RetentionPolicy
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import RecordKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.meter import Figures
    from papyra.persistence.models import Record
    from papyra.ref import ActorRef

LIBRARY = "papyra"
VERSION = __version__
_FIRST = 11_000  # after so many, the 10,000 newest events and records that are kept are all there
CAN_RECORD_HANDLED = "record_handled" in inspect.signature(ActorSystem).parameters


class Counter(Actor):
    """Counts its messages and replies with the count."""

    def __init__(self) -> None:
        self.count = 0

    async def receive(self, message: Any) -> int:
        """Count."""
        del message
        self.count += 1
        return self.count


async def tell_one(messages: int) -> Figures:
    """Tell to one actor; the producer yields every 256."""
    async with ActorSystem() as system:
        return await _tell([system.spawn(Counter, mailbox_capacity=None)], messages)


async def tell_hundred(messages: int) -> Figures:
    """Tell to a hundred actors in turn; the producer yields every 256."""
    async with ActorSystem() as system:
        refs = [system.spawn(Counter, mailbox_capacity=None) for _ in range(100)]
        return await _tell(refs, messages)


async def _tell(refs: Sequence[ActorRef], messages: int) -> Figures:
    await asyncio.sleep(0)
    with Meter() as meter:
        sent = 0
        for _ in range(messages // len(refs)):
            for ref in refs:
                ref.tell(sent)
                sent += 1
                if sent % YIELDS_EVERY == 0:
                    await asyncio.sleep(0)
        await _all_handled(refs, messages)
    return meter.rates(messages)


async def tell_hundred_awaited(messages: int) -> Figures:
    """Await each tell, which waits at a full mailbox only: with 256 places, as everything-is-an-actor has."""
    async with ActorSystem() as system:
        refs = [system.spawn(Counter, mailbox_capacity=256) for _ in range(100)]
        await asyncio.sleep(0)
        with Meter() as meter:
            for number in range(messages // 100):
                for ref in refs:
                    await ref.tell(number)
            await _all_handled(refs, messages)
        return meter.rates(messages)


async def _all_handled(refs: Sequence[ActorRef], messages: int) -> None:
    replies = [await ref.ask(None) for ref in refs]
    expect(sum(replies) - len(refs), messages)


async def ask(messages: int) -> Figures:
    """Ask one question at a time, with a timeout."""
    async with ActorSystem() as system:
        ref = system.spawn(Counter)
        await ref.ask(None)
        with Meter() as meter:
            for _ in range(messages):
                await ref.ask(None, timeout=5.0)
        expect(await ref.ask(None) - 2, messages)
        return meter.rates(messages)


async def spawn(actors: int) -> Figures:
    """Spawn; the clock stops when each start is stored in memory."""
    store = InMemoryPersistence(RetentionPolicy(max_records=2 * actors))
    async with ActorSystem(persistence=store) as system:
        await system.flush()
        before = await _events(store)
        with Meter() as meter:
            await _spawn_many(system, actors)
            await system.flush()
        expect(await _events(store) - before, actors)
        return meter.rates(actors)


async def _events(store: InMemoryPersistence | JsonFilePersistence) -> int:
    return (await store.stats()).kinds[RecordKind.EVENT].records


async def _spawn_many(system: ActorSystem, actors: int, parent: ActorRef | None = None) -> list[ActorRef]:
    refs: list[ActorRef] = []
    for number in range(actors):
        refs.append(system.spawn(Counter, parent=parent))
        if number % YIELDS_EVERY == 0:
            await asyncio.sleep(0)
    return refs


async def _spawn_calmly(system: ActorSystem, actors: int) -> list[ActorRef]:
    """Let the records be stored meanwhile, so that no queue of them leaves its traces in the heap."""
    refs: list[ActorRef] = []
    for _ in range(actors // YIELDS_EVERY + 1):
        refs += await _spawn_many(system, min(YIELDS_EVERY, actors - len(refs)))
        await system.flush()
    return refs


async def idle(actors: int) -> Figures:
    """Weigh idle actors, stop them, and make as many again."""
    async with ActorSystem() as system:
        await _spawn_calmly(system, _FIRST)
        before, blocks = resident(), sys.getallocatedblocks()
        refs = await _spawn_calmly(system, actors)
        figures = memory(before, len(refs))
        del refs
        await system.stop_all()
        await _spawn_calmly(system, _FIRST)
        gc.collect()
        figures["blocks left"] = float(sys.getallocatedblocks() - blocks)
        again = await _spawn_calmly(system, actors)
        figures["again mb"] = memory(before, len(again))["mb"]
        return figures


async def idle_worked(actors: int) -> Figures:
    """Weigh idle actors that have handled a message, once their tasks have ended."""
    tracemalloc.start()  # what the tasks took stays resident when they have ended, so that tells nothing
    async with ActorSystem() as system:
        await _spawn_calmly(system, _FIRST)
        before = _traced()
        refs = await _spawn_calmly(system, actors)
        await asyncio.gather(*(ref.ask(None) for ref in refs))
        while len(asyncio.all_tasks()) > actors // 2:  # noqa: ASYNC110  # nothing tells when they have gone
            await asyncio.sleep(0.5)
        grown = _traced() - before
        tracemalloc.stop()
        return {"each": grown / actors, "mb": grown / MEBIBYTE}


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def pause(messages: int) -> Figures:
    """Time the turns of a loop with a hundred busy actors."""
    async with ActorSystem() as system:
        refs = [system.spawn(Counter, mailbox_capacity=None) for _ in range(100)]
        await asyncio.gather(*(ref.ask(None) for ref in refs))
        for number in range(messages):
            refs[number % 100].tell(number)
        wanted = system.accounting().accepted
        return await pauses(lambda: system.accounting().handled == wanted)


class Level(Actor):
    """One that has a child, until the tree is deep enough."""

    def __init__(self, levels: int, bottom: asyncio.Future[None]) -> None:
        self.levels = levels
        self.bottom = bottom

    async def on_start(self) -> None:
        """Spawn the next level."""
        if self.levels > 1:
            self.context.spawn_child(Level, self.levels - 1, self.bottom)
        else:
            self.bottom.set_result(None)


async def deep(actors: int) -> Figures:
    """Start and stop a tree in which each actor has one child."""
    async with ActorSystem() as system:
        with Meter() as meter:
            bottom = asyncio.get_running_loop().create_future()
            root = system.spawn(Level, actors, bottom)
            await bottom
            expect(len(system.refs()), actors)
            await system.stop(root)
        expect(len(system.refs(alive_only=False)), 0)
        return {"cpu": meter.cpu, "wall": meter.wall}


async def wide(actors: int) -> Figures:
    """Start and stop one actor with many children."""
    async with ActorSystem() as system:
        with Meter() as meter:
            root = system.spawn(Counter)
            await _spawn_many(system, actors - 1, parent=root)
            expect(len(system.refs()), actors)
            await system.stop(root)
        expect(len(system.refs(alive_only=False)), 0)
        return {"cpu": meter.cpu, "wall": meter.wall}


class HeldPersistence(InMemoryPersistence):
    """A store that takes nothing until it is let go: what is measured beside it is the handing over alone."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.go.set()

    async def append(self, records: Sequence[Record]) -> None:
        """Wait, then append."""
        await self.go.wait()
        await super().append(records)


async def handled_off(messages: int) -> Figures:
    """Tell with nothing recorded of each message."""
    return await _handed_over(messages)


async def handled_handed_over(messages: int) -> Figures:
    """Tell with each message recorded, as far as the queue to the store."""
    return await _handed_over(messages, record_handled=True)


async def _handed_over(messages: int, **options: Any) -> Figures:
    store = HeldPersistence()
    room: dict[str, Any] = {"max_queued_records": 2 * messages, "max_queued_bytes": 4096 * MEBIBYTE}
    async with ActorSystem(persistence=store, **room, **options) as system:
        ref = system.spawn(Counter, mailbox_capacity=None)
        await system.flush()
        store.go.clear()
        try:
            return await _tell([ref], messages)
        finally:
            store.go.set()
            await system.flush()


async def handled_stored(messages: int) -> Figures:
    """Tell with each message recorded in a file that is not synced; the clock stops when all is written."""
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent, prefix=".run-") as folder:
        store = JsonFilePersistence(Path(folder) / "handled.ndjson", fsync="os")
        options: dict[str, Any] = {"record_handled": True}
        async with ActorSystem(persistence=store, **options) as system:
            ref = system.spawn(Counter, mailbox_capacity=None)
            await system.flush()
            before = await _events(store)
            with Meter() as meter:
                for sent in range(1, messages + 1):
                    ref.tell(sent)
                    if sent % YIELDS_EVERY == 0:
                        await asyncio.sleep(0)
                    if sent % 16_384 == 0:
                        await system.flush()
                await _all_handled([ref], messages)
                await system.flush()
            expect(await _events(store) - before, messages + 1)
            return meter.rates(messages)


MEASURES: Mapping[str, object] = {
    function.__name__: function
    for function in (
        tell_one,
        tell_hundred,
        tell_hundred_awaited,
        ask,
        spawn,
        idle,
        idle_worked,
        pause,
        deep,
        wide,
        handled_off,
        *((handled_handed_over, handled_stored) if CAN_RECORD_HANDLED else ()),
    )
}
