"""The `papyra` process: the one place that prints, and that decides how it exits."""

from __future__ import annotations

import io
import json
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from papyra.cli.arguments import Misuse
from papyra.cli.commands import build_parser
from papyra.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from typing import TextIO

    from papyra.cli.commands import Command

DEBUG = "PAPYRA_DEBUG"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `papyra` with ``argv`` and return its exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        code = _run(words)
        _write("", sys.stdout)
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except OSError as error:  # of _write alone: commands have ended in an exit code before
        _silence(sys.stdout)
        _complain(f"papyra: the output could not be written: {error.strerror or error}")
        code = ExitCode.FAULT
    return int(code)


def _run(words: Sequence[str]) -> ExitCode:
    try:
        args = build_parser().parse_args(words)
        if args.command is None:
            args.parser.error("a command is needed; --help lists them")
    except Misuse as misuse:
        if "--json" in words:
            _write(_misuse_document(misuse.message), sys.stdout)
        return ExitCode.MISUSE
    except SystemExit as stop:  # --help and --version have printed already
        return ExitCode.MISUSE if stop.code else ExitCode.OK
    return _conduct(args, args.command)


def _conduct(args: Namespace, command: Command) -> ExitCode:
    """Import what the command needs only now: ``--help`` and a misspelt option do without it."""
    conduct = import_module("papyra.cli.conduct")
    source = import_module(command.source).choose_source(args, os.environ)
    module, _, function = command.run.partition(":")
    conclusion = conduct.conduct(
        conduct.Invocation(
            name=command.name,
            run=getattr(import_module(module), function),
            args=args,
            store=source.label,
            open_backend=source.open,
            spell=source.spell,
        ),
        stdout=sys.stdout,
        stderr=sys.stderr,
        debug=bool(os.environ.get(DEBUG)),
    )
    _complain(conclusion.complaint)
    _write(conclusion.output, sys.stdout)
    code: ExitCode = conclusion.exit_code
    if conclusion.has_left_work:
        os._exit(code)  # the interpreter would wait for its threads
    return code


def _misuse_document(message: str) -> str:
    code = ExitCode.MISUSE
    error = {"type": "Misuse", "message": message}
    return json.dumps({"verdict": code.word, "exit_code": int(code), "error": error})


def _complain(text: str) -> None:
    try:
        _write(text, sys.stderr)
    except OSError:
        _silence(sys.stderr)


def _write(text: str, stream: TextIO | None) -> None:
    """Print ``text`` if there is any; a reader who has left (``| head``) does not change the exit code."""
    if stream is None:
        return
    encoding = stream.encoding or "utf-8"
    try:
        if text:
            text = text.encode(encoding, "backslashreplace").decode(encoding)
            print(text, file=stream)
        stream.flush()
    except BrokenPipeError:
        _silence(stream)


def _silence(stream: TextIO | None) -> None:
    """Let what is still buffered go nowhere, or the interpreter complains about it at its end."""
    if stream is not None:
        with io.FileIO(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
