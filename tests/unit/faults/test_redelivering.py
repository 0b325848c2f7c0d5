"""A letter is sent again as a new message, once for each time somebody asks, and never by itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from papyra import Actor, ActorSystem
from papyra.exceptions import RedeliveryRefused
from tests.unit.runtime.actors import STOP, Hold, Parent, Store, Worker, quiet
from tests.unit.runtime.policies import policy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from papyra.persistence.models import PersistedDeadLetter


@dataclass(frozen=True)
class Order:
    item: str
    count: int = 1


class Desk(Actor[Order]):
    """Refuses what is out of stock, over all its instances."""

    out: set[str] = set()  # noqa: RUF012  # shared on purpose
    sold: list[Order] = []  # noqa: RUF012

    async def receive(self, message: Order) -> str:
        if message.item in self.out:
            raise LookupError(f"no {message.item}")
        self.sold.append(message)
        return "sold"


@pytest.fixture
async def desk_system(store: Store) -> AsyncIterator[ActorSystem]:
    Desk.out.clear()
    Desk.sold.clear()
    async with ActorSystem(persistence=store, audit_interval=None, messages=[Order]) as system:
        yield system
    assert system.accounting().is_balanced


async def letter_of(system: ActorSystem, store: Store, item: str) -> PersistedDeadLetter:
    """Return the newest letter, of an order that could not be served."""
    Desk.out.add(item)
    system.ref_for_name("desk").tell(Order(item))
    await quiet(system)
    assert await system.flush(5)
    return store.dead_letters[-1]


async def test_line_14_a_letter_that_fails_again_is_a_new_letter_that_names_it_and_there_is_no_loop(
    desk_system: ActorSystem, store: Store
) -> None:
    desk_system.spawn(Desk, name="desk", policy=policy(max_restarts=50))
    letter = await letter_of(desk_system, store, "ink")
    letters = [letter]
    for attempt in range(2, 6):
        sent = await desk_system.redeliver(letter)
        await quiet(desk_system)
        assert await desk_system.flush(5)
        letter = store.dead_letters[-1]
        letters.append(letter)
        assert sent.attempts == attempt == letter.attempts
        assert sent.message_id == letter.message_id
        assert letter.redelivered_from
    assert len(store.dead_letters) == len({each.message_id for each in letters}) == 5
    Desk.out.clear()
    await desk_system.redeliver(letter)
    await quiet(desk_system)
    assert Desk.sold == [Order("ink")]
    assert len(store.dead_letters) == 5


async def test_line_14_a_stale_letter_is_sent_as_it_was_and_never_twice_for_one_call(
    desk_system: ActorSystem, store: Store
) -> None:
    desk_system.spawn(Desk, name="desk")
    letter = await letter_of(desk_system, store, "ink")
    Desk.out.clear()
    first, second = await asyncio.gather(
        desk_system.redeliver(letter), desk_system.redeliver(letter, dry_run=True)
    )
    await quiet(desk_system)
    assert (first.is_dry_run, second.is_dry_run) == (False, True)
    assert second.message_id == ""
    assert Desk.sold == [Order("ink")]


@pytest.mark.parametrize("state", ["stopped", "stopping", "closed"])
async def test_line_14_what_does_not_run_is_refused_and_makes_no_letter(
    desk_system: ActorSystem, store: Store, state: str
) -> None:
    desk = desk_system.spawn(Desk, name="desk")
    letter = await letter_of(desk_system, store, "ink")
    before = desk_system.dead_letters.total
    if state == "closed":
        await desk_system.aclose()
    else:
        stopping = asyncio.create_task(desk_system.stop(desk))
        if state == "stopped":
            await stopping
        else:
            await asyncio.sleep(0)
    with pytest.raises(Exception, match=r"desk|running|closed"):
        await desk_system.redeliver(letter)
    assert desk_system.dead_letters.total == before


async def test_line_14_an_edit_that_is_no_message_of_the_target_is_refused(
    desk_system: ActorSystem, store: Store
) -> None:
    desk_system.spawn(Desk, name="desk")
    letter = await letter_of(desk_system, store, "ink")
    for edit in ({"item": "ink", "cuont": 2}, {"item": 3}, {}):
        with pytest.raises(RedeliveryRefused):
            await desk_system.redeliver(letter, message=edit)
    assert desk_system.accounting().accepted == 1


async def test_line_14_a_letter_to_a_generated_path_is_refused_though_somebody_has_that_path_now(
    store: Store,
) -> None:
    async with ActorSystem(persistence=store, audit_interval=None) as system:
        system.spawn(Worker, policy=STOP)
        hold = Hold()
        ref = system.spawn(Parent, policy=STOP)
        ref.tell(hold)
        await hold.begun.wait()
        ref.tell("queued")
        stopping = asyncio.create_task(system.stop(ref))
        await asyncio.sleep(0)
        hold.release.set()
        await stopping
        assert await system.flush(5)
        (letter,) = store.dead_letters
        with pytest.raises(RedeliveryRefused):
            await system.redeliver(letter)
        to = system.spawn(Worker)
        await system.redeliver(letter, to=to)
        assert await to.ask("seen") == ["queued"]
