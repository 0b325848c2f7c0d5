"""``manage.py papyra_run``: host the project's actors in this process until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from django_papyra import hosting
from django_papyra.management.hostingcommand import HostingCommand
from papyra.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

PATIENCE_SECONDS = 5.0
"""How long a thread that an actor has left behind may keep the process, whose history is closed by then."""


class Command(HostingCommand):
    """Host the system that ``PAPYRA["SYSTEM"]`` populates."""

    help = "Host the project's actors until SIGTERM or SIGINT; a second signal does not wait for them."

    async def host(self, **_: Any) -> ExitCode:
        """Run the system; the first signal stops it in order, the second ends the process."""
        stop = Stop()
        with stop.listening():
            async with hosting.open_system(needs_populate=True) as system:
                self.report(f"{system.system_id} runs as {system.incarnation}; Ctrl-C stops it.")
                await stop.requested.wait()
                self.report("Stopping; once more does not wait.")
        if self._called_from_command_line:
            _end_within(PATIENCE_SECONDS, stop.exit_code)
        return stop.exit_code

    def report(self, words: str) -> None:
        """Say ``words`` where anybody listens; a host outlives its output."""
        with suppress(CommandError):
            self.say(words, self.stdout)


class Stop:
    """Turns the first SIGTERM or SIGINT into a request to stop, and leaves the next to the system."""

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.exit_code = ExitCode.OK

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear signals inside the block, even while an actor blocks the loop."""
        loop = asyncio.get_running_loop()
        for number in self.SIGNALS:
            loop.add_signal_handler(number, self.requested.set)  # wakes the loop
            signal.signal(number, self._hear)  # does not need it
        try:
            yield
        finally:
            for number in self.SIGNALS:
                loop.remove_signal_handler(number)

    def _hear(self, number: int, _: FrameType | None) -> None:
        self.exit_code = ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.OK
        for each in self.SIGNALS:
            signal.signal(each, signal.SIG_DFL)


def _end_within(seconds: float, code: ExitCode) -> None:
    watchdog = threading.Timer(seconds, os._exit, (int(code),))
    watchdog.daemon = True
    watchdog.start()
