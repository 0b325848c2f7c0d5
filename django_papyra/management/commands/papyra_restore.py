"""`manage.py papyra_restore`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_papyra.management.storecommand import StoreCommand, startup_settings
from papyra.cli.arguments import add_restore_arguments

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(StoreCommand):
    """List what lies in the store's quarantine, and put back what can go back."""

    help = "List what lies in the store's quarantine, and put back what can go back."
    papyra_name = "persistence restore"
    run_name = "papyra.cli.proving:run_restore"

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_restore_arguments(parser)
        parser.set_defaults(quarantine_dir=startup_settings().quarantine_dir)
