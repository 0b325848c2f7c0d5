"""Handlers by type: which one is called, and what becomes of a message that none takes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from papyra import Actor, ActorSystem, UnhandledMessage, handles
from papyra.events import ActorCrashed
from papyra.messages import DeadLetterReason


@dataclass(frozen=True)
class Add:
    by: int


@dataclass(frozen=True)
class AddTwice(Add):
    pass


class Get:
    pass


class Counter(Actor):
    def __init__(self) -> None:
        self.n = 0

    @handles(Add)
    async def add(self, message: Add) -> int:
        self.n += message.by
        return self.n

    @handles(Get, str)
    def get(self, _: object) -> int:
        return self.n


class Doubler(Counter):
    async def add(self, message: Add) -> int:
        return await super().add(Add(2 * message.by))

    @handles(int)
    def take(self, message: int) -> int:
        return message


async def test_a_method_handles_the_classes_it_is_marked_with_sync_or_async(system: ActorSystem) -> None:
    counter = system.spawn(Counter)
    assert await counter.ask(Add(3)) == 3
    assert await counter.ask(Get()) == 3
    assert await counter.ask("n") == 3


async def test_a_subclass_of_a_message_is_handled_by_the_most_specific_handler(system: ActorSystem) -> None:
    class Special(Counter):
        @handles(AddTwice)
        def twice(self, message: AddTwice) -> str:
            return f"twice {message.by}"

    assert await system.spawn(Counter).ask(AddTwice(1)) == 1
    special = system.spawn(Special)
    assert await special.ask(AddTwice(1)) == "twice 1"
    assert await special.ask(Add(1)) == 1


async def test_an_override_by_name_needs_no_mark_and_leaves_the_base_as_it_is(system: ActorSystem) -> None:
    doubler, counter = system.spawn(Doubler), system.spawn(Counter)
    assert await doubler.ask(Add(2)) == 4
    assert await doubler.ask(5) == 5
    assert await counter.ask(Add(2)) == 2


async def test_a_message_without_a_handler_is_a_letter_and_no_failure(system: ActorSystem) -> None:
    counter = system.spawn(Counter)
    counter.tell(Add(1))
    counter.tell(b"?")
    with pytest.raises(UnhandledMessage, match="Counter handles no list"):
        await counter.ask([])
    assert await counter.ask(Get()) == 1
    assert system.dead_letters.counts[DeadLetterReason.UNHANDLED] == 2
    assert (system.accounting().dead, system.accounting().failed) == (2, 0)
    assert not [event for event in system.events() if isinstance(event, ActorCrashed)]


async def test_a_receive_of_ones_own_may_say_that_it_does_not_take_a_message(system: ActorSystem) -> None:
    class Picky(Actor):
        async def receive(self, message: object) -> object:
            if message == "no":
                raise UnhandledMessage("not this one", message)
            return message

    picky = system.spawn(Picky)
    with pytest.raises(UnhandledMessage, match="not this one"):
        await picky.ask("no")
    assert await picky.ask("yes") == "yes"
    assert system.accounting().dead == 1


async def test_what_another_actor_does_not_take_is_a_failure_of_who_asked_it(system: ActorSystem) -> None:
    counter = system.spawn(Counter)

    class Asker(Actor):
        async def receive(self, message: object) -> object:
            return await counter.ask(message)

    asker = system.spawn(Asker)
    with pytest.raises(UnhandledMessage):
        await asker.ask(b"?")
    await system.wait_for_event(ActorCrashed)
    assert (system.accounting().dead, system.accounting().failed) == (1, 1)


async def test_what_another_actors_proxy_refuses_is_a_failure_of_who_used_it(system: ActorSystem) -> None:
    counter = system.spawn(Counter)

    class User(Actor):
        async def receive(self, _: object) -> object:
            return await counter.proxy().no_such_thing()

    with pytest.raises(AttributeError):
        await system.spawn(User).ask(1)
    await system.wait_for_event(ActorCrashed)
    assert (system.accounting().dead, system.accounting().failed) == (1, 1)


@pytest.mark.parametrize("types", [(), ("Add",), (Add, None)])
def test_only_classes_can_be_handled(types: tuple[object, ...]) -> None:
    with pytest.raises(TypeError, match="@handles"):
        handles(*types)  # type: ignore[arg-type]


def test_two_handlers_of_one_class_are_refused_when_the_actor_is_defined() -> None:
    with pytest.raises(TypeError, match="handles Add twice, in one and two"):

        class Both(Actor):
            @handles(Add)
            def one(self, _: Add) -> None: ...

            @handles(Add)
            def two(self, _: Add) -> None: ...
