"""The public promises, asked of the ORM backend in its own threads and in the caller's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from django_papyra.backend import DjangoPersistence
from papyra.testing.contract import BackendContract

if TYPE_CHECKING:
    from papyra.persistence.retention import RetentionPolicy


@pytest.mark.django_db(transaction=True)
class TestThreadWriter(BackendContract):
    protects_letters = True

    async def open(self, retention: RetentionPolicy | None = None) -> DjangoPersistence:
        return DjangoPersistence(retention_policy=retention)


@pytest.mark.django_db(transaction=True)
class TestInlineWriter(BackendContract):
    protects_letters = True

    async def open(self, retention: RetentionPolicy | None = None) -> DjangoPersistence:
        return DjangoPersistence(writer="inline", retention_policy=retention)
