"""``settings.PAPYRA``: read at each use and never at import; these classes are its documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence  # noqa: TC003  # the reader resolves the annotations
from dataclasses import dataclass, field
from enum import StrEnum

from django.conf import settings

from django_papyra._settings_reader import Problem, read_section
from papyra.exceptions import ConfigurationError
from papyra.persistence.models import PersistenceRecoveryConfig, PersistenceRecoveryMode
from papyra.persistence.retention import RetentionPolicy
from papyra.persistence.startup import PersistenceStartupConfig, PersistenceStartupMode

SETTING = "PAPYRA"
DJANGO_SCHEME = "django"


class WriterMode(StrEnum):
    """Where the ORM backend writes: in a thread with its own connection, or in the caller's (for tests)."""

    THREAD = "thread"
    INLINE = "inline"


class OnFailure(StrEnum):
    """What a server does when the startup check refuses: answer 503 to everything."""

    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartupSettings:
    """``STARTUP``: the check before any actor runs. Reads as `PersistenceStartupConfig`."""

    mode: PersistenceStartupMode = PersistenceStartupMode.RECOVER
    recovery: PersistenceRecoveryMode = PersistenceRecoveryMode.REPAIR
    timeout_seconds: float = field(default=30.0, metadata={"above": 0})
    on_failure: OnFailure = OnFailure.REFUSE
    quarantine_dir: str | None = None  # for stores that are files

    def to_config(self) -> PersistenceStartupConfig:
        """Return what `run_startup_check` takes."""
        recovery = PersistenceRecoveryConfig(self.recovery, self.quarantine_dir)
        return PersistenceStartupConfig(self.mode, recovery, self.timeout_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one kind keeps; ``None``: no limit, 0: nothing."""

    max_records: int | None = field(default=None, metadata={"least": 0})
    max_age_seconds: float | None = field(default=None, metadata={"least": 0})
    max_total_bytes: int | None = field(default=None, metadata={"least": 0})

    def to_policy(self) -> RetentionPolicy:
        """Return these limits alone."""
        return RetentionPolicy(self.max_records, self.max_age_seconds, self.max_total_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings(Limits):
    """``RETENTION``: limits for each kind by itself, a nested section instead of them for its kind."""

    events: Limits | None = None
    audits: Limits | None = None
    dead_letters: Limits | None = None
    max_unresolved: int = field(default=100_000, metadata={"least": 0})  # open letters that no limit removes

    def to_policy(self) -> RetentionPolicy:
        """Return the whole policy."""
        nested = {
            name: None if limits is None else limits.to_policy()
            for name, limits in (
                ("events", self.events),
                ("audits", self.audits),
                ("dead_letters", self.dead_letters),
            )
        }
        return RetentionPolicy(self.max_records, self.max_age_seconds, self.max_total_bytes, **nested)


@dataclass(frozen=True, slots=True, kw_only=True)
class PapyraSettings:
    """What ``settings.PAPYRA`` may contain (keys in upper case), and what it is when absent."""

    backend: str = "django_papyra.backend.DjangoPersistence"  # a dotted class, or a store URL
    options: Mapping[str, object] = field(default_factory=dict)  # keyword arguments of the class
    system: str | None = None  # dotted `async def populate(system: ActorSystem) -> None`
    system_id: str = field(default="local", metadata={"pattern": r"[A-Za-z0-9_.-]{1,100}"})
    run_in_asgi: bool = False  # the ASGI process hosts the system, and not `manage.py papyra_run`
    messages: tuple[str, ...] = ()  # modules whose @message classes may be rebuilt from storage
    startup: StartupSettings = StartupSettings()
    retention: RetentionSettings = RetentionSettings()
    redact: tuple[str, ...] = ()  # whole words, beside papyra's own list
    trace_url_template: str = ""  # with {trace_id} in it

    @property
    def using(self) -> str:
        """The database alias that holds papyra's tables; one in the store URL wins."""
        scheme, _, alias = self.backend.partition(":")
        if scheme == DJANGO_SCHEME and alias:
            return alias
        using = self.options.get("using", "default")
        return using if isinstance(using, str) else "default"


def find_problems() -> Sequence[Problem]:
    """Return everything that is wrong with ``settings.PAPYRA``, each with its place and a suggestion."""
    return _read()[1]


def get_settings() -> PapyraSettings:
    """Return ``settings.PAPYRA`` as it is now; raises `ConfigurationError` that names what is wrong."""
    value, problems = _read()
    if problems:
        raise ConfigurationError("; ".join(str(problem) for problem in problems))
    return value


def database_alias() -> str:
    """Return the alias that holds papyra's tables; never raises: routers are asked before checks are."""
    return _read()[0].using


def _read() -> tuple[PapyraSettings, Sequence[Problem]]:
    problems: list[Problem] = []
    raw: object = getattr(settings, SETTING, {})
    value = read_section(PapyraSettings, raw, SETTING, problems, spell=str.upper)
    return value, problems
