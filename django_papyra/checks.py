"""System checks; docs/reference/checks.md explains each id. Only `check_database` opens the database."""

from __future__ import annotations

import inspect
import sqlite3
from importlib import import_module
from typing import TYPE_CHECKING

from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Advice
from django.db import connections, router
from django.db.utils import DatabaseError
from django.utils.module_loading import import_string

from django_papyra.conf import DJANGO_SCHEME, SETTING, WriterMode, find_problems, get_settings
from django_papyra.models import Event
from django_papyra.runtime import backend_class, check_options
from papyra.exceptions import ConfigurationError
from papyra.persistence.stores import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.apps import AppConfig

    from django_papyra.conf import PapyraSettings

TAG = "papyra"
_NOT_DURABLE = frozenset({"off", "memory"})
_WAL_RESET_FIXED = (3, 51, 3)
_WAL_RESET_BACKPORTS = ((3, 50, 7), (3, 44, 6))


def check_settings(*, app_configs: Sequence[AppConfig] | None, **_: object) -> list[CheckMessage]:
    """Check ``PAPYRA`` itself and what it names."""
    del app_configs
    problems = [
        Error(f"{problem.where}: {problem.what}.", hint=problem.hint or None, id="papyra.E001")
        for problem in find_problems()
    ]
    if problems:
        return list(problems)
    settings = get_settings()
    return [
        *_check_backend(settings),
        *_check_system(settings),
        *_check_messages(settings),
        *_check_alias(settings),
        *_advise(settings),
    ]


def _check_backend(settings: PapyraSettings) -> Iterator[CheckMessage]:
    scheme, is_url, _ = settings.backend.partition(":")
    try:
        if not is_url or scheme == DJANGO_SCHEME:
            backend_class(settings)
        check_options(settings)
        if is_url and scheme not in {DJANGO_SCHEME, "ndjson"}:  # a file is not to be touched here
            open_store(settings.backend, options=settings.options)
    except ConfigurationError as error:
        yield Error(f"{error}.", hint="Name a class by its dotted path, or a store URL.", id="papyra.E002")


def _check_system(settings: PapyraSettings) -> Iterator[CheckMessage]:
    if settings.system is None:
        return
    hint = "Name `async def populate(system: ActorSystem) -> None` by its dotted path."
    try:
        populate = import_string(settings.system)
    except ImportError as error:
        message = f"{SETTING}['SYSTEM']: {settings.system!r} cannot be imported: {error}."
        yield Error(message, hint=hint, id="papyra.E003")
        return
    if not inspect.iscoroutinefunction(populate):
        message = f"{SETTING}['SYSTEM']: {settings.system!r} is not an async function."
        yield Error(message, hint=hint, id="papyra.E003")


def _check_messages(settings: PapyraSettings) -> Iterator[CheckMessage]:
    for name in settings.messages:
        try:
            import_module(name)
        except (ImportError, ValueError, TypeError) as error:  # the last two: no module has such a name
            message = f"{SETTING}['MESSAGES']: {name!r} cannot be imported: {error}."
            yield Error(message, hint="Name modules that define @message classes.", id="papyra.E004")


def _check_alias(settings: PapyraSettings) -> Iterator[CheckMessage]:
    if settings.using not in connections.settings:
        message = f"{SETTING}['OPTIONS']['using']: there is no database {settings.using!r}."
        yield Error(message, hint=f"DATABASES has: {', '.join(connections)}.", id="papyra.E005")
    elif router.db_for_write(Event) != settings.using:
        message = f"papyra writes to {settings.using!r}, its models go to {router.db_for_write(Event)!r}."
        hint = (
            "Add 'django_papyra.routers.PapyraRouter' to DATABASE_ROUTERS, before others that answer for it."
        )
        yield Error(message, hint=hint, id="papyra.E006")


def _advise(settings: PapyraSettings) -> Iterator[CheckMessage]:
    if settings.retention.to_policy().is_unlimited:
        message = f"{SETTING}['RETENTION'] sets no limit: the history grows until the disk is full."
        hint = (
            "For example: 'RETENTION': {'max_age_seconds': 90 * 86400}. To keep it all, silence this check."
        )
        yield Advice(message, hint=hint, id="papyra.W002")
    template = settings.trace_url_template
    if template and "{trace_id}" not in template:
        message = (
            f"{SETTING}['TRACE_URL_TEMPLATE'] has no {{trace_id}}, so that every link leads to one place."
        )
        yield Advice(message, id="papyra.W003")


def check_deployment(*, app_configs: Sequence[AppConfig] | None, **_: object) -> list[CheckMessage]:
    """Check what is fine on a desk and not in production (``check --deploy``)."""
    del app_configs
    if find_problems():
        return []
    settings = get_settings()
    found: list[CheckMessage] = []
    if settings.options.get("writer") == WriterMode.INLINE:
        message = "writer 'inline' joins callers' transactions: a rollback takes the history along."
        found.append(Advice(message, hint="Use 'thread'; 'inline' is for tests.", id="papyra.W101"))
    if settings.backend.startswith("memory:"):
        message = f"{SETTING}['BACKEND'] is in memory: the history ends with the process."
        found.append(Advice(message, hint="Use a database or a file.", id="papyra.W102"))
    if _uses_sqlite(settings) and not _is_wal_reset_fixed(sqlite3.sqlite_version_info):
        message = f"SQLite {sqlite3.sqlite_version} can damage a WAL database that two connections write to."
        hint = "Use SQLite 3.51.3 or newer (or 3.50.7, 3.44.6), or another engine."
        found.append(Advice(message, hint=hint, id="papyra.W103"))
    return found


def _uses_sqlite(settings: PapyraSettings) -> bool:
    known = connections.settings.get(settings.using)
    return known is not None and str(known["ENGINE"]).endswith("sqlite3")


def _is_wal_reset_fixed(version: tuple[int, ...]) -> bool:
    if version >= _WAL_RESET_FIXED:
        return True
    return any(version[:2] == fixed[:2] and version >= fixed for fixed in _WAL_RESET_BACKPORTS)


def check_database(
    *, app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **_: object
) -> list[CheckMessage]:
    """Ask the database how durable and how concurrent it is (``check --database ALIAS``, and ``migrate``)."""
    del app_configs
    if find_problems():
        return []
    using = get_settings().using
    if using not in (databases or ()) or not _uses_sqlite(get_settings()):
        return []
    try:
        with connections[using].cursor() as cursor:
            cursor.execute("PRAGMA journal_mode")
            mode = str(cursor.fetchone()[0])
    except DatabaseError:
        return []  # what cannot be reached is another check's business
    if mode in _NOT_DURABLE and not connections[using].is_in_memory_db():  # type: ignore[attr-defined]  # SQLite's
        message = f"Database {using!r} has journal_mode {mode}: a crash can destroy it."
        return [Error(message, hint="Use PRAGMA journal_mode=WAL.", id="papyra.E007")]
    if mode not in {"wal", *_NOT_DURABLE}:
        message = f"Database {using!r} has journal_mode {mode}: who reads keeps papyra from writing."
        hint = "Add 'OPTIONS': {'init_command': 'PRAGMA journal_mode=WAL;'} to its settings."
        return [Advice(message, hint=hint, id="papyra.W001")]
    return []
