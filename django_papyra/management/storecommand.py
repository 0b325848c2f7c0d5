"""``manage.py papyra_*`` for the store: what ``papyra`` does, on the project's own backend."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from django_papyra.conf import StartupSettings, get_settings
from django_papyra.management.exiting import ExitingCommand
from django_papyra.runtime import make_backend
from papyra.cli.conduct import Invocation, Run, conduct
from papyra.cli.text import shell_word
from papyra.exceptions import ConfigurationError

if TYPE_CHECKING:
    from papyra.cli.conduct import Closable
    from papyra.cli.outcome import NextStep


class StoreCommand(ExitingCommand):
    """One store command of ``papyra``; ``run_name`` is its function as ``module:name``."""

    papyra_name: ClassVar[str]
    run_name: ClassVar[str]

    def label(self, args: Namespace) -> str:
        """Return how people know the store."""
        del args
        return "settings.PAPYRA"

    def open(self, args: Namespace) -> Closable:
        """Open what the command works on."""
        del args
        return make_backend(get_settings())

    def spell(self, step: NextStep) -> str:
        """Return ``step`` as a line to type here."""
        return spell(step)

    def handle(self, **options: Any) -> None:
        module, _, function = self.run_name.partition(":")
        run: Run = getattr(import_module(module), function)
        args = Namespace(**options)
        is_shell = self._called_from_command_line  # else nobody sees a bar, and colours would be in the way
        conclusion = conduct(
            Invocation(
                name=self.papyra_name,
                run=run,
                args=args,
                store=self.label(args),
                open_backend=lambda: self.open(args),
                spell=self.spell,
            ),
            stdout=sys.stdout if is_shell else None,
            stderr=sys.stderr if is_shell else None,
            debug=bool(os.environ.get("PAPYRA_DEBUG")) or bool(options.get("traceback")),
        )
        if conclusion.complaint:
            self.say(conclusion.complaint, self.stderr)
        if conclusion.output:
            self.say(conclusion.output, self.stdout)
        words = conclusion.complaint or conclusion.output
        self.leave(conclusion.exit_code, words, has_left_work=conclusion.has_left_work)


def startup_settings() -> StartupSettings:
    """Return ``PAPYRA["STARTUP"]``, the options' defaults; that settings are wrong is told by the run."""
    try:
        return get_settings().startup
    except ConfigurationError:
        return StartupSettings()


def spell(step: NextStep) -> str:
    """Return ``step`` as a line to type here: ``persistence recover`` is ``manage.py papyra_recover``."""
    word = {"doctor run": "doctor"}.get(step.command, step.command.rpartition(" ")[2].replace("-", "_"))
    return " ".join(["manage.py", f"papyra_{word}", *(shell_word(option) for option in step.options)])
