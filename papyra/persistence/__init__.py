"""History at rest: the port, the backends, what is done with them. Nothing is imported before it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from papyra.persistence.backend import PersistenceBackend
    from papyra.persistence.backends.memory import InMemoryPersistence
    from papyra.persistence.backends.redis import RedisStreamsConfig, RedisStreamsPersistence
    from papyra.persistence.contract import (
        PersistenceBackendCapabilities,
        PersistenceBackendContract,
        backend_capabilities,
        safe_metrics_snapshot,
    )
    from papyra.persistence.json import JsonFilePersistence
    from papyra.persistence.threads import run_sync

_HOMES = {
    "InMemoryPersistence": "papyra.persistence.backends.memory",
    "JsonFilePersistence": "papyra.persistence.json",
    "PersistenceBackend": "papyra.persistence.backend",
    "PersistenceBackendCapabilities": "papyra.persistence.contract",
    "PersistenceBackendContract": "papyra.persistence.contract",
    "RedisStreamsConfig": "papyra.persistence.backends.redis",
    "RedisStreamsPersistence": "papyra.persistence.backends.redis",
    "backend_capabilities": "papyra.persistence.contract",
    "run_sync": "papyra.persistence.threads",
    "safe_metrics_snapshot": "papyra.persistence.contract",
}

__all__ = [
    "InMemoryPersistence",
    "JsonFilePersistence",
    "PersistenceBackend",
    "PersistenceBackendCapabilities",
    "PersistenceBackendContract",
    "RedisStreamsConfig",
    "RedisStreamsPersistence",
    "backend_capabilities",
    "run_sync",
    "safe_metrics_snapshot",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
