"""What a type checker knows of messages and replies. `make check` judges; that it runs too is judged here."""

from __future__ import annotations

from typing import Any, assert_type

from papyra import Actor, ActorRef, ActorSystem, Request, handles


class Get(Request[int]):
    """Asks for the count."""


class Add:
    """Adds one."""


class Counter(Actor[Get | Add]):
    def __init__(self, start: int = 0) -> None:
        self.n = start

    @handles(Get)
    def get(self, _: Get) -> int:
        return self.n

    @handles(Add)
    async def add(self, _: Add) -> None:
        self.n += 1


class Anything(Actor):
    async def receive(self, message: object) -> object:
        return message


async def test_the_reply_to_a_request_has_its_type(system: ActorSystem) -> None:
    counter = system.spawn(Counter, 5)
    assert_type(counter, ActorRef[Get | Add])
    counter.tell(Add())
    count = await counter.ask(Get())
    assert_type(count, int)
    assert count == 6
    assert_type(await counter.ask(Add()), Any)


async def test_a_message_of_another_type_is_an_error_to_the_checker(system: ActorSystem) -> None:
    counter = system.spawn(Counter)
    counter.tell("no message of it")  # type: ignore[arg-type]
    await counter.send(1)  # type: ignore[arg-type]
    await counter.ask(Get())
    assert system.accounting().dead == 2


async def test_a_reference_that_takes_more_can_stand_for_one_that_takes_less(system: ActorSystem) -> None:
    adds: ActorRef[Add] = system.spawn(Counter)
    await adds.tell(Add())
    adds.tell(Get())  # type: ignore[arg-type]


async def test_an_actor_that_says_nothing_takes_anything(system: ActorSystem) -> None:
    ref = system.spawn(Anything)
    assert_type(ref, ActorRef[Any])
    assert await ref.ask("text") == "text"
