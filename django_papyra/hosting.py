"""Open the project's system in this process, and reach it from any code of the process."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from concurrent.futures import Future, wait
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from django.utils.module_loading import import_string

from django_papyra.backend import DjangoPersistence
from django_papyra.conf import SETTING, PapyraSettings, get_settings
from django_papyra.runtime import make_backend
from papyra.exceptions import (
    AskTimeout,
    ConfigurationError,
    PersistenceError,
    PersistenceStartupError,
    SystemNotRunning,
)
from papyra.payloads import DEFAULT_WORDS
from papyra.persistence.startup import StartupReport, run_startup_check
from papyra.system import ActorSystem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from types import ModuleType

    from papyra.persistence.backend import PersistenceBackend

    Populate = Callable[[ActorSystem], Awaitable[None]]

HEARTBEAT_SECONDS = 5.0
TELL_SECONDS = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Hosted:
    system: ActorSystem
    loop: asyncio.AbstractEventLoop
    pid: int


_hosted: list[_Hosted] = []


def hosts_in_asgi() -> bool:
    """Whether the ASGI process hosts the system."""
    return get_settings().run_in_asgi


@asynccontextmanager
async def open_system(
    *, backend: PersistenceBackend | None = None, needs_populate: bool = False
) -> AsyncIterator[ActorSystem]:
    """Start the system that the settings describe, let ``PAPYRA["SYSTEM"]`` populate it, close it at the end.

    A given ``backend`` stays open. Raises `PersistenceStartupError` when the startup check refuses, and
    `ConfigurationError` for settings that are wrong or, with ``needs_populate``, name no system to host.
    """
    settings = get_settings()
    populate = load_populate(settings)
    if populate is None and needs_populate:
        raise ConfigurationError(f'{SETTING}["SYSTEM"] is not set: name an `async def populate(system)`')
    system = ActorSystem(
        system_id=settings.system_id,
        persistence=make_backend(settings) if backend is None else backend,
        close_persistence=backend is None,
        persistence_startup=settings.startup.to_config(),
        messages=load_messages(settings),
        redact=(*DEFAULT_WORDS, *settings.redact),
    )
    async with system, _beating(system):
        hosted = _Hosted(system, asyncio.get_running_loop(), os.getpid())
        _hosted.append(hosted)
        try:
            if populate is not None:
                await populate(system)
            yield system
        finally:
            _hosted.remove(hosted)


def current_system() -> ActorSystem:
    """Return the system that this process hosts; raises `SystemNotRunning`."""
    return _current().system


def tell(path: str, message: object) -> None:
    """Tell ``message`` to the actor at ``path``; see `django_papyra.tell`."""
    hosted = _current()
    if _running_loop() is hosted.loop:
        hosted.system.ref_for(path).tell(message)
    else:
        _tell_across(hosted, path, message)


def _tell_across(hosted: _Hosted, path: str, message: object) -> None:
    """Hand over to the system's loop; an error means that the message was not, and will not be, delivered."""
    handed_over: Future[None] = Future()

    def deliver() -> None:
        if not handed_over.set_running_or_notify_cancel():
            return
        try:
            hosted.system.ref_for(path).tell(message)
        except Exception as error:  # noqa: BLE001  # it belongs to the caller, whatever it is
            handed_over.set_exception(error)
        else:
            handed_over.set_result(None)

    try:
        hosted.loop.call_soon_threadsafe(deliver)
    except RuntimeError as error:
        raise SystemNotRunning("the loop of the system is closed", reason="shutdown") from error
    wait((handed_over,), TELL_SECONDS)
    if handed_over.cancel():
        raise AskTimeout(
            f"{path}: the system's loop took nothing for {TELL_SECONDS:g} s; something blocks it"
        )
    handed_over.result()


async def check_startup() -> StartupReport:
    """Check the store as a process that hosts nothing: it takes no lock and repairs nothing.

    Raises `PersistenceStartupError` when that process must not serve.
    """
    settings = get_settings()
    backend = make_backend(settings)
    try:
        report = await run_startup_check(backend, settings.startup.to_config(), is_host=False)
    finally:
        await backend.aclose()
    if not report.may_start:
        found = (
            ", ".join(f"{count} {type_}" for type_, count in report.scan.counts.items())
            if report.scan
            else ""
        )
        raise PersistenceStartupError(
            f"the {backend.name} store is {report.verdict}: {report.reason or found}", report=report
        )
    return report


def load_populate(settings: PapyraSettings) -> Populate | None:
    """Return what ``PAPYRA["SYSTEM"]`` names; raises `ConfigurationError`."""
    if settings.system is None:
        return None
    try:
        populate: Populate = import_string(settings.system)
    except ImportError as error:
        raise ConfigurationError(
            f'{SETTING}["SYSTEM"]: {settings.system!r} cannot be imported: {error}'
        ) from error
    if not inspect.iscoroutinefunction(populate):
        raise ConfigurationError(f'{SETTING}["SYSTEM"]: {settings.system!r} is not an `async def`')
    return populate


def load_messages(settings: PapyraSettings) -> list[ModuleType]:
    """Return the modules of ``PAPYRA["MESSAGES"]``; raises `ConfigurationError`."""
    modules = []
    for name in settings.messages:
        try:
            modules.append(import_module(name))
        except ImportError as error:
            raise ConfigurationError(
                f'{SETTING}["MESSAGES"]: {name!r} cannot be imported: {error}'
            ) from error
    return modules


def _current() -> _Hosted:
    if _hosted and _hosted[-1].pid == os.getpid():  # a fork copies the list, and neither loop nor actors
        return _hosted[-1]
    raise SystemNotRunning(
        "no system runs in this process: host it here with PAPYRA['RUN_IN_ASGI'] = True under an ASGI "
        "server; messages to a system of another process are not supported yet",
        reason="not_hosted",
    )


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


@asynccontextmanager
async def _beating(system: ActorSystem) -> AsyncIterator[None]:
    if not isinstance(system.persistence, DjangoPersistence):
        yield
        return
    beating = asyncio.create_task(_beat(system.persistence, system.incarnation))
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.wait((beating,))


async def _beat(backend: DjangoPersistence, incarnation: str) -> None:
    is_missing = False
    while True:
        try:
            await backend.beat(incarnation)
            is_missing = False
        except Exception as error:  # noqa: BLE001  # the hosting loop's firewall: the next beat may pass
            if not is_missing:  # the recorder tells of the outage itself
                is_foreseen = isinstance(error, PersistenceError)
                cause = None if is_foreseen else error
                _log.warning("no heartbeat for %s: %s", incarnation, error, exc_info=cause)
            is_missing = True
        await asyncio.sleep(HEARTBEAT_SECONDS)
