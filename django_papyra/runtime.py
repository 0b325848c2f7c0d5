"""The one place that builds a backend from the settings."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, cast

from asgiref.sync import async_to_sync
from django.core.cache import InvalidCacheBackendError
from django.utils.module_loading import import_string

from django_papyra._settings_reader import suggestion
from django_papyra.backend import DjangoPersistence
from django_papyra.conf import DJANGO_SCHEME, SETTING, PapyraSettings, WriterMode, get_settings
from papyra.exceptions import ConfigurationError
from papyra.persistence.backends.redis import RedisStreamsConfig, RedisStreamsPersistence
from papyra.persistence.stores import open_store, option_names
from papyra.persistence.threads import run_sync as run_in_new_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from papyra.persistence.backend import PersistenceBackend

Value = TypeVar("Value")

CACHE = "cache"
"""The option that names a cache of django-redis, whose server and way to connect are taken."""
_PORT = ("name", "capabilities", "append", "scan", "recover", "compact", "stats", "aclose")
_lock = threading.Lock()
_opened: tuple[int, PapyraSettings, PersistenceBackend] | None = None


def get_backend() -> PersistenceBackend:
    """Return this process's backend, made from ``PAPYRA`` at the first call; its first use opens it.

    Raises `ConfigurationError`. Changed settings, and a fork, bring a new one.
    """
    global _opened  # noqa: PLW0603  # one per process
    settings = get_settings()
    with _lock:
        if _opened is None or _opened[:2] != (os.getpid(), settings):
            _opened = (os.getpid(), settings, make_backend(settings))
        return _opened[2]


async def close_backend() -> None:
    """Close what `get_backend` made, after writing what it had accepted; the next call makes another."""
    backend = _forget()
    if backend is not None:
        await backend.aclose()


def drop_backend(*, setting: str, **_: object) -> None:
    """Close the backend when a test changes the settings it was made from (receives ``setting_changed``)."""
    backend = _forget() if setting in {SETTING, "DATABASES"} else None
    if backend is not None:  # in a thread, because this one may run a loop
        closing = threading.Thread(target=lambda: asyncio.run(backend.aclose()))
        closing.start()
        closing.join()


def run_sync(coroutine: Coroutine[object, object, Value]) -> Value:
    """Run a backend's coroutine from code without a loop; an inline writer joins its transaction."""
    if get_settings().options.get("writer") != WriterMode.INLINE:
        return run_in_new_loop(coroutine)

    async def wait() -> Value:
        return await coroutine

    return async_to_sync(wait)()


def make_backend(settings: PapyraSettings) -> PersistenceBackend:
    """Return a new backend as ``settings`` say; raises `ConfigurationError`."""
    scheme, is_url, _ = settings.backend.partition(":")
    policy = settings.retention.to_policy()
    check_options(settings)
    if is_url and scheme != DJANGO_SCHEME:
        return open_store(
            settings.backend,
            retention_policy=policy,
            quarantine_dir=settings.startup.quarantine_dir,
            options=settings.options,
            system_id=settings.system_id,
        )
    cls = backend_class(settings)
    options: dict[str, object] = {"retention_policy": policy, **settings.options}
    if is_url:
        options["using"] = settings.using
    if issubclass(cls, DjangoPersistence):
        options.setdefault("max_unresolved", settings.retention.max_unresolved)
    if issubclass(cls, RedisStreamsPersistence):
        client = _client_of(cast("str | None", options.pop(CACHE, None)))
        options.setdefault("config", RedisStreamsConfig(client=client, system_id=settings.system_id))
    return cast("Callable[..., PersistenceBackend]", cls)(**options)


def _client_of(alias: str | None) -> Any:
    """Return the client of a cache of django-redis; raises `ConfigurationError`."""
    if alias is None:
        return None
    place = f"{SETTING}['OPTIONS']['{CACHE}']"
    try:
        lend = import_module("django_redis").get_redis_connection
    except ImportError as error:
        raise ConfigurationError(
            f"{place}: a cache's server is reached through django-redis: pip install 'papyra[django-redis]'"
        ) from error
    try:
        return lend(alias)
    except (InvalidCacheBackendError, NotImplementedError) as error:
        raise ConfigurationError(f"{place}: CACHES has no {alias!r} of django-redis") from error


def open_url(url: str, *, must_exist: bool, options: Mapping[str, object]) -> PersistenceBackend:
    """Return the store of ``url``, without any bound; ``django:ALIAS`` is the tables in that database."""
    scheme, _, alias = url.partition(":")
    if scheme == DJANGO_SCHEME:
        if not alias:
            raise ConfigurationError("django: needs the alias of a database; write django:default")
        if options:
            raise ConfigurationError(f"{url}: there is no option {next(iter(options))!r} of a database")
        writer = str(get_settings().options.get("writer", WriterMode.THREAD))
        return DjangoPersistence(alias, writer)
    return open_store(
        url, must_exist=must_exist, options=options, is_bounded=False, system_id=get_settings().system_id
    )


def backend_class(settings: PapyraSettings) -> type:
    """Return the class that ``BACKEND`` names (dotted, or ``django:ALIAS``); raises `ConfigurationError`."""
    place = f"{SETTING}['BACKEND']"
    if settings.backend.startswith(f"{DJANGO_SCHEME}:"):
        return DjangoPersistence
    try:
        cls = import_string(settings.backend)
    except ImportError as error:
        raise ConfigurationError(f"{place}: {settings.backend!r} cannot be imported: {error}") from error
    if not isinstance(cls, type):
        raise ConfigurationError(f"{place}: {settings.backend!r} is not a class")
    missing = [name for name in _PORT if not hasattr(cls, name)]
    if missing:
        raise ConfigurationError(f"{place}: {settings.backend!r} is no backend: it has no {missing[0]!r}")
    return cls


def check_options(settings: PapyraSettings) -> None:
    """Raise `ConfigurationError` for an option that the backend does not take; opens nothing."""
    if ":" not in settings.backend or settings.backend.startswith(f"{DJANGO_SCHEME}:"):
        made_by = backend_class(settings).__init__  # type: ignore[misc]  # a `__new__` may hide what it takes
        known = tuple(inspect.signature(made_by).parameters)[1:]
        if issubclass(backend_class(settings), RedisStreamsPersistence):
            known = (*known, CACHE)
    else:
        known = option_names(settings.backend)
    for name in settings.options:
        if name not in known:
            raise ConfigurationError(
                f"{SETTING}['OPTIONS']: unknown key {name!r} ({suggestion(name, known)})"
            )
    using = settings.options.get("using", "")
    if not isinstance(using, str):
        raise ConfigurationError(f"{SETTING}['OPTIONS']['using']: must be text, not {using!r}")
    writer = settings.options.get("writer", WriterMode.THREAD)
    if writer not in tuple(WriterMode):
        hint = suggestion(writer, tuple(WriterMode))
        raise ConfigurationError(f"{SETTING}['OPTIONS']['writer']: unknown word {writer!r} ({hint})")


def _forget() -> PersistenceBackend | None:
    global _opened
    with _lock:
        opened, _opened = _opened, None
    return opened[2] if opened is not None and opened[0] == os.getpid() else None
