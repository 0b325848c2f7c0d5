"""For tests of backends and applications: a contract for backends, probes, faults, a clock to turn."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from papyra.testing.clock import ManualClock
    from papyra.testing.contract import BackendContract
    from papyra.testing.damage import DamageContract
    from papyra.testing.faults import Crash, FaultyFs
    from papyra.testing.faultybackend import FaultyBackend
    from papyra.testing.history import History
    from papyra.testing.probe import Probe

_HOMES = {
    "BackendContract": "papyra.testing.contract",
    "Crash": "papyra.testing.faults",
    "DamageContract": "papyra.testing.damage",
    "FaultyBackend": "papyra.testing.faultybackend",
    "FaultyFs": "papyra.testing.faults",
    "History": "papyra.testing.history",
    "ManualClock": "papyra.testing.clock",
    "Probe": "papyra.testing.probe",
}

__all__ = [
    "BackendContract",
    "Crash",
    "DamageContract",
    "FaultyBackend",
    "FaultyFs",
    "History",
    "ManualClock",
    "Probe",
]

if (_pytest := sys.modules.get("pytest")) is not None:  # so that a broken promise says what was compared
    _pytest.register_assert_rewrite("papyra.testing.promises")


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
