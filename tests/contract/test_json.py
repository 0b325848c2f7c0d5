from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from papyra.persistence.json import JsonFilePersistence
from papyra.testing.contract import BackendContract

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.persistence.retention import RetentionPolicy


class TestJson(BackendContract):
    @pytest.fixture(autouse=True)
    def storage(self, tmp_path: Path) -> None:
        self.path = tmp_path / "log.ndjson"

    async def open(self, retention: RetentionPolicy | None = None) -> JsonFilePersistence:
        return JsonFilePersistence(self.path, retention)
