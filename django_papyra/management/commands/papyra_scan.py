"""`manage.py papyra_scan`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_papyra.management.storecommand import StoreCommand
from papyra.cli.arguments import add_scan_arguments

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(StoreCommand):
    """Look for damage in the store; changes nothing."""

    help = "Look for damage in the store; changes nothing."
    papyra_name = "persistence scan"
    run_name = "papyra.cli.persistence:run_scan"

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_scan_arguments(parser)
