"""The public promises, asked of the ORM backend in its own threads and in the caller's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from django_papyra.backend import DjangoPersistence
from papyra.testing.contract import BackendContract

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.persistence.retention import RetentionPolicy


@pytest.mark.django_db(transaction=True)
class TestThreadWriter(BackendContract):
    protects_letters = True

    async def open(self, retention: RetentionPolicy | None = None) -> DjangoPersistence:
        return DjangoPersistence(retention_policy=retention)


@pytest.mark.django_db(transaction=True)
class TestSpillingWriter(BackendContract):
    protects_letters = True

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.spill_dir = tmp_path / "spill"

    async def open(self, retention: RetentionPolicy | None = None) -> DjangoPersistence:
        return DjangoPersistence(retention_policy=retention, spill_dir=self.spill_dir)


@pytest.mark.django_db(transaction=True)
class TestInlineWriter(BackendContract):
    protects_letters = True

    async def open(self, retention: RetentionPolicy | None = None) -> DjangoPersistence:
        return DjangoPersistence(writer="inline", retention_policy=retention)
