from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from papyra.persistence._files.fs import LOCAL_FS
from papyra.persistence.json import JsonFilePersistence
from papyra.testing.damage import DamageContract

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.persistence._files.fs import FileSystem


class TestJsonDamage(DamageContract):
    @pytest.fixture(autouse=True)
    def storage(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def file(self) -> Path:
        return self.folder / "log.ndjson"

    async def open(self, fs: FileSystem = LOCAL_FS) -> JsonFilePersistence:
        return JsonFilePersistence(self.file(), fs=fs)
