"""Dead letters sent again: rebuilt exactly or refused with the reason, linked to what they were."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from papyra import Actor, ActorSystem, RedeliveryRefused, handles, message
from papyra.payloads import MessageRegistry
from papyra.persistence.json import JsonFilePersistence
from tests.unit.runtime.actors import STOP, Boom, Hold, Store, Worker, quiet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from papyra.persistence.models import PersistedDeadLetter


@message(name="orders.Order", version=3)
@dataclass(frozen=True)
class Order:
    sku: str
    count: int
    note: str = ""


@dataclass(frozen=True)
class Unknown:
    n: int


@dataclass(frozen=True)
class Declared:
    when: float


class Desk(Worker):
    """Takes orders, fails with those of nothing."""

    async def handle(self, message: object) -> object:
        if isinstance(message, Order) and message.count == 0:
            raise ValueError("nothing was ordered")
        return await super().handle(message)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def system(store: Store) -> AsyncIterator[ActorSystem]:
    async with ActorSystem(persistence=store, audit_interval=None, messages=[Order]) as system:
        yield system


async def letter_of(system: ActorSystem, store: Any, sent: object, name: str = "desk") -> PersistedDeadLetter:
    """Have ``sent`` become a letter, and return that as it is stored."""
    ref = system.spawn(Desk, name=name, policy=STOP)
    await system.stop(ref)
    ref.tell(sent, headers={"a": "b"})
    await system.flush()
    letter: PersistedDeadLetter = (await store.list_dead_letters())[-1]
    return letter


async def test_a_letter_is_handled_by_the_actor_that_has_its_path_now(
    system: ActorSystem, store: Store
) -> None:
    letter = await letter_of(system, store, Order("book", 2))
    assert letter.fidelity == "exact"
    desk = system.spawn(Desk, name="desk")
    sent = await system.redeliver(letter)
    assert await desk.ask("seen") == [Order("book", 2)]
    assert (sent.target_path, sent.message_type, sent.attempts) == ("/desk", "orders.Order", 1)
    assert sent.message_id not in {"", letter.message_id}
    assert sent.letter_id == f"{letter.incarnation}-dead_letter-{letter.seq}"


async def test_what_fails_again_names_the_letter_and_counts_on(system: ActorSystem, store: Store) -> None:
    letter = await letter_of(system, store, Order("book", 0))
    desk = system.spawn(Desk, name="desk")
    sent = await system.redeliver(letter)
    await desk.ask("seen")
    await system.flush()
    again = (await store.list_dead_letters())[-1]
    assert (again.reason, again.attempts) == ("handler_failed", 1)
    assert again.redelivered_from == sent.letter_id
    assert again.message_id == sent.message_id
    assert again.headers == {"a": "b"}
    third = await system.redeliver(again)
    assert third.attempts == 2
    await desk.ask("seen")
    await system.flush()
    last = (await store.list_dead_letters())[-1]
    assert (last.attempts, last.redelivered_from) == (2, third.letter_id)


async def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(system: ActorSystem, store: Store) -> None:
    letter = await letter_of(system, store, Order("book", 2))
    with pytest.raises(RedeliveryRefused, match="no living actor is /desk"):
        await system.redeliver(letter, dry_run=True)
    desk = system.spawn(Desk, name="desk")
    sent = await system.redeliver(letter, dry_run=True)
    assert (sent.is_dry_run, sent.message_id, sent.target_path) == (True, "", "/desk")
    assert await desk.ask("seen") == []


async def test_it_may_go_to_another_actor_and_carry_another_message(
    system: ActorSystem, store: Store
) -> None:
    letter = await letter_of(system, store, Order("book", 2))
    other = system.spawn(Desk, name="other")
    await system.redeliver(letter, to=other)
    await system.redeliver(letter, to="/other", message=Order("pen", 1))
    await system.redeliver(letter, to="other", message={"sku": "cup", "count": 3})
    assert await other.ask("seen") == [Order("book", 2), Order("pen", 1), Order("cup", 3)]


@pytest.mark.parametrize(
    ("edited", "said"),
    [
        ({"sku": "book", "count": 1, "colour": "red"}, "colour"),
        ({"sku": "book", "count": "many"}, "count"),
        ({"sku": "book"}, "count"),
    ],
)
async def test_an_edit_with_a_wrong_or_unknown_field_is_refused_by_its_name(
    system: ActorSystem, store: Store, edited: dict[str, object], said: str
) -> None:
    letter = await letter_of(system, store, Order("book", 2))
    desk = system.spawn(Desk, name="desk")
    with pytest.raises(RedeliveryRefused, match=said):
        await system.redeliver(letter, message=edited)
    assert await desk.ask("seen") == []


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (Unknown(1), "is not registered"),
        ({"password": "hunter2"}, "redacted"),
        (Boom(), "inexact|unstorable"),
        (object(), "unstorable"),
    ],
)
async def test_what_cannot_be_rebuilt_exactly_is_refused_without_an_edit(
    system: ActorSystem, store: Store, sent: object, said: str
) -> None:
    letter = await letter_of(system, store, sent)
    desk = system.spawn(Desk, name="desk")
    with pytest.raises(RedeliveryRefused, match=said):
        await system.redeliver(letter)
    await system.redeliver(letter, message="instead")
    assert await desk.ask("seen") == ["instead"]


async def test_a_generated_path_and_another_kind_of_actor_need_a_target(
    system: ActorSystem, store: Store
) -> None:
    unnamed = system.spawn(Desk)
    await system.stop(unnamed)
    unnamed.tell(Order("book", 1))
    await system.flush()
    (letter,) = await store.list_dead_letters()
    with pytest.raises(RedeliveryRefused, match=r"generated path.*give to="):
        await system.redeliver(letter)
    letter = await letter_of(system, store, Order("book", 2))
    changed = system.spawn(Worker, name="desk")
    with pytest.raises(RedeliveryRefused, match=r"Worker now.*Desk.*give to="):
        await system.redeliver(letter)
    await system.redeliver(letter, to=changed)
    assert await changed.ask("seen") == [Order("book", 2)]


async def test_a_full_mailbox_refuses_it_with_the_reason(system: ActorSystem, store: Store) -> None:
    letter = await letter_of(system, store, Order("book", 2))
    desk, hold = system.spawn(Desk, name="desk", mailbox_capacity=1, mailbox_policy="fail"), Hold()
    desk.tell(hold)
    await hold.begun.wait()
    desk.tell(1)
    with pytest.raises(RedeliveryRefused, match="/desk did not take the message"):
        await system.redeliver(letter)
    hold.release.set()


async def test_what_an_actor_declares_may_be_sent_again_but_not_be_edited_elsewhere(
    system: ActorSystem, store: Store
) -> None:
    class Taker(Actor[Declared]):
        @handles(Order)
        def order(self, _: Order) -> None: ...

    letter = await letter_of(system, store, Declared(1.5))
    assert letter.fidelity == "inexact"
    taker = system.spawn(Taker, name="taker")
    await system.stop(taker)
    taker.tell(Declared(2.5))
    await system.flush()
    letter = (await store.list_dead_letters())[-1]
    assert letter.fidelity == "exact"
    assert not system.registry.is_editable(letter.message_type)
    assert system.registry.is_editable("orders.Order")
    desk = system.spawn(Desk, name="desk")
    await system.redeliver(letter, to=desk)
    assert await desk.ask("seen") == [Declared(2.5)]


async def test_a_letter_of_an_older_version_is_handled_in_a_later_run(tmp_path: Path) -> None:
    """Version 1 said ``item``, version 2 had no count: each step is a registered function."""

    @message(name="orders.Order", version=1)
    @dataclass(frozen=True)
    class First:
        item: str

    path = tmp_path / "log.ndjson"
    async with ActorSystem(persistence=JsonFilePersistence(path), messages=[First]) as old:
        await letter_of(old, old.persistence, First("book"))
    async with ActorSystem(persistence=JsonFilePersistence(path), messages=[Order]) as new:
        assert isinstance(new.persistence, JsonFilePersistence)
        (letter,) = await new.persistence.list_dead_letters()
        desk = new.spawn(Desk, name="desk")
        with pytest.raises(RedeliveryRefused, match="no step is registered from version 1"):
            await new.redeliver(letter)
        new.registry.add_step(Order, 1, lambda data: {"sku": data["item"]})
        new.registry.add_step(Order, 2, lambda data: {**data, "count": 1})
        await new.redeliver(letter)
        assert await desk.ask("seen") == [Order("book", 1)]


async def test_two_at_once_are_two_messages(system: ActorSystem, store: Store) -> None:
    letter = await letter_of(system, store, Order("book", 2))
    desk = system.spawn(Desk, name="desk")
    one, other = await asyncio.gather(system.redeliver(letter), system.redeliver(letter))
    assert one.message_id != other.message_id
    assert len(await desk.ask("seen")) == 2


def test_a_class_that_is_registered_is_editable_however_it_was_known_before() -> None:
    registry = MessageRegistry()
    assert registry.add_declared(Declared)
    assert not registry.is_editable(f"{__name__}.Declared")
    registry.add(Declared)
    assert registry.is_editable(f"{__name__}.Declared")
    assert not registry.add_declared(object)


async def test_what_is_sent_again_is_caused_by_what_it_was_in_an_earlier_run_too(tmp_path: Path) -> None:
    path = tmp_path / "log.ndjson"
    async with ActorSystem(persistence=JsonFilePersistence(path), messages=[Order]) as old:
        await letter_of(old, old.persistence, Order("book", 0))
    store = JsonFilePersistence(path)
    async with ActorSystem(persistence=store, messages=[Order], record_handled=True) as new:
        (letter,) = await store.list_dead_letters()
        desk = new.spawn(Desk, name="desk")
        sent = await new.redeliver(letter)
        again = await new.redeliver(letter, message=Order("pen", 1))
        await desk.ask("seen")
        await new.flush()
        failed = (await store.list_dead_letters())[-1]
        assert (failed.message_id, failed.cause_id) == (sent.message_id, letter.message_id)
        assert failed.root_id == letter.root_id == letter.message_id
        events = await store.list_events()
        (crash,) = [event for event in events if event.event_type == "ActorCrashed"]
        assert (crash.cause_id, crash.root_id) == (letter.message_id, letter.root_id)
        handled = [event for event in events if event.message_id == again.message_id]
        assert [(event.event_type, event.cause_id, event.root_id) for event in handled] == [
            ("MessageHandled", letter.message_id, letter.root_id)
        ]


async def test_an_actor_that_has_stopped_is_refused_as_a_target_before_anything_is_sent(
    system: ActorSystem, store: Store
) -> None:
    letter = await letter_of(system, store, Order("book", 2))
    gone = system.spawn(Desk)
    await system.stop(gone)
    for dry_run in (True, False):
        with pytest.raises(RedeliveryRefused, match="is not running"):
            await system.redeliver(letter, to=gone, dry_run=dry_run)
    await system.flush()
    assert len(await store.list_dead_letters()) == 1


async def test_headers_that_were_redacted_are_not_sent(system: ActorSystem, store: Store) -> None:
    class Reading(Desk):
        async def handle(self, _: object) -> object:
            self.seen.append(dict(self.context.headers))
            return None

    ref = system.spawn(Reading, name="desk", policy=STOP)
    await system.stop(ref)
    ref.tell(Order("book", 1), headers={"authorization": "Bearer abc", "tenant": "a"})
    await system.flush()
    letter = (await store.list_dead_letters())[-1]
    assert letter.headers["authorization"] == "[redacted]"
    reading = Reading()
    system.spawn(lambda: reading, name="desk")
    await system.redeliver(letter)
    await quiet(system)
    assert reading.seen == [{"tenant": "a"}]


class Mark(str):
    __slots__ = ()


@dataclass
class Note:
    text: object
    lines: list[str] = field(default_factory=list)


async def test_a_message_that_a_reader_of_records_would_see_as_another_is_not_exact(store: Store) -> None:
    async with ActorSystem(persistence=store, messages=[Note, Mark]) as system:
        letter = await letter_of(system, store, Note(Mark("a")))
        assert letter.fidelity == "inexact"
        assert "data.text: a subclass of a built-in" in letter.fidelity_detail
        assert (await letter_of(system, store, Note("a"), "other")).fidelity == "exact"


async def test_a_letter_is_what_the_message_was_when_it_was_made(store: Store) -> None:
    async with ActorSystem(persistence=store, messages=[Note]) as system:
        ref = system.spawn(Desk, name="desk", policy=STOP)
        await system.stop(ref)
        note = Note("a", ["b"])
        ref.tell(note)
        note.lines.append("changed")
        await system.flush()
        (letter,) = await store.list_dead_letters()
        assert letter.fidelity == "exact"
        desk = system.spawn(Desk, name="desk")
        await system.redeliver(letter)
        assert await desk.ask("seen") == [Note("a", ["b"])]


async def test_a_large_message_is_stored_unchecked_and_says_so(store: Store) -> None:
    async with ActorSystem(persistence=store, messages=[Note]) as system:
        letter = await letter_of(system, store, Note("x" * 300_000))
        assert (letter.fidelity, letter.fidelity_detail) == (
            "inexact",
            "not checked: larger than 262144 bytes",
        )
        with pytest.raises(RedeliveryRefused, match="not checked"):
            await system.redeliver(letter)


async def test_a_deep_message_is_proven_and_sent_again(store: Store) -> None:
    nested: object = "end"
    for _ in range(98):
        nested = [nested]
    async with ActorSystem(persistence=store, messages=[Note]) as system:
        letter = await letter_of(system, store, Note(nested))
        assert letter.fidelity == "exact"
        desk = system.spawn(Desk, name="desk")
        await system.redeliver(letter)
        assert await desk.ask("seen") == [Note(nested)]


async def test_r4_letters_of_large_messages_let_others_have_their_turns(store: Store) -> None:
    lines = [f"a line of some length, with a number: {number}" for number in range(4_000)]
    async with ActorSystem(persistence=store, messages=[Note]) as system:
        desk, hold = system.spawn(Desk, name="desk", mailbox_capacity=None), Hold()
        desk.tell(hold)
        await hold.begun.wait()
        for number in range(40):
            desk.tell(Note(number, lines))
        turns = 0

        async def count() -> None:
            nonlocal turns
            while len(store.dead_letters) < 40:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        await asyncio.sleep(0)
        stopping = asyncio.create_task(system.stop(desk))
        hold.release.set()
        async with asyncio.timeout(20):
            await stopping
            await counting
        assert turns >= 20
        assert {letter.fidelity for letter in store.dead_letters} == {"exact"}
