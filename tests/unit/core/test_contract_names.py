from __future__ import annotations

from papyra.persistence import contract
from papyra.persistence.backends.memory import InMemoryPersistence
from papyra.persistence.contract import (
    PersistenceBackendCapabilities,
    PersistenceBackendContract,
    backend_capabilities,
    safe_metrics_snapshot,
)


def test_a_backend_of_ours_supports_all_that_was_published() -> None:
    backend = InMemoryPersistence()
    assert isinstance(backend, PersistenceBackendContract)
    assert backend_capabilities(backend) == PersistenceBackendCapabilities(
        supports_scan=True, supports_recover=True, supports_compact=True, supports_metrics=True
    )
    assert safe_metrics_snapshot(backend) == backend.metrics.snapshot()


def test_anything_else_supports_nothing_and_is_not_called() -> None:
    class HalfABackend:
        def scan(self) -> None:
            raise AssertionError("was called")

        def __getattr__(self, name: str) -> object:
            raise AttributeError(name)

    for other in (None, 5, object(), HalfABackend(), InMemoryPersistence):
        assert backend_capabilities(other) == PersistenceBackendCapabilities(
            supports_scan=False, supports_recover=False, supports_compact=False, supports_metrics=False
        )
        assert safe_metrics_snapshot(other) == {}


def test_the_published_names_are_there() -> None:
    assert {name for name in contract.__all__ if not hasattr(contract, name)} == set()
