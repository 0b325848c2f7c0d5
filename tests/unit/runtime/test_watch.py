"""Exactly one notice, with its reason, after the end; also about the dead."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from papyra import Actor, StopReason, Terminated
from papyra.ref import ActorTerminated
from tests.unit.runtime.actors import RESTART, STOP, Boom, Hold, Parent, Worker, quiet, restarted, stopped

if TYPE_CHECKING:
    from papyra import ActorRef, ActorSystem


async def notices(watcher: ActorRef) -> list[tuple[str, StopReason]]:
    seen = await watcher.ask("seen")
    return [(each.ref.path, each.reason) for each in seen if isinstance(each, Terminated)]


async def test_a_watcher_is_told_once_however_often_it_watched(system: ActorSystem) -> None:
    watcher, target = system.spawn(Parent), system.spawn(Worker)
    await watcher.ask(("watch", target))
    await watcher.ask(("watch", target))
    await system.stop(target)
    assert await notices(watcher) == [(target.path, StopReason.REQUESTED)]


async def test_the_notice_tells_the_reason(system: ActorSystem) -> None:
    watcher, target = system.spawn(Parent), system.spawn(Worker, policy=STOP)
    await watcher.ask(("watch", target))
    target.tell(Boom())
    await stopped(system, target)
    assert await notices(watcher) == [(target.path, StopReason.FAILED)]


async def test_watching_the_dead_tells_at_once(system: ActorSystem) -> None:
    watcher, target = system.spawn(Parent), system.spawn(Worker)
    await target.ask("stop")
    await stopped(system, target)
    await watcher.ask(("watch", target))
    assert await notices(watcher) == [(target.path, StopReason.COMPLETED)]


async def test_the_notice_comes_after_on_stop_has_ended(system: ActorSystem) -> None:
    hold = Hold()

    class SlowToStop(Worker):
        async def on_stop(self) -> None:
            hold.begun.set()
            await hold.release.wait()

    watcher, target = system.spawn(Parent), system.spawn(SlowToStop)
    await watcher.ask(("watch", target))
    stopping = asyncio.create_task(system.stop(target))
    await hold.begun.wait()
    assert await notices(watcher) == []
    hold.release.set()
    await stopping
    assert await notices(watcher) == [(target.path, StopReason.REQUESTED)]


async def test_a_restart_is_no_end(system: ActorSystem) -> None:
    watcher, target = system.spawn(Parent), system.spawn(Worker, policy=RESTART)
    await watcher.ask(("watch", target))
    target.tell(Boom())
    await restarted(system)
    assert await notices(watcher) == []
    await system.stop(target)
    assert len(await notices(watcher)) == 1


async def test_unwatched_means_untold(system: ActorSystem) -> None:
    watcher, target = system.spawn(Parent), system.spawn(Worker)
    await watcher.ask(("watch", target))
    await watcher.ask(("unwatch", target))
    await system.stop(target)
    assert await notices(watcher) == []
    await watcher.ask(("unwatch", target))


async def test_watching_oneself_is_refused(system: ActorSystem) -> None:
    watcher = system.spawn(Parent, policy=RESTART)
    with pytest.raises(ValueError, match="cannot watch itself"):
        await watcher.ask(("watch", watcher))


async def test_a_dead_watcher_is_forgotten(system: ActorSystem) -> None:
    watcher, target = system.spawn(Parent), system.spawn(Worker)
    await watcher.ask(("watch", target))
    await system.stop(watcher)
    letters = system.dead_letters.total
    await system.stop(target)
    assert system.dead_letters.total == letters


async def test_a_full_mailbox_takes_the_notice(system: ActorSystem) -> None:
    watcher, target, hold = system.spawn(Parent, mailbox_capacity=1), system.spawn(Worker), Hold()
    await watcher.ask(("watch", target))
    watcher.tell(hold)
    await hold.begun.wait()
    watcher.tell(1)
    watcher.tell(2)
    await system.stop(target)
    hold.release.set()
    await quiet(system)
    assert len(await notices(watcher)) == 1


async def test_the_sender_of_the_notice_is_who_ended_and_it_knows_the_cause(system: ActorSystem) -> None:
    senders: list[object] = []

    class Curious(Actor):
        async def receive(self, message: object) -> object:
            if isinstance(message, Terminated):
                senders.append(self.context.sender)
            else:
                await self.context.watch(target)
            return None

    watcher, target = system.spawn(Curious), system.spawn(Worker)
    await watcher.ask("watch")
    await system.stop(target)
    await quiet(system)
    assert senders == [target]


def test_the_published_name_is_the_same_class() -> None:
    assert ActorTerminated is Terminated


async def test_a_start_that_fails_tells_watchers_frees_the_name_and_makes_letters(
    system: ActorSystem,
) -> None:
    hold = Hold()

    class Broken(Actor):
        async def on_start(self) -> None:
            hold.begun.set()
            await hold.release.wait()
            raise OSError("no start")

    watcher, target = system.spawn(Parent), system.spawn(Broken, name="broken", policy=STOP)
    await watcher.ask(("watch", target))
    target.tell("queued")
    hold.release.set()
    await stopped(system, target)
    assert await notices(watcher) == [("/broken", StopReason.START_FAILED)]
    assert [letter.message for letter in system.dead_letters.messages] == ["queued"]
    assert system.spawn(Worker, name="broken").is_alive()
