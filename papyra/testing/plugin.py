"""Fixtures for pytest, by ``-p papyra.testing.plugin`` or ``pytest_plugins`` in the top conftest."""

from __future__ import annotations

import pytest

from papyra.persistence.backends.memory import InMemoryPersistence
from papyra.persistence.retention import UNLIMITED
from papyra.testing.clock import ManualClock


@pytest.fixture
def manual_clock() -> ManualClock:
    """Return a clock that stands still until the test moves it."""
    return ManualClock()


@pytest.fixture
def memory_backend(manual_clock: ManualClock) -> InMemoryPersistence:
    """Return a history in memory that forgets nothing and judges age by ``manual_clock``."""
    return InMemoryPersistence(UNLIMITED, clock=manual_clock)
