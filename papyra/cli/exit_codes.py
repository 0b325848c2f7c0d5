"""What each outcome means to a script; one table for `papyra` and `manage.py papyra_*`."""

from __future__ import annotations

from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from papyra.exceptions import (
    ConfigurationError,
    ForeignStoreError,
    InvalidNameError,
    NewerFormatError,
    RecordTooLargeError,
    RecoveryError,
    StoreFailedError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class ExitCode(IntEnum):
    """The exit codes of every command; the high ones are those of sysexits.h and of a shell."""

    OK = 0
    REFUSED = 1
    DAMAGE = 2
    MISUSE = 64
    UNAVAILABLE = 69
    FAULT = 70
    INTERRUPTED = 130

    @property
    def word(self) -> str:
        """The verdict of a command that ended without one of its own."""
        return _WORDS[self]


_WORDS: Mapping[ExitCode, str] = MappingProxyType(
    {
        ExitCode.OK: "ok",
        ExitCode.REFUSED: "refused",
        ExitCode.DAMAGE: "damage",
        ExitCode.MISUSE: "misuse",
        ExitCode.UNAVAILABLE: "unavailable",
        ExitCode.FAULT: "fault",
        ExitCode.INTERRUPTED: "interrupted",
    }
)

BY_STARTUP_VERDICT: Mapping[str, ExitCode] = MappingProxyType(
    {
        "healthy": ExitCode.OK,
        "tolerated": ExitCode.OK,
        "recovered": ExitCode.OK,
        "refused": ExitCode.REFUSED,
        "unrecovered": ExitCode.DAMAGE,
        "unproven": ExitCode.UNAVAILABLE,
    }
)
"""By wire word, so that ``--help`` need not import the startup check."""

_BY_ERROR: tuple[tuple[type[BaseException], ExitCode], ...] = (
    (ConfigurationError, ExitCode.MISUSE),
    (InvalidNameError, ExitCode.MISUSE),
    (RecoveryError, ExitCode.DAMAGE),
    (NewerFormatError, ExitCode.DAMAGE),
    (ForeignStoreError, ExitCode.DAMAGE),
    (RecordTooLargeError, ExitCode.DAMAGE),
    (StoreUnavailableError, ExitCode.UNAVAILABLE),
    (StoreFailedError, ExitCode.UNAVAILABLE),
)


def exit_code_for_error(error: BaseException) -> ExitCode:
    """Return what ``error`` means to a script; whatever nobody foresaw is our fault."""
    for kind, code in _BY_ERROR:
        if isinstance(error, kind):
            return code
    return ExitCode.FAULT
