"""For tests of backends and applications: the contract that every backend keeps, faults, a clock to turn."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from papyra.testing.clock import ManualClock
    from papyra.testing.contract import BackendContract
    from papyra.testing.damage import DamageContract
    from papyra.testing.faults import Crash, FaultyFs

_HOMES = {
    "BackendContract": "papyra.testing.contract",
    "Crash": "papyra.testing.faults",
    "DamageContract": "papyra.testing.damage",
    "FaultyFs": "papyra.testing.faults",
    "ManualClock": "papyra.testing.clock",
}

__all__ = ["BackendContract", "Crash", "DamageContract", "FaultyFs", "ManualClock"]

if (_pytest := sys.modules.get("pytest")) is not None:  # so that a broken promise says what was compared
    _pytest.register_assert_rewrite("papyra.testing.promises")


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
