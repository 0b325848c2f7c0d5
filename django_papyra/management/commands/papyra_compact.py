"""`manage.py papyra_compact`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_papyra.management.storecommand import StoreCommand
from papyra.cli.arguments import add_compact_arguments

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(StoreCommand):
    """Remove for good what retention no longer keeps."""

    help = "Remove for good what retention no longer keeps."
    papyra_name = "persistence compact"
    run_name = "papyra.cli.persistence:run_compact"

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_compact_arguments(parser)
