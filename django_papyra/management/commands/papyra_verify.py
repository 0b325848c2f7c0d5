"""`manage.py papyra_verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_papyra.management.storecommand import StoreCommand, startup_settings
from papyra.cli.arguments import add_verify_arguments

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(StoreCommand):
    """Prove what the store holds: every byte, every record, what is lost and where it lies."""

    help = "Prove what the store holds: every byte, every record, what is lost and where it lies."
    papyra_name = "persistence verify"
    run_name = "papyra.cli.proving:run_verify"

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_verify_arguments(parser)
        parser.set_defaults(quarantine_dir=startup_settings().quarantine_dir)
