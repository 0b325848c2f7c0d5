from __future__ import annotations

from papyra.persistence.backends.memory import InMemoryPersistence
from papyra.persistence.retention import UNLIMITED, RetentionPolicy
from papyra.testing.contract import BackendContract


class TestMemory(BackendContract):
    survives_reopen = False

    async def open(self, retention: RetentionPolicy | None = None) -> InMemoryPersistence:
        return InMemoryPersistence(retention or UNLIMITED)
