from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from papyra.cli.commands import build_parser
from papyra.cli.conduct import Conclusion, Invocation, conduct
from papyra.cli.persistence import run_recover, run_scan
from papyra.exceptions import ConfigurationError, PersistenceError, StoreLockedError, StoreUnavailableError
from papyra.persistence.models import PersistenceAnomaly, PersistenceAnomalyType
from tests.unit.startup.scripted import SOME_PROGRESS, ScriptedBackend, report

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.cli.outcome import NextStep
    from papyra.persistence.backend import PersistenceBackend
    from papyra.persistence.query import Progress

DAMAGED = report(PersistenceAnomalyType.BAD_CHECKSUM)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def call(
    open_backend: Callable[[], PersistenceBackend], line: str = "persistence scan", run: Any = run_scan
) -> Invocation:
    def spell(step: NextStep) -> str:
        return f"manage.py papyra_{step.command.split()[-1]}"

    args = build_parser().parse_args(line.split())
    return Invocation(
        name="papyra_scan", run=run, args=args, store="log", open_backend=open_backend, spell=spell
    )


def conclude(invocation: Invocation, **streams: Any) -> Conclusion:
    return conduct(invocation, **{"stdout": io.StringIO(), "stderr": io.StringIO(), **streams})


def test_a_command_of_another_program_is_conducted_with_its_own_words() -> None:
    backend = ScriptedBackend(scans=[DAMAGED])
    conclusion = conclude(call(lambda: backend))
    assert conclusion.exit_code == 2
    assert conclusion.output.startswith("DAMAGE  log\n")
    assert "Next: manage.py papyra_recover  #" in conclusion.output
    assert backend.closed


def test_json_names_the_command_and_the_store() -> None:
    conclusion = conclude(call(ScriptedBackend, "persistence scan --json"))
    document = json.loads(conclusion.output)
    assert (document["command"], document["store"], document["exit_code"]) == ("papyra_scan", "log", 0)
    assert conclusion.complaint == ""


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (StoreLockedError("held by 4711 on desk; scan works meanwhile"), 69, "unavailable"),
        (StoreUnavailableError("permission denied"), 69, "unavailable"),
        (ZeroDivisionError("division by zero"), 70, "fault"),
        (PersistenceError("?"), 70, "fault"),
    ],
)
def test_an_error_is_one_sentence_on_stderr_and_an_object_in_json(
    error: Exception, code: int, word: str
) -> None:
    plain = conclude(call(lambda: ScriptedBackend(scans=[error])))
    assert (plain.output, plain.exit_code) == ("", code)
    assert plain.complaint.startswith("papyra: ")
    assert str(error) in plain.complaint
    assert "\n" not in plain.complaint
    document = json.loads(
        conclude(call(lambda: ScriptedBackend(scans=[error]), "persistence scan --json")).output
    )
    assert (document["exit_code"], document["verdict"]) == (code, word)
    assert document["error"]["type"] == type(error).__name__


def test_our_own_fault_says_where_to_go_and_shows_a_traceback_on_request() -> None:
    backend = ScriptedBackend(scans=[ZeroDivisionError("division by zero")])
    short = conclude(call(lambda: backend)).complaint
    assert "unexpected ZeroDivisionError: division by zero" in short
    assert "please report it with the traceback that PAPYRA_DEBUG=1 prints" in short
    long = conclude(call(lambda: backend), debug=True).complaint
    assert long.startswith("Traceback (most recent call last):")
    assert long.endswith(short)


def test_an_outcome_that_cannot_be_printed_is_our_fault_too() -> None:
    async def run(args: Any, opened: PersistenceBackend, progress: Any = None) -> Any:
        outcome = await run_scan(args, opened, progress)
        return replace(outcome, document={"not": object()})

    assert conclude(call(ScriptedBackend, "persistence scan --json", run)).exit_code == 70


def test_a_backend_that_cannot_be_opened_is_an_exit_code_too() -> None:
    def refuse() -> PersistenceBackend:
        raise ConfigurationError("there is no store at /nowhere")

    assert conclude(call(refuse)).exit_code == 64


def test_the_backend_is_closed_after_an_error() -> None:
    backend = ScriptedBackend(scans=[StoreUnavailableError("gone")])
    conclude(call(lambda: backend))
    assert backend.closed


