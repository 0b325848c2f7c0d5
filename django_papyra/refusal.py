"""Why this process does not serve, and what it answers meanwhile; shared by the ASGI and WSGI wrappers."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

from papyra.clock import SYSTEM_CLOCK
from papyra.exceptions import PersistenceStartupError, StoreUnavailableError
from papyra.persistence.startup import StartupReport, StartupVerdict

TRY_AGAIN_AFTER_SECONDS = 5.0
STATUS = HTTPStatus.SERVICE_UNAVAILABLE.value
BODY = (
    b"This site does not serve at present: a check at its start did not pass. The server's log says more.\n"
)
HEADERS = (
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Content-Length", str(len(BODY))),
    ("Cache-Control", "no-store"),
    ("Retry-After", "30"),
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A start that did not happen. Damage stays until somebody acts; what was out of reach is tried again."""

    reason: str
    may_pass: bool
    unexpected: BaseException | None
    since: float

    @classmethod
    def because_of(cls, error: BaseException) -> Self:
        """Judge what kept the system from starting."""
        report = error.report if isinstance(error, PersistenceStartupError) else None
        is_unproven = isinstance(report, StartupReport) and report.verdict is StartupVerdict.UNPROVEN
        is_unreachable = isinstance(error, StoreUnavailableError)
        is_foreseen = is_unreachable or isinstance(error, PersistenceStartupError)
        return cls(
            str(error) or type(error).__name__,
            is_unproven or is_unreachable,
            None if is_foreseen else error,
            SYSTEM_CLOCK.monotonic(),
        )

    @classmethod
    def at_shutdown(cls) -> Self:
        """Return what keeps a late request from starting everything again."""
        return cls("the server shuts down", may_pass=False, unexpected=None, since=SYSTEM_CLOCK.monotonic())

    @property
    def may_try_again(self) -> bool:
        """Whether the store was merely out of reach, and a while ago."""
        return self.may_pass and SYSTEM_CLOCK.monotonic() - self.since >= TRY_AGAIN_AFTER_SECONDS

    def __str__(self) -> str:
        return self.reason
