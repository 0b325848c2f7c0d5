"""What a project's settings make of a Redis store."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from django_papyra.runtime import get_backend, open_url
from papyra.exceptions import ConfigurationError
from papyra.persistence.backends.redis import RedisStreamsConfig, RedisStreamsPersistence
from tests.unit.redis.stores import mine, opened, seen

if TYPE_CHECKING:
    from tests.services.redisserver import RedisPlace


def test_the_settings_name_a_server_and_their_system(settings: Any) -> None:
    settings.PAPYRA = {"BACKEND": "redis://localhost:6379/3", "SYSTEM_ID": "orders"}
    backend = get_backend()
    assert isinstance(backend, RedisStreamsPersistence)
    assert backend.config.system_id == "orders"
    named = open_url("redis://localhost:6379/3?system_id=payments", must_exist=False, options={})
    assert isinstance(named, RedisStreamsPersistence)
    assert named.config.system_id == "payments"


CLASS = "papyra.persistence.backends.redis.RedisStreamsPersistence"


def test_the_settings_may_name_the_class(settings: Any) -> None:
    settings.PAPYRA = {"BACKEND": CLASS, "SYSTEM_ID": "orders"}
    backend = get_backend()
    assert isinstance(backend, RedisStreamsPersistence)
    assert backend.config.system_id == "orders"
    settings.PAPYRA = {"BACKEND": CLASS, "OPTIONS": {"config": RedisStreamsConfig(system_id="payments")}}
    backend = get_backend()
    assert isinstance(backend, RedisStreamsPersistence)
    assert backend.config.system_id == "payments"


async def test_a_cache_of_django_redis_lends_its_server(any_redis: RedisPlace, settings: Any) -> None:
    pytest.importorskip("django_redis")
    settings.CACHES = {"shared": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": any_redis.url}}
    settings.PAPYRA = {"BACKEND": CLASS, "SYSTEM_ID": "orders", "OPTIONS": {"cache": "shared"}}
    backend = get_backend()
    await backend.append(mine(1))
    await backend.aclose()
    async with opened(any_redis.url) as store:
        assert await seen(store) == [1]
    settings.PAPYRA = {"BACKEND": CLASS, "OPTIONS": {"cache": "nowhere"}}
    with pytest.raises(ConfigurationError, match="CACHES has no 'nowhere'"):
        get_backend()


def test_a_cache_without_django_redis_says_what_is_missing(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "django_redis", None)
    settings.PAPYRA = {"BACKEND": CLASS, "OPTIONS": {"cache": "shared"}}
    with pytest.raises(ConfigurationError, match="django-redis"):
        get_backend()
