"""``manage.py papyra_run``: host the project's actors in this process until it is told to stop."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from typing import Any

from django.core.management.base import CommandError

from django_papyra import hosting
from django_papyra.management.hostingcommand import HostingCommand
from papyra.cli.exit_codes import ExitCode
from papyra.signals import StopRequest

PATIENCE_SECONDS = 5.0
"""How long a thread that an actor has left behind may keep the process, whose history is closed by then."""


class Command(HostingCommand):
    """Host the system that ``PAPYRA["SYSTEM"]`` populates."""

    help = "Host the project's actors until SIGTERM or SIGINT; a second signal does not wait for them."

    async def host(self, **_: Any) -> ExitCode:
        """Run the system; the first signal stops it in order, the second ends the process."""
        stop = StopRequest()
        with stop.listening():
            async with hosting.open_system(needs_populate=True) as system:
                self.report(f"{system.system_id} runs as {system.incarnation}; Ctrl-C stops it.")
                await stop.requested.wait()
                self.report("Stopping; once more does not wait.")
        code = ExitCode.INTERRUPTED if stop.signal == signal.SIGINT else ExitCode.OK
        if self._called_from_command_line:
            _end_within(PATIENCE_SECONDS, code)
        return code

    def report(self, words: str) -> None:
        """Say ``words`` where anybody listens; a host outlives its output."""
        with suppress(CommandError):
            self.say(words, self.stdout)


def _end_within(seconds: float, code: ExitCode) -> None:
    watchdog = threading.Timer(seconds, os._exit, (int(code),))
    watchdog.daemon = True
    watchdog.start()
