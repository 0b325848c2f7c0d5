from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from papyra.persistence.backends.rotating import RotatingFilePersistence
from papyra.testing.contract import BackendContract

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.persistence.retention import RetentionPolicy


class TestRotating(BackendContract):
    @pytest.fixture(autouse=True)
    def storage(self, tmp_path: Path) -> None:
        self.path = tmp_path / "log"

    async def open(self, retention: RetentionPolicy | None = None) -> RotatingFilePersistence:
        return RotatingFilePersistence(self.path, retention)


class TestSharedRotating(TestRotating):
    async def open(self, retention: RetentionPolicy | None = None) -> RotatingFilePersistence:
        return RotatingFilePersistence(self.path, retention, shared=True)
