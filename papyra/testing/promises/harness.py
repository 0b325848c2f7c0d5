"""How the promises are asked of a store: open it, write, and read through a second opening."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from papyra.persistence.models import RecordKind
from papyra.persistence.query import RecordQuery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from papyra.persistence.base import BasePersistence
    from papyra.persistence.models import Record
    from papyra.persistence.retention import RetentionPolicy


class Harness(ABC):
    """What a test class brings: `open`, and what it declares of the store."""

    pytestmark: ClassVar[Any] = pytest.mark.asyncio

    survives_reopen: ClassVar[bool] = True
    """Whether a second opening reads what the first has stored."""
    protects_letters: ClassVar[bool] = False
    """Whether letters have a state, and retention leaves the open ones."""

    @abstractmethod
    async def open(self, retention: RetentionPolicy | None = None) -> BasePersistence:
        """Open the storage, fresh for each test and the same within one; ``None``: without any limit."""

    @asynccontextmanager
    async def opened(self, retention: RetentionPolicy | None = None) -> AsyncIterator[BasePersistence]:
        """Open the storage for the time of a block."""
        backend = await self.open(retention)
        try:
            yield backend
        finally:
            await backend.aclose()

    @asynccontextmanager
    async def reopened(
        self, backend: BasePersistence, retention: RetentionPolicy | None = None
    ) -> AsyncIterator[BasePersistence]:
        """Open a second backend beside ``backend``; where that would be another store, lend ``backend``."""
        if not self.survives_reopen:
            yield backend
            return
        async with self.opened(retention or backend.retention) as second:
            yield second

    async def stored(
        self, backend: BasePersistence, kind: RecordKind = RecordKind.EVENT, **filters: Any
    ) -> list[Record]:
        """Return everything of one kind, oldest first, as a second opening reads it."""
        async with self.reopened(backend) as reader:
            return await everything(reader, kind, **filters)


async def everything(
    reader: BasePersistence, kind: RecordKind = RecordKind.EVENT, **filters: Any
) -> list[Record]:
    """Return all that ``reader`` shows of one kind, oldest first."""
    query = RecordQuery(kind=kind, **{"newest_first": False, **filters})
    return [record async for record in reader.iterate(query)]
