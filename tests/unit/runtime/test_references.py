"""Names, paths and addresses; that references are equal when they mean the same actor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from papyra import ActorAddress, ActorStopped, ActorSystem
from papyra.exceptions import ActorNotFound, InvalidNameError, NameTaken, SystemNotRunning
from tests.unit.runtime.actors import RESTART, STOP, Boom, Parent, Worker, restarted

if TYPE_CHECKING:
    from papyra import ActorRef


@pytest.fixture
async def child(system: ActorSystem) -> ActorRef:
    parent = system.spawn(Parent, name="desk")
    found: ActorRef = await parent.ask(("spawn", STOP, "stock"))
    return found


async def test_every_way_to_name_an_actor_finds_it(system: ActorSystem, child: ActorRef) -> None:
    for target in (
        child.address,
        str(child.address),
        f"local://{child.address.actor_id}",
        "/desk/stock",
        "local/desk/stock",
    ):
        assert system.ref_for(target) == child
    assert system.ref_for("desk") == system.ref_for_name("desk") == system.ref_for("/desk")
    assert child.name == "stock"
    assert repr(child) == "<ActorRef local:2 /desk/stock>"


async def test_unnamed_actors_have_generated_paths(system: ActorSystem) -> None:
    ref = system.spawn(Worker)
    assert (ref.path, ref.name) == ("/$1", None)
    assert system.ref_for("/$1") == ref


@pytest.mark.parametrize(
    "target",
    ["stock", "/desk/none", "/none/stock", "/desk/$1", "/$2", "/$99999999999999999999999", "local:77"],
)
async def test_what_does_not_live_is_not_found(system: ActorSystem, child: ActorRef, target: str) -> None:
    assert child.is_alive()
    with pytest.raises(ActorNotFound):
        system.ref_for(target)


async def test_the_stopped_are_not_found(system: ActorSystem, child: ActorRef) -> None:
    await system.stop(child)
    for target in (child.address, "/desk/stock"):
        with pytest.raises(ActorStopped):
            system.ref_for(target)


@pytest.mark.parametrize("target", ["other:1", "other/desk"])
async def test_another_systems_actors_are_not_here(system: ActorSystem, target: str) -> None:
    with pytest.raises(ActorNotFound, match="another system"):
        system.ref_for(target)


@pytest.mark.parametrize("target", ["", "/", "a//b", "local:", "local:x", "sp ace", "/desk/", "/déjà"])
async def test_what_is_no_name_is_refused(system: ActorSystem, target: str) -> None:
    with pytest.raises(InvalidNameError):
        system.ref_for(target)


@pytest.mark.parametrize("name", ["", "a/b", "$1", "x" * 101, "ä", "a b"])
async def test_a_bad_name_is_refused_before_anything_is_made(system: ActorSystem, name: str) -> None:
    with pytest.raises(InvalidNameError):
        system.spawn(Worker, name=name)
    assert system.list_actors() == ()


async def test_names_are_unique_among_the_children_of_one_parent(
    system: ActorSystem, child: ActorRef
) -> None:
    desk = system.ref_for("/desk")
    with pytest.raises(NameTaken):
        system.spawn(Worker, name="stock", parent=desk)
    assert system.spawn(Worker, name="stock").path == "/stock"
    assert child.path == "/desk/stock"


async def test_references_are_equal_and_hash_alike_across_restarts(system: ActorSystem) -> None:
    ref = system.spawn(Worker, policy=RESTART)
    before = {ref}
    ref.tell(Boom())
    await restarted(system)
    assert system.ref_for(ref.address) == ref
    assert system.ref_for(ref.address) in before
    assert ref != system.spawn(Worker)
    assert ref != "something else"


async def test_the_same_address_in_another_system_is_another_actor(system: ActorSystem) -> None:
    async with ActorSystem() as other:
        here, there = system.spawn(Worker), other.spawn(Worker)
        assert here.address == there.address
        assert here != there


async def test_a_system_that_does_not_run_says_so() -> None:
    system = ActorSystem()
    for call in (
        lambda: system.spawn(Worker),
        lambda: system.ref_for("/x"),
        system.accounting,
        system.list_names,
    ):
        with pytest.raises(SystemNotRunning, match="not started"):
            call()
    assert system.events() == ()
    await system.start()
    await system.start()
    assert system.is_running
    await system.aclose()
    with pytest.raises(ActorStopped) as raised:
        system.spawn(Worker)
    assert raised.value.reason == "shutdown"
    with pytest.raises(SystemNotRunning, match="starts once"):
        await system.start()


@pytest.mark.parametrize("system_id", ["", "a b", "a/b", "a:b"])
def test_a_bad_system_id_is_refused(system_id: str) -> None:
    with pytest.raises(InvalidNameError):
        ActorSystem(system_id=system_id)


def test_an_address_reads_back() -> None:
    address = ActorAddress("orders", 7)
    assert ActorAddress.parse(str(address)) == ActorAddress.from_dict(address.to_dict()) == address


async def test_very_deep_paths_stay_short(system: ActorSystem) -> None:
    ref = system.spawn(Worker, name="x" * 100)
    for _ in range(50):
        ref = system.spawn(Worker, name="y" * 100, parent=ref)
    assert len(ref.path) < 2_100
    assert ref.path.startswith("/" + "x" * 100)
    assert ref.path.endswith("/" + "y" * 100)
    assert "/.../" in ref.path
    assert system.ref_for(ref.address) == ref
