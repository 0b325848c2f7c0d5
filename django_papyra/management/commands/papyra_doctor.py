"""`manage.py papyra_doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_papyra.management.storecommand import StoreCommand, startup_settings
from papyra.cli.arguments import add_doctor_arguments

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(StoreCommand):
    """Check the store as a start would, at full depth."""

    help = "Check the store as a start would, at full depth; PAPYRA['STARTUP'] says what to do about damage."
    papyra_name = "doctor run"
    run_name = "papyra.cli.doctor:run_doctor"

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_doctor_arguments(parser)
        startup = startup_settings()
        parser.set_defaults(
            mode=startup.mode.value,
            recovery_mode=startup.recovery.value,
            quarantine_dir=startup.quarantine_dir,
        )
