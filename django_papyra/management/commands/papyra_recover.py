"""`manage.py papyra_recover`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_papyra.management.storecommand import StoreCommand, startup_settings
from papyra.cli.arguments import add_recover_arguments

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(StoreCommand):
    """Repair the store; what is taken out lies in quarantine."""

    help = "Repair the store; what is taken out lies in quarantine."
    papyra_name = "persistence recover"
    run_name = "papyra.cli.persistence:run_recover"

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_recover_arguments(parser)
        parser.set_defaults(quarantine_dir=startup_settings().quarantine_dir)
