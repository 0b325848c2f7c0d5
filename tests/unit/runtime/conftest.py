"""A system on a store in memory, closed after each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from papyra import ActorSystem
from tests.unit.runtime.actors import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def system(store: Store) -> AsyncIterator[ActorSystem]:
    async with ActorSystem(persistence=store, audit_interval=None) as system:
        yield system
    assert system.accounting().is_balanced
    assert system.accounting().pending == 0
