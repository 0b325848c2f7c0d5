"""The system of the runtime's tests, balanced and empty after each of them; and one on a clock to turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from papyra import ActorSystem
from tests.unit.runtime.conftest import store, system

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from papyra.testing import ManualClock
    from tests.unit.runtime.actors import Store

__all__ = ["store", "system"]


@pytest.fixture
async def timed(store: Store, clock: ManualClock) -> AsyncIterator[ActorSystem]:
    async with ActorSystem(persistence=store, clock=clock, audit_interval=None) as system:
        yield system
    assert system.accounting().is_balanced
    assert system.accounting().pending == 0
