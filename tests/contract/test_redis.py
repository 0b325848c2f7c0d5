"""The public promises, asked of Redis streams on Redis and on Valkey."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from papyra.persistence.backends.redis import RedisStreamsConfig, RedisStreamsPersistence
from papyra.testing.contract import BackendContract

if TYPE_CHECKING:
    from papyra.persistence.retention import RetentionPolicy
    from tests.services.redisserver import RedisPlace


class TestRedis(BackendContract):
    @pytest.fixture(autouse=True)
    def storage(self, redis: RedisPlace) -> None:
        self.config = RedisStreamsConfig(redis.url, system_id="orders")

    async def open(self, retention: RetentionPolicy | None = None) -> RedisStreamsPersistence:
        return RedisStreamsPersistence(self.config, retention_policy=retention)


class TestValkey(TestRedis):
    @pytest.fixture(autouse=True)
    def storage(self, valkey: RedisPlace) -> None:
        self.config = RedisStreamsConfig(valkey.url, system_id="orders")
