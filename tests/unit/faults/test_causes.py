"""What is sent again is linked to what it was."""

from __future__ import annotations

from dataclasses import dataclass

from papyra import Actor, ActorSystem
from tests.unit.runtime.actors import Store, quiet


@dataclass(frozen=True)
class Order:
    item: str


class Desk(Actor[Order]):
    async def receive(self, message: Order) -> None:
        raise LookupError(f"no {message.item}")


async def test_line_14_a_redelivered_message_has_the_old_one_as_its_cause_and_its_root() -> None:
    store = Store()
    async with ActorSystem(persistence=store, audit_interval=None, messages=[Order]) as system:
        system.spawn(Desk, name="desk").tell(Order("ink"))
        await quiet(system)
        assert await system.flush(5)
        (first,) = store.dead_letters
        sent = await system.redeliver(first)
        await quiet(system)
        assert await system.flush(5)
        second = store.dead_letters[-1]
    assert second.message_id == sent.message_id
    assert second.cause_id == first.message_id
    assert second.root_id == (first.root_id or first.message_id)
