"""The systems of the runtime's tests."""

from __future__ import annotations

from tests.unit.runtime.conftest import store, system, timed

__all__ = ["store", "system", "timed"]
