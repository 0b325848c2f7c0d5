from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from papyra.ref import Terminated
from papyra.system import ActorSystem
from papyra.testing.probe import Probe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem() as system:
        yield system


async def test_a_probe_returns_what_was_sent_in_order(system: ActorSystem) -> None:
    probe = Probe(system, "probe")
    probe.ref.tell("first")
    probe.ref.tell(2)
    assert await probe.expect(str) == "first"
    assert await probe.expect(int) == 2
    assert probe.waiting == ()
    assert probe.ref.path == "/probe"


async def test_another_type_is_a_failure_that_shows_what_came(system: ActorSystem) -> None:
    probe = Probe(system)
    probe.ref.tell("hello")
    with pytest.raises(AssertionError, match="expected int, but 'hello' came"):
        await probe.expect(int)


async def test_silence_is_a_failure_that_says_for_how_long(system: ActorSystem) -> None:
    probe = Probe(system, "probe")
    with pytest.raises(AssertionError, match=r"/probe: no int came within 0.01 s"):
        await probe.expect(int, within=0.01)


async def test_silence_can_be_required(system: ActorSystem) -> None:
    probe = Probe(system)
    await probe.expect_no_message(within=0.01)
    probe.ref.tell("hello")
    with pytest.raises(AssertionError, match="expected no message, but 'hello' came"):
        await probe.expect_no_message(within=1.0)
    assert probe.waiting == ("hello",)


async def test_asks_are_answered(system: ActorSystem) -> None:
    probe = Probe(system, reply=lambda message: f"got {message}")
    assert await probe.ref.ask("it") == "got it"
    assert await probe.expect(str) == "it"


async def test_a_probe_learns_of_the_end_of_another(system: ActorSystem) -> None:
    probe, other = Probe(system), Probe(system)
    await probe.watch(other.ref)
    await system.stop(other.ref)
    notice = await probe.expect(Terminated)
    assert notice.ref == other.ref
