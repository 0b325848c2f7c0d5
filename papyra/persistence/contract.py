"""The published names for asking a backend what it supports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeGuard

from papyra.persistence.backend import PersistenceBackend as PersistenceBackendContract


@dataclass(frozen=True, slots=True)
class PersistenceBackendCapabilities:
    """Which of the published operations a backend has; every backend of ours has all four."""

    supports_scan: bool
    supports_recover: bool
    supports_compact: bool
    supports_metrics: bool


def backend_capabilities(backend: object) -> PersistenceBackendCapabilities:
    """Return what ``backend`` supports; all of it exactly when it satisfies the port."""
    is_backend = _is_backend(backend)
    return PersistenceBackendCapabilities(is_backend, is_backend, is_backend, is_backend)


def safe_metrics_snapshot(backend: object) -> dict[str, int]:
    """Return the counters of ``backend``, empty for an object that is not a backend."""
    return backend.metrics.snapshot() if _is_backend(backend) else {}


def _is_backend(backend: object) -> TypeGuard[PersistenceBackendContract]:
    return isinstance(backend, PersistenceBackendContract) and not isinstance(backend, type)  # nor its class


__all__ = [
    "PersistenceBackendCapabilities",
    "PersistenceBackendContract",
    "backend_capabilities",
    "safe_metrics_snapshot",
]
