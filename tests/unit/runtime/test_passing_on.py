"""Forwarding, and what goes with a message: who sent it, what caused it, its headers."""

from __future__ import annotations

import pytest

from papyra import Actor, ActorRef, ActorStopped, ActorSystem, AskTimeout
from papyra.events import ActorCrashed
from papyra.messages import DeadLetterReason
from papyra.testing import ManualClock
from tests.unit.runtime.actors import Hold, Store, Worker

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Router(Actor):
    """Hands everything on, changed or not."""

    def __init__(self, target: ActorRef, *, fails: bool = False, change: bool = False) -> None:
        self.target = target
        self.fails = fails
        self.change = change

    async def receive(self, message: object) -> object:
        if self.change:
            self.context.forward(self.target, ("changed", message))
        else:
            self.context.forward(self.target)
        if self.fails:
            raise ValueError("after handing it on")
        return "answers nobody"


class Teller(Actor):
    """Says who it is and what it knows of its message."""

    async def receive(self, message: object) -> object:
        context = self.context
        return {
            "message": message,
            "sender": None if context.sender is None else context.sender.path,
            "ids": (context.message_id, context.cause_id, context.root_id),
            "headers": dict(context.headers),
        }


class Asker(Actor):
    async def receive(self, message: tuple[ActorRef, object]) -> object:
        ref, question = message
        return {"own": self.context.message_id, **await ref.ask(question, timeout=5)}


async def test_the_asker_gets_the_reply_of_whom_its_question_was_handed_to(system: ActorSystem) -> None:
    teller = system.spawn(Teller)
    asker = system.spawn(Asker, name="asker")
    answer = await asker.ask((system.spawn(Router, teller), "what?"))
    assert (answer["message"], answer["sender"]) == ("what?", "/asker")
    changed = system.spawn(lambda: Router(teller, change=True))
    assert (await changed.ask(1))["message"] == ("changed", 1)
    counted = system.accounting()
    assert (counted.handled, counted.failed) == (5, 0)


async def test_r1_a_handler_that_fails_after_handing_on_is_a_failure_and_the_reply_still_comes(
    system: ActorSystem,
) -> None:
    teller = system.spawn(Teller)
    router = system.spawn(lambda: Router(teller, fails=True))
    assert (await router.ask(1))["message"] == 1
    await system.wait_for_event(ActorCrashed)
    assert system.accounting().handled == 2


async def test_an_asker_is_told_if_what_it_was_handed_to_has_stopped(system: ActorSystem) -> None:
    gone = system.spawn(Teller)
    await system.stop(gone)
    with pytest.raises(ActorStopped):
        await system.spawn(Router, gone).ask(1)
    assert system.dead_letters.counts[DeadLetterReason.TARGET_STOPPED] == 1


async def test_the_deadline_goes_with_it(system: ActorSystem) -> None:
    target, hold = system.spawn(Worker), Hold()
    target.tell(hold)
    await hold.begun.wait()
    with pytest.raises(AskTimeout):
        await system.spawn(Router, target).ask(1, timeout=0.01)
    hold.release.set()
    assert await target.ask("seen") == []
    assert system.accounting().expired == 1


async def test_a_message_is_handed_on_once(system: ActorSystem) -> None:
    class Twice(Actor):
        async def receive(self, message: ActorRef) -> None:
            self.context.forward(message)
            assert self.context.sender is None
            assert self.context.message_id
            with pytest.raises(RuntimeError, match="passed on already"):
                self.context.forward(message)

    worker = system.spawn(Worker)
    assert await system.spawn(Twice).ask(worker) == worker


async def test_a_message_that_came_as_the_clock_began_is_known_after_it_was_handed_on() -> None:
    class Tells(Router):
        async def receive(self, message: object) -> None:
            await super().receive(message)
            told.append((self.context.message_id, dict(self.context.headers)))

    class Starts(Worker):
        async def on_start(self) -> None:
            told.append((self.context.message_id, dict(self.context.headers)))

    told: list[tuple[str, dict[str, str]]] = []
    async with ActorSystem(clock=ManualClock(), audit_interval=None) as system:
        worker = system.spawn(Worker)
        assert await system.spawn(Tells, worker).ask(1, headers={"a": "b"}) == 1
        assert await system.spawn(Starts).ask(2) == 2
        assert told == [(f"{system.incarnation}-1", {"a": "b"}), ("", {})]


async def test_each_message_knows_its_cause_and_its_root(system: ActorSystem) -> None:
    teller, asker = system.spawn(Teller), system.spawn(Asker)
    answer = await asker.ask((teller, "what?"))
    assert answer["ids"][1:] == (answer["own"], answer["own"])
    assert answer["ids"][0] not in {"", answer["own"]}


async def test_headers_go_on_with_what_a_handler_sends_unless_it_gives_others(system: ActorSystem) -> None:
    teller, asker = system.spawn(Teller), system.spawn(Asker)
    headers = {"traceparent": TRACE}
    answer = await asker.ask((teller, 1), headers=headers)
    headers["traceparent"] = "changed later"
    assert answer["headers"] == {"traceparent": TRACE}
    assert (await teller.ask(1))["headers"] == {}
    assert (await system.spawn(Router, teller).ask(1, headers={"a": "b"}))["headers"] == {"a": "b"}


async def test_headers_that_are_no_text_are_refused(system: ActorSystem) -> None:
    with pytest.raises(TypeError, match="text by text"):
        system.spawn(Teller).tell(1, headers={"a": 1})  # type: ignore[dict-item]


async def test_a_letter_has_the_trace_of_its_message(system: ActorSystem, store: Store) -> None:
    ref = system.spawn(Teller)
    await system.stop(ref)
    ref.tell(1, headers={"traceparent": TRACE})
    await system.flush()
    (letter,) = await store.list_dead_letters()
    assert letter.trace_id == TRACE.split("-")[1]
    assert letter.headers == {"traceparent": TRACE}


async def test_many_in_a_row_keep_their_order(system: ActorSystem) -> None:
    worker = system.spawn(Worker)
    router = system.spawn(Router, worker)
    for number in range(200):
        router.tell(number)
    assert await router.ask("seen") == list(range(200))