def test_an_error_without_words_is_named() -> None:
    assert (
        "unexpected RecursionError: RecursionError"
        in conclude(call(lambda: ScriptedBackend(scans=[RecursionError()]))).complaint
    )


def test_an_error_cannot_drive_a_terminal() -> None:
    backend = ScriptedBackend(scans=[StoreUnavailableError("\x1b[2Jgone\nHEALTHY")])
    assert conclude(call(lambda: backend)).complaint == r"papyra: \x1b[2Jgone\x0aHEALTHY"


def test_ctrl_c_ends_the_work_closes_the_store_and_exits_with_130() -> None:
    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    backend = ScriptedBackend(hangs=True)

    async def run(args: Any, opened: PersistenceBackend, progress: Any = None) -> Any:
        interrupt()
        return await run_scan(args, opened, progress)

    conclusion = conclude(call(lambda: backend, "persistence scan --json", run))
    assert conclusion.exit_code == 130
    assert conclusion.complaint == "papyra: interrupted"
    assert json.loads(conclusion.output)["verdict"] == "interrupted"
    assert backend.closed


def test_ctrl_c_reaches_the_thread_that_works() -> None:
    noticed = []

    class Working(ScriptedBackend):
        report: Callable[[Progress], None]

        async def aclose(self) -> None:
            try:
                self.report(SOME_PROGRESS)
            except Exception as error:  # noqa: BLE001  # whatever a thread would die of
                noticed.append(type(error).__name__)

    backend = Working(hangs=True)

    async def run(args: Any, opened: PersistenceBackend, progress: Any = None) -> Any:
        backend.report = progress
        os.kill(os.getpid(), signal.SIGINT)
        return await run_recover(args, opened, progress)

    conclude(call(lambda: backend, "persistence recover", run))
    assert noticed == ["CommandInterruptedError"]


def test_a_store_that_does_not_close_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck(ScriptedBackend):
        async def aclose(self) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr("papyra.cli.conduct.CLOSING_SECONDS", 0.01)
    conclusion = conclude(call(Stuck))
    assert conclusion.output.startswith("HEALTHY")
    assert conclusion.has_left_work
    assert not conclude(call(ScriptedBackend)).has_left_work


def test_a_terminal_gets_the_same_words_in_colour_and_nothing_of_what_was_stored_is_markup() -> None:
    evil = PersistenceAnomaly(
        PersistenceAnomalyType.GARBAGE, "log", "[red]x[/red] \x1b[2J :smile: https://example.org", offset=7
    )
    backend = ScriptedBackend(scans=[replace(DAMAGED, anomalies=(evil,))])
    output = conclude(call(lambda: backend), stdout=Terminal()).output
    assert "\x1b[" in output
    seen = re.sub(r"\x1b\[[0-9;]*m", "", output)
    assert seen.startswith("DAMAGE  log")
    assert "\x1b" not in seen
    for part in ("[red]x[/red]", r"\x1b[2J", ":smile:", "https://example.org", "log at 7", "Next: manage.py"):
        assert part in seen


def test_no_color_means_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    output = conclude(call(lambda: ScriptedBackend(scans=[DAMAGED])), stdout=Terminal()).output
    assert re.findall(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", output) == []


def test_a_long_command_stays_one_line_to_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    output = conclude(call(lambda: ScriptedBackend(scans=[DAMAGED])), stdout=Terminal()).output
    last = re.sub(r"\x1b\[[0-9;]*m", "", output.splitlines()[-1])
    assert last == "Next: manage.py papyra_recover  # repairs; removed bytes lie in quarantine first"


def test_progress_of_a_long_task_is_shown_on_a_terminal_and_never_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Terminal()
    conclude(call(ScriptedBackend), stderr=screen)
    assert screen.getvalue() == ""
    monkeypatch.setattr("papyra.cli.terminal.PATIENCE_SECONDS", 0.0)
    conclude(call(ScriptedBackend), stderr=screen)
    assert "700/1,000 bytes" in screen.getvalue()
    pipe = io.StringIO()
    conclude(call(ScriptedBackend), stderr=pipe)
    assert pipe.getvalue() == ""


def test_a_process_without_a_screen_is_served_too() -> None:
    assert conclude(call(ScriptedBackend), stdout=None, stderr=None).exit_code == 0
