"""How a startup check is asked for, and how it ends; pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from papyra.exceptions import ConfigurationError
from papyra.persistence.models import (
    PersistenceRecoveryConfig,
    PersistenceRecoveryMode,
    PersistenceRecoveryReport,
    PersistenceScanReport,
    ScanDepth,
    as_word,
)


class PersistenceStartupMode(StrEnum):
    """What a start does about damage: nothing, look only, recover, or refuse."""

    IGNORE = "ignore"
    SCAN_ONLY = "scan_only"
    RECOVER = "recover"
    FAIL_ON_ANOMALY = "fail_on_anomaly"

    @property
    def never_refuses(self) -> bool:
        """Whether a start goes ahead whatever the store is like."""
        return self in {PersistenceStartupMode.IGNORE, PersistenceStartupMode.SCAN_ONLY}


@dataclass(frozen=True, slots=True)
class PersistenceStartupConfig:
    """How to check a store before anything runs on it; ``RECOVER`` without ``recovery`` repairs.

    Modes and depth are also taken as their words. ``timeout_seconds`` ``None`` is 30, ``math.inf`` no limit.
    """

    mode: PersistenceStartupMode = PersistenceStartupMode.IGNORE
    recovery: PersistenceRecoveryConfig | None = None
    timeout_seconds: float | None = None
    depth: ScanDepth = ScanDepth.TAIL

    def __post_init__(self) -> None:
        object.__setattr__(self, "mode", as_word(PersistenceStartupMode, "startup mode", self.mode))
        object.__setattr__(self, "depth", as_word(ScanDepth, "depth", self.depth))
        if self.recovery is not None and not isinstance(self.recovery, PersistenceRecoveryConfig):
            raise ConfigurationError(
                f"recovery must be a PersistenceRecoveryConfig, not {self.recovery!r:.100}"
            )
        timeout: object = self.timeout_seconds
        if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):  # also NaN
            raise ConfigurationError(
                f"timeout_seconds must be above 0 (None: 30), not {self.timeout_seconds!r}"
            )


DEFAULT_STARTUP = PersistenceStartupConfig(
    PersistenceStartupMode.RECOVER, PersistenceRecoveryConfig(PersistenceRecoveryMode.REPAIR)
)
"""What a system does that was given no config."""


class StartupVerdict(StrEnum):
    """How a startup check ended."""

    HEALTHY = "healthy"
    TOLERATED = "tolerated"
    RECOVERED = "recovered"
    UNRECOVERED = "unrecovered"
    REFUSED = "refused"
    UNPROVEN = "unproven"


@dataclass(frozen=True, slots=True)
class StartupReport:
    """The verdict and its evidence; ``reason`` is why the check was not carried out, or what it ran into."""

    verdict: StartupVerdict
    config: PersistenceStartupConfig
    scan: PersistenceScanReport | None = None
    recovery: PersistenceRecoveryReport | None = None
    rescan: PersistenceScanReport | None = None
    reason: str = ""

    @property
    def may_start(self) -> bool:
        """Whether a system may start: an unproven store is good enough only where no proof was asked for."""
        match self.verdict:
            case StartupVerdict.HEALTHY | StartupVerdict.TOLERATED | StartupVerdict.RECOVERED:
                return True
            case StartupVerdict.UNPROVEN:
                return self.config.mode.never_refuses
            case StartupVerdict.REFUSED | StartupVerdict.UNRECOVERED:
                return False
