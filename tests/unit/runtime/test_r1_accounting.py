"""R1: every accepted message is in exactly one place, at every moment; each term counted where it happens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from papyra import Accounting, Actor, ActorSystem, AskTimeout, DeadLetter, MailboxFull
from papyra.messages import DeadLetterReason
from papyra.testing import ManualClock
from tests.unit.runtime.actors import RESTART, Boom, Hold, Store, Worker, quiet, restarted

if TYPE_CHECKING:
    from collections.abc import Mapping


def counts(system: ActorSystem) -> Mapping[str, int]:
    accounting = system.accounting()
    assert accounting.is_balanced
    return {name: count for name, count in accounting.to_payload().items() if count}


async def test_r1_handled(system: ActorSystem) -> None:
    ref = system.spawn(Worker)
    ref.tell(1)
    assert counts(system) == {"accepted": 1, "pending": 1}
    await ref.ask(2)
    assert counts(system) == {"accepted": 2, "handled": 2}


async def test_r1_failed(system: ActorSystem) -> None:
    system.spawn(Worker, policy=RESTART).tell(Boom())
    await restarted(system)
    assert counts(system) == {"accepted": 1, "failed": 1}


async def test_r1_dead(system: ActorSystem) -> None:
    ref, hold = system.spawn(Worker, mailbox_capacity=1), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    ref.tell("queued")
    ref.tell("waits for room")
    with pytest.raises(MailboxFull):
        await ref.tell("refused")
    assert counts(system) == {"accepted": 4, "dead": 1, "pending": 3}
    stopping = asyncio.create_task(system.stop(ref))
    await asyncio.sleep(0)
    assert counts(system) == {"accepted": 4, "dead": 3, "pending": 1}
    hold.release.set()
    await stopping
    ref.tell("late")
    assert counts(system) == {"accepted": 5, "dead": 4, "handled": 1}


async def test_r1_expired(system: ActorSystem) -> None:
    ref, hold = system.spawn(Worker), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    with pytest.raises(AskTimeout):
        await ref.ask("x", timeout=0.001)
    assert counts(system) == {"accepted": 2, "pending": 2}
    hold.release.set()
    await quiet(system)
    assert counts(system) == {"accepted": 2, "handled": 1, "expired": 1}


async def test_r1_expired_though_the_actor_stopped_first(system: ActorSystem) -> None:
    ref, hold = system.spawn(Worker), Hold()
    ref.tell(hold)
    await hold.begun.wait()
    with pytest.raises(AskTimeout):
        await ref.ask("x", timeout=0.001)
    stopping = asyncio.create_task(system.stop(ref))
    await asyncio.sleep(0)
    hold.release.set()
    await stopping
    assert counts(system) == {"accepted": 2, "handled": 1, "expired": 1}


async def test_r1_the_actor_that_looks_counts_its_own_message_as_pending() -> None:
    seen: list[Accounting] = []

    class Looking(Actor):
        async def receive(self, message: object) -> None:
            del message
            seen.append(system.accounting())

    async with ActorSystem() as system:
        ref = system.spawn(Looking)
        ref.tell(1)
        ref.tell(2)
        await quiet(system)
    assert [(each.handled, each.pending) for each in seen] == [(0, 2), (1, 1)]


async def test_r1_letters_and_counts_agree(system: ActorSystem, store: Store) -> None:
    ref = system.spawn(Worker, policy=RESTART)
    for message in (1, Boom(), 2, Boom()):
        ref.tell(message)
    await quiet(system)
    await system.stop(ref)
    for number in range(3):
        ref.tell(number)
    system.audit()
    await system.flush()
    letters = system.dead_letters.counts
    assert letters[DeadLetterReason.HANDLER_FAILED] == system.accounting().failed == 2
    assert letters[DeadLetterReason.TARGET_STOPPED] == system.accounting().dead == 3
    assert system.dead_letters.total == len(store.dead_letters) == 5
    (audit,) = store.audits
    accounting = system.accounting()
    assert (audit.accepted, audit.handled, audit.failed, audit.dead) == (
        accounting.accepted,
        accounting.handled,
        accounting.failed,
        accounting.dead,
    )


async def test_r1_a_letter_of_the_users_own_is_recorded_and_counted_as_a_letter(
    system: ActorSystem, store: Store
) -> None:
    ref = system.spawn(Worker)
    system.dead_letters.push(DeadLetter(ref, "mine", reason=DeadLetterReason.UNHANDLED, error="not for me"))
    system.dead_letters.push(DeadLetter(None, "nobody's", reason=DeadLetterReason.TARGET_UNKNOWN))
    await system.flush()
    assert [(letter.target_path, letter.reason, letter.error) for letter in store.dead_letters] == [
        (ref.path, "unhandled", "not for me"),
        ("", "target_unknown", ""),
    ]
    assert system.dead_letters.total == 2
    assert counts(system) == {}


async def test_r1_a_letter_says_how_often_a_handler_had_its_message(store: Store) -> None:
    clock = ManualClock()
    async with ActorSystem(persistence=store, clock=clock, audit_interval=None) as system:
        failing, late, gone, hold = system.spawn(Worker), system.spawn(Worker), system.spawn(Worker), Hold()
        failing.tell(Boom())
        asking = asyncio.create_task(late.ask(hold, timeout=1))
        await hold.begun.wait()
        clock.advance(1)
        with pytest.raises(AskTimeout):
            await asking
        hold.release.set()
        await system.stop(gone)
        gone.tell("too late")
        await quiet(system)
        await system.flush()
    attempts = {letter.reason: letter.attempts for letter in store.dead_letters}
    assert attempts == {"handler_failed": 1, "late_reply": 1, "target_stopped": 0}
