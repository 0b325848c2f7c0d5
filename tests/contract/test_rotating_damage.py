from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from papyra.exceptions import PersistenceError
from papyra.persistence._files.fs import LOCAL_FS
from papyra.persistence.backends.rotating import RotatingFilePersistence
from papyra.testing.damage import DamageContract
from papyra.testing.faults import Crash, FaultyFs
from papyra.testing.records import INCARNATION, event

if TYPE_CHECKING:
    from papyra.persistence._files.fs import FileSystem
    from papyra.persistence.models import Record


FIRST_WRITER = "01JDGH5Q7W000000000000WRTR"


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


class TestSharedRotatingDamage(TestRotatingDamage):
    killed = Path(f"event.{FIRST_WRITER}-{1:08d}-{1:020d}.ndjson")

    def file(self) -> Path:
        store = self.tmp / "log"
        return max(store.glob("event.*.ndjson"), default=store / self.killed.name)

    async def open(self, fs: FileSystem = LOCAL_FS) -> RotatingFilePersistence:
        return RotatingFilePersistence(self.tmp / "log", fs=fs, shared=True)

    async def sound(self) -> bytes:
        """Leave the file as a writer that was killed does; one that closes seals it."""
        fs = FaultyFs(self.tmp)
        backend = await self.open(fs)
        await backend.append(self.history)
        fs.abandon()
        with suppress(PersistenceError, Crash):
            await backend.aclose()
        self.killed = self.file()
        return self.killed.read_bytes()
