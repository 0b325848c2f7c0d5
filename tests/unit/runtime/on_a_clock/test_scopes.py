"""Siblings that restart together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from papyra import (
    ActorSystem,
    Backoff,
    RestartScope,
    RestartType,
    StopReason,
    SupervisionPolicy,
)
from papyra import events as happened
from tests.unit.runtime.actors import Boom, Hold, Parent
from tests.unit.runtime.policies import Noting, of, policy

if TYPE_CHECKING:
    from papyra import ActorRef
    from papyra.testing import ManualClock


class Family(Parent):
    """Spawns three children that write their lives into one list."""

    def __init__(self, log: list[str], child_policy: SupervisionPolicy, temporary: str = "") -> None:
        super().__init__()
        self.log = log
        self.child_policy = child_policy
        self.temporary = temporary
        self.refs: list[ActorRef] = []

    async def handle(self, message: object) -> object:
        if message != "children":
            return await super().handle(message)
        for name in "abc":
            its = policy(restart=RestartType.TEMPORARY) if name == self.temporary else self.child_policy
            self.refs.append(self.context.spawn_child(Noting, self.log, name, name=name, policy=its))
        return tuple(self.refs)


async def settled(refs: tuple[ActorRef, ...]) -> None:
    for ref in refs:
        if ref.is_alive():
            await ref.ask("seen")


class TestScopes:
    async def test_one_for_all_restarts_every_sibling_youngest_first_and_keeps_their_mailboxes(
        self, system: ActorSystem, clock: ManualClock
    ) -> None:
        log: list[str] = []
        family = system.spawn(Family, log, policy(scope=RestartScope.ONE_FOR_ALL))
        a, b, c = await family.ask("children")
        await settled((a, b, c))
        log.clear()
        hold = Hold()
        c.tell(hold)
        await hold.begun.wait()
        c.tell("kept")
        b.tell(Boom())
        await clock.settle()
        hold.release.set()
        await settled((a, b, c))
        assert log[:3] == ["b stops", "c stops", "a stops"]
        assert [line for line in log if "restarts" in line] == [
            "a restarts: boom, NoneType",
            "b restarts: boom, Boom",
            "c restarts: boom, NoneType",
        ]
        assert log.index("a starts") < log.index("c starts")
        assert await c.ask("seen") == ["kept"]
        restarted = {event.path: event.sibling for event in of(system, happened.ActorRestarted)}
        assert restarted == {a.path: b.path, b.path: "", c.path: b.path}
        assert {info.path: info.restarts for info in system.list_actors() if info.restarts} == {b.path: 1}
        assert of(system, happened.ActorCrashed)[0].scope == "one_for_all"

    async def test_rest_for_one_restarts_those_spawned_after_it(self, system: ActorSystem) -> None:
        log: list[str] = []
        family = system.spawn(Family, log, policy(scope=RestartScope.REST_FOR_ONE))
        a, b, c = await family.ask("children")
        await settled((a, b, c))
        b.tell(Boom())
        await settled((b, c, a))
        assert {event.path for event in of(system, happened.ActorRestarted)} == {b.path, c.path}

    async def test_a_temporary_sibling_stops_and_stays_stopped(self, system: ActorSystem) -> None:
        log: list[str] = []
        family = system.spawn(lambda: Family(log, policy(scope=RestartScope.ONE_FOR_ALL), temporary="c"))
        a, b, c = await family.ask("children")
        await settled((a, b, c))
        a.tell(Boom())
        await settled((a, b))
        assert {event.path for event in of(system, happened.ActorRestarted)} == {a.path, b.path}
        (stop,) = of(system, happened.ActorStopped)
        assert (stop.path, stop.reason) == (c.path, StopReason.PARENT_STOPPED)

    async def test_two_that_fail_at_once_do_not_wait_for_each_other(self, system: ActorSystem) -> None:
        log: list[str] = []
        family = system.spawn(Family, log, policy(scope=RestartScope.ONE_FOR_ALL, max_restarts=5))
        refs = await family.ask("children")
        await settled(refs)
        async with asyncio.timeout(5):
            for ref in refs:
                ref.tell(Boom())
            await settled(refs)
        assert all(ref.is_alive() for ref in refs)

    async def test_a_sibling_that_does_not_stop_in_time_is_left_behind(
        self, system: ActorSystem, clock: ManualClock
    ) -> None:
        log: list[str] = []
        family = system.spawn(Family, log, policy(scope=RestartScope.ONE_FOR_ALL))
        a, b, c = await family.ask("children")
        await settled((a, b, c))
        hold = Hold()
        c.tell(hold)
        await hold.begun.wait()
        a.tell(Boom())
        await clock.settle()
        assert of(system, happened.ActorRestarted) == []
        clock.advance(30)
        await clock.settle()
        assert {event.path for event in of(system, happened.ActorRestarted)} == {a.path, b.path}
        hold.release.set()
        await c.ask("seen")
        assert len(of(system, happened.ActorRestarted)) == 3

    @pytest.mark.parametrize("who", ["leader", "follower", "parent"])
    async def test_a_stop_in_the_middle_leaves_nobody_waiting(
        self, system: ActorSystem, clock: ManualClock, who: str
    ) -> None:
        log: list[str] = []
        backoff = Backoff(first_seconds=20, jitter=0)
        family = system.spawn(Family, log, policy(scope=RestartScope.ONE_FOR_ALL, backoff=backoff))
        a, b, c = await family.ask("children")
        await settled((a, b, c))
        b.tell(Boom())
        await clock.settle()
        target = {"leader": b, "follower": c, "parent": family}[who]
        async with asyncio.timeout(5):
            await system.stop(target)
        clock.advance(20)
        left = [ref for ref in (a, b, c) if ref.is_alive()]
        async with asyncio.timeout(5):
            await settled(tuple(left))
        assert len(left) == {"leader": 2, "follower": 2, "parent": 0}[who]

    async def test_siblings_at_the_top_restart_together_too(self, system: ActorSystem) -> None:
        log: list[str] = []
        first = system.spawn(Noting, log, "first")
        second = system.spawn(Noting, log, "second", policy=policy(scope=RestartScope.ONE_FOR_ALL))
        await settled((first, second))
        second.tell(Boom())
        await settled((second, first))
        assert {event.path for event in of(system, happened.ActorRestarted)} == {first.path, second.path}
