"""Run one command on one backend to its end: progress, interruption, errors; prints nothing itself.

`papyra` and ``manage.py papyra_*`` both come through here, so that a failure has one exit code.
"""

from __future__ import annotations

import asyncio
import threading
import traceback
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from papyra.cli.exit_codes import ExitCode, exit_code_for_error
from papyra.cli.outcome import Outcome
from papyra.cli.text import printable
from papyra.exceptions import PapyraError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Coroutine
    from typing import TextIO

    from papyra.cli.outcome import Spell
    from papyra.persistence.query import Progress, ProgressCallback

_DRAWING = "papyra.cli.terminal"  # imports rich, which a pipe does without
CLOSING_SECONDS = 10.0
INTERRUPTED_SECONDS = 1.0
REPORT_IT = "this is a fault of papyra: please report it with the traceback that PAPYRA_DEBUG=1 prints"


class CommandInterruptedError(PapyraError):
    """Ends the work of a thread whose command was interrupted."""


class Closable(Protocol):
    """What a command works on: a store, or two."""

    async def aclose(self) -> None:
        """Finish what was accepted and free everything."""
        ...


class Run(Protocol):
    """What the ``run_*`` functions are."""

    def __call__(
        self,
        args: Namespace,
        backend: Any,  # what the command's own opener returns
        progress: ProgressCallback | None = None,
    ) -> Coroutine[object, object, Outcome]:
        """Return what the command came to."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One command, whichever parser read its arguments and wherever its backend comes from.

    ``store`` is how people know the store, ``spell`` how a next step is typed here.
    """

    name: str
    run: Run
    args: Namespace
    store: str
    open_backend: Callable[[], Closable]
    spell: Spell


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What is left to do: print ``output`` to stdout and ``complaint`` to stderr, unless empty, and exit.

    ``has_left_work``: a thread of the store does not end, so the process should, without waiting for it.
    Nothing is lost by that: a store can be killed at any time.
    """

    output: str
    complaint: str
    exit_code: ExitCode
    has_left_work: bool = False


class Watch:
    """Shows progress and, once stopped, ends the thread that reports it."""

    def __init__(self, show: ProgressCallback | None) -> None:
        self._show = show
        self._stopped = threading.Event()
        self.has_left_work = False

    def stop(self) -> None:
        """End the thread at its next report."""
        self._stopped.set()

    def __call__(self, progress: Progress) -> None:
        """Hear of progress, in the thread that makes it."""
        if self._stopped.is_set():
            raise CommandInterruptedError("interrupted")
        if self._show is not None:
            self._show(progress)


def conduct(
    call: Invocation, *, stdout: TextIO | None, stderr: TextIO | None, debug: bool = False
) -> Conclusion:
    """Run ``call`` and say what to print; the streams are only asked whether they are terminals."""
    bar = import_module(_DRAWING).progress_bar(stderr) if _is_terminal(stderr) else nullcontext()
    with bar as show:
        watch = Watch(show)
        conclusion = _conclude(call, watch, stdout, debug=debug)
    return replace(conclusion, has_left_work=watch.has_left_work)


def _conclude(call: Invocation, watch: Watch, stdout: TextIO | None, *, debug: bool) -> Conclusion:
    try:
        outcome = asyncio.run(_run(call, watch))
        output = _rendered(outcome, call, stdout)
    except KeyboardInterrupt:
        return _failed(call, CommandInterruptedError("interrupted"), ExitCode.INTERRUPTED)
    except Exception as error:  # noqa: BLE001  # the edge: whatever it is, it becomes an exit code and a sentence
        return _failed(call, error, exit_code_for_error(error), debug=debug)
    return Conclusion(output, "" if call.args.json else printable(outcome.note), outcome.exit_code)


def _rendered(outcome: Outcome, call: Invocation, stdout: TextIO | None) -> str:
    if call.args.json:
        return outcome.to_json(command=call.name, store=call.store, spell=call.spell)
    if _is_terminal(stdout):
        drawing = import_module(_DRAWING)
        drawn: str = drawing.render(outcome, store=call.store, spell=call.spell, stream=stdout)
        return drawn
    return outcome.to_text(store=call.store, spell=call.spell)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


async def _run(call: Invocation, watch: Watch) -> Outcome:
    backend = call.open_backend()
    patience = CLOSING_SECONDS
    try:
        return await call.run(call.args, backend, watch)
    except asyncio.CancelledError:
        watch.stop()
        patience = INTERRUPTED_SECONDS
        raise
    finally:
        # Not asyncio.timeout: up to Python 3.11.3 it cannot expire in a task that is being cancelled.
        closing = asyncio.ensure_future(backend.aclose())
        await asyncio.wait({closing}, timeout=patience)
        if closing.done():
            closing.result()
        else:
            closing.cancel()
            watch.has_left_work = True


def _failed(call: Invocation, error: BaseException, code: ExitCode, *, debug: bool = False) -> Conclusion:
    words = str(error) or type(error).__name__
    if code is ExitCode.FAULT:
        words = f"unexpected {type(error).__name__}: {words}; {REPORT_IT}"
    complaint = printable(f"papyra: {words}")
    if debug:
        lines = "".join(traceback.format_exception(error)).rstrip().split("\n")
        complaint = "\n".join([*(printable(line) for line in lines), complaint])
    document = {"error": {"type": type(error).__name__, "message": words}}
    outcome = Outcome(verdict=code.word, exit_code=code, document=document)
    as_json = call.args.json and outcome.to_json(command=call.name, store=call.store, spell=call.spell)
    return Conclusion(as_json or "", complaint, code)
