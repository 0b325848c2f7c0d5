"""Systems on a store in memory, balanced and empty after each test: one by real time, one on a clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from papyra import ActorSystem
from tests.unit.runtime.actors import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from papyra.testing import ManualClock


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def system(store: Store) -> AsyncIterator[ActorSystem]:
    async with ActorSystem(persistence=store, audit_interval=None) as system:
        yield system
    assert system.accounting().is_balanced
    assert system.accounting().pending == 0


@pytest.fixture
async def timed(store: Store, clock: ManualClock) -> AsyncIterator[ActorSystem]:
    async with ActorSystem(persistence=store, clock=clock, audit_interval=None, shutdown_timeout=1) as system:
        yield system
    assert system.accounting().is_balanced
    assert system.accounting().pending == 0
