"""The public promises, asked of Redis streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from papyra.persistence.backends.redis import RedisStreamsConfig, RedisStreamsPersistence
from papyra.testing.contract import BackendContract

if TYPE_CHECKING:
    from papyra.persistence.retention import RetentionPolicy
    from tests.unit.redis.conftest import Server


class TestRedis(BackendContract):
    @pytest.fixture(autouse=True)
    def storage(self, server: Server) -> None:
        self.config = RedisStreamsConfig(server.url, system_id="orders")

    async def open(self, retention: RetentionPolicy | None = None) -> RedisStreamsPersistence:
        return RedisStreamsPersistence(self.config, retention_policy=retention)
