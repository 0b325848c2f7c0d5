"""Commands that leave with papyra's exit codes, and print what any terminal, pipe or caller can take."""

from __future__ import annotations

import io
import json
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from papyra.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from typing import NoReturn

    from django.core.management.base import OutputWrapper


class ExitingCommand(BaseCommand):
    """Ends with papyra's exit codes, also where argparse would say 2 and Django 1."""

    _called_from_command_line: bool
    requires_system_checks = ()  # a broken project is when these are needed most

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, allow_abbrev=False, **kwargs)
        parser.error = partial(_misuse, parser)  # type: ignore[method-assign]  # Django picks the class
        return parser

    def say(self, text: str, stream: OutputWrapper) -> None:
        """Print ``text`` at once; a reader who has left (``| head``) does not change the exit code.

        Raises `CommandError` where it cannot be written otherwise, as on a full disk.
        """
        encoding = getattr(stream, "encoding", None) or "utf-8"
        try:
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()
        except OSError as error:
            with io.FileIO(os.devnull, "w") as nowhere:  # or the interpreter complains of what is buffered
                os.dup2(nowhere.fileno(), stream.fileno())
            if not isinstance(error, BrokenPipeError):
                words = f"the output could not be written: {error.strerror or error}"
                raise CommandError(words, returncode=int(ExitCode.FAULT)) from error

    def leave(self, code: ExitCode, words: str, *, has_left_work: bool = False) -> None:
        """End with ``code``; inside `call_command` as a `CommandError` that carries it.

        ``has_left_work``: threads do not end, and the interpreter would wait for them.
        """
        if self._called_from_command_line and has_left_work:
            os._exit(code)
        if code is ExitCode.OK:
            return
        if self._called_from_command_line:
            sys.exit(int(code))
        raise CommandError(words, returncode=int(code))


def _misuse(parser: CommandParser, message: str) -> NoReturn:
    code = ExitCode.MISUSE
    if not parser.called_from_command_line:
        raise CommandError(f"Error: {message}", returncode=int(code))
    if "--json" in sys.argv:
        error = {"type": "Misuse", "message": message}
        sys.stdout.write(json.dumps({"verdict": code.word, "exit_code": int(code), "error": error}) + "\n")
    parser.exit(int(code), f"{parser.format_usage()}{parser.prog}: {message}\n")
