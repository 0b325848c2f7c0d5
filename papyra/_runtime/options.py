"""How one system was asked to run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING

from papyra.clock import SYSTEM_CLOCK
from papyra.exceptions import ConfigurationError
from papyra.payloads import MessageRegistry, message_name
from papyra.persistence.startup import DEFAULT_STARTUP, PersistenceStartupConfig, PersistenceStartupMode

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from papyra.clock import Clock
    from papyra.payloads import PayloadLimits, Redaction
    from papyra.persistence.models import PersistenceRecoveryConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything a start needs beside the backend; ``None`` seconds: no timeout, no periodic audit."""

    system_id: str
    startup: PersistenceStartupConfig = DEFAULT_STARTUP
    clock: Clock
    registry: MessageRegistry
    redaction: Redaction
    limits: PayloadLimits
    hooks: object
    on_dead_letter: Callable[..., object] | None
    ask_timeout: float | None
    shutdown_timeout: float
    audit_interval: float | None
    max_events: int
    letters_in_full: int
    max_queued_records: int
    max_queued_bytes: int
    close_persistence: bool
    record_handled: tuple[type, ...]

    def __post_init__(self) -> None:
        for name in ("ask_timeout", "audit_interval", "shutdown_timeout"):
            seconds = getattr(self, name)
            if seconds is not None and not seconds > 0:
                raise ConfigurationError(f"{name} must be above 0, not {seconds!r}")
        for name in ("max_events", "letters_in_full", "max_queued_records", "max_queued_bytes"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be 1 or more, not {getattr(self, name)!r}")

    def starting(
        self, config: PersistenceStartupConfig | None, recovery: PersistenceRecoveryConfig | None
    ) -> Options:
        """Return these with the startup check that is wanted now; ``recovery`` completes a bare RECOVER."""
        config = config or DEFAULT_STARTUP
        if config.mode is PersistenceStartupMode.RECOVER and config.recovery is None:
            config = replace(config, recovery=recovery)
        return replace(self, startup=config)

    def digest(self) -> str:
        """Return a short fingerprint of what can be written down, so that two runs can be told to differ."""
        plain = {
            "startup": [self.startup.mode.value, self.startup.depth.value, self.startup.timeout_seconds],
            "redact": sorted(self.redaction.words),
            "messages": self.registry.names(),
            "record_handled": sorted(map(message_name, self.record_handled)),
            **{
                name: getattr(self, name)
                for name in self.__slots__
                if isinstance(getattr(self, name), (str, int, float, type(None)))
            },
        }
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


class TimeFunction:
    """A clock around a published ``time_fn``, which tells the time of records only."""

    def __init__(self, time_fn: Callable[[], float]) -> None:
        self.now = time_fn
        self.monotonic = SYSTEM_CLOCK.monotonic


def recorded_classes(which: bool | Collection[type]) -> tuple[type, ...]:  # noqa: FBT001  # as the facade says it
    """Return the classes of the actors whose handled messages are recorded; raises `ConfigurationError`."""
    if isinstance(which, bool):
        return (object,) if which else ()
    classes = tuple(which)
    for cls in classes:
        if not isinstance(cls, type):
            raise ConfigurationError(f"record_handled is True, False or classes of actors, not {cls!r:.100}")
    return classes


def registry_of(messages: Iterable[type | ModuleType]) -> MessageRegistry:
    """Return the allow-list of these classes, and of those marked in these modules."""
    registry = MessageRegistry()
    for entry in messages:
        if isinstance(entry, ModuleType):
            registry.add_module(entry)
        else:
            registry.add(entry)
    return registry
