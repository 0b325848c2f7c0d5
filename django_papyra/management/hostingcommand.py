"""Commands that host the project's system: whatever ends it becomes one sentence and an exit code."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import Any

from django.core.management.base import CommandError

from django_papyra.management.exiting import ExitingCommand
from papyra.cli.exit_codes import BY_STARTUP_VERDICT, ExitCode, exit_code_for_error
from papyra.exceptions import PapyraError, PersistenceStartupError
from papyra.persistence.startup import StartupReport

_log = logging.getLogger(__name__)


class HostingCommand(ExitingCommand, ABC):
    """Runs `host` in a loop of its own."""

    @abstractmethod
    async def host(self, **options: Any) -> ExitCode:
        """Open the system, use it, and say how that went."""

    def handle(self, **options: Any) -> None:
        try:
            code, words = asyncio.run(self.host(**options)), ""
        except CommandError:
            raise
        except KeyboardInterrupt:
            code, words = ExitCode.INTERRUPTED, "interrupted"
        except PersistenceStartupError as error:
            code, words = _code_of_refusal(error), f"not started: {error}"
        except Exception as error:  # noqa: BLE001  # the hosting loop's firewall
            code, words = exit_code_for_error(error), str(error)
            if code is ExitCode.FAULT:
                _log.critical("the hosting process ends", exc_info=error)
            if not isinstance(error, PapyraError):
                words = f"{type(error).__name__}: {error}"
        if words:
            self.say(words, self.stderr)
        self.leave(code, words)


def _code_of_refusal(error: PersistenceStartupError) -> ExitCode:
    if isinstance(error.report, StartupReport):
        return BY_STARTUP_VERDICT[error.report.verdict]
    return ExitCode.REFUSED
