"""Siblings that restart together, while they are busy, stop, are killed or fail themselves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from papyra import RestartScope, RestartType, Strategy, SupervisionPolicy, Terminated
from papyra.testing import Probe
from tests.unit.runtime.actors import Boom, Hold, Parent, Worker, quiet
from tests.unit.runtime.policies import policy

if TYPE_CHECKING:
    from papyra import ActorRef, ActorSystem


class Sibling(Worker):
    """Writes down when it starts and stops, and never overlaps itself."""

    def __init__(self, log: list[str], name: str) -> None:
        super().__init__()
        self.log, self.name = log, name

    async def on_start(self) -> None:
        await asyncio.sleep(0)
        self.log.append(f"+{self.name}")

    async def on_stop(self) -> None:
        await asyncio.sleep(0)
        self.log.append(f"-{self.name}")


def family(system: ActorSystem, log: list[str], *policies: SupervisionPolicy) -> list[ActorRef]:
    parent = system.spawn(Parent)
    return [
        system.spawn(Sibling, log, name, name=name, parent=parent, policy=its)
        for name, its in zip("abcdefgh", policies, strict=False)
    ]


async def test_siblings_that_fail_together_restart_together_without_overlap(system: ActorSystem) -> None:
    log: list[str] = []
    together = policy(scope=RestartScope.ONE_FOR_ALL)
    refs = family(system, log, together, together, together)
    await asyncio.gather(*(ref.ask("alive") for ref in refs))
    for ref in refs:
        ref.tell(Boom())
    await asyncio.wait_for(asyncio.gather(*(ref.ask("alive") for ref in refs)), 5)
    await quiet(system)
    for name in "abc":
        lives = [line[0] for line in log if line[1] == name]
        assert lives == ["+", "-"] * (len(lives) // 2) + ["+"]
    assert all(ref.is_alive() for ref in refs)
    assert system.accounting().failed == 3


async def test_a_group_waits_for_a_sibling_in_its_handler_and_keeps_every_mailbox(
    system: ActorSystem,
) -> None:
    log: list[str] = []
    together = policy(scope=RestartScope.ONE_FOR_ALL)
    failing, busy = family(system, log, together, together)
    hold = Hold()
    asking = asyncio.create_task(busy.ask(hold))
    await hold.begun.wait()
    busy.tell("queued")
    failing.tell(Boom())
    failing.tell("queued too")
    for _ in range(50):
        await asyncio.sleep(0)
    assert "-b" not in log, "its message is not over"
    hold.release.set()
    assert await asking == "released"
    assert await asyncio.wait_for(busy.ask("seen"), 5) == ["queued"]
    assert await asyncio.wait_for(failing.ask("seen"), 5) == ["queued too"]
    assert log[2:] == ["-a", "-b", "+a", "+b"]


async def end_it(system: ActorSystem, ref: ActorRef, end: str) -> None:
    if end == "kill":
        for task in asyncio.all_tasks():
            if task.get_name() == ref.path:
                task.cancel()
    elif end == "stop":
        await system.stop(ref)
    elif end == "parent":
        await system.stop(system.ref_for(ref.path.rpartition("/")[0]))


@pytest.mark.parametrize("end", ["stop", "kill", "parent", "crash"])
async def test_a_sibling_that_ends_while_the_group_restarts_holds_nobody(
    system: ActorSystem, end: str
) -> None:
    log: list[str] = []
    together = policy(scope=RestartScope.ONE_FOR_ALL)
    failing, busy, other = family(system, log, together, policy(Strategy.STOP), together)
    hold = Hold()
    busy.tell(hold)
    await hold.begun.wait()
    if end == "crash":
        busy.tell(Boom())
    failing.tell(Boom())
    for _ in range(20):
        await asyncio.sleep(0)
    stopping = asyncio.create_task(end_it(system, busy, end))
    await asyncio.sleep(0)
    hold.release.set()
    await asyncio.wait_for(stopping, 5)
    if end == "parent":
        assert system.list_actors() == ()
        return
    for ref in (failing, other):
        assert await asyncio.wait_for(ref.ask("alive"), 5) == "alive"
    await quiet(system)


async def test_a_temporary_sibling_stops_and_stays_stopped_and_its_watcher_hears_why(
    system: ActorSystem,
) -> None:
    log: list[str] = []
    probe = Probe(system)
    together = policy(scope=RestartScope.REST_FOR_ONE)
    first, failing, temporary, last = family(
        system, log, together, together, policy(restart=RestartType.TEMPORARY), together
    )
    await probe.watch(temporary)
    failing.tell(Boom())
    assert (await probe.expect(Terminated)).ref == temporary
    assert await last.ask("alive") == "alive"
    assert await first.ask("alive") == "alive"
    assert [line for line in log if line[1] == "a"] == ["+a"]
    assert system.actor_info(last).restarts == 0, "the budget is the failing child's"
    assert system.actor_info(failing).restarts == 1
