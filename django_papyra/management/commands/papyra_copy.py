"""`manage.py papyra_copy`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from django_papyra.conf import DJANGO_SCHEME
from django_papyra.management.storecommand import StoreCommand, spell
from django_papyra.runtime import open_url
from papyra.cli.arguments import add_copy_arguments
from papyra.cli.ends import label_of, open_ends, spell_alone

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from papyra.cli.ends import Ends
    from papyra.cli.outcome import NextStep


class Command(StoreCommand):
    """Copy a store into another; ``django:ALIAS`` is the tables in that database."""

    help = "Copy a store into another, by URL; django:ALIAS is a database. Done again, it goes on."
    papyra_name = "copy"
    run_name = "papyra.cli.copying:run_copy"

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_copy_arguments(parser)

    def label(self, args: Namespace) -> str:
        return label_of(args)

    def open(self, args: Namespace) -> Ends:
        return open_ends(args, open_url)

    def spell(self, step: NextStep) -> str:
        if step.options[-1:] and step.options[-1].startswith(f"{DJANGO_SCHEME}:"):
            return spell(replace(step, options=()))
        return spell_alone(step)
