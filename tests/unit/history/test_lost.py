"""A process that was killed is lost and said to be; a sibling that lives is not, however silent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from papyra.history import ActorKey, accounting, running_at, timeline, why_stopped
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import PersistenceRecoveryConfig, PersistenceRecoveryMode, ScanDepth
from papyra.persistence.startup import PersistenceStartupConfig, PersistenceStartupMode
from papyra.system import ActorSystem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from papyra.persistence.models import PersistedEvent

REPAIR = PersistenceRecoveryConfig(PersistenceRecoveryMode.REPAIR)
ROOT = Path(__file__).parents[3]
PROCESS = """
import asyncio, sys
from papyra import Actor, ActorSystem
from papyra.persistence.json import JsonFilePersistence

class Desk(Actor):
    async def receive(self, message):
        if message == "wait":
            await asyncio.Event().wait()
        return message

async def main():
    store = JsonFilePersistence(sys.argv[1])
    system = ActorSystem(system_id="orders", persistence=store, audit_interval=None)
    await system.start()
    desk = system.spawn(Desk, name=sys.argv[2])
    for number in range(3):
        await desk.ask(number)
    for message in ("wait", "queued", "queued"):
        desk.tell(message)
    await asyncio.sleep(0)
    system.audit()
    await system.flush()
    if sys.argv[3] == "lets go":
        await store.aclose()  # so that another process may write
    print(system.incarnation, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


class Process:
    """A process with a system on the store, as far as its first line says that all is written."""

    def __init__(self, path: Path, actor: str, how: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(path), actor, how],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self._process.stdout is not None
        self.incarnation = self._process.stdout.readline().strip()
        assert self.incarnation

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.ndjson"


@pytest.fixture
def sibling(path: Path) -> Iterator[Process]:
    process = Process(path, "sibling", "lets go")
    yield process
    process.kill()


async def closed_by_a_start(path: Path) -> tuple[list[object], tuple[PersistedEvent, ...]]:
    """Start and close a system there; returns which incarnations it called lost, and all events."""
    store = JsonFilePersistence(path)
    startup = PersistenceStartupConfig(PersistenceStartupMode.RECOVER, REPAIR, depth=ScanDepth.FULL)
    async with ActorSystem(
        system_id="orders", persistence=store, persistence_startup=startup, close_persistence=False
    ):
        pass
    events = await store.list_events()
    await store.aclose()
    lost = [event.payload["closes"] for event in events if event.event_type == "IncarnationLost"]  # type: ignore[index]
    return lost, events


async def test_a_killed_process_is_lost_with_what_it_had_in_hand_and_its_living_sibling_is_not(
    path: Path, sibling: Process
) -> None:
    victim = Process(path, "desk", "holds on")
    victim.kill()
    lost, events = await closed_by_a_start(path)
    assert lost == [victim.incarnation]
    (notice,) = [event for event in events if event.event_type == "IncarnationLost"]
    assert notice.incarnation not in {victim.incarnation, sibling.incarnation}  # the noticer's own

    last_seen = max(event.timestamp for event in events if event.incarnation == victim.incarnation)
    then, now = running_at(events, last_seen), running_at(events, events[-1].timestamp)
    assert [actor.path for actor in then.actors] == ["/sibling", "/desk"]
    assert [actor.path for actor in now.actors] == ["/sibling"]
    assert now.is_complete
    between = running_at(events, (last_seen + notice.timestamp) / 2)
    assert [span.incarnation for span in between.unknown_between] in ([], [victim.incarnation])

    stop = why_stopped(events)[ActorKey("orders", "/desk")]
    assert (stop.reason, stop.is_inferred, stop.incarnation) == ("node_lost", True, victim.incarnation)
    (life,) = timeline("orders", "/desk", events, ()).lives
    assert life.stop == stop
    assert timeline("orders", "/sibling", events, ()).lives[0].stop is None

    store = JsonFilePersistence(path)
    accounts = {each.incarnation: each for each in accounting(await store.list_audits(), events)}
    await store.aclose()
    mine = accounts[victim.incarnation]
    assert (mine.accepted, mine.handled, mine.pending, mine.lost_with_node) == (6, 3, 3, 3)
    assert accounts[sibling.incarnation].lost_with_node == 0

    again, _ = await closed_by_a_start(path)
    assert again == [victim.incarnation]  # once is enough
    sibling.kill()
    lost, events = await closed_by_a_start(path)
    assert lost == [victim.incarnation, sibling.incarnation]
    assert running_at(events, events[-1].timestamp).actors == ()
