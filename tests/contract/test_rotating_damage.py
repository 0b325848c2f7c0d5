from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from papyra.persistence._files.fs import LOCAL_FS
from papyra.persistence.backends.rotating import RotatingFilePersistence
from papyra.testing.damage import DamageContract
from papyra.testing.records import INCARNATION, event

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.persistence._files.fs import FileSystem
    from papyra.persistence.models import Record


class TestRotatingDamage(DamageContract):
    history: ClassVar[tuple[Record, ...]] = tuple(
        event(number, incarnation=INCARNATION, seq=number) for number in range(1, 16)
    )
    new: ClassVar[tuple[Record, ...]] = tuple(
        event(number, incarnation=INCARNATION, seq=number) for number in range(16, 24)
    )

    @pytest.fixture(autouse=True)
    def storage(self, tmp_path: Path) -> None:
        self.tmp = tmp_path

    def root(self) -> Path:
        return self.tmp

    def file(self) -> Path:
        store = self.tmp / "log"
        first = store / f"event-{1:08d}-{1:020d}.ndjson"
        return max(store.glob("event-*.ndjson"), default=first)

    async def open(self, fs: FileSystem = LOCAL_FS) -> RotatingFilePersistence:
        return RotatingFilePersistence(self.tmp / "log", fs=fs)
