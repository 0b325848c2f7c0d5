"""The system of the runtime's tests: it has to be balanced and empty after each of them."""

from __future__ import annotations

from tests.unit.runtime.conftest import store, system

__all__ = ["store", "system"]
