"""Serve an order file to its end, then tell the story of it out of the stored history alone."""

import csv
import logging
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path

from django.core.management.base import CommandError

from django_papyra.conf import get_settings
from django_papyra.hosting import open_system
from django_papyra.management.hostingcommand import HostingCommand
from django_papyra.runtime import make_backend
from orders.ledger import log_acknowledged
from orders.messages import Summarise, Summary
from orders.orderfile import SHIPPED_FILE, read_rows
from orders.story import tell_story
from papyra import ActorSystem
from papyra.cli.exit_codes import BY_STARTUP_VERDICT, ExitCode
from papyra.cli.text import printable
from papyra.persistence.models import ScanDepth
from papyra.persistence.startup import DEFAULT_STARTUP, run_startup_check


class Command(HostingCommand):
    """Run the order desk once, from the first row to the doctor's verdict."""

    help = "Serve the example's orders, print what the stored history says about it, and check the store."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--file", type=Path, default=SHIPPED_FILE, help="the order file (CSV)")
        parser.add_argument(
            "--rounds", type=int, default=1, help="so many times, each in a system of its own (default: 1)"
        )
        parser.add_argument(
            "--ack-log", metavar="FILE", help="write the identity of each acknowledged record here"
        )

    async def host(
        self, *, file: Path, rounds: int, ack_log: str | None, verbosity: int, **_: object
    ) -> ExitCode:
        """Host the system, serve, stop it; then read everything back through a second backend."""
        if verbosity < 2:  # the crashes are told by the history; with -v 2 the log tells them too
            logging.getLogger("papyra").setLevel(logging.CRITICAL)
        backend = make_backend(get_settings())
        if ack_log:
            log_acknowledged(backend, ack_log)
        async with backend:
            for _number in range(max(1, rounds)):
                async with open_system(backend=backend, needs_populate=True) as system:
                    summary = await serve(system, file)
                    incarnation = system.incarnation
        self.say(
            f"{summary.placed} orders: {summary.shipped} to the carrier, {summary.declined} declined, "
            f"{summary.out_of_stock} out of stock",
            self.stdout,
        )
        async with make_backend(get_settings()) as reader:
            self.say("\n".join(map(printable, await tell_story(reader, incarnation))), self.stdout)
            report = await run_startup_check(reader, replace(DEFAULT_STARTUP, depth=ScanDepth.FULL))
        self.say(f"\ndoctor: {report.verdict}", self.stdout)
        return BY_STARTUP_VERDICT[report.verdict]


async def serve(system: ActorSystem, file: Path) -> Summary:
    """Tell every row to the intake, in order, and wait until the desk has served what came of them."""
    intake = system.ref_for("/intake")
    try:
        for row in read_rows(file):
            await intake.tell(row)
    except (OSError, csv.Error) as error:
        raise CommandError(f"{file} cannot be read as an order file: {error}", returncode=64) from error
    summary = await intake.ask(Summarise(), timeout=60)
    assert isinstance(summary, Summary)
    system.audit()
    return summary
