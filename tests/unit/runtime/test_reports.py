"""What can be seen of a running system, and entered from another thread."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from papyra import Actor, ActorSystem
from papyra.events import ActorStarted
from papyra.exceptions import ActorNotFound, SystemNotRunning
from papyra.persistence.retention import RetentionPolicy
from tests.unit.runtime.actors import RESTART, STOP, Boom, Hold, Parent, Store, Worker, quiet, restarted

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_an_audit_counts_and_is_recorded(system: ActorSystem, store: Store) -> None:
    parent = system.spawn(Parent, name="desk")
    child = await parent.ask(("spawn", RESTART, "stock"))
    child.tell(Boom())
    await restarted(system)
    hold = Hold()
    child.tell(hold)
    await hold.begun.wait()
    child.tell("waits")
    report = system.audit()
    assert (report.system_id, report.total_actors, report.alive_actors, report.registry_size) == (
        "local",
        2,
        2,
        2,
    )
    assert (report.stopping_actors, report.restarting_actors, report.dead_letters_count) == (0, 0, 1)
    assert report.incarnation == system.incarnation
    assert report.accounting == system.accounting()
    assert report.accounting.pending == 2
    assert report.actors[1].mailbox_depth == 1
    assert (report.actors[1].restarts, report.actors[1].max_restarts) == (1, 3)
    assert report.summary_lines() == (
        "system_id=local",
        "actors(total=2, alive=2, stopping=0, restarting=0)",
        "registry(size=2, orphans=0, dead=0)",
        "dead_letters=1",
    )
    await system.flush()
    (audit,) = store.audits
    assert (audit.accepted, audit.pending, audit.failed, audit.total_actors) == (4, 2, 1, 2)
    assert isinstance(audit.details, dict)
    assert [actor["path"] for actor in audit.details["actors"]] == ["/desk", "/desk/stock"]
    assert audit.details["counters"]["letters_handler_failed"] == 1
    assert audit.details["actors"][1]["restarts"] == 1
    hold.release.set()
    assert system.audit(include_actor_details=False).actors == ()
    await quiet(system)


async def test_actor_info_by_every_name(system: ActorSystem) -> None:
    parent = system.spawn(Parent, name="desk")
    child = await parent.ask(("spawn", STOP))
    info = system.actor_info(child)
    assert (info.rid, info.name, info.parent_rid, info.children_rids) == (2, None, 1, ())
    assert (info.alive, info.stopping, info.restarting, info.state) == (True, False, False, "alive")
    for target in (2, child.address, str(child.address), child.path):
        assert system.actor_info(target) == info
    assert system.actor_info("desk").children_rids == (2,)
    await system.stop(child)
    gone = system.actor_info(child)
    assert (gone.alive, gone.state, gone.path) == (False, "stopped", child.path)
    with pytest.raises(ActorNotFound):
        system.actor_info(2)


async def test_lists_panels_and_types(system: ActorSystem) -> None:
    assert system.control_panel() == ("No actors.",)
    parent, worker = system.spawn(Parent, name="desk"), system.spawn(Worker)
    assert system.list_names() == ("desk",)
    assert system.refs() == (parent, worker)
    assert system.refs_by_type(Worker) == (worker,)
    assert system.refs_by_type("Worker") == system.refs_by_type("actors.Worker") == (worker,)
    assert system.refs_by_type(f"{Parent.__module__}.Parent") == (parent,)
    assert system.refs_by_type("orker") == ()
    assert [info.path for info in system.list_actors()] == ["/desk", "/$2"]
    header, first, _ = system.control_panel()
    assert header.split() == ["RID", "ADDRESS", "NAME", "ACTOR", "STATE", "PARENT", "CHILDREN"]
    assert first.split()[:3] == ["1", "local:1", "desk"]
    assert system.audit().panel_lines() == system.control_panel()


async def test_a_stopping_actor_is_listed_as_such(system: ActorSystem) -> None:
    ref, hold = system.spawn(Worker, name="slow"), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    stopping = asyncio.create_task(system.stop(ref))
    await asyncio.sleep(0)
    assert [info.state for info in system.list_actors()] == ["stopping"]
    assert system.list_actors(alive_only=True) == system.refs() == ()
    assert system.refs(alive_only=False) == (ref,)
    assert system.audit().stopping_actors == 1
    assert system.list_names() == ()
    hold.release.set()
    await stopping


async def test_a_broadcast_reaches_all_and_one_slow_actor_blocks_none(system: ActorSystem) -> None:
    workers = [system.spawn(Worker) for _ in range(3)]
    slow, hold = system.spawn(Worker, mailbox_capacity=1), Hold()
    parent = system.spawn(Parent)
    slow.tell(hold)
    await hold.begun.wait()
    slow.tell("fills it")
    sending = asyncio.create_task(system.broadcast("news", actor_type=Worker))
    await asyncio.sleep(0)
    for worker in workers:
        assert await worker.ask("seen") == ["news"]
    assert not sending.done()
    hold.release.set()
    assert await sending == 4
    assert await parent.ask("seen") == []
    assert await system.broadcast("all") == 5
    await quiet(system)


async def test_stop_all_stops_all_and_the_system_runs_on(system: ActorSystem) -> None:
    parent = system.spawn(Parent)
    await parent.ask(("spawn", STOP))
    system.spawn(Worker, name="x")
    await system.stop_all()
    assert system.refs() == ()
    assert system.spawn(Worker, name="x").is_alive()


async def test_waiting_for_an_event(system: ActorSystem) -> None:
    waiting = asyncio.create_task(system.wait_for_event(ActorStarted))
    await asyncio.sleep(0)
    ref = system.spawn(Worker)
    assert (await waiting).path == ref.path
    assert (await system.wait_for_event(lambda event: event.path == ref.path)).path == ref.path
    with pytest.raises(TimeoutError):
        await system.wait_for_event(ActorStarted, start_index=1, timeout=0.001)
    with pytest.raises(ZeroDivisionError):
        await system.wait_for_event(lambda _: bool(1 / 0))
    waiting = asyncio.create_task(system.wait_for_event(ActorStarted, start_index=1))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    assert waiting.cancelled()


async def test_waiting_for_an_event_that_comes_in_the_moment_of_cancelling_is_cancelled(
    system: ActorSystem,
) -> None:
    waiting = asyncio.create_task(system.wait_for_event(lambda _: False))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    system.spawn(Worker)
    waiting.cancel()
    await asyncio.wait((waiting,))
    assert waiting.cancelled()


async def test_waiting_for_an_event_from_an_index_that_is_still_to_come(system: ActorSystem) -> None:
    waiting = asyncio.create_task(system.wait_for_event(ActorStarted, start_index=2))
    paths = []
    for _ in range(4):
        await asyncio.sleep(0)
        paths.append(system.spawn(Worker).path)
    assert (await waiting).path == paths[2]


async def test_r5_a_stored_audit_describes_as_many_actors_as_fit_and_counts_the_rest(store: Store) -> None:
    async with ActorSystem(persistence=store, audit_interval=None) as system:
        for _ in range(2_003):
            system.spawn(Worker)
        assert len(system.audit().actors) == 2_003
    details = store.audits[-1].details
    assert isinstance(details, dict)
    assert (len(details["actors"]), details["actors_left_out"]) == (2_000, 3)


async def test_compaction_returns_its_report_and_is_recorded() -> None:
    store = Store()
    async with ActorSystem(persistence=store) as system:
        for _ in range(5):
            system.spawn(Worker)
        await system.flush()
        policy = RetentionPolicy(max_records=2)
        assert (await store.compact(policy, dry_run=True)).removed_records == 5
        assert (await system.compact()).removed_records == 0
    assert store.of("CompactionRun")[0].payload["before_records"] == 7  # type: ignore[index]


async def test_other_threads_enter_through_the_loop(system: ActorSystem) -> None:
    ref = system.spawn(Worker)

    def work() -> list[object]:
        system.call_threadsafe(ref.tell, 1).result(5)
        return [
            system.call_threadsafe(ref.ask, 2, timeout=1).result(5),
            system.call_threadsafe(system.spawn, Worker).result(5),
            system.call_threadsafe(ref.ask, "seen").result(5),
        ]

    answer, spawned, seen = await asyncio.to_thread(work)
    assert (answer, seen) == (2, [1, 2])
    assert spawned in system.refs()


async def test_an_error_reaches_the_other_thread(system: ActorSystem) -> None:
    ref = system.spawn(Worker)

    def fail() -> None:
        system.call_threadsafe(ref.ask, Boom(LookupError("there"))).result(5)

    with pytest.raises(LookupError, match="there"):
        await asyncio.to_thread(fail)


@pytest.mark.parametrize("state", ["idle", "parked", "busy", "stopped"])
async def test_a_tell_straight_from_another_thread_is_refused_before_it_counts(
    system: ActorSystem, state: str
) -> None:
    ref = system.spawn(Worker)
    hold = Hold()
    if state == "parked":
        await ref.ask(1)
    elif state == "busy":
        ref.tell(hold)
        await hold.begun.wait()
    elif state == "stopped":
        await system.stop(ref)
    before = system.accounting().accepted
    errors: list[Exception] = []

    def tell(act: Callable[[], object]) -> None:
        try:
            act()
        except RuntimeError as error:
            errors.append(error)

    for act in (lambda: ref.tell("x"), lambda: system.spawn(Worker)):
        thread = threading.Thread(target=tell, args=(act,))
        thread.start()
        thread.join()
    assert ["call_threadsafe" in str(error) for error in errors] == [True, True]
    assert system.accounting().accepted == before
    hold.release.set()


async def test_a_closed_system_takes_no_calls() -> None:
    async with ActorSystem() as system:
        pass
    with pytest.raises(SystemNotRunning):
        system.call_threadsafe(print)


async def test_causality_is_on_every_message_and_event(system: ActorSystem, store: Store) -> None:
    class Relay(Actor):
        async def receive(self, message: object) -> object:
            if message == "go":
                assert self.context.sender is None
                target.tell("on")
                self.context.spawn_child(Worker)
            return self.context.message_id

    target = system.spawn(Worker)
    await system.stop(target)
    relay = system.spawn(Relay)
    message_id = await relay.ask("go")
    assert message_id == f"{system.incarnation}-1"
    await system.flush()
    (letter,) = store.letters("target_stopped")
    assert (letter.cause_id, letter.root_id, letter.sender_path) == (message_id, message_id, relay.path)
    started = store.of("ActorStarted")[-1]
    assert (started.message_id, started.root_id, started.actor_path) == (
        message_id,
        message_id,
        f"{relay.path}/$3",
    )
