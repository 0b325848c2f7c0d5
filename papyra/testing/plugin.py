"""Fixtures for pytest, by ``-p papyra.testing.plugin`` or ``pytest_plugins`` in the top conftest.

The async ones need pytest-asyncio in auto mode.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from papyra.persistence.backends.memory import InMemoryPersistence
from papyra.persistence.retention import UNLIMITED
from papyra.system import ActorSystem
from papyra.testing.clock import ManualClock
from papyra.testing.faultybackend import FaultyBackend
from papyra.testing.history import History
from papyra.testing.leftovers import GRACE_SECONDS, ExpectedLetters, busy_actors, is_quiet
from papyra.testing.probe import Probe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_CLOCKS = frozenset({"clock", "manual_clock", "memory_backend"})
_DEFAULTS: dict[str, Any] = {
    "system_id": "test",
    "audit_interval": None,
    "shutdown_timeout": GRACE_SECONDS,
    "close_persistence": True,
}


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known."""
    config.addinivalue_line(
        "markers", "actor_system(**options): options of the ActorSystem behind the fixture `actor_system`"
    )
    config.addinivalue_line(
        "markers", "dead_letters(expected): how many dead letters the test makes, or a list of their reasons"
    )


@pytest.fixture
def manual_clock() -> ManualClock:
    """Return a clock that stands still until the test moves it."""
    return ManualClock()


@pytest.fixture
def clock(manual_clock: ManualClock) -> ManualClock:
    """Return ``manual_clock``, which ``actor_system`` then goes by."""
    return manual_clock


@pytest.fixture
def memory_backend(manual_clock: ManualClock) -> InMemoryPersistence:
    """Return a history in memory that forgets nothing and judges age by ``manual_clock``."""
    return InMemoryPersistence(UNLIMITED, clock=manual_clock)


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> FaultyBackend:
    """Return the backend under ``actor_system``, which fails when told to."""
    return FaultyBackend(_options(request).get("persistence") or InMemoryPersistence(UNLIMITED))


@pytest.fixture
async def actor_system(request: pytest.FixtureRequest, faults: FaultyBackend) -> AsyncIterator[ActorSystem]:
    """Return a running system; afterwards no actor may be busy and no letter may have come unannounced."""
    expected = _expected_letters(request)
    clock = request.getfixturevalue("manual_clock") if _CLOCKS & set(request.fixturenames) else None
    options = _DEFAULTS | {"clock": clock} | _options(request)
    system = ActorSystem(**options | {"persistence": faults, "close_persistence": False})
    await system.start()
    complaints: list[str] = []
    try:
        yield system
    finally:
        faults.heal()
        complaints += await _complaints(system, expected)
        await _close(system, clock)
        if options["close_persistence"]:
            await faults.aclose()
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


@pytest.fixture
async def probe(actor_system: ActorSystem) -> Probe:
    """Return an actor of ``actor_system`` that the test holds in its hand."""
    return Probe(actor_system, "probe")


@pytest.fixture
def history(actor_system: ActorSystem) -> History:
    """Return what ``actor_system`` has recorded."""
    return History(actor_system)


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return what the markers say, those nearest to the test first."""
    options: dict[str, Any] = {}
    for marker in request.node.iter_markers("actor_system"):
        options = marker.kwargs | options
    return options


def _expected_letters(request: pytest.FixtureRequest) -> ExpectedLetters:
    marker = request.node.get_closest_marker("dead_letters")
    if marker is None:
        return ExpectedLetters()
    try:
        return ExpectedLetters(*marker.args, **marker.kwargs)
    except (TypeError, ValueError) as error:
        pytest.fail(f"@pytest.mark.dead_letters: {error}", pytrace=False)


async def _complaints(system: ActorSystem, expected: ExpectedLetters) -> list[str]:
    await is_quiet(system)
    letters = system.dead_letters
    complaints = list(expected.complaints(letters.counts, letters.messages))
    if system.is_running:  # else the test has closed it, which no busy actor outlives
        busy = await busy_actors(system)
        complaints += [f"still busy when the test ended: {text}" for text in busy]
    return complaints


async def _close(system: ActorSystem, clock: ManualClock | None) -> None:
    closing = asyncio.ensure_future(system.aclose())
    while not (await asyncio.wait({closing}, timeout=GRACE_SECONDS))[0]:
        if clock is not None:
            clock.advance(GRACE_SECONDS)  # deadlines pass on this clock only
    await closing
